package strongswan

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"path/filepath"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/vpn/pki"
)

// authority makes a case's certificates.
type authority struct {
	*pki.Authority
	r *matrix.Run
}

func newAuthority(r *matrix.Run, parent *authority, subject string, kind pki.KeyType) authority {
	var above *pki.Authority
	if parent != nil {
		above = parent.Authority
	}
	a, err := pki.NewAuthority(above, request(subject, pki.Request{PathLen: -1}), newKey(r, kind), rand.Reader)
	if err != nil {
		r.Fatalf("%v", err)
	}
	return authority{a, r}
}

// request is valid for a while around now, unless it says when.
func request(subject string, q pki.Request) pki.Request {
	q.Subject = subject
	if q.NotBefore.IsZero() {
		q.NotBefore = time.Now().Add(-time.Hour)
	}
	if q.NotAfter.IsZero() {
		q.NotAfter = time.Now().Add(24 * time.Hour)
	}
	return q
}

func newKey(r *matrix.Run, kind pki.KeyType) crypto.Signer {
	key, err := pki.NewKey(kind, rand.Reader)
	if err != nil {
		r.Fatalf("%v", err)
	}
	return key
}

// credential is somebody's certificate with its key.
type credential struct {
	cert  *x509.Certificate
	chain []*x509.Certificate // of the authorities, without the root
	key   crypto.Signer
}

// issue makes one for a DNS name.
func (a authority) issue(name string, kind pki.KeyType, q pki.Request) credential {
	q.DNS = append(q.DNS, name)
	key := newKey(a.r, kind)
	cert, err := a.Issue(request("CN="+name+",O=Interop", q), key.Public(), rand.Reader)
	if err != nil {
		a.r.Fatalf("%v", err)
	}
	var above []*x509.Certificate
	for _, c := range a.Chain {
		if c.Subject.String() != c.Issuer.String() {
			above = append(above, c)
		}
	}
	return credential{cert, above, key}
}

func keyPEM(r *matrix.Run, key crypto.Signer) string {
	b, err := pki.EncodeKey(key)
	if err != nil {
		r.Fatalf("%v", err)
	}
	return string(b)
}

// forRouter writes a credential beside the router's configuration.
func (a authority) forRouter(file string, c credential) {
	a.r.File(file+".pem", string(pki.EncodeCertificates(append([]*x509.Certificate{c.cert}, c.chain...)...)))
	a.r.File(file+".key", keyPEM(a.r, c.key))
}

// root writes the authority's certificate beside the router's configuration.
func (a authority) root(file string) {
	a.r.File(file, string(pki.EncodeCertificates(a.Certificate())))
}

// revoke puts a certificate on the list and returns the list.
func (a authority) revoke(list ...credential) string {
	for _, c := range list {
		if err := a.Revoke(c.cert.SerialNumber, time.Now().Add(-time.Minute), time.Now().Add(-time.Minute), time.Now().Add(time.Hour), rand.Reader); err != nil {
			a.r.Fatalf("%v", err)
		}
	}
	if err := a.Sign(time.Now().Add(-time.Minute), time.Now().Add(time.Hour), rand.Reader); err != nil {
		a.r.Fatalf("%v", err)
	}
	return string(pki.EncodeCRL(a.CRL))
}

// trusts gives a daemon an authority.
func (c *charon) trusts(file string, a authority) {
	c.r.File(filepath.Join(c.name, "swanctl/x509ca", file+".pem"), string(pki.EncodeCertificates(a.Certificate())))
}

// owns gives a daemon a credential, with the authorities between it and the root.
func (c *charon) owns(file string, k credential) {
	c.r.File(filepath.Join(c.name, "swanctl/x509", file+".pem"), string(pki.EncodeCertificates(k.cert)))
	c.r.File(filepath.Join(c.name, "swanctl/private", file+".pem"), keyPEM(c.r, k.key))
	for _, i := range k.chain {
		c.r.File(filepath.Join(c.name, "swanctl/x509ca", "between-"+pki.Serial(i)+".pem"), string(pki.EncodeCertificates(i)))
	}
}
