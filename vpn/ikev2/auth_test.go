package ikev2

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestEveryKindOfIdentityIsAuthenticated(t *testing.T) {
	for _, id := range []Identity{
		{}, FQDNIdentity("spoke1.example.com"), EmailIdentity("spoke1@example.com"), KeyIdentity("\x00\x01key"),
		{message.ID_DER_ASN1_DN, "\x30\x0b\x31\x09"}, AddressIdentity(addr("10.9.8.7")), AddressIdentity(addr("2001:db8::7")),
	} {
		want := id
		if id.IsZero() {
			want = AddressIdentity(addrA)
		}
		w := newWorld(t, 1)
		a := w.add("A", addrA, config(func(c *Config) { c.Profiles[0].Identity = id }))
		b := w.add("B", addrB, config(func(c *Config) { c.Profiles[0].MatchRemote = []IdentityMatch{{Exact: want}} }))
		a.initiate(addrB)
		w.run(time.Second)
		w.oneSession(a, b)
		if b.child().Peer != want || a.child().LocalID != want {
			t.Errorf("%v: %v", want, b.child().Peer)
		}
	}
}

func TestAWrongKeyIsRefusedByTheResponder(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add("A", addrA, config(func(c *Config) { c.Keyrings[0].Peers[0].Local = suite.Key("WRONG") }))
	b := w.add("B", addrB, config())
	a.initiate(addrB)
	w.run(time.Second)
	if len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrAuthentication) || len(b.downs) != 1 || !errors.Is(b.downs[0].Err, ErrAuthentication) {
		w.fatalf("%+v %+v", a.downs, b.downs)
	}
	if !b.logged("authentication failed") || !b.logged("AUTH mismatch") || !strings.Contains(b.downs[0].Reason, "identity 192.0.2.1") {
		t.Errorf("%v", b.downs[0].Reason)
	}
	if b.e.Counters().AuthFailed != 1 || len(find[IKEUp](a))+len(find[IKEUp](b))+len(find[ChildUp](b)) != 0 {
		t.Error("something came up")
	}
	w.run(time.Minute)
	w.clean(a)
	w.clean(b)
}

func TestAWrongKeyOfTheResponderEndsBothSides(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add("A", addrA, config())
	b := w.add("B", addrB, config(func(c *Config) { c.Keyrings[0].Peers[0].Local = suite.Key("WRONG") }))
	a.initiate(addrB)
	w.run(time.Second)
	if len(find[IKEUp](a))+len(find[ChildUp](a)) != 0 {
		t.Error("A believed a wrong key")
	}
	if len(a.ikes)+len(b.ikes)+len(b.ups) != 0 || len(b.downs) != 1 || !errors.Is(b.downs[0].Err, ErrAuthentication) || !errors.Is(a.downs[0].Err, ErrAuthentication) {
		w.fatalf("B was not told: %+v", b.downs)
	}
	w.run(time.Minute)
	w.clean(a)
	w.clean(b)
}

func TestTheLossOfTheRefusalIsMendedByRetransmission(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add("A", addrA, config(func(c *Config) { c.Keyrings[0].Peers[0].Local = suite.Key("WRONG") }))
	b := w.add("B", addrB, config())
	w.wire = func(n int, _ Datagram) []time.Duration {
		if n == 3 {
			return nil
		}
		return []time.Duration{w.delay}
	}
	a.initiate(addrB)
	w.run(5 * time.Second)
	if len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrAuthentication) || len(b.downs) != 1 {
		w.fatalf("%+v", a.downs)
	}
}

func TestWhoIsNotMatchedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		a, b  func(*Config)
		wantA error
		wantB error
		log   string // of who refuses
	}{
		"identity unknown to the responder": {
			b:     func(c *Config) { c.Profiles[0].MatchRemote = []IdentityMatch{{Exact: FQDNIdentity("x.example")}} },
			wantA: ErrAuthentication, wantB: ErrNoProfile, log: "no profile matches",
		},
		"identity unknown to the initiator": {
			a: func(c *Config) {
				c.Profiles[0].MatchRemote = []IdentityMatch{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}
			},
			wantA: ErrNoProfile, wantB: ErrAuthentication, log: "no match rule for this identity",
		},
		"responder has no key": {
			b:     func(c *Config) { c.Keyrings[0].Peers[0].Addresses = prefixes("10.0.0.0/8") },
			wantA: ErrAuthentication, wantB: ErrNoKey, log: "no keyring entry",
		},
		"other front VRF": {
			b:     func(c *Config) { c.Profiles[0].MatchVRF = "red" },
			wantA: ErrAuthentication, wantB: ErrNoProfile, log: "no profile matches",
		},
		"other local address": {
			b:     func(c *Config) { c.Profiles[0].MatchLocal = prefixes("10.0.0.0/8") },
			wantA: ErrAuthentication, wantB: ErrNoProfile, log: "no profile matches",
		},
		"method not accepted": {
			b:     func(c *Config) { c.Profiles[0].RemoteAuth = []AuthKind{RSASignature} },
			wantA: ErrAuthentication, wantB: ErrAuthentication, log: "does not accept",
		},
	} {
		if c.a == nil {
			c.a = func(*Config) {}
		}
		if c.b == nil {
			c.b = func(*Config) {}
		}
		w := newWorld(t, 1)
		a, b := w.add("A", addrA, config(c.a)), w.add("B", addrB, config(c.b))
		a.initiate(addrB)
		w.run(time.Second)
		if len(a.downs) != 1 || len(b.downs) != 1 || !errors.Is(a.downs[0].Err, c.wantA) || !errors.Is(b.downs[0].Err, c.wantB) {
			w.fatalf("%s: A %+v\nB %+v", name, a.downs, b.downs)
		}
		if !a.logged(c.log) && !b.logged(c.log) {
			w.fatalf("%s: nobody logs %q", name, c.log)
		}
		w.run(time.Minute)
		w.clean(a)
		w.clean(b)
	}
}

func TestInitiateSaysWhatTheConfigurationLacks(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add("A", addrA, config())
	for _, c := range []struct {
		r    InitiateRequest
		edit func(*Config)
		want error
		text string
	}{
		{InitiateRequest{Local: addrA, Remote: addrB, Profile: "nope", Child: "Tunnel0"}, nil, ErrConfig, `no IKEv2 profile "nope"`},
		{InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "nope"}, nil, ErrConfig, `no child policy "nope"`},
		{InitiateRequest{Local: addrA, Remote: addr("2001:db8::1"), Profile: "prof", Child: "Tunnel0"}, nil, ErrConfig, "no usable addresses"},
		{InitiateRequest{Remote: addrB, Profile: "prof", Child: "Tunnel0"}, nil, ErrConfig, "no usable addresses"},
		{InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0"}, func(c *Config) { c.Keyrings = nil }, ErrNoKey, "there is no keyring"},
		{InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0"}, func(c *Config) { c.Proposals = nil }, ErrConfig, "names no proposal"},
		{InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0"}, func(c *Config) { c.Keyrings[0].Peers[0].Local = nil }, ErrNoKey, "no local pre-shared key"},
	} {
		a.cfg = config()
		if c.edit != nil {
			c.edit(&a.cfg)
		}
		a.boot()
		a.downs = nil
		if id := a.initiateAs(c.r); id != 0 || len(a.downs) != 1 || !errors.Is(a.downs[0].Err, c.want) || !strings.Contains(a.downs[0].Reason, c.text) {
			t.Errorf("%+v: %d %+v", c.r, id, a.downs)
		}
		w.clean(a)
	}
}

func TestTheClosestKeyWins(t *testing.T) {
	ring := []KeyringPeer{
		{Name: "any", Addresses: prefixes("0.0.0.0/0", "::/0")},
		{Name: "net", Addresses: prefixes("192.0.2.0/24")},
		{Name: "host", Addresses: prefixes("192.0.2.1/32")},
		{Name: "domain", Identity: []IdentityMatch{{Type: message.ID_FQDN, Domain: "example.com"}}},
		{Name: "name", Identity: []IdentityMatch{{Exact: FQDNIdentity("a.example.com")}}},
		{Name: "six", Addresses: prefixes("2001:db8::/32")},
	}
	e := NewEngine(Config{Keyrings: []Keyring{{Name: "r", Peers: ring}}}, nil)
	for _, c := range []struct {
		id   Identity
		addr string
		want string
	}{
		{Identity{}, "10.0.0.1", "any"}, {Identity{}, "192.0.2.9", "net"}, {Identity{}, "192.0.2.1", "host"}, {Identity{}, "2001:db8::9", "six"},
		{FQDNIdentity("b.EXAMPLE.com"), "192.0.2.1", "domain"}, {FQDNIdentity("A.example.com"), "192.0.2.1", "name"},
		{FQDNIdentity("badexample.com"), "192.0.2.9", "net"}, {KeyIdentity("a.example.com"), "192.0.2.9", "net"},
	} {
		if p, err := e.keys("r", c.id, addr(c.addr)); err != nil || p.Name != c.want {
			t.Errorf("%v at %s: %s %v", c.id, c.addr, p.Name, err)
		}
	}
	if _, err := e.keys("none", Identity{}, addrA); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
}

func TestTheClosestProfileWins(t *testing.T) {
	e := NewEngine(Config{Profiles: []Profile{
		{Name: "any", MatchRemote: []IdentityMatch{{Any: true}}},
		{Name: "named", MatchRemote: []IdentityMatch{{Any: true}}, Identity: FQDNIdentity("hub.example")},
		{Name: "net", MatchRemote: []IdentityMatch{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}},
		{Name: "mail", MatchRemote: []IdentityMatch{{Type: message.ID_RFC822_ADDR, Domain: "example.com"}, {Exact: KeyIdentity("k")}}},
		{Name: "red", MatchRemote: []IdentityMatch{{Any: true}}, MatchVRF: "red"},
		{Name: "none"},
		{Name: "everywhere", MatchRemote: []IdentityMatch{{Exact: KeyIdentity("x")}}, MatchVRF: "*"},
	}}, nil)
	for _, c := range []struct {
		vrf        string
		id, wanted Identity
		want       string
	}{
		{"default", KeyIdentity("?"), Identity{}, "any"}, {"default", KeyIdentity("?"), FQDNIdentity("hub.example"), "named"},
		{"default", AddressIdentity(addrA), Identity{}, "net"}, {"default", EmailIdentity("me@example.com"), Identity{}, "mail"},
		{"default", EmailIdentity("me@badexample.com"), Identity{}, "any"}, {"red", AddressIdentity(addrA), Identity{}, "red"},
		{"blue", KeyIdentity("x"), Identity{}, "everywhere"}, {"blue", KeyIdentity("y"), Identity{}, ""},
	} {
		if p, _ := e.profileFor(c.vrf, addrB, c.id, c.wanted, nil); p.Name != c.want {
			t.Errorf("%+v: %s", c, p.Name)
		}
	}
}

func TestNoSecretIsEverLogged(t *testing.T) {
	for _, keylog := range []bool{false, true} {
		w, a, b := connected(t, 1, func(c *Config) { c.KeyLog = keylog })
		a.do(a.e.RekeyIKE(w.now, a.sa()))
		w.run(time.Second)
		a.do(a.e.RekeyChild(w.now, a.child().Child))
		w.run(time.Second)
		secrets := []string{"CISCO123", fmt.Sprintf("%x", []byte(a.child().KeysIn.Encr)), fmt.Sprintf("%x", []byte(a.e.sessions[a.sa()].cur.keys.D))}
		lines := 0
		for _, n := range []*node{a, b} {
			for _, act := range n.actions {
				if _, ok := act.(KeyLog); ok {
					lines++
					continue
				}
				text := fmt.Sprintf("%v %+v %#v", act, act, act)
				for _, s := range secrets {
					if strings.Contains(text, s) {
						t.Errorf("%T shows a secret", act)
					}
				}
			}
		}
		if want := map[bool]int{false: 0, true: 12}[keylog]; lines != want {
			t.Errorf("key log %v: %d lines, not %d", keylog, lines, want)
		}
	}
}

func TestAnAuthenticatorThatFailsCostsItsSessionOnly(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.add("A", addrA, config()), w.add("B", addrB, config()), w.add("C", addrC, config())
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	good := authenticators[message.AuthSharedKey]
	authenticators[message.AuthSharedKey] = broken{good, b.e}
	defer func() { authenticators[message.AuthSharedKey] = good }()
	b.e.panics = false
	c.initiate(addrB)
	w.run(time.Second)
	if b.e.Counters().Panics == 0 || len(b.ikes) != 1 || !errors.Is(b.downs[0].Err, ErrInternal) {
		w.fatalf("%+v", b.downs)
	}
	w.oneSession(a, b)
	if !b.logged("IKEv2 code failed") {
		t.Error("it was not logged")
	}
}

type broken struct {
	authenticator
	e *Engine
}

func (x broken) verify(sa *ikeSA, id *message.ID, auth *message.AUTH, others []message.Payload) error {
	if sa.e == x.e {
		panic("broken")
	}
	return x.authenticator.verify(sa, id, auth, others)
}
