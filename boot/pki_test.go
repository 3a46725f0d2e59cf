package boot

import (
	"crypto/rand"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"felloe/config"
	"felloe/vpn/ikev2"
	"felloe/vpn/pki"
)

// files writes an authority's and a router's files into the test's directory.
func pkiFiles(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, b []byte, err error) { t.Helper(); must(err); must(os.WriteFile(name, b, 0o600)) }
	for _, n := range []string{"ca", "other"} {
		key, err := pki.NewKey("ed25519", rand.Reader)
		must(err)
		a, err := pki.NewAuthority(nil, pki.Request{Subject: "CN=" + n, NotBefore: from, NotAfter: to, PathLen: 1}, key, rand.Reader)
		must(err)
		must(a.Sign(from, to, rand.Reader))
		write(n+".pem", pki.EncodeCertificates(a.Certificate()), nil)
		write(n+".crl", pki.EncodeCRL(a.CRL), nil)
		own, err := pki.NewKey("ecdsa-p256", rand.Reader)
		must(err)
		var c *x509.Certificate
		c, err = a.Issue(pki.Request{Subject: "CN=router,O=" + n, DNS: []string{"router.example"}, NotBefore: from, NotAfter: to}, own.Public(), rand.Reader)
		write(n+"-router.pem", pki.EncodeCertificates(c), err)
		b, err := pki.EncodeKey(own)
		write(n+"-router.key", b, err)
	}
}

const certified = `[pki.trustpoint.CA]
ca = "ca.pem"
certificate = "ca-router.pem"
key = { file = "ca-router.key" }
crl = "ca.crl"

[pki.certificate-map.M]
rule = [{ subject-name = "co ou=spokes" }]

[ikev2.profile.P]
match = { certificate = "M" }
identity.local = { fqdn = "router.example" }
authentication = { local = "ecdsa-sig", remote = ["rsa-sig", "ecdsa-sig"], rsa-padding = "pss" }
trustpoint = "CA"
`

func TestTrustpointsReachTheMachine(t *testing.T) {
	pkiFiles(t)
	c, diags := config.Load(saved(t, certified))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	ike, err := ikeConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(ike.Trustpoints) != 1 || !ike.Trustpoints[0].HasKey() || !ike.Trustpoints[0].CheckRevocation || len(ike.Trustpoints[0].CRLs) != 1 {
		t.Errorf("%+v", ike.Trustpoints)
	}
	p := ike.Profiles[0]
	if p.LocalAuth != ikev2.ECDSASignature || len(p.RemoteAuth) != 2 || p.RemoteAuth[0] != ikev2.RSASignature || !p.RSAPSS || p.CertificateIdentity || len(p.MatchCertificate) != 1 ||
		len(p.Trustpoints) != 1 || p.Identity != ikev2.FQDNIdentity("router.example") {
		t.Errorf("%+v", p)
	}
}

func saved(t *testing.T, text string) string {
	t.Helper()
	if err := os.WriteFile("r.toml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "r.toml"
}

func TestMistakesInCertificatesHaveAPlace(t *testing.T) {
	pkiFiles(t)
	for name, c := range map[string]struct{ old, new, want string }{
		"key of another":         {`"ca-router.key"`, `"other-router.key"`, "r.toml:4:1: [pki.trustpoint.CA] key: the key (ECDSA P-256) does not belong to the certificate CN=router,O=ca, serial "},
		"issued by another":      {`"ca-router.pem"`, `"other-router.pem"`, "r.toml:4:1: [pki.trustpoint.CA] key: the key"},
		"another authority":      {`"ca.pem"`, `"other.pem"`, "[pki.trustpoint.CA] c"},
		"list of another":        {`"ca.crl"`, `["ca.crl", "ca.pem"]`, "r.toml:5:1: [pki.trustpoint.CA] crl: ca.pem: there is no -----BEGIN X509 CRL-----"},
		"not a certificate":      {`"ca.pem"`, `"ca.crl"`, "r.toml:2:1: [pki.trustpoint.CA] ca: ca.crl: there is no -----BEGIN CERTIFICATE-----"},
		"kind of key":            {`local = "ecdsa-sig"`, `local = "rsa-sig"`, "[ikev2.profile.P] authentication.local: rsa-sig needs a trustpoint with a certificate and key of that kind: CA has one with ECDSA P-256"},
		"not in the certificate": {`"router.example" }`, `"hub.example" }`, "warning: [ikev2.profile.P] identity.local: peers that check will refuse hub.example: the certificate of trustpoint CA is for fqdn router.example, dn CN=router,O=ca"},
	} {
		text := strings.Replace(certified, c.old, c.new, 1)
		if text == certified {
			t.Fatalf("%s: nothing changes", name)
		}
		loaded, diags := config.Load(saved(t, text))
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		found := CheckPKI(loaded)
		if len(found) != 1 || !strings.Contains(found[0].String(), c.want) {
			t.Errorf("%s: %s\nnot %s", name, found, c.want)
		}
		// What is wrong is left out, and so trusted by nobody.
		ike, err := ikeConfig(loaded)
		if found.HasErrors() != (err != nil) || name != "kind of key" && found.HasErrors() && len(ike.Trustpoints) != 0 {
			t.Errorf("%s: %v, %d trustpoints", name, err, len(ike.Trustpoints))
		}
		if len(ike.Profiles) != 1 {
			t.Errorf("%s: %d profiles", name, len(ike.Profiles))
		}
	}
}
