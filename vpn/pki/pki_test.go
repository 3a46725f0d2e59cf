package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/vpn/ikev2/message"
)

var (
	start = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	now   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end   = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

	keyMu sync.Mutex
	keys  = map[string]crypto.Signer{}
)

func key(t testing.TB, kind KeyType, name string) crypto.Signer {
	t.Helper()
	keyMu.Lock()
	defer keyMu.Unlock()
	id := string(kind) + name
	if keys[id] == nil {
		k, err := NewKey(kind, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[id] = k
	}
	return keys[id]
}

func authority(t testing.TB, name string, parent *Authority, edit ...func(*Request)) *Authority {
	t.Helper()
	r := Request{Subject: "CN=" + name + ",O=Lab", NotBefore: start, NotAfter: end, PathLen: -1}
	for _, f := range edit {
		f(&r)
	}
	a, err := NewAuthority(parent, r, key(t, "ecdsa-p256", name), rand.Reader)
	if err == nil {
		err = a.Sign(start, end, rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *Authority) leaf(t testing.TB, name string, edit ...func(*Request)) *x509.Certificate {
	t.Helper()
	r := Request{Subject: "CN=" + name + ",OU=Spokes,O=Lab", DNS: []string{name + ".example.com"}, NotBefore: start, NotAfter: end}
	for _, f := range edit {
		f(&r)
	}
	c, err := a.Issue(r, key(t, "ecdsa-p256", name).Public(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func trusting(t testing.TB, check bool, list ...*Authority) *Trustpoint {
	t.Helper()
	var ca []byte
	var crls [][]byte
	for _, a := range list {
		ca = append(ca, EncodeCertificates(a.Certificate())...)
		if check {
			crls = append(crls, EncodeCRL(a.CRL))
		}
	}
	tp, err := NewTrustpoint("CA", ca, nil, nil, crls, check)
	if err != nil {
		t.Fatal(err)
	}
	return tp
}

func TestChainsAreVerified(t *testing.T) {
	root := authority(t, "Root", nil)
	mid := authority(t, "Mid", root)
	low := authority(t, "Low", mid)
	short := authority(t, "Short", root, func(r *Request) { r.PathLen = 0 })
	tooDeep := authority(t, "TooDeep", short)
	named := authority(t, "Named", root, func(r *Request) { r.PermitDNS = []string{"example.com"}; r.ForbidDNS = []string{"secret.example.com"} })
	old := authority(t, "Old", root, func(r *Request) { r.NotAfter = now.AddDate(0, -1, 0) })
	other := authority(t, "Other", nil)
	impostor := thief(t, "Root")
	dns := func(n string) func(*Request) { return func(r *Request) { r.DNS = []string{n} } }

	for _, c := range []struct {
		name  string
		chain []*x509.Certificate
		trust []*Authority
		now   time.Time
		err   error
		text  string
		path  int
	}{
		{name: "below the root", chain: []*x509.Certificate{root.leaf(t, "a")}, path: 2},
		{name: "with intermediates of the peer", chain: []*x509.Certificate{low.leaf(t, "a"), low.Certificate(), mid.Certificate()}, path: 4},
		{name: "in any order, with strangers among them", chain: []*x509.Certificate{low.leaf(t, "a"), other.Certificate(), mid.Certificate(), root.Certificate(), low.Certificate()}, path: 4},
		{name: "with intermediates of ours", chain: []*x509.Certificate{low.leaf(t, "a")}, trust: []*Authority{root, mid, low}, path: 4},
		{name: "an anchor need not be a root", chain: []*x509.Certificate{low.leaf(t, "a")}, trust: []*Authority{low}, path: 2},
		{name: "intermediate missing", chain: []*x509.Certificate{low.leaf(t, "a"), low.Certificate()}, err: ErrUnknownCA, text: `unknown CA: CN=Low,O=Lab, serial`},
		{name: "another authority", chain: []*x509.Certificate{other.leaf(t, "a"), other.Certificate()}, err: ErrUnknownCA, text: `is issued by "CN=Other,O=Lab", which trustpoint CA does not have and the peer did not send`},
		{name: "same name, another key", chain: []*x509.Certificate{impostor.leaf(t, "a")}, err: ErrUnknownCA},
		{name: "a leaf that signs", chain: []*x509.Certificate{(&Authority{Chain: []*x509.Certificate{root.leaf(t, "sub")}, Key: key(t, "ecdsa-p256", "sub")}).leaf(t, "a"), root.leaf(t, "sub")}, err: ErrUnknownCA},
		{name: "expired", chain: []*x509.Certificate{root.leaf(t, "a", func(r *Request) { r.NotAfter = now.Add(-time.Hour) })}, err: ErrExpired, text: "has expired: CN=a,OU=Spokes,O=Lab, serial "},
		{name: "expired and of a stranger says expired", chain: []*x509.Certificate{other.leaf(t, "a", func(r *Request) { r.NotAfter = now.Add(-time.Hour) })}, err: ErrExpired},
		{name: "expires this second", chain: []*x509.Certificate{root.leaf(t, "a", func(r *Request) { r.NotAfter = now })}, path: 2},
		{name: "not valid yet", chain: []*x509.Certificate{root.leaf(t, "a", func(r *Request) { r.NotBefore = now.Add(time.Hour) })}, err: ErrNotYetValid, text: "valid from 2026-01-01 01:00:00 UTC on, and it is 2026-01-01 00:00:00 UTC here"},
		{name: "expired intermediate", chain: []*x509.Certificate{old.leaf(t, "a"), old.Certificate()}, err: ErrExpired, text: "CN=Old,O=Lab, serial "},
		{name: "expired root", chain: []*x509.Certificate{root.leaf(t, "a", func(r *Request) { r.NotAfter = end.AddDate(2, 0, 0) })}, now: end.AddDate(0, 1, 0), err: ErrExpired, text: "CN=Root"},
		{name: "path too long", chain: []*x509.Certificate{tooDeep.leaf(t, "a"), tooDeep.Certificate(), short.Certificate()}, err: ErrConstraint},
		{name: "name permitted", chain: []*x509.Certificate{named.leaf(t, "a", dns("x.example.com")), named.Certificate()}, path: 3},
		{name: "name not permitted", chain: []*x509.Certificate{named.leaf(t, "a", dns("x.example.net")), named.Certificate()}, err: ErrConstraint},
		{name: "name forbidden", chain: []*x509.Certificate{named.leaf(t, "a", dns("x.secret.example.com")), named.Certificate()}, err: ErrConstraint},
		{name: "for code", chain: []*x509.Certificate{root.leaf(t, "a", func(r *Request) { r.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })}, err: ErrUsage},
		{name: "for clients only", chain: []*x509.Certificate{root.leaf(t, "a", func(r *Request) { r.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })}, path: 2},
		{name: "no usage said", chain: []*x509.Certificate{root.leaf(t, "a", func(r *Request) { r.NoUsage = true })}, path: 2},
		{name: "nothing", err: ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.trust == nil {
				c.trust = []*Authority{root}
			}
			if c.now.IsZero() {
				c.now = now
			}
			path, err := trusting(t, false, c.trust...).Verify(c.chain, c.now)
			if !errors.Is(err, c.err) || c.err == nil && err != nil || len(path) != c.path || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%d %v", len(path), err)
			}
		})
	}
}

func TestKeyUsageOfALeafNeedsSignatures(t *testing.T) {
	root := authority(t, "Root", nil)
	for usage, ok := range map[x509.KeyUsage]bool{0: true, x509.KeyUsageDigitalSignature: true, x509.KeyUsageContentCommitment: true,
		x509.KeyUsageKeyEncipherment: false, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment: true} {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: start, NotAfter: end, KeyUsage: usage}, root.Certificate(),
			key(t, "ecdsa-p256", "a").Public(), root.Key)
		if err != nil {
			t.Fatal(err)
		}
		chain, err := ParseChain([][]byte{der})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trusting(t, false, root).Verify(chain, now); (err == nil) != ok || !ok && !errors.Is(err, ErrUsage) {
			t.Errorf("usage %b: %v", usage, err)
		}
	}
}

func TestRevocation(t *testing.T) {
	root := authority(t, "Root", nil)
	mid := authority(t, "Mid", root)
	good, bad := mid.leaf(t, "a"), mid.leaf(t, "b")
	when := now.AddDate(0, 0, -3)
	if err := mid.Revoke(bad.SerialNumber, when, start, end, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if err := mid.Revoke(bad.SerialNumber, when, start, end, rand.Reader); err == nil || !strings.Contains(err.Error(), "revoked already, since 2025-12-29") {
		t.Errorf("twice: %v", err)
	}
	chain := func(c *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{c, mid.Certificate()} }
	tp := trusting(t, true, root, mid)
	if _, err := tp.Verify(chain(good), now); err != nil {
		t.Error(err)
	}
	_, err := tp.Verify(chain(bad), now)
	var revoked *RevokedError
	if !errors.As(err, &revoked) || !errors.Is(err, ErrRevoked) || revoked.Serial != Serial(bad) || !revoked.When.Equal(when) || !strings.Contains(err.Error(), "CN=b,OU=Spokes,O=Lab, serial "+Serial(bad)+", since 2025-12-29 00:00:00 UTC") {
		t.Errorf("%v", err)
	}
	// Not asked for: not looked at.
	if _, err := trusting(t, false, root, mid).Verify(chain(bad), now); err != nil {
		t.Error(err)
	}
	// An expired CRL refuses everybody, and still names the revoked.
	late := end.AddDate(0, 0, 1)
	long := func(r *Request) { r.NotAfter = end.AddDate(1, 0, 0) }
	root2 := authority(t, "Root", nil, long)
	g2, b2 := root2.leaf(t, "a", long), root2.leaf(t, "b", long)
	if err := root2.Revoke(b2.SerialNumber, when, start, end, rand.Reader); err != nil {
		t.Fatal(err)
	}
	tp = trusting(t, true, root2)
	if _, err := tp.Verify([]*x509.Certificate{g2}, late); !errors.Is(err, ErrCRL) || !strings.Contains(err.Error(), "has expired on 2027-01-01") {
		t.Error(err)
	}
	if _, err := tp.Verify([]*x509.Certificate{b2}, late); !errors.Is(err, ErrRevoked) {
		t.Error(err)
	}
	// Nor does one count that is from the future, or missing.
	if _, err := tp.Verify([]*x509.Certificate{root2.leaf(t, "c", func(r *Request) { r.NotBefore = start.AddDate(-1, 0, 0) })}, start.Add(-time.Hour)); err == nil {
		t.Error("before its time")
	}
	only, err := NewTrustpoint("CA", EncodeCertificates(root.Certificate()), nil, nil, [][]byte{EncodeCRL(root.CRL)}, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := only.Verify(chain(good), now); !errors.Is(err, ErrCRL) || !strings.Contains(err.Error(), `trustpoint CA has no CRL of "CN=Mid,O=Lab"`) {
		t.Error(err)
	}
	// The CRL of an intermediate that only the peer has is checked against what the peer sends.
	if only, err = NewTrustpoint("CA", EncodeCertificates(root.Certificate()), nil, nil, [][]byte{EncodeCRL(root.CRL), mid.CRL.Raw}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := only.Verify(chain(bad), now); !errors.Is(err, ErrRevoked) {
		t.Error(err)
	}
	if _, err := only.Verify(chain(good), now); err != nil {
		t.Error(err)
	}
	if only, err = NewTrustpoint("CA", EncodeCertificates(root.Certificate()), nil, nil, [][]byte{EncodeCRL(root.CRL), EncodeCRL(thief(t, "Mid").CRL)}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := only.Verify(chain(bad), now); !errors.Is(err, ErrCRL) || !strings.Contains(err.Error(), "is not signed by it") {
		t.Error(err)
	}
	if _, err = NewTrustpoint("CA", EncodeCertificates(mid.Certificate()), nil, nil, [][]byte{EncodeCRL(thief(t, "Mid").CRL)}, true); err == nil || !strings.Contains(err.Error(), "not signed by the authority of that name") {
		t.Error(err)
	}
	// The newest one counts.
	older := EncodeCRL(mid.CRL)
	if err := mid.Revoke(good.SerialNumber, when, start.AddDate(0, 1, 0), end, rand.Reader); err != nil {
		t.Fatal(err)
	}
	for _, list := range [][][]byte{{EncodeCRL(root.CRL), older, EncodeCRL(mid.CRL)}, {EncodeCRL(mid.CRL), EncodeCRL(root.CRL), older}} {
		tp, err := NewTrustpoint("CA", EncodeCertificates(root.Certificate(), mid.Certificate()), nil, nil, list, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tp.Verify(chain(good), now); !errors.Is(err, ErrRevoked) {
			t.Error(err)
		}
	}
}

// thief is an authority under somebody's name with another key.
func thief(t *testing.T, name string) *Authority {
	t.Helper()
	a, err := NewAuthority(nil, Request{Subject: "CN=" + name + ",O=Lab", NotBefore: start, NotAfter: end, PathLen: -1}, key(t, "ecdsa-p256", "thief"), rand.Reader)
	if err == nil {
		err = a.Sign(start, end, rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAHostileChainCostsLittle(t *testing.T) {
	// Authorities of one name and key, each of which may have issued each other: as many paths as there are permutations.
	k := key(t, "ecdsa-p256", "mesh")
	var mesh []*x509.Certificate
	for range MaxCertificates - 1 {
		a, err := NewAuthority(nil, Request{Subject: "CN=Mesh", NotBefore: start, NotAfter: end, PathLen: -1}, k, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		mesh = append(mesh, a.Certificate())
	}
	leaf := (&Authority{Chain: mesh[:1], Key: k}).leaf(t, "a")
	v := verifier{budget: maxSignatures}
	tp := trusting(t, false, authority(t, "Root", nil))
	if _, err := v.verify(tp, append([]*x509.Certificate{leaf}, mesh...), now); !errors.Is(err, ErrUnknownCA) || v.budget != 0 {
		t.Errorf("%d left: %v", v.budget, err)
	}
	// The budget is for all trustpoints, and strangers cost none of it.
	v = verifier{budget: maxSignatures}
	if _, err := v.verify(tp, []*x509.Certificate{authority(t, "Stranger", nil).leaf(t, "a")}, now); err == nil || v.budget != maxSignatures {
		t.Errorf("%d left: %v", v.budget, err)
	}
	if _, err := ParseChain(make([][]byte, MaxCertificates+1)); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if _, err := ParseChain([][]byte{make([]byte, MaxCertificateBytes+1)}); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func TestIdentitiesAreBoundToCertificates(t *testing.T) {
	root := authority(t, "Root", nil)
	c := root.leaf(t, "a", func(r *Request) {
		r.DNS, r.Email = []string{"a.example.com", "*.wild.example.com"}, []string{"a@example.com"}
		r.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	})
	four, six := netip.MustParseAddr("192.0.2.1").As4(), netip.MustParseAddr("2001:db8::1").As16()
	upper, err := ParseDN("CN=A,OU=SPOKES,O=lab")
	if err != nil {
		t.Fatal(err)
	}
	utf8 := bytes.ReplaceAll(c.RawSubject, []byte{asn1.TagPrintableString}, []byte{asn1.TagUTF8String})
	for _, x := range []struct {
		t     message.IDType
		value []byte
		ok    bool
	}{
		{message.ID_FQDN, []byte("a.example.com"), true}, {message.ID_FQDN, []byte("A.Example.COM"), true}, {message.ID_FQDN, []byte("b.example.com"), false},
		{message.ID_FQDN, []byte("x.wild.example.com"), false}, {message.ID_FQDN, []byte("*.wild.example.com"), true}, {message.ID_FQDN, []byte("a"), false}, {message.ID_FQDN, nil, false},
		{message.ID_RFC822_ADDR, []byte("a@example.com"), true}, {message.ID_RFC822_ADDR, []byte("a.example.com"), false},
		{message.ID_IPV4_ADDR, four[:], true}, {message.ID_IPV4_ADDR, []byte{192, 0, 2, 2}, false}, {message.ID_IPV4_ADDR, []byte{1}, false}, {message.ID_IPV6_ADDR, six[:], true},
		{message.ID_DER_ASN1_DN, c.RawSubject, true}, {message.ID_DER_ASN1_DN, upper, true}, {message.ID_DER_ASN1_DN, utf8, true}, {message.ID_DER_ASN1_DN, root.Certificate().RawSubject, false},
		{message.ID_DER_ASN1_DN, nil, false}, {message.ID_DER_ASN1_DN, []byte("CN=a"), false},
		{message.ID_KEY_ID, c.SubjectKeyId, true}, {message.ID_KEY_ID, []byte("a"), false}, {message.ID_NULL, nil, false}, {message.ID_DER_ASN1_GN, []byte("a.example.com"), false},
	} {
		if err := MatchesIdentity(c, x.t, x.value); (err == nil) != x.ok || err != nil && !errors.Is(err, ErrIdentity) {
			t.Errorf("%v %q: %v", x.t, x.value, err)
		}
	}
}

func TestCertificateMaps(t *testing.T) {
	root := authority(t, "Lab CA", nil)
	c := root.leaf(t, "spoke7", func(r *Request) { r.Email = []string{"Spoke7@Example.com"} })
	tricky := root.leaf(t, "x", func(r *Request) { r.Subject = `CN=x\,ou=hubs\,o=lab,OU=Spokes,O=Lab` })
	for _, x := range []struct {
		f    Field
		s    string
		c    *x509.Certificate
		want bool
	}{
		{SubjectName, "co ou=spokes", c, true}, {SubjectName, "co OU = Spokes", c, true}, {SubjectName, "co ou=hubs", c, false}, {SubjectName, "nc ou=hubs", c, true},
		{SubjectName, "eq cn=spoke7,ou=spokes,o=lab", c, true}, {SubjectName, "eq o=Lab, ou=Spokes, cn=spoke7", c, true}, {SubjectName, "eq cn=spoke7", c, false},
		{SubjectName, "ne cn=spoke7,ou=spokes,o=lab", c, false}, {SubjectName, "co cn=spoke", c, true}, {SubjectName, "co poke", c, true}, {SubjectName, "co cn=poke", c, false},
		{SubjectName, "co ou=spokes,o=lab", c, true}, {SubjectName, "co cn=spoke7,o=lab", c, false}, {SubjectName, "co o=la", c, true}, {SubjectName, "eq spoke7", c, false},
		{IssuerName, "eq cn=lab ca,o=lab", c, true}, {IssuerName, "co cn=other", c, false},
		{AltSubjectName, "co .example.com", c, true}, {AltSubjectName, "eq spoke7.example.com", c, true}, {AltSubjectName, "eq spoke7@example.com", c, true},
		{AltSubjectName, "nc example", c, false}, {AltSubjectName, "ne other.example.com", c, true},
		// A comma in a value does not make parts.
		{SubjectName, "co ou=hubs", tricky, false}, {SubjectName, "co ou=hubs,o=lab", tricky, false}, {SubjectName, "co ou=spokes", tricky, true},
		{SubjectName, `co cn=x\,ou=hubs`, tricky, true}, {SubjectName, "nc ou=hubs", tricky, true},
	} {
		cond, err := ParseCondition(x.f, x.s)
		if err != nil {
			t.Fatal(err)
		}
		if got := cond.Match(x.c); got != x.want {
			t.Errorf("%d %q on %s: %v", x.f, x.s, Subject(x.c), got)
		}
	}
	for _, s := range []string{"", "ou=spokes", "co", "co  ", "like x"} {
		if _, err := ParseCondition(SubjectName, s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
	one, two := Condition{SubjectName, Contains, "cn=spoke"}, Condition{SubjectName, Contains, "ou=hubs"}
	for _, x := range []struct {
		m    Map
		want bool
	}{{Map{}, false}, {Map{Rules: []Rule{{}}}, false}, {Map{Rules: []Rule{{one, two}}}, false}, {Map{Rules: []Rule{{two}, {one}}}, true}} {
		if got := x.m.Match(c); got != x.want {
			t.Errorf("%+v: %v", x.m, got)
		}
	}
	if (&Map{Rules: []Rule{{{SubjectName, NotContains, "x"}}}}).Match(nil) {
		t.Error("no certificate meets a map")
	}
}

func TestTrustpointsSayWhatIsWrongWithTheirFiles(t *testing.T) {
	root, other := authority(t, "Root", nil), authority(t, "Other", nil)
	mid := authority(t, "Mid", root)
	ca := EncodeCertificates(root.Certificate())
	leaf := root.leaf(t, "a")
	pemKey := func(k crypto.Signer) []byte {
		b, err := EncodeKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := pemKey(key(t, "ecdsa-p256", "a"))
	for name, c := range map[string]struct {
		ca, cert, key []byte
		crl           [][]byte
		check         bool
		part          Part
		text          string
	}{
		"nothing":                          {part: PartCA, text: "the file is empty"},
		"no PEM":                           {ca: []byte("hello"), part: PartCA, text: "no -----BEGIN CERTIFICATE-----"},
		"DER":                              {ca: root.Certificate().Raw, part: PartCA, text: "convert it: openssl x509"},
		"a key among certificates":         {ca: append(bytes.Clone(ca), good...), part: PartCA, text: "PEM block 2 is a PRIVATE KEY"},
		"broken certificate":               {ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1, 2}}), part: PartCA, text: "PEM block 1: x509"},
		"not an authority":                 {ca: append(bytes.Clone(ca), EncodeCertificates(leaf)...), part: PartCA, text: "certificate 2 (CN=a,OU=Spokes,O=Lab, serial " + Serial(leaf) + ") is not one of an authority"},
		"key missing":                      {ca: ca, cert: EncodeCertificates(leaf), part: PartKey, text: "a certificate but no key"},
		"certificate missing":              {ca: ca, key: good, part: PartCertificate, text: "a key but no certificate"},
		"another key":                      {ca: ca, cert: EncodeCertificates(leaf), key: pemKey(key(t, "ed25519", "a")), part: PartKey, text: "the key (Ed25519) does not belong to the certificate CN=a,OU=Spokes,O=Lab"},
		"no key in the file":               {ca: ca, cert: EncodeCertificates(leaf), key: ca, part: PartKey, text: "no private key in PEM"},
		"encrypted key":                    {ca: ca, cert: EncodeCertificates(leaf), key: pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), part: PartKey, text: "openssl pkey"},
		"broken key":                       {ca: ca, cert: EncodeCertificates(leaf), key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("SECRETSECRET")}), part: PartKey, text: "PEM block 1 (PRIVATE KEY): not a private key that can be read"},
		"certificate of another authority": {ca: ca, cert: EncodeCertificates(other.leaf(t, "a")), key: good, part: PartCertificate, text: "unknown CA"},
		"intermediate missing":             {ca: ca, cert: EncodeCertificates(mid.leaf(t, "a")), key: good, part: PartCertificate, text: `is issued by "CN=Mid,O=Lab"`},
		"no CRL to check with":             {ca: ca, check: true, part: PartCRL, text: "there is no CRL"},
		"empty CRL":                        {ca: ca, crl: [][]byte{nil}, part: PartCRL, text: "is empty"},
		"no CRL in PEM":                    {ca: ca, crl: [][]byte{ca}, part: PartCRL, text: "no -----BEGIN X509 CRL-----"},
		"broken CRL":                       {ca: ca, crl: [][]byte{{1, 2, 3}}, part: PartCRL, text: "not a CRL"},
	} {
		_, err := NewTrustpoint("CA", c.ca, c.cert, c.key, c.crl, c.check)
		var fe *FileError
		if !errors.As(err, &fe) || fe.Part != c.part || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: a secret is shown: %v", name, err)
		}
	}
	for _, oid := range []asn1.ObjectIdentifier{oidDeltaCRL, oidIssuingDistPoint} {
		l := *root.CRL
		l.ExtraExtensions = append(l.ExtraExtensions, pkixExtension(oid))
		der, err := x509.CreateRevocationList(rand.Reader, &l, root.Certificate(), root.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewTrustpoint("CA", ca, nil, nil, [][]byte{der}, true); err == nil || !strings.Contains(err.Error(), "only whole ones are used") {
			t.Errorf("%v: %v", oid, err)
		}
	}
	// An expired certificate of ours is not the file's mistake: the clock may be wrong.
	old := root.leaf(t, "a", func(r *Request) { r.NotBefore, r.NotAfter = start, start.Add(time.Hour) })
	if _, err := NewTrustpoint("CA", ca, EncodeCertificates(old), good, nil, false); err != nil {
		t.Error(err)
	}
}

func TestOurChainIsTheLeafAndWhatIsBetween(t *testing.T) {
	root := authority(t, "Root", nil)
	mid := authority(t, "Mid", root)
	low := authority(t, "Low", mid)
	leaf := low.leaf(t, "a")
	k, err := EncodeKey(key(t, "ecdsa-p256", "a"))
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][2][]byte{
		"all in the certificate's file": {EncodeCertificates(root.Certificate()), EncodeCertificates(leaf, low.Certificate(), mid.Certificate(), root.Certificate())},
		"in any order":                  {EncodeCertificates(root.Certificate()), EncodeCertificates(mid.Certificate(), leaf, low.Certificate())},
		"all in the authority's file":   {EncodeCertificates(low.Certificate(), mid.Certificate(), root.Certificate()), EncodeCertificates(leaf)},
	} {
		tp, err := NewTrustpoint("CA", files[0], files[1], k, nil, false)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(tp.Chain) != 3 || !tp.Chain[0].Equal(leaf) || !tp.Chain[1].Equal(low.Certificate()) || !tp.Chain[2].Equal(mid.Certificate()) || len(tp.Roots) != 1 || !tp.HasKey() {
			t.Errorf("%s: %d certificates, %d roots", name, len(tp.Chain), len(tp.Roots))
		}
		for _, a := range []*Authority{root, mid, low} {
			if !tp.IssuedBelow(map[[20]byte]bool{KeyHash(a.Certificate()): true}) {
				t.Errorf("%s: not below %s", name, Subject(a.Certificate()))
			}
		}
		if tp.IssuedBelow(map[[20]byte]bool{{1}: true}) || tp.IssuedBelow(nil) {
			t.Errorf("%s: below a stranger", name)
		}
	}
}

func TestEveryKindOfKeyIsReadInEveryForm(t *testing.T) {
	for _, kind := range []KeyType{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "ed25519"} {
		k := key(t, kind, "k")
		b, err := EncodeKey(k)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseKey(append([]byte("# a comment\n"), b...)); err != nil || !samePublic(again.Public(), k.Public()) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := NewKey("rsa-1024", rand.Reader); err == nil || !strings.Contains(err.Error(), "ecdsa-p256, ") {
		t.Error(err)
	}
}

func TestDistinguishedNamesAreReadAndWritten(t *testing.T) {
	for in, want := range map[string]string{
		"CN=a": "CN=a", "cn = a , o = Lab": "CN=a,O=Lab", `CN=a\,b,O=x`: `CN=a\,b,O=x`, "E=a@b.c,C=DE": "emailAddress=a@b.c,C=DE", "DC=example,DC=com": "DC=example,DC=com",
	} {
		der, err := ParseDN(in)
		if err != nil || DNString(der) != want {
			t.Errorf("%s: %s %v", in, DNString(der), err)
		}
	}
	for _, in := range []string{"", "a", "CN=", "CN=a,,O=b", "XX=a", "CN=a,"} {
		if _, err := ParseDN(in); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
	if got := escape("a\x1b[31m\n"); strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("%q", got)
	}
}

func pkixExtension(oid asn1.ObjectIdentifier) pkix.Extension {
	return pkix.Extension{Id: oid, Critical: true, Value: []byte{0x30, 0}}
}

func TestATrustpointNeverPrintsItsKey(t *testing.T) {
	ca := authority(t, "CA", nil)
	for _, kind := range []KeyType{"ed25519", "ecdsa-p256", "rsa-2048"} {
		k := key(t, kind, "printed")
		c, err := ca.Issue(Request{Subject: "CN=r", NotBefore: start, NotAfter: end}, k.Public(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := EncodeKey(k)
		if err != nil {
			t.Fatal(err)
		}
		tp, err := NewTrustpoint("CA", EncodeCertificates(ca.Certificate()), EncodeCertificates(c), secret, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		config := struct {
			Trustpoints []*Trustpoint
			One         Trustpoint
		}{[]*Trustpoint{tp}, *tp}
		j, err := json.Marshal(config)
		if err != nil || string(j) != `{"Trustpoints":["trustpoint CA"],"One":"trustpoint CA"}` {
			t.Errorf("%s: %s, %v", kind, j, err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			for _, v := range []any{tp, *tp, config.One, []Trustpoint{*tp}, []any{tp}} {
				if got := fmt.Sprintf(verb, v); len(got) > 40 || !strings.Contains(got, "trustpoint CA") {
					t.Errorf("%s: %s prints %s", kind, verb, got)
				}
			}
		}
	}
}
