package ikev2

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
)

// apart is a world whose two sides are configured differently.
func apart(t testing.TB, ca, cb func(*Config)) (*world, *node, *node) {
	w := newWorld(t, 1)
	return w, w.add("A", addrA, config(ca)), w.add("B", addrB, config(cb))
}

func none(*Config) {}

func TestAPeerWithoutTransportModeIsAcceptedUnlessTheProfileDemandsIt(t *testing.T) {
	tunnel := func(c *Config) { c.Children[0].Mode = esp.Tunnel }
	w, a, b := apart(t, none, tunnel)
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	if a.child().Mode != esp.Tunnel {
		t.Error(a.child().Mode)
	}
	require := func(c *Config) { c.Children[0].RequireTransport = true }
	w, a, b = apart(t, require, tunnel)
	a.initiate(addrB)
	w.run(time.Second)
	if f := find[ChildFailed](a); len(f) != 1 || !errors.Is(f[0].Err, ErrTransport) || len(a.ups) != 0 || len(b.ups) != 0 {
		w.fatalf("%+v", f)
	}
	w, a, b = apart(t, tunnel, require)
	a.initiate(addrB)
	w.run(time.Second)
	if f := find[ChildFailed](a); len(f) != 1 || !errors.Is(f[0].Err, ErrNoProposal) || !b.logged("transport mode") {
		w.fatalf("%+v", f)
	}
	// A responder that would do transport does tunnel when it is not asked for more.
	w, a, b = apart(t, tunnel, none)
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
}

func TestSelectorsAreNarrowed(t *testing.T) {
	net := func(local, remote string) func(*Config) {
		return func(c *Config) {
			p := &c.Children[0]
			p.Mode, p.Protocol, p.TSLocal, p.TSRemote = esp.Tunnel, 0, prefixes(local), prefixes(remote)
		}
	}
	for _, c := range []struct{ al, ar, bl, br, wantLocal, wantRemote string }{
		{"10.1.0.0/16", "10.2.0.0/16", "10.2.0.0/16", "10.1.0.0/16", "any 10.1.0.0-10.1.255.255", "any 10.2.0.0-10.2.255.255"},
		{"0.0.0.0/0", "0.0.0.0/0", "10.2.0.0/16", "10.1.0.0/16", "any 10.1.0.0-10.1.255.255", "any 10.2.0.0-10.2.255.255"},
		{"10.1.7.0/24", "10.2.0.0/16", "10.2.3.0/24", "10.0.0.0/8", "any 10.1.7.0-10.1.7.255", "any 10.2.3.0-10.2.3.255"},
		{"10.1.7.0/24", "10.2.0.0/16", "10.3.0.0/24", "10.0.0.0/8", "", ""},
	} {
		w, a, b := apart(t, net(c.al, c.ar), net(c.bl, c.br))
		a.initiate(addrB)
		w.run(time.Second)
		if c.wantLocal == "" {
			if f := find[ChildFailed](a); len(f) != 1 || !errors.Is(f[0].Err, ErrSelectors) {
				t.Errorf("%+v: %+v", c, f)
			}
			continue
		}
		w.oneSession(a, b)
		if u := a.child(); u.TSLocal[0].String() != c.wantLocal || u.TSRemote[0].String() != c.wantRemote ||
			fmt.Sprint(b.child().TSLocal) != fmt.Sprint(u.TSRemote) || fmt.Sprint(b.child().TSRemote) != fmt.Sprint(u.TSLocal) {
			t.Errorf("%+v: %v %v", c, u.TSLocal, u.TSRemote)
		}
	}
}

func TestSelectorArithmetic(t *testing.T) {
	ts := func(proto uint8, from, to string, ports ...uint16) TrafficSelector {
		s := TrafficSelector{Protocol: proto, EndPort: 65535, Start: addr(from), End: addr(to)}
		if len(ports) == 2 {
			s.StartPort, s.EndPort = ports[0], ports[1]
		}
		return s
	}
	for name, c := range map[string]struct{ own, theirs, want []TrafficSelector }{
		"protocol":           {[]TrafficSelector{ts(47, "0.0.0.0", "255.255.255.255")}, []TrafficSelector{ts(0, "10.0.0.1", "10.0.0.1")}, []TrafficSelector{ts(47, "10.0.0.1", "10.0.0.1")}},
		"other protocol":     {[]TrafficSelector{ts(47, "0.0.0.0", "255.255.255.255")}, []TrafficSelector{ts(4, "10.0.0.1", "10.0.0.1")}, nil},
		"ports":              {[]TrafficSelector{ts(17, "10.0.0.0", "10.0.0.9", 10, 20)}, []TrafficSelector{ts(17, "10.0.0.5", "10.0.0.20", 15, 30)}, []TrafficSelector{ts(17, "10.0.0.5", "10.0.0.9", 15, 20)}},
		"opaque":             {[]TrafficSelector{ts(0, "10.0.0.0", "10.0.0.9")}, []TrafficSelector{ts(0, "10.0.0.0", "10.0.0.9", 65535, 0)}, nil},
		"families":           {[]TrafficSelector{ts(0, "::", "ffff::")}, []TrafficSelector{ts(0, "0.0.0.0", "10.0.0.9")}, nil},
		"contained":          {[]TrafficSelector{ts(47, "10.0.0.1", "10.0.0.1")}, []TrafficSelector{ts(47, "10.0.0.1", "10.0.0.1", 100, 100), ts(47, "10.0.0.1", "10.0.0.1")}, []TrafficSelector{ts(47, "10.0.0.1", "10.0.0.1")}},
		"contained, turned":  {[]TrafficSelector{ts(47, "10.0.0.1", "10.0.0.1")}, []TrafficSelector{ts(47, "10.0.0.1", "10.0.0.1"), ts(47, "10.0.0.1", "10.0.0.1", 100, 100)}, []TrafficSelector{ts(47, "10.0.0.1", "10.0.0.1")}},
		"backwards is empty": {[]TrafficSelector{ts(0, "0.0.0.0", "255.255.255.255")}, []TrafficSelector{ts(0, "10.0.0.9", "10.0.0.1")}, nil},
	} {
		if got := intersect(c.own, c.theirs); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
	if p := message.Last(netip.MustParsePrefix("10.1.2.0/23")); p != addr("10.1.3.255") {
		t.Error(p)
	}
	if p := message.Last(netip.MustParsePrefix("2001:db8::/32")); p != addr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff") {
		t.Error(p)
	}
}

// strongSwan, asked by its kernel for GRE with key 100, offers GRE with port 100 first and plain GRE second; or, in some
// set-ups, only the first.
func TestGREWithAPortIsAcceptedAsStrongSwanOffersIt(t *testing.T) {
	host := func(a netip.Addr, port uint16) TrafficSelector {
		s := TrafficSelector{Protocol: 47, EndPort: 65535, Start: a, End: a}
		if port != 0 {
			s.StartPort, s.EndPort = port, port
		}
		return s
	}
	for _, tsr := range [][]TrafficSelector{{host(addrB, 100), host(addrB, 0)}, {host(addrB, 100)}} {
		w, a, b := connected(t, 1)
		p := w.ask(a, b, message.CREATE_CHILD_SA, &message.SA{Proposals: espOffer(b.cfg.Children[0].Proposals, 0x12345678, false)},
			&message.Nonce{Data: make([]byte, 32)}, &message.Notify{Message: message.USE_TRANSPORT_MODE},
			&message.TS{Selectors: []TrafficSelector{host(addrA, 0)}}, &message.TS{Responder: true, Selectors: tsr})
		if p == nil || p.sa == nil || p.tsr == nil {
			w.fatalf("refused: %+v", p)
		}
		if got := p.tsr.Selectors; len(got) != 1 || got[0] != tsr[len(tsr)-1] {
			t.Errorf("%v", got)
		}
	}
}

func TestTwoTunnelsBetweenTheSameAddressesAreToldApartByTheirKeys(t *testing.T) {
	two := func(first, second uint32) func(*Config) {
		return func(c *Config) {
			p := c.Children[0]
			p.HasGREKey, p.GREKey = true, first
			q := p
			q.Name, q.GREKey = "Tunnel1", second
			c.Children = []ChildPolicy{p, q}
		}
	}
	for _, keys := range [][2]uint32{{1, 2}, {0x10001, 0x20001}, {1, 0x10001}} {
		w, a, b := apart(t, two(keys[0], keys[1]), two(keys[1], keys[0])) // B has them in the other order
		a.initiate(addrB)
		w.run(time.Second)
		a.do(a.e.CreateChild(w.now, a.sa(), "Tunnel1", nil))
		w.run(time.Second)
		policies := map[uint32]string{}
		for _, u := range b.ups {
			policies[u.SPIIn] = u.Policy
		}
		if len(a.ups) != 2 || len(b.ups) != 2 {
			w.fatalf("%d and %d pairs", len(a.ups), len(b.ups))
		}
		for _, u := range a.ups {
			want := map[string]string{"Tunnel0": "Tunnel1", "Tunnel1": "Tunnel0"}[u.Policy]
			if policies[u.SPIOut] != want {
				t.Errorf("keys %v: %s of A is %s of B", keys, u.Policy, policies[u.SPIOut])
			}
			if len(u.TSLocal) != 1 || u.TSLocal[0].String() != "gre 192.0.2.1" || u.TSRemote[0].String() != "gre 198.51.100.2" {
				t.Errorf("%v %v", u.TSLocal, u.TSRemote)
			}
		}
	}
	// Without keys: one policy each, in order.
	w, a, b := connected(t, 1, func(c *Config) {
		q := c.Children[0]
		q.Name = "Tunnel1"
		c.Children = append(c.Children, q)
	})
	a.do(a.e.CreateChild(w.now, a.sa(), "Tunnel1", nil))
	w.run(time.Second)
	seen := map[string]bool{}
	for _, u := range b.ups {
		seen[u.Policy] = true
	}
	if !seen["Tunnel0"] || !seen["Tunnel1"] {
		t.Errorf("%v", seen)
	}
}

func pfs(g ...suite.Group) func(*Config) {
	return func(c *Config) { c.Children[0].Proposals[0].Groups = g }
}

func TestPFSGivesRekeyedChildrenAKeyExchangeOfTheirOwn(t *testing.T) {
	for name, c := range map[string]struct {
		a, b func(*Config)
		want suite.Group
		fail bool
	}{
		"both":                        {pfs(suite.ECP_256), pfs(suite.ECP_256), suite.ECP_256, false},
		"responder prefers another":   {pfs(suite.ECP_256, suite.CURVE25519), pfs(suite.CURVE25519, suite.ECP_256), suite.CURVE25519, false},
		"only the initiator":          {pfs(suite.ECP_256), none, suite.ECP_256, false},
		"nobody":                      {none, none, suite.GROUP_NONE, false},
		"responder demands, no offer": {none, pfs(suite.ECP_256), 0, true},
		"no group in common":          {pfs(suite.CURVE25519), pfs(suite.ECP_256), 0, true},
		"optional on both":            {pfs(suite.GROUP_NONE, suite.ECP_256), pfs(suite.ECP_256, suite.GROUP_NONE), suite.ECP_256, false},
	} {
		w, a, b := apart(t, c.a, c.b)
		a.initiate(addrB)
		w.run(time.Second)
		w.oneSession(a, b)
		if a.child().PFS != suite.GROUP_NONE {
			t.Errorf("%s: the first child has a key exchange", name)
		}
		first := a.child()
		a.do(a.e.RekeyChild(w.now, first.Child))
		w.run(time.Second)
		if c.fail {
			if a.child().Child != first.Child || !a.logged("NO_PROPOSAL_CHOSEN") || !b.logged("NO_PROPOSAL_CHOSEN") {
				t.Errorf("%s: %+v", name, a.child())
			}
			continue
		}
		w.oneSession(a, b)
		if u := a.child(); u.Child == first.Child || u.PFS != c.want || u.Replaces != first.Child || u.Tag != "tag" || b.child().PFS != c.want {
			t.Errorf("%s: %+v", name, u)
		}
	}
}

func TestRekeyingWhatThePeerDoesNotHaveMakesANewPair(t *testing.T) {
	w, a, b := connected(t, 1)
	for _, c := range b.e.children {
		c.free()
	}
	b.ups = map[ChildID]ChildUp{}
	a.do(a.e.RekeyChild(w.now, a.child().Child))
	w.run(time.Second)
	w.oneSession(a, b)
	if a.child().Replaces != 0 || a.child().Tag != "tag" {
		t.Errorf("%+v", a.child())
	}
}

func TestNewChildrenWaitWhileTheIKESAIsRekeyed(t *testing.T) {
	w, a, b := connected(t, 1)
	a.do(a.e.RekeyIKE(w.now, a.sa()))
	b.do(b.e.CreateChild(w.now, b.sa(), "Tunnel0", nil))
	w.run(10 * time.Second)
	if len(a.ups) != 2 || len(b.ups) != 2 || len(find[ChildFailed](b)) != 0 {
		w.fatalf("%d %d pairs", len(a.ups), len(b.ups))
	}
	if len(find[IKERekeyed](a)) != 1 || len(find[IKERekeyed](b)) != 1 {
		t.Error("not rekeyed")
	}
}

func TestSimultaneousRekeyingOfAChildFollowsTheLowestNonce(t *testing.T) {
	for seed := range byte(10) {
		w, a, b := connected(t, seed)
		old := a.child()
		a.do(a.e.RekeyChild(w.now, a.child().Child))
		b.do(b.e.RekeyChild(w.now, b.child().Child))
		w.run(time.Second)
		w.oneSession(a, b)
		if len(find[ChildUp](a)) != 3 || len(find[ChildDown](a)) != 2 || len(find[ChildDown](b)) != 2 {
			w.fatalf("not simultaneous")
		}
		if a.child().Replaces != old.Child {
			t.Errorf("%+v", a.child())
		}
		// Each redundant pair names the one that stays.
		for _, d := range find[ChildDown](a) {
			if d.ReplacedBy != a.child().Child || d.Linger == 0 {
				t.Errorf("%+v", d)
			}
		}
	}
}

func TestTooManyChildrenAreRefused(t *testing.T) {
	w, a, b := connected(t, 1)
	for range maxChildren + 5 {
		a.do(a.e.CreateChild(w.now, a.sa(), "Tunnel0", nil))
	}
	w.run(10 * time.Second)
	if len(b.ups) != maxChildren || len(find[ChildFailed](a)) != 6 || len(a.ups) != maxChildren {
		t.Errorf("%d and %d pairs, %d refused", len(a.ups), len(b.ups), len(find[ChildFailed](a)))
	}
	if len(a.e.spis) != maxChildren {
		t.Errorf("%d SPIs are taken", len(a.e.spis))
	}
}

func TestChildrenOfUnknownPoliciesFailAtOnce(t *testing.T) {
	w, a, _ := connected(t, 1)
	a.do(a.e.CreateChild(w.now, a.sa(), "nope", 7))
	if f := find[ChildFailed](a); len(f) != 1 || !errors.Is(f[0].Err, ErrConfig) || f[0].Tag != 7 {
		t.Errorf("%+v", f)
	}
}

func TestDeletingAChildDuringItsRekeyingLeavesNone(t *testing.T) {
	for at := range 6 {
		w, a, b := connected(t, 1)
		old := a.child().Child
		a.do(a.e.RekeyChild(w.now, old))
		w.run(time.Duration(at) * 5 * time.Millisecond)
		for _, id := range sortedKeys(a.ups) {
			a.do(a.e.DeleteChild(w.now, id, "closed"))
		}
		w.run(10 * time.Second)
		if len(a.ups)+len(b.ups) != 0 || len(a.e.spis)+len(b.e.spis) != 0 {
			w.fatalf("at %d: %d and %d pairs stay, SPIs %d %d", at, len(a.ups), len(b.ups), len(a.e.spis), len(b.e.spis))
		}
	}
}

func TestDeletingTheIKESADuringItsRekeyingLeavesNone(t *testing.T) {
	for _, both := range []bool{false, true} {
		for at := range 8 {
			w, a, b := connected(t, 1)
			a.do(a.e.RekeyIKE(w.now, a.sa()))
			if both {
				b.do(b.e.RekeyIKE(w.now, b.sa()))
			}
			w.run(time.Duration(at) * 5 * time.Millisecond)
			a.do(a.e.DeleteIKE(w.now, a.sa(), "closed"))
			w.run(3 * time.Minute)
			if len(a.ikes)+len(b.ikes) != 0 {
				w.fatalf("at %d: an IKE SA stays", at)
			}
			w.clean(a)
			w.clean(b)
		}
	}
}
