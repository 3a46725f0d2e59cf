package rib

import (
	"net/netip"
	"testing"
)

// dmvpn is a spoke with a BGP route to another spoke's loopback through the hub, and a default route out of the WAN.
func dmvpn(t *testing.T) *bench {
	b := spoke(t)
	b.Update(Static, "config", pfx("0.0.0.0/0"), via("172.16.3.254"))
	b.learn("192.168.22.2/32", "10.10.10.1")
	return b
}

func (b *bench) learn(p, nh string) {
	b.Update(EBGP, "bgp 65012", pfx(p), []Path{{Source: EBGP, NextHops: []NextHop{{Via: ip(nh)}}}})
}

func TestAShortcutOverridesTheRouteOfItsPrefix(t *testing.T) {
	b := dmvpn(t)
	b.want("192.168.22.2/32", "forward 2/10.10.10.1")
	b.SetNHRP(pfx("192.168.22.2/32"), "Tunnel0", ip("10.10.10.2"), true)
	b.want("192.168.22.2/32", "forward 2/10.10.10.2")
	if got := b.shown("192.168.22.2/32"); got != "B [20/0] via 10.10.10.1 % 10.10.10.2 Tunnel0" {
		t.Errorf("shown as %q", got)
	}
	if _, v, _, _, _, _ := b.Lookup("", ip("192.168.22.2")); v != ip("10.10.10.1") {
		t.Errorf("Lookup sees the override: %v", v)
	}
	if r, _ := b.Match(ip("192.168.22.2")); !r.Overridden() {
		t.Error("Match does not see the override")
	}
	b.DeleteNHRP(pfx("192.168.22.2/32"), "Tunnel0")
	b.want("192.168.22.2/32", "forward 2/10.10.10.1")
}

func TestAnOverrideSurvivesTheChurnOfItsRoute(t *testing.T) {
	b := dmvpn(t)
	b.SetNHRP(pfx("192.168.22.2/32"), "Tunnel0", ip("10.10.10.2"), true)
	b.Withdraw(EBGP, "bgp 65012", pfx("192.168.22.2/32"))
	b.want("192.168.22.2/32", "none") // nothing to override
	b.learn("192.168.22.2/32", "10.10.10.1")
	b.want("192.168.22.2/32", "forward 2/10.10.10.2")
	b.learn("192.168.22.2/32", "10.10.10.9") // another hub
	b.want("192.168.22.2/32", "forward 2/10.10.10.2")
	b.Update(Static, "config", pfx("192.168.22.2/32"), via("172.16.3.254")) // another way
	b.want("192.168.22.2/32", "forward 1/172.16.3.254")
	b.Withdraw(Static, "config", pfx("192.168.22.2/32"))
	b.want("192.168.22.2/32", "forward 2/10.10.10.2")
	b.SetInterface("Tunnel0", 2, false, nil)
	b.want("192.168.22.2/32", "forward 1/172.16.3.254") // resolved through the default route, as IOS does
	b.SetInterface("Tunnel0", 2, true, []netip.Prefix{pfx("10.10.10.3/24")})
	b.want("192.168.22.2/32", "forward 2/10.10.10.2")
}

func TestAnOverrideReplacesOnlyTheNextHopsOnItsTunnel(t *testing.T) {
	b := spoke(t)
	b.SetInterface("Tunnel1", 4, true, []netip.Prefix{pfx("10.20.20.3/24")})
	b.Update(EBGP, "bgp 65012", pfx("192.168.22.0/24"), []Path{
		{Source: EBGP, NextHops: []NextHop{{Via: ip("10.10.10.1")}}}, {Source: EBGP, NextHops: []NextHop{{Via: ip("10.20.20.1")}}}})
	b.SetNHRP(pfx("192.168.22.0/24"), "Tunnel1", ip("10.20.20.2"), true)
	b.want("192.168.22.0/24", "forward 2/10.10.10.1 4/10.20.20.2")
	b.SetNHRP(pfx("192.168.22.0/24"), "Tunnel0", ip("10.10.10.2"), true)
	b.want("192.168.22.0/24", "forward 2/10.10.10.2 4/10.20.20.2")
}

func TestAShortcutWithoutARouteIsARouteOfItsOwn(t *testing.T) {
	b := spoke(t)
	b.learn("192.168.0.0/16", "10.10.10.1") // a summary
	b.SetNHRP(pfx("192.168.22.0/24"), "Tunnel0", ip("10.10.10.2"), false)
	b.want("192.168.22.0/24", "forward 2/10.10.10.2")
	if got := b.shown("192.168.22.0/24"); got != "H [250/255] via 10.10.10.2 Tunnel0" {
		t.Errorf("shown as %q", got)
	}
	if p, v, _, _, _, _ := b.Lookup("", ip("192.168.22.2")); p != pfx("192.168.0.0/16") || v != ip("10.10.10.1") {
		t.Errorf("Lookup sees the H route: %v %v", p, v)
	}
	if r, _ := b.Match(ip("192.168.22.2")); r.Source != NHRP {
		t.Error("Match does not see the H route")
	}
	// It does not resolve next hops.
	b.Update(Static, "config", pfx("50.0.0.0/8"), via("192.168.22.7"))
	b.want("50.0.0.0/8", "forward 2/10.10.10.1")
	// The prefix itself comes: the shortcut overrides it.
	b.learn("192.168.22.0/24", "10.10.10.1")
	b.want("192.168.22.0/24", "forward 2/10.10.10.2")
	if got := b.shown("192.168.22.0/24"); got != "B [20/0] via 10.10.10.1 % 10.10.10.2 Tunnel0" {
		t.Errorf("shown as %q", got)
	}
	b.Withdraw(EBGP, "bgp 65012", pfx("192.168.22.0/24"))
	if got := b.shown("192.168.22.0/24"); got != "H [250/255] via 10.10.10.2 Tunnel0" {
		t.Errorf("shown as %q", got)
	}
	// The summary moves to another interface: the shortcut is not of this way any more.
	b.Update(Static, "config", pfx("192.168.0.0/16"), via("172.16.3.254"))
	b.want("192.168.22.0/24", "none")
	b.Withdraw(Static, "config", pfx("192.168.0.0/16"))
	b.want("192.168.22.0/24", "forward 2/10.10.10.2")
	b.DeleteNHRP(pfx("192.168.22.0/24"), "Tunnel0")
	b.want("192.168.22.0/24", "none")
}

func TestAShortcutNeverTakesOursOrWhatIsDiscarded(t *testing.T) {
	b := spoke(t)
	b.SetNHRP(pfx("192.168.33.0/24"), "Tunnel0", ip("10.10.10.2"), false)
	b.SetNHRP(pfx("192.168.33.3/32"), "Tunnel0", ip("10.10.10.2"), false)
	b.want("192.168.33.0/24", "forward 3")
	b.want("192.168.33.3/32", "local 3")
	b.Update(Static, "config", pfx("10.0.0.0/8"), []Path{{Source: Static, Discard: true}})
	b.SetNHRP(pfx("10.0.0.0/8"), "Tunnel0", ip("10.10.10.2"), true)
	b.SetNHRP(pfx("10.5.0.0/16"), "Tunnel0", ip("10.10.10.2"), false)
	b.want("10.0.0.0/8", "discard")
	b.want("10.5.0.0/16", "none")
}

func TestTheSetFindsTheVRFOfATunnel(t *testing.T) {
	a, c := spoke(t), newBench(t, Options{VRF: "BLUE"})
	c.SetInterface("Tunnel7", 9, true, []netip.Prefix{pfx("10.70.0.1/24")})
	var s Set
	heard := 0
	s.OnChange(func() { heard++ })
	s.Add(a.RIB)
	s.Add(c.RIB)
	s.SetNHRP(pfx("192.168.1.0/24"), "Tunnel7", ip("10.70.0.2"), false)
	c.want("192.168.1.0/24", "forward 9/10.70.0.2")
	if a.fib("192.168.1.0/24") != "none" || heard != 1 {
		t.Errorf("the wrong VRF, or %d changes heard", heard)
	}
	if _, _, ifname, _, _, ok := s.Lookup("BLUE", ip("10.70.0.9")); !ok || ifname != "Tunnel7" {
		t.Error("no route in BLUE")
	}
	s.DeleteNHRP(pfx("192.168.1.0/24"), "Tunnel7")
	c.want("192.168.1.0/24", "none")
}

// flexvpn is a spoke with a default route over its tunnel to a hub, and a shortcut that is an interface of its own.
func flexvpn(t *testing.T) *bench {
	b := spoke(t)
	b.SetInterface("Virtual-Access1", 9, true, nil)
	b.SetIKE(pfx("0.0.0.0/0"), "Tunnel0", 1, 0)
	return b
}

func TestAShortcutOfItsOwnTakesOverFromItsParents(t *testing.T) {
	b := flexvpn(t)
	b.SetInterface("Tunnel1", 4, true, []netip.Prefix{pfx("10.20.20.3/24")})
	b.SetNHRP(pfx("192.168.22.0/24"), "Virtual-Access1", ip("10.10.10.2"), false, "Tunnel0", "Tunnel1")
	b.want("192.168.22.0/24", "forward 9/10.10.10.2")
	if got := b.shown("192.168.22.0/24"); got != "H [250/255] via 10.10.10.2 Virtual-Access1" {
		t.Errorf("shown as %q", got)
	}
	// A route of exactly this prefix over the hubs, both of them: its next hops are replaced.
	b.Update(EBGP, "bgp", pfx("192.168.22.0/24"), []Path{{Source: EBGP, NextHops: []NextHop{{Interface: "Tunnel0"}, {Interface: "Tunnel1"}}}})
	b.want("192.168.22.0/24", "forward 9/10.10.10.2")
	// One that the peer has told leads there anyway; one out of another interface stands.
	b.SetIKE(pfx("192.168.22.0/24"), "Virtual-Access1", 1, 0)
	b.want("192.168.22.0/24", "forward 9/10.10.10.2")
	b.Update(Static, "config", pfx("192.168.22.0/24"), []Path{{Source: Static, NextHops: []NextHop{{Via: ip("172.16.3.254")}}}})
	b.DeleteIKE(pfx("192.168.22.0/24"), "Virtual-Access1")
	b.want("192.168.22.0/24", "forward 1/172.16.3.254")
	b.Withdraw(Static, "config", pfx("192.168.22.0/24"))
	b.Withdraw(EBGP, "bgp", pfx("192.168.22.0/24"))
	b.want("192.168.22.0/24", "forward 9/10.10.10.2")
	// The hub goes with its routes: the shortcut stands, over whatever is left.
	b.DeleteIKE(pfx("0.0.0.0/0"), "Tunnel0")
	b.want("192.168.22.0/24", "forward 9/10.10.10.2")
	b.SetInterface("Virtual-Access1", 9, false, nil)
	b.want("192.168.22.0/24", "none")
	b.SetInterface("Virtual-Access1", 9, true, nil)
	b.DeleteNHRP(pfx("192.168.22.0/24"), "Virtual-Access1")
	b.want("192.168.22.0/24", "none")
}

func TestRoutingProtocolsTakeTheRoutedPathBesideAShortcut(t *testing.T) {
	b := flexvpn(t)
	routed := func() (out []uint32) {
		b.Flush()
		for _, h := range b.entries[pfx("192.168.22.0/24")].fib.Routed {
			out = append(out, h.Interface)
		}
		return out
	}
	b.SetNHRP(pfx("192.168.22.0/24"), "Virtual-Access1", ip("10.10.10.2"), false, "Tunnel0")
	if got := routed(); len(got) != 1 || got[0] != 2 {
		t.Errorf("below the default route: %v", got)
	}
	b.DeleteIKE(pfx("0.0.0.0/0"), "Tunnel0")
	if got := routed(); len(got) != 0 {
		t.Errorf("without a route: %v", got)
	}
	b.Update(Static, "config", pfx("192.168.0.0/16"), via("172.16.3.254"))
	if got := routed(); len(got) != 1 || got[0] != 1 {
		t.Errorf("after a change of what is below: %v", got)
	}
	b.SetIKE(pfx("192.168.22.0/24"), "Tunnel0", 1, 0)
	if got := routed(); len(got) != 1 || got[0] != 2 {
		t.Errorf("with a route of its prefix: %v", got)
	}
}
