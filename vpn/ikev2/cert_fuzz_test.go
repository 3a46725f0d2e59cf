package ikev2

import (
	"bytes"
	"crypto/x509"
	"net/netip"
	"testing"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/pki"
)

// sequenceCerts is what three routers prove themselves with in FuzzSequences. Ed25519 signs the same always, so that a
// sequence that fails fails again. The third router's certificate says everything right but is another authority's.
func sequenceCerts(t testing.TB) [3]func(*Config) {
	l, other := newLab(t, "CA", nil), newLab(t, "Other", nil)
	mid := newLab(t, "Issuing", l)
	var out [3]func(*Config)
	for i, n := range []struct {
		l    *lab
		addr netip.Addr
	}{{l, addrA}, {mid, addrB}, {other, addrC}} {
		c, key := n.l.issue(t, string(rune('a'+i)), "ed25519", n.addr)
		chain := []*x509.Certificate{c}
		root := n.l
		if n.l == mid {
			chain, root = append(chain, mid.Certificate()), l
		}
		own := root.trustpoint(t, "CA", root, false, chain, key)
		out[i] = func(c *Config) {
			c.Trustpoints = []*pki.Trustpoint{own}
			c.Profiles[0].LocalAuth, c.Profiles[0].RemoteAuth = Ed25519Signature, allSignatures
		}
	}
	return out
}

// FuzzAuthPayloads has a peer's IDi, CERT, CERTREQ and AUTH be anything: nobody is believed, nothing panics.
func FuzzAuthPayloads(f *testing.F) {
	l := newLab(f, "CA", nil)
	leaf, _ := l.issue(f, "a", "ed25519", addrA)
	add := func(payloads ...message.Payload) {
		first, b := message.AppendPayloads(nil, payloads)
		f.Add(uint8(first), b)
	}
	id := AddressIdentity(addrA).payload(false)
	cert := &message.CERT{Encoding: message.CertX509Signature, Data: leaf.Raw}
	for _, s := range []scheme{{kind: Ed25519Signature, hash: message.HashIdentity}, {kind: RSASignature, hash: message.HashSHA2_256}, {RSASignature, true, message.HashSHA2_384, 48}} {
		add(id, cert, message.Authorities(pki.KeyHash(l.Certificate())), message.DigitalSignature(s.algorithm(), make([]byte, 64)))
	}
	add(id, cert, &message.AUTH{Method: message.AuthRSASignature, Data: make([]byte, 256)})
	add(id, cert, &message.AUTH{Method: message.AuthECDSA256, Data: make([]byte, 64)})
	cfg := config(certs(f, l, "b", "ecdsa-p256", addrB), func(c *Config) {
		c.Profiles[0].MatchCertificate = []*pki.Map{{Rules: []pki.Rule{{{Field: pki.SubjectName, Operator: pki.Contains, Value: "ou=spokes"}}}}}
	})
	f.Fuzz(func(t *testing.T, first uint8, b []byte) {
		payloads, err := message.DecodePayloads(message.PayloadType(first), b)
		if err != nil {
			return
		}
		p, err := sortPayloads(message.IKE_AUTH, payloads)
		if err != nil || p.idi == nil || p.auth == nil {
			return
		}
		w := newWorld(t, 1)
		n := w.add("B", addrB, cfg)
		n.e.now = w.now
		s := n.e.newSession(Datagram{VRF: "default"}, false)
		s.profile = cfg.Profiles[0]
		sa := s.newSA(false, stHalf)
		s.cur = sa
		sa.hs = &handshake{request: []byte("request"), response: []byte("response")}
		s.noteSignatures(p)
		n.e.leafOf(p)
		kind, err := kindOf(p.auth)
		if err != nil || !kind.signature() {
			return
		}
		chain, err := peerChain(p.others)
		if err != nil {
			return
		}
		if len(chain) > pki.MaxCertificates {
			t.Fatal("too many")
		}
		if path, _, err := pki.Verify(n.e.cfg.Trustpoints, chain, w.now); err == nil && !path[0].Equal(leaf) {
			t.Fatalf("a certificate that nobody issued is believed: %s", pki.Subject(path[0]))
		}
		if _, err := sa.verifySignature(chain[0].PublicKey, []byte("octets that no key has signed"), p.auth); err == nil {
			t.Fatal("a signature that nobody made is believed")
		}
	})
}

// FuzzAlgorithmIdentifier: what is understood is written again in the same way, or in the canonical one.
func FuzzAlgorithmIdentifier(f *testing.F) {
	for _, s := range []scheme{{kind: Ed25519Signature, hash: message.HashIdentity}, {kind: RSASignature, hash: message.HashSHA2_512}, {kind: ECDSASignature, hash: message.HashSHA2_256},
		{RSASignature, true, message.HashSHA2_256, 32}, {RSASignature, true, message.HashSHA1, 20}} {
		f.Add(s.algorithm())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseScheme(b)
		if err != nil {
			return
		}
		again, err := parseScheme(s.algorithm())
		if err != nil || again != s {
			t.Fatalf("%v becomes %v, %v", s, again, err)
		}
		if s.hash == message.HashSHA1 {
			t.Fatal("SHA-1 is understood")
		}
		if !bytes.Equal(again.algorithm(), s.algorithm()) {
			t.Fatal("no fixed point")
		}
	})
}
