package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/mail"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// KeyType is a kind of key that is made here.
type KeyType string

// KeyTypes are the kinds of keys, the default first.
var KeyTypes = []KeyType{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"}

// NewKey makes a private key.
func NewKey(t KeyType, rand io.Reader) (crypto.Signer, error) {
	switch t {
	case "", "ecdsa-p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand)
	case "ecdsa-p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand)
	case "ecdsa-p521":
		return ecdsa.GenerateKey(elliptic.P521(), rand)
	case "rsa-2048":
		return rsa.GenerateKey(rand, 2048)
	case "rsa-3072":
		return rsa.GenerateKey(rand, 3072)
	case "rsa-4096":
		return rsa.GenerateKey(rand, 4096)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand)
		return key, err
	}
	return nil, fmt.Errorf("kind of key %q: it is one of %s", t, joinTypes())
}

func joinTypes() string {
	var out []string
	for _, t := range KeyTypes {
		out = append(out, string(t))
	}
	return strings.Join(out, ", ")
}

// Authority is a lab's certificate authority: enough to try certificates, without the ceremony that a real one needs.
type Authority struct {
	Chain []*x509.Certificate // its own certificate first, then those above it but the root
	Key   crypto.Signer
	CRL   *x509.RevocationList // nil: none yet
}

// Format keeps the key out of whatever prints an authority.
func (a Authority) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("certificate authority")) }

// Request is what a certificate is to say.
type Request struct {
	Subject   string // "CN=spoke1,OU=spokes,O=Lab"
	DNS       []string
	Email     []string
	Addresses []netip.Addr
	NotBefore time.Time
	NotAfter  time.Time

	// Of an authority's certificate.
	PathLen   int // authorities below it at most; negative: no limit
	PermitDNS []string
	ForbidDNS []string
	NoUsage   bool // leave key usages out
	// Usage, when given, replaces what an extended key usage says otherwise.
	Usage []x509.ExtKeyUsage
}

// NewAuthority makes one: a root, or one below parent.
func NewAuthority(parent *Authority, r Request, key crypto.Signer, rand io.Reader) (*Authority, error) {
	template, err := r.template(key.Public(), rand)
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.MaxPathLen, template.MaxPathLenZero = r.PathLen, r.PathLen == 0
	template.PermittedDNSDomains, template.ExcludedDNSDomains = r.PermitDNS, r.ForbidDNS
	template.PermittedDNSDomainsCritical = len(r.PermitDNS)+len(r.ForbidDNS) > 0
	a := &Authority{Key: key}
	c, err := create(template, parent, key, rand)
	if err != nil {
		return nil, err
	}
	a.Chain = []*x509.Certificate{c}
	if parent != nil && !selfIssued(parent.Chain[0]) {
		a.Chain = append(a.Chain, parent.Chain...)
	}
	return a, nil
}

// Certificate is the authority's own.
func (a *Authority) Certificate() *x509.Certificate { return a.Chain[0] }

// Issue makes a certificate for a key.
func (a *Authority) Issue(r Request, key crypto.PublicKey, rand io.Reader) (*x509.Certificate, error) {
	template, err := r.template(key, rand)
	if err != nil {
		return nil, err
	}
	if !r.NoUsage {
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{ipsecIKE}
		if len(r.Usage) > 0 {
			template.ExtKeyUsage, template.UnknownExtKeyUsage = r.Usage, nil
		}
	}
	return createFor(template, a, key, rand)
}

func (r Request) template(public crypto.PublicKey, rand io.Reader) (*x509.Certificate, error) {
	raw, err := ParseDN(r.Subject)
	if err != nil {
		return nil, err
	}
	if !r.NotAfter.After(r.NotBefore) {
		return nil, fmt.Errorf("a certificate from %s to %s is never valid", day(r.NotBefore), day(r.NotAfter))
	}
	serial := make([]byte, 16)
	if _, err := io.ReadFull(rand, serial); err != nil {
		return nil, err
	}
	serial[0] = serial[0]&0x3f | 0x40 // positive, and always as long
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil, err
	}
	id := sha1.Sum(info.Key.Bytes) // RFC 5280 §4.2.1.2
	c := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial), RawSubject: raw, NotBefore: r.NotBefore, NotAfter: r.NotAfter,
		BasicConstraintsValid: true, SubjectKeyId: id[:], EmailAddresses: r.Email}
	for _, s := range r.DNS {
		if s == "" || strings.ContainsAny(s, " \t/:@") {
			return nil, fmt.Errorf("DNS name %q", s)
		}
		c.DNSNames = append(c.DNSNames, s)
	}
	for _, s := range r.Email {
		if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
			return nil, fmt.Errorf("mail address %q", s)
		}
	}
	for _, a := range r.Addresses {
		c.IPAddresses = append(c.IPAddresses, net.IP(a.Unmap().AsSlice()))
	}
	return c, nil
}

func create(template *x509.Certificate, parent *Authority, key crypto.Signer, rand io.Reader) (*x509.Certificate, error) {
	if parent == nil {
		parent = &Authority{Chain: []*x509.Certificate{template}, Key: key}
	}
	return createFor(template, parent, key.Public(), rand)
}

func createFor(template *x509.Certificate, parent *Authority, key crypto.PublicKey, rand io.Reader) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand, template, parent.Chain[0], key, parent.Key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Revoke puts a serial number on the list of what is revoked, and makes the CRL that says so.
func (a *Authority) Revoke(serialNumber *big.Int, when time.Time, now, until time.Time, rand io.Reader) error {
	var entries []x509.RevocationListEntry
	if a.CRL != nil {
		entries = slices.Clone(a.CRL.RevokedCertificateEntries)
	}
	for _, e := range entries {
		if e.SerialNumber.Cmp(serialNumber) == 0 {
			return fmt.Errorf("serial %s is revoked already, since %s", serial(serialNumber.Bytes()), day(e.RevocationTime))
		}
	}
	entries = append(entries, x509.RevocationListEntry{SerialNumber: serialNumber, RevocationTime: when})
	return a.sign(entries, now, until, rand)
}

// Sign makes a new CRL with what is revoked so far.
func (a *Authority) Sign(now, until time.Time, rand io.Reader) error {
	var entries []x509.RevocationListEntry
	if a.CRL != nil {
		entries = a.CRL.RevokedCertificateEntries
	}
	return a.sign(entries, now, until, rand)
}

func (a *Authority) sign(entries []x509.RevocationListEntry, now, until time.Time, rand io.Reader) error {
	number := big.NewInt(1)
	if a.CRL != nil && a.CRL.Number != nil {
		number.Add(a.CRL.Number, number)
	}
	der, err := x509.CreateRevocationList(rand, &x509.RevocationList{RevokedCertificateEntries: entries, Number: number, ThisUpdate: now, NextUpdate: until},
		a.Chain[0], a.Key)
	if err != nil {
		return err
	}
	l, err := x509.ParseRevocationList(der)
	if err == nil {
		a.CRL = l
	}
	return err
}

// ReadAuthority makes one from its files: ca.pem, ca.key and ca.crl, which may be empty.
func ReadAuthority(ca, key, crl []byte) (*Authority, error) {
	chain, err := readCertificates(ca)
	if err != nil {
		return nil, &FileError{Part: PartCA, Err: err}
	}
	if !chain[0].IsCA {
		return nil, &FileError{Part: PartCA, Err: fmt.Errorf("%s is not an authority's", name(chain[0]))}
	}
	signer, err := ParseKey(key)
	if err == nil && !samePublic(chain[0].PublicKey, signer.Public()) {
		err = fmt.Errorf("the key (%s) does not belong to the certificate %s (%s)", KeyName(signer.Public()), name(chain[0]), KeyName(chain[0].PublicKey))
	}
	if err != nil {
		return nil, &FileError{Part: PartKey, Err: err}
	}
	a := &Authority{Chain: chain, Key: signer}
	if len(crl) == 0 {
		return a, nil
	}
	block, _ := pem.Decode(crl)
	if block == nil || block.Type != "X509 CRL" {
		return nil, &FileError{Part: PartCRL, Err: errors.New("there is no -----BEGIN X509 CRL----- in the file")}
	}
	if a.CRL, err = x509.ParseRevocationList(block.Bytes); err == nil {
		err = a.CRL.CheckSignatureFrom(chain[0])
	}
	if err != nil {
		return nil, &FileError{Part: PartCRL, Err: err}
	}
	return a, nil
}

// EncodeCertificates, EncodeCRL and EncodeKey make PEM files of what an authority makes.
func EncodeCertificates(list ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range list {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

func EncodeCRL(l *x509.RevocationList) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: l.Raw})
}

func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
