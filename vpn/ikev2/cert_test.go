package ikev2

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/pki"
)

// lab is an authority for tests: its keys are made once, its certificates from the same seed always.
type lab struct {
	*pki.Authority
	rand *rand.ChaCha8
}

var (
	labStart = time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	labEnd   = time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC)

	keysMu sync.Mutex
	keys   = map[string]crypto.Signer{}
)

// labKey is a key of a kind; making RSA keys takes long, so that there is one of each size, in testdata/keys.
func labKey(t testing.TB, kind pki.KeyType, name string) crypto.Signer {
	t.Helper()
	keysMu.Lock()
	defer keysMu.Unlock()
	id := string(kind) + " " + name
	if strings.HasPrefix(string(kind), "rsa") {
		id = string(kind)
	}
	if keys[id] == nil {
		seed := sha256.Sum256([]byte(id))
		if kind == "ed25519" {
			keys[id] = ed25519.NewKeyFromSeed(seed[:])
		} else if pem, err := os.ReadFile(filepath.Join("testdata", "keys", id+".pem")); err == nil {
			k, err := pki.ParseKey(pem)
			if err != nil {
				t.Fatal(err)
			}
			keys[id] = k
		} else {
			k, err := pki.NewKey(kind, rand.NewChaCha8(seed))
			if err != nil {
				t.Fatal(err)
			}
			keys[id] = k
		}
	}
	return keys[id]
}

func newLab(t testing.TB, name string, parent *lab) *lab {
	t.Helper()
	l := &lab{rand: rand.NewChaCha8(sha256.Sum256([]byte(name)))}
	var above *pki.Authority
	if parent != nil {
		above = parent.Authority
	}
	a, err := pki.NewAuthority(above, pki.Request{Subject: "CN=" + name + ",O=Lab", NotBefore: labStart, NotAfter: labEnd, PathLen: 3}, labKey(t, "ed25519", name), l.rand)
	if err != nil {
		t.Fatal(err)
	}
	l.Authority = a
	if err := l.Sign(labStart, labEnd, l.rand); err != nil {
		t.Fatal(err)
	}
	return l
}

// issue makes a certificate that names an address, and its key.
func (l *lab) issue(t testing.TB, name string, kind pki.KeyType, a netip.Addr, edit ...func(*pki.Request)) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	r := pki.Request{Subject: "CN=" + name + ",OU=spokes,O=Lab", NotBefore: labStart, NotAfter: labEnd, DNS: []string{name + ".example"}, Email: []string{name + "@example.com"}}
	if a.IsValid() {
		r.Addresses = []netip.Addr{a}
	}
	for _, f := range edit {
		f(&r)
	}
	key := labKey(t, kind, name)
	c, err := l.Issue(r, key.Public(), l.rand)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// trustpoint is a router's: whom it trusts, and its own certificate of l with what is between.
func (l *lab) trustpoint(t testing.TB, name string, root *lab, check bool, chain []*x509.Certificate, key crypto.Signer) *pki.Trustpoint {
	t.Helper()
	var own, private []byte
	if len(chain) > 0 {
		own = pki.EncodeCertificates(chain...)
		var err error
		if private, err = pki.EncodeKey(key); err != nil {
			t.Fatal(err)
		}
	}
	tp, err := pki.NewTrustpoint(name, pki.EncodeCertificates(root.Certificate()), own, private, [][]byte{pki.EncodeCRL(root.CRL)}, check)
	if err != nil {
		t.Fatal(err)
	}
	return tp
}

var kinds = map[pki.KeyType]AuthKind{"ecdsa-p256": ECDSASignature, "ecdsa-p384": ECDSASignature, "ecdsa-p521": ECDSASignature,
	"rsa-2048": RSASignature, "rsa-3072": RSASignature, "rsa-4096": RSASignature, "ed25519": Ed25519Signature}

var allSignatures = []AuthKind{RSASignature, ECDSASignature, Ed25519Signature}

// certs is a configuration that proves itself by a certificate of l, and wants one from the peer.
func certs(t testing.TB, l *lab, name string, kind pki.KeyType, a netip.Addr, edit ...func(*pki.Request)) func(*Config) {
	t.Helper()
	c, key := l.issue(t, name, kind, a, edit...)
	tp := l.trustpoint(t, "CA", l, false, []*x509.Certificate{c}, key)
	return func(c *Config) {
		c.Trustpoints = []*pki.Trustpoint{tp}
		c.Profiles[0].LocalAuth, c.Profiles[0].RemoteAuth = kinds[kind], allSignatures
		c.Profiles[0].Keyring = ""
	}
}

func TestEverySignatureIsMadeAndUnderstood(t *testing.T) {
	type peer struct {
		hashes []message.HashAlgorithm
		pss    bool
		method AuthMethod
		scheme Scheme
	}
	h256, h384, h512 := []message.HashAlgorithm{message.HashSHA2_256}, []message.HashAlgorithm{message.HashSHA2_384}, []message.HashAlgorithm{message.HashSHA2_512}
	all, none, sha1 := []message.HashAlgorithm(nil), []message.HashAlgorithm{}, []message.HashAlgorithm{message.HashSHA1}
	const rfc7427 = message.AuthDigitalSignature
	matrix := map[pki.KeyType][]peer{
		"rsa-2048": {{all, false, rfc7427, Scheme{"RSA", "SHA2-256"}}, {h256, false, rfc7427, Scheme{"RSA", "SHA2-256"}}, {h384, false, rfc7427, Scheme{"RSA", "SHA2-384"}},
			{h512, false, rfc7427, Scheme{"RSA", "SHA2-512"}}, {all, true, rfc7427, Scheme{"RSA-PSS", "SHA2-256"}}, {h384, true, rfc7427, Scheme{"RSA-PSS", "SHA2-384"}},
			{h512, true, rfc7427, Scheme{"RSA-PSS", "SHA2-512"}}, {none, false, message.AuthRSASignature, Scheme{"RSA", "SHA1"}}},
		"rsa-4096": {{all, false, rfc7427, Scheme{"RSA", "SHA2-384"}}, {none, false, message.AuthRSASignature, Scheme{"RSA", "SHA1"}}},
		"ecdsa-p256": {{all, false, rfc7427, Scheme{"ECDSA-256", "SHA2-256"}}, {h384, false, rfc7427, Scheme{"ECDSA-256", "SHA2-384"}}, {h512, false, rfc7427, Scheme{"ECDSA-256", "SHA2-512"}},
			{none, false, message.AuthECDSA256, Scheme{"ECDSA-256", "SHA2-256"}}, {sha1, false, message.AuthECDSA256, Scheme{"ECDSA-256", "SHA2-256"}}},
		"ecdsa-p384": {{all, false, rfc7427, Scheme{"ECDSA-384", "SHA2-384"}}, {h256, false, rfc7427, Scheme{"ECDSA-384", "SHA2-256"}}, {none, false, message.AuthECDSA384, Scheme{"ECDSA-384", "SHA2-384"}}},
		"ecdsa-p521": {{all, false, rfc7427, Scheme{"ECDSA-521", "SHA2-512"}}, {h256, false, rfc7427, Scheme{"ECDSA-521", "SHA2-256"}}, {none, false, message.AuthECDSA521, Scheme{"ECDSA-521", "SHA2-512"}}},
		"ed25519":    {{all, false, rfc7427, Scheme{"Ed25519", ""}}, {[]message.HashAlgorithm{message.HashIdentity}, false, rfc7427, Scheme{"Ed25519", ""}}},
	}
	l := newLab(t, "CA", nil)
	for kind, peers := range matrix {
		for _, p := range peers {
			// A announces what decides how B signs; B announces everything that it may.
			for _, initiator := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s %v pss %v initiator %v", kind, p.hashes, p.pss, initiator), func(t *testing.T) {
					w := newWorld(t, 1)
					a := w.add("A", addrA, config(certs(t, l, "a", "ecdsa-p256", addrA), func(c *Config) { c.announced = p.hashes }))
					b := w.add("B", addrB, config(certs(t, l, "b", kind, addrB), func(c *Config) { c.Profiles[0].RSAPSS = p.pss; c.announced = p.hashes }))
					if initiator {
						a, b = b, a
					}
					a.initiate(b.addr)
					w.run(time.Second)
					w.oneSession(a, b)
					if initiator {
						a, b = b, a
					}
					sa, sb := a.e.Snapshot(w.now)[0], b.e.Snapshot(w.now)[0]
					if sb.AuthSign != p.method || sb.SignScheme != p.scheme || sa.AuthVerify != p.method || sa.VerifyScheme != p.scheme {
						t.Errorf("B signs %v %+v, A verifies %v %+v", sb.AuthSign, sb.SignScheme, sa.AuthVerify, sa.VerifyScheme)
					}
					if c := sa.PeerCertificate; c == nil || c.Subject != "CN=b,OU=spokes,O=Lab" || c.Issuer != "CN=CA,O=Lab" || c.Trustpoint != "CA" || !c.NotAfter.Equal(labEnd) ||
						c.Serial == "" || *sb.LocalCertificate != *c {
						t.Errorf("A has %+v, B %+v", sa.PeerCertificate, sb.LocalCertificate)
					}
					if a.child().AuthMethod != p.method {
						t.Errorf("%v", a.child().AuthMethod)
					}
				})
			}
		}
	}
}

func TestOneSideSignsAndTheOtherHasAKey(t *testing.T) {
	l := newLab(t, "CA", nil)
	for _, kind := range []pki.KeyType{"rsa-2048", "ecdsa-p384", "ed25519"} {
		for _, initiatorSigns := range []bool{true, false} {
			signs := func(c *Config) {
				certs(t, l, "a", kind, addrA)(c)
				c.Profiles[0].RemoteAuth, c.Profiles[0].Keyring = nil, "ring"
			}
			keyed := func(c *Config) {
				c.Trustpoints = []*pki.Trustpoint{l.trustpoint(t, "CA", l, true, nil, nil)}
				c.Profiles[0].RemoteAuth = []AuthKind{kinds[kind]}
			}
			w := newWorld(t, 1)
			a, b := w.add("A", addrA, config(signs)), w.add("B", addrB, config(keyed))
			if initiatorSigns {
				a.initiate(addrB)
			} else {
				b.initiate(addrA)
			}
			w.run(time.Second)
			w.oneSession(a, b)
			sa, sb := a.e.Snapshot(w.now)[0], b.e.Snapshot(w.now)[0]
			if sa.VerifyScheme.Name != "PSK" || sb.SignScheme.Name != "PSK" || sb.AuthVerify != message.AuthDigitalSignature || sa.PeerCertificate != nil || sb.PeerCertificate == nil {
				t.Errorf("%+v\n%+v", sa, sb)
			}
		}
	}
}

// refusal is a peer A with something wrong, and what B says of it.
func TestWhatIsWrongWithACertificateIsRefusedAndSaid(t *testing.T) {
	l, other := newLab(t, "CA", nil), newLab(t, "Other", nil)
	revoking := newLab(t, "CA", nil)
	gone, goneKey := revoking.issue(t, "gone", "ecdsa-p256", addrA)
	if err := revoking.Revoke(gone.SerialNumber, labStart.AddDate(0, 2, 3), labStart, labEnd, revoking.rand); err != nil {
		t.Fatal(err)
	}
	stale := newLab(t, "CA", nil)
	if err := stale.Sign(labStart, labStart.AddDate(0, 1, 0), stale.rand); err != nil {
		t.Fatal(err)
	}
	trusting := func(root *lab, check bool) func(*Config) {
		return func(c *Config) {
			tp := c.Trustpoints[0]
			c.Trustpoints = []*pki.Trustpoint{l.trustpoint(t, "CA", root, check, tp.Chain, tp.Key)}
		}
	}
	for name, c := range map[string]struct {
		a, b func(*Config)
		want string
		err  error // B's
		also error // what is below it
	}{
		"expired": {a: certs(t, l, "a", "ecdsa-p256", addrA, func(r *pki.Request) { r.NotAfter = labStart.AddDate(0, 1, 0) }),
			want: "certificate has expired: CN=a,OU=spokes,O=Lab, serial ", also: pki.ErrExpired},
		"says since when": {a: certs(t, l, "a", "ecdsa-p256", addrA, func(r *pki.Request) { r.NotAfter = labStart.AddDate(0, 1, 0) }),
			want: "on 2025-07-01 00:00:00 UTC"},
		"not valid yet": {a: certs(t, l, "a", "ecdsa-p256", addrA, func(r *pki.Request) { r.NotBefore = labEnd.AddDate(0, -1, 0) }),
			want: "is not valid yet: CN=a,OU=spokes,O=Lab"},
		"revoked": {a: func(c *Config) {
			certs(t, l, "a", "ecdsa-p256", addrA)(c)
			c.Trustpoints = []*pki.Trustpoint{l.trustpoint(t, "CA", l, false, []*x509.Certificate{gone}, goneKey)}
		}, b: trusting(revoking, true), want: "certificate is revoked: CN=gone,OU=spokes,O=Lab, serial " + pki.Serial(gone) + ", since 2025-08-04 00:00:00 UTC"},
		"no CRL that counts": {a: certs(t, l, "a", "ecdsa-p256", addrA), b: trusting(stale, true),
			want: `revocation cannot be checked: the CRL of "CN=CA,O=Lab" in trustpoint CA has expired on 2025-07-01`},
		"unknown authority": {a: certs(t, other, "a", "ecdsa-p256", addrA), want: `unknown CA: CN=a,OU=spokes,O=Lab, serial`},
		"another address":   {a: certs(t, l, "a", "ecdsa-p256", addrC), want: "certificate is for another identity: CN=a,OU=spokes,O=Lab"},
		"another name": {a: func(c *Config) {
			certs(t, l, "a", "rsa-2048", addrA)(c)
			c.Profiles[0].Identity = FQDNIdentity("b.example")
		}, want: "is for fqdn a.example, email a@example.com, address 192.0.2.1, dn CN=a,OU=spokes,O=Lab, not for b.example"},
		"opaque identity": {a: func(c *Config) {
			certs(t, l, "a", "rsa-2048", addrA)(c)
			c.Profiles[0].Identity = KeyIdentity("a.example")
		}, want: "certificate is for another identity"},
		"kind that the profile does not accept": {a: certs(t, l, "a", "ecdsa-p256", addrA),
			b: func(c *Config) { c.Profiles[0].RemoteAuth = []AuthKind{RSASignature, PreShare} }, want: `peer uses ecdsa-sig (SIGNATURE), which profile "prof" does not accept`},
		"a key instead": {a: func(*Config) {}, want: "peer uses pre-share (PSK)"},
		"not for servers or clients": {a: func(c *Config) {
			certs(t, l, "a", "ecdsa-p256", addrA)(c)
			c.Trustpoints[0].Chain[0], _ = l.issue(t, "a", "ecdsa-p256", addrA, func(r *pki.Request) { r.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })
		},
			want: "extended key usage without ipsecIKE"},
		"a certificate map that does not fit": {a: certs(t, l, "a", "ecdsa-p256", addrA),
			b: func(c *Config) {
				c.Profiles[0].MatchCertificate = []*pki.Map{{Rules: []pki.Rule{{{Field: pki.SubjectName, Operator: pki.Contains, Value: "ou=hubs"}}}}}
			}, want: `none has a match rule for this identity, the certificate of "CN=a,OU=spokes,O=Lab"`, err: ErrNoProfile},
	} {
		for _, initiator := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " initiator ", initiator), func(t *testing.T) {
				if c.b == nil {
					c.b = func(*Config) {}
				}
				if c.err == nil {
					c.err = ErrAuthentication
				}
				w := newWorld(t, 1)
				// A believes everything of B, so that only B refuses.
				a := w.add("A", addrA, config(c.a, func(c *Config) {
					c.Profiles[0].RemoteAuth = allSignatures
					c.Trustpoints = append(c.Trustpoints, l.trustpoint(t, "B's", l, false, nil, nil))
				}))
				b := w.add("B", addrB, config(certs(t, l, "b", "ecdsa-p256", addrB), c.b))
				if initiator {
					a.initiate(addrB)
				} else {
					b.initiate(addrA)
				}
				w.run(time.Second)
				if len(a.ups)+len(b.ups)+len(find[IKEUp](b)) != 0 || len(a.downs) != 1 || len(b.downs) != 1 || !errors.Is(b.downs[0].Err, c.err) || !errors.Is(a.downs[0].Err, ErrAuthentication) {
					w.fatalf("A %+v\nB %+v", a.downs, b.downs)
				}
				want := c.want
				if c.err == ErrNoProfile && !initiator {
					want = strings.Replace(want, "none has a", `profile "prof" has no`, 1)
				}
				if !b.logged(want) || !strings.Contains(b.downs[0].Reason, want) {
					w.fatalf("B does not say %q", want)
				}
				for _, line := range find[Log](a) {
					if text := fmt.Sprint(line.Msg, line.Fields); strings.Contains(text, want) {
						t.Errorf("A was told more than that it is refused: %s", text)
					}
				}
				w.run(time.Minute)
				w.clean(a)
				w.clean(b)
			})
		}
	}
}

func TestTheCertificateRequestChoosesTheTrustpoint(t *testing.T) {
	one, two, three := newLab(t, "One", nil), newLab(t, "Two", nil), newLab(t, "Three", nil)
	both := func(c *Config) {
		ca, ka := one.issue(t, "a1", "ecdsa-p256", addrA)
		cb, kb := two.issue(t, "a2", "ecdsa-p256", addrA)
		c.Trustpoints = []*pki.Trustpoint{one.trustpoint(t, "ONE", one, false, []*x509.Certificate{ca}, ka), two.trustpoint(t, "TWO", two, false, []*x509.Certificate{cb}, kb),
			three.trustpoint(t, "THREE", three, false, nil, nil)}
		c.Profiles[0].LocalAuth, c.Profiles[0].RemoteAuth = ECDSASignature, allSignatures
	}
	for _, x := range []struct {
		l     *lab
		named []string
		want  string // subject that B sees; empty: refused
	}{{one, nil, "CN=a1,OU=spokes,O=Lab"}, {two, nil, "CN=a2,OU=spokes,O=Lab"}, {two, []string{"TWO"}, "CN=a2,OU=spokes,O=Lab"}, {two, []string{"ONE", "THREE"}, ""}, {three, nil, ""}} {
		for _, initiator := range []bool{true, false} {
			w := newWorld(t, 1)
			a := w.add("A", addrA, config(both, func(c *Config) { c.Profiles[0].Trustpoints = x.named }))
			b := w.add("B", addrB, config(certs(t, x.l, "b", "ecdsa-p256", addrB)))
			if initiator {
				a.initiate(addrB)
			} else {
				b.initiate(addrA)
			}
			w.run(time.Second)
			if x.want == "" {
				if len(a.ikes)+len(b.ikes) != 0 || !a.logged("unknown CA") && !b.logged("unknown CA") {
					w.fatalf("%v", x)
				}
				continue
			}
			w.oneSession(a, b)
			if got := b.e.Snapshot(w.now)[0].PeerCertificate.Subject; got != x.want {
				t.Errorf("%s instead of %s", got, x.want)
			}
		}
	}
}

func TestIntermediatesTravelBothWaysInFragments(t *testing.T) {
	root := newLab(t, "Root", nil)
	make := func(name string, a netip.Addr) func(*Config) {
		mid := newLab(t, name+"'s issuing", root)
		low := newLab(t, name+"'s lower", mid)
		c, key := low.issue(t, name, "rsa-4096", a, func(r *pki.Request) {
			for i := range 60 {
				r.DNS = append(r.DNS, fmt.Sprintf("a-rather-long-name-number-%d.%s.example.com", i, name))
			}
		})
		tp := root.trustpoint(t, "CA", root, false, []*x509.Certificate{c, low.Certificate(), mid.Certificate()}, key)
		return func(c *Config) {
			c.Trustpoints = []*pki.Trustpoint{tp}
			c.Profiles[0].LocalAuth, c.Profiles[0].RemoteAuth = RSASignature, allSignatures
		}
	}
	for _, off := range []bool{false, true} {
		w := newWorld(t, 1)
		a, b := w.add("A", addrA, config(make("a", addrA))), w.add("B", addrB, config(make("b", addrB), func(c *Config) { c.Fragmentation.Disabled = off }))
		largest := 0
		w.mangle = func(n int, d *Datagram) { largest = max(largest, len(d.Data)) }
		a.initiate(addrB)
		w.run(time.Second)
		w.oneSession(a, b)
		if (largest > 4000) != off || off && w.sent > 6 || !off && w.sent < 12 {
			t.Errorf("fragmentation off %v: %d datagrams, the largest has %d bytes", off, w.sent, largest)
		}
	}
}

func TestACertificateMapChoosesTheProfile(t *testing.T) {
	l := newLab(t, "CA", nil)
	rule := func(op pki.Operator, v string) []*pki.Map {
		return []*pki.Map{{Name: "M", Rules: []pki.Rule{{{Field: pki.SubjectName, Operator: op, Value: v}}}}}
	}
	hub := func(c *Config) {
		certs(t, l, "hub", "ecdsa-p256", addrB)(c)
		p := c.Profiles[0]
		p.Keyring, p.RemoteAuth = "ring", append([]AuthKind{PreShare}, allSignatures...)
		vip, only := p, p
		vip.Name, vip.MatchCertificate = "vip", rule(pki.Contains, "cn=vip")
		only.Name, only.MatchRemote, only.MatchCertificate = "only", nil, rule(pki.Contains, "ou=partners")
		c.Profiles = []Profile{p, vip, only}
		for _, n := range []string{"vip", "only"} {
			k := c.Children[0]
			k.Name, k.Profile = n, n
			c.Children = append(c.Children, k)
		}
	}
	for _, x := range []struct {
		name, subject, want string
		keyed               bool
	}{{"a", "", "prof", false}, {"vip7", "", "vip", false}, {"p", "CN=p,OU=Partners,O=Lab", "only", false}, {"x", `CN=x\,ou=partners,O=Lab`, "prof", false}, {"vip8", "", "prof", true}} {
		w := newWorld(t, 1)
		a := w.add("A", addrA, config(certs(t, l, x.name, "ecdsa-p256", addrA, func(r *pki.Request) {
			if x.subject != "" {
				r.Subject = x.subject
			}
		}), func(c *Config) {
			if x.keyed {
				c.Profiles[0].LocalAuth, c.Profiles[0].Keyring = PreShare, "ring"
			}
		}))
		b := w.add("B", addrB, config(hub))
		if x.keyed { // and sends a certificate nevertheless
			tp := a.cfg.Trustpoints[0]
			good := authenticators[message.AuthSharedKey]
			authenticators[message.AuthSharedKey] = liar{good, tp.Chain[0]}
			defer func() { authenticators[message.AuthSharedKey] = good }()
		}
		a.initiate(addrB)
		w.run(time.Second)
		w.oneSession(a, b)
		if got := b.e.Snapshot(w.now)[0].Profile; got != x.want {
			t.Errorf("%s: profile %s instead of %s", x.name, got, x.want)
		}
	}
}

// liar proves itself by a key and shows somebody's certificate.
type liar struct {
	authenticator
	cert *x509.Certificate
}

func (x liar) sign(sa *ikeSA, id *message.ID) (*message.AUTH, []message.Payload, error) {
	auth, _, err := x.authenticator.sign(sa, id)
	return auth, []message.Payload{&message.CERT{Encoding: message.CertX509Signature, Data: x.cert.Raw}}, err
}

func TestTheCertificatesSubjectMayBeTheIdentity(t *testing.T) {
	l := newLab(t, "CA", nil)
	w := newWorld(t, 1)
	dn := func(c *Config) { c.Profiles[0].CertificateIdentity = true }
	a := w.add("A", addrA, config(certs(t, l, "a", "ed25519", netip.Addr{}), dn))
	b := w.add("B", addrB, config(certs(t, l, "b", "rsa-2048", netip.Addr{}), dn))
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	if id := b.child().Peer; id.Type != message.ID_DER_ASN1_DN || id.String() != "CN=a,OU=spokes,O=Lab" {
		t.Errorf("%v %v", id.Type, id)
	}
}

func TestACertificateOfOursThatPeersMayRefuseIsSaidOnce(t *testing.T) {
	l := newLab(t, "CA", nil)
	w := newWorld(t, 1)
	a := w.add("A", addrA, config(certs(t, l, "a", "ed25519", addrC)))
	w.add("B", addrB, config(certs(t, l, "b", "rsa-2048", addrB)))
	for range 3 {
		a.initiate(addrB)
		w.run(time.Second)
	}
	lines := 0
	for _, x := range find[Log](a) {
		if strings.Contains(x.Msg, "peers may refuse our certificate") {
			lines++
			if !strings.Contains(fmt.Sprint(x.Fields), "identity.local") {
				t.Error(x.Fields)
			}
		}
	}
	if lines != 1 {
		t.Errorf("%d lines", lines)
	}
}

func TestWhatCannotBeSignedIsSaidBeforeOrAtOnce(t *testing.T) {
	l := newLab(t, "CA", nil)
	for name, c := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"no trustpoint":            {func(c *Config) { c.Trustpoints = nil }, `profile "prof" has no trustpoint with a key for ed25519-sig`},
		"another kind of key":      {func(c *Config) { c.Profiles[0].LocalAuth = RSASignature }, "no trustpoint with a key for rsa-sig"},
		"a trustpoint that is not": {func(c *Config) { c.Profiles[0].Trustpoints = []string{"X"} }, "no trustpoint with a key"},
	} {
		w := newWorld(t, 1)
		a := w.add("A", addrA, config(certs(t, l, "a", "ed25519", addrA), c.edit))
		if id := a.initiate(addrB); id != 0 && w.sent != 0 || len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrNoKey) || !strings.Contains(a.downs[0].Reason, c.want) {
			t.Errorf("%s: %d %+v", name, id, a.downs)
		}
	}
	for _, c := range []struct {
		kind pki.KeyType
		pss  bool
		want string
	}{{"ed25519", false, "Ed25519 needs a peer that announces the IDENTITY hash (RFC 8420); this one announces none"}, {"rsa-2048", true, "RSASSA-PSS needs a peer that announces a hash of SHA-2 (RFC 7427)"}} {
		w := newWorld(t, 1)
		a := w.add("A", addrA, config(certs(t, l, "a", c.kind, addrA), func(x *Config) { x.Profiles[0].RSAPSS = c.pss }))
		b := w.add("B", addrB, config(certs(t, l, "b", "ecdsa-p256", addrB), func(c *Config) { c.announced = []message.HashAlgorithm{} }))
		a.initiate(addrB)
		w.run(time.Second)
		if len(a.downs) != 1 || !a.logged(c.want) {
			w.fatalf("%v: %+v", c, a.downs)
		}
		w.run(time.Minute)
		w.clean(a)
		w.clean(b)
	}
}

func TestSHA1IsBelievedOfThoseOnlyWhoCannotDoBetter(t *testing.T) {
	l := newLab(t, "CA", nil)
	w := newWorld(t, 1)
	// A signs by the classic method, since B does not announce; but A itself does.
	a := w.add("A", addrA, config(certs(t, l, "a", "rsa-2048", addrA)))
	b := w.add("B", addrB, config(certs(t, l, "b", "ecdsa-p256", addrB), func(c *Config) { c.announced = []message.HashAlgorithm{} }))
	a.initiate(addrB)
	w.run(time.Second)
	if len(b.ikes) != 0 || !b.logged("peer signs with SHA-1 although it announces [SHA2-256 SHA2-384 SHA2-512 IDENTITY]") {
		w.fatalf("B takes it: %+v", b.downs)
	}
}

func TestNothingIsFetchedAndAFloodOfCertificatesCostsLittle(t *testing.T) {
	l := newLab(t, "CA", nil)
	leaf, _ := l.issue(t, "a", "ed25519", addrA)
	cert := func(e message.CertEncoding, b []byte) message.Payload { return &message.CERT{Encoding: e, Data: b} }
	var many []message.Payload
	for range pki.MaxCertificates + 1 {
		many = append(many, cert(message.CertX509Signature, leaf.Raw))
	}
	for want, payloads := range map[string][]message.Payload{
		"peer sent no certificate":                                        nil,
		"peer sent no certificate but a URL of one, which is not fetched": {cert(message.CertHashAndURL, append(make([]byte, 20), "http://198.51.100.2/x"...))},
		"peer sent no certificate but one in encoding 1":                  {cert(1, leaf.Raw)},
		"11 certificates, more than 10":                                   many,
		"certificate 1: x509":                                             {cert(message.CertX509Signature, leaf.Raw[:100])},
		"certificate 1 has 20000 bytes":                                   {cert(message.CertX509Signature, make([]byte, 20000))},
	} {
		w := newWorld(t, 1)
		a := w.add("A", addrA, config(certs(t, l, "a", "ed25519", addrA)))
		b := w.add("B", addrB, config(certs(t, l, "b", "ecdsa-p256", addrB)))
		good := authenticators[message.AuthDigitalSignature]
		authenticators[message.AuthDigitalSignature] = sends{good, a.e, payloads}
		a.initiate(addrB)
		w.run(time.Second)
		authenticators[message.AuthDigitalSignature] = good
		if len(b.ikes) != 0 || !b.logged(want) {
			w.fatalf("%q: %+v", want, b.downs)
		}
	}
}

// sends has one engine send other certificates.
type sends struct {
	authenticator
	e        *Engine
	payloads []message.Payload
}

func (x sends) sign(sa *ikeSA, id *message.ID) (*message.AUTH, []message.Payload, error) {
	auth, certs, err := x.authenticator.sign(sa, id)
	if sa.e == x.e {
		certs = x.payloads
	}
	return auth, certs, err
}

func TestRoutersThatKnowKeysOnlySayNothingOfSignatures(t *testing.T) {
	w, _, _ := pair(t, 1)
	w.mangle = func(n int, d *Datagram) {
		if m, err := message.Decode(d.Data); err == nil {
			for _, p := range m.Payloads {
				if n, ok := p.(*message.Notify); ok && n.Message == message.SIGNATURE_HASH_ALGORITHMS || p.Type() == message.TypeCERTREQ {
					t.Errorf("%v", p)
				}
			}
		}
	}
	w.nodes[0].initiate(addrB)
	w.run(time.Second)
	w.oneSession(w.nodes[0], w.nodes[1])
}

func TestNoPrivateKeyIsEverLogged(t *testing.T) {
	l := newLab(t, "CA", nil)
	w := newWorld(t, 1)
	a := w.add("A", addrA, config(certs(t, l, "a", "ed25519", addrA)))
	b := w.add("B", addrB, config(certs(t, l, "b", "ed25519", addrC)))
	a.initiate(addrB)
	b.initiate(addrA)
	w.run(time.Second)
	for _, n := range w.nodes {
		seed := n.cfg.Trustpoints[0].Key.(ed25519.PrivateKey).Seed()
		for _, x := range n.actions {
			text := fmt.Sprintf("%v %+v", x, x)
			if strings.Contains(text, string(seed)) || strings.Contains(text, fmt.Sprintf("%x", seed)) {
				t.Errorf("%T shows a private key", x)
			}
		}
		for _, x := range find[Send](n) {
			if bytes.Contains(x.Data, seed) {
				t.Error("a private key on the wire")
			}
		}
	}
}

func TestAlgorithmIdentifiersAreThoseOfTheRFCs(t *testing.T) {
	for _, c := range []struct {
		s    scheme
		want string
	}{
		// RFC 7427 appendix A, RFC 8420 appendix A.
		{scheme{kind: RSASignature, hash: message.HashSHA2_256}, "300d06092a864886f70d01010b0500"},
		{scheme{kind: RSASignature, hash: message.HashSHA2_384}, "300d06092a864886f70d01010c0500"},
		{scheme{kind: RSASignature, hash: message.HashSHA2_512}, "300d06092a864886f70d01010d0500"},
		{scheme{kind: ECDSASignature, hash: message.HashSHA2_256}, "300a06082a8648ce3d040302"},
		{scheme{kind: ECDSASignature, hash: message.HashSHA2_384}, "300a06082a8648ce3d040303"},
		{scheme{kind: ECDSASignature, hash: message.HashSHA2_512}, "300a06082a8648ce3d040304"},
		{scheme{RSASignature, true, message.HashSHA2_256, 32},
			"304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120"},
		{scheme{kind: Ed25519Signature, hash: message.HashIdentity}, "300506032b6570"},
	} {
		if got := fmt.Sprintf("%x", c.s.algorithm()); got != c.want {
			t.Errorf("%v: %s\nnot %s", c.s, got, c.want)
		}
		if back, err := parseScheme(c.s.algorithm()); err != nil || back != c.s {
			t.Errorf("%v: %v %v", c.s, back, err)
		}
	}
	for _, bad := range []scheme{{kind: RSASignature, hash: message.HashSHA1}, {kind: ECDSASignature, hash: message.HashSHA1}, {RSASignature, true, message.HashSHA1, 20}} {
		if _, err := parseScheme(bad.algorithm()); !errors.Is(err, ErrAuthentication) || !strings.Contains(err.Error(), "SHA1, which we did not announce") {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if slices.Contains(ourHashes, message.HashSHA1) {
		t.Error("SHA-1 is announced")
	}
}
