package pki

import (
	"testing"

	"felloe/vpn/ikev2/message"
)

// FuzzChain reads certificates as a peer may send them, cut where the fuzzer says: what nobody issued is not believed.
func FuzzChain(f *testing.F) {
	root := authority(f, "Root", nil)
	mid := authority(f, "Mid", root)
	leaf := mid.leaf(f, "a")
	f.Add(leaf.Raw, mid.Certificate().Raw, leaf.RawSubject)
	f.Add(mid.Certificate().Raw, root.Certificate().Raw, []byte("a.example.com"))
	f.Add(leaf.Raw, leaf.Raw, []byte{192, 0, 2, 1})
	tp := trusting(f, true, root, mid)
	m := &Map{Rules: []Rule{{{SubjectName, Contains, "ou=spokes"}, {IssuerName, NotEqual, "cn=x"}, {AltSubjectName, Contains, "."}}}}
	f.Fuzz(func(t *testing.T, a, b, id []byte) {
		chain, err := ParseChain([][]byte{a, b})
		if err != nil {
			if chain, err = ParseChain([][]byte{a}); err != nil {
				return
			}
		}
		for _, c := range chain {
			m.Match(c)
			_, _ = Subject(c), Identities(c)
			for _, k := range []message.IDType{message.ID_FQDN, message.ID_DER_ASN1_DN, message.ID_IPV4_ADDR, message.ID_KEY_ID} {
				_ = MatchesIdentity(c, k, id)
			}
		}
		path, err := tp.Verify(chain, now)
		if err != nil {
			return
		}
		for i, c := range path[:len(path)-1] {
			if c.CheckSignatureFrom(path[i+1]) != nil {
				t.Fatal("a path with a gap")
			}
		}
		if !path[len(path)-1].Equal(root.Certificate()) {
			t.Fatal("a path to nowhere")
		}
	})
}

// FuzzTrustpoint reads files that an operator may have mixed up.
func FuzzTrustpoint(f *testing.F) {
	root := authority(f, "Root", nil)
	k, err := EncodeKey(key(f, "ecdsa-p256", "a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(EncodeCertificates(root.Certificate()), EncodeCertificates(root.leaf(f, "a")), k, EncodeCRL(root.CRL))
	f.Add(k, k, k, k)
	f.Fuzz(func(t *testing.T, ca, cert, key, crl []byte) {
		tp, err := NewTrustpoint("T", ca, cert, key, [][]byte{crl}, true)
		if err == nil && (len(tp.Roots) == 0 || len(tp.CRLs) == 0 || (len(cert)+len(key) > 0) != tp.HasKey()) {
			t.Fatalf("half a trustpoint: %+v", tp)
		}
	})
}

// FuzzDN: names that are written can be read again, and nothing in them reaches a terminal as a control character.
func FuzzDN(f *testing.F) {
	for _, s := range []string{"CN=a,O=b", `CN=a\,b`, "E=x@y"} {
		der, _ := ParseDN(s)
		f.Add(s, der)
	}
	f.Fuzz(func(t *testing.T, s string, der []byte) {
		if b, err := ParseDN(s); err == nil {
			again, err := ParseDN(DNString(b))
			if err != nil || !sameDN(again, b) {
				t.Fatalf("%q becomes %q: %v", s, DNString(b), err)
			}
		}
		for _, r := range DNString(der) {
			if r < 0x20 || r == 0x7f {
				t.Fatalf("%q", DNString(der))
			}
		}
		matchDN(der, s, true)
	})
}
