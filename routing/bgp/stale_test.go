package bgp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/routing/policy"
	"felloe/routing/rib"
)

// lostHub is a bench whose session with the hub was lost, of which two paths are kept.
func lostHub(t *testing.T, change func(*Config)) *gracefulBench {
	g := newGraceful(t, change)
	g.hub(1, "1.1.1.1", &Graceful{Time: 4095 * time.Second, Families: both, Kept: both})
	g.says(1, "192.168.0.0/16", "2001:db8:1::/48")
	g.lost()
	g.has("192.168.0.0/16 Tunnel1 S", "2001:db8:1::/48 Tunnel1 S")
	return g
}

func TestClearingANeighborDropsWhatIsStale(t *testing.T) {
	for _, a := range []netip.Addr{{}, ip("10.1.1.1")} {
		g := lostHub(t, nil) // the speaker does not know it, as one that is dynamic
		if err := g.Clear(a, ClearSoft); err != nil {
			t.Error(err)
		}
		g.has("192.168.0.0/16 Tunnel1 S", "2001:db8:1::/48 Tunnel1 S")
		if err := g.Clear(a, ClearHard); err != nil {
			t.Error(err)
		}
		g.has()
	}
	if err := lostHub(t, nil).Clear(ip("10.1.1.9"), ClearHard); err == nil {
		t.Error("a neighbor that is not there was cleared")
	}
}

func TestWhatIsStaleGoesAfterTheStalePathTimeWhateverThePeerSays(t *testing.T) {
	g := lostHub(t, func(c *Config) { c.GracefulRestart.StalePathTime = 3 * time.Minute })
	g.pass(2 * time.Minute)
	g.hub(2, "1.1.1.1", &Graceful{Time: 4095 * time.Second, Families: both, Kept: both})
	g.pass(59 * time.Second)
	g.has("192.168.0.0/16 Tunnel1 S", "2001:db8:1::/48 Tunnel1 S")
	g.pass(time.Second)
	g.has()
	g = lostHub(t, func(c *Config) { c.GracefulRestart.StalePathTime = 3 * time.Minute })
	g.pass(179 * time.Second)
	g.has("192.168.0.0/16 Tunnel1 S", "2001:db8:1::/48 Tunnel1 S")
	g.pass(time.Second)
	g.has()
}

func TestAChangedConfigurationDropsWhatIsStale(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		left   []string
	}{
		"the neighbour is shut down":      {func(c *Config) { c.Neighbors[0].Shutdown = true }, nil},
		"the neighbour is in another AS":  {func(c *Config) { c.Neighbors[0].RemoteAS = 65002 }, nil},
		"we are in another AS":            {func(c *Config) { c.AS, c.Neighbors[0].RemoteAS = 65002, 65001 }, nil},
		"the session carries IPv4 only":   {func(c *Config) { c.Neighbors[0].Families = []Family{IPv4} }, []string{"192.168.0.0/16 Tunnel1 S"}},
		"its description is another one":  {func(c *Config) { c.Neighbors[0].Description = "x" }, []string{"192.168.0.0/16 Tunnel1 S", "2001:db8:1::/48 Tunnel1 S"}},
		"a policy does not let pass IPv6": {func(c *Config) { c.Neighbors[0].In.PrefixList = prefixList(t, "192.168.0.0/16") }, []string{"192.168.0.0/16 Tunnel1 S"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := lostHub(t, nil)
			g.t = t
			cfg := g.Config()
			cfg.Neighbors = slices.Clone(cfg.Neighbors)
			c.change(&cfg)
			if err := g.Apply(cfg); err != nil {
				t.Fatal(err)
			}
			g.has(c.left...)
			g.counted()
			g.pass(time.Hour)
			g.has()
		})
	}
}

func TestPoliciesCountForWhatIsStale(t *testing.T) {
	up := true
	when := routeMap(t, policy.Entry{Permit: true, Match: policy.Match{Tracks: []int{5}, Track: func(int) bool { return up }}, Set: policy.Set{LocalPreference: u32(200)}},
		policy.Entry{Permit: true, Match: policy.Match{PrefixLists: []*policy.PrefixList{prefixList(t, "192.168.0.0/16")}}, Set: policy.Set{LocalPreference: u32(50)}})
	g := lostHub(t, func(c *Config) { c.Neighbors[0].In.RouteMap = when })
	up = false
	g.ObjectsChanged()
	g.has("192.168.0.0/16 Tunnel1 S")
	if e, _ := g.Prefix(pfx("192.168.0.0/16")); e.Paths[0].LocalPref != 50 {
		t.Errorf("the path is %+v", e.Paths[0].Attributes)
	}
	g.counted()
	// It is said again by the policies that hold now.
	g.hub(2, "1.1.1.1", &Graceful{Families: both, Kept: both})
	g.says(2, "192.168.0.0/16")
	g.end(2, IPv4)
	g.end(2, IPv6)
	g.has("192.168.0.0/16 Tunnel1")
}

func TestAPeerThatGoesIsNotWaitedFor(t *testing.T) {
	g := newGraceful(t, func(c *Config) {
		c.Networks = []netip.Prefix{pfx("172.16.1.0/24")}
		c.Neighbors = append(c.Neighbors, Neighbor{Address: ip("172.16.1.9"), RemoteAS: 65001})
	})
	g.hub(1, "1.1.1.1", &Graceful{Time: time.Minute, Families: both, Kept: both})
	g.sp.o.Events([]Event{&StateEvent{Peer: ip("172.16.1.9"), Up: true, RemoteAS: 65001, RouterID: ip("9.9.9.9"), Local: ip("172.16.1.2"), Session: 2}})
	if len(g.sp.eor) != 0 {
		t.Fatal("nobody was waited for")
	}
	g.lost()
	if !slices.Equal(g.sp.eor, []string{"172.16.1.9"}) {
		t.Errorf("End-of-RIB went to %q", g.sp.eor)
	}
}

func TestEndOfRIBCountsOnce(t *testing.T) {
	g := newGraceful(t, nil)
	g.hub(1, "1.1.1.1", &Graceful{Time: time.Minute, Families: both, Kept: both})
	for range 1000 {
		g.end(1, IPv4)
	}
	if n := strings.Count(g.log.String(), "bgp-eor"); n != 1 {
		t.Errorf("%d End-of-RIBs of one family were looked at", n)
	}
}

func TestAPathThatIsNotStaleIsPreferredWhereNothingElseDecides(t *testing.T) {
	b := newBench(t, func(c *Config) { c.GracefulRestart.Enabled = true })
	for _, n := range []int{2, 3} {
		a := netip.AddrFrom4([4]byte{10, 10, 10, byte(n)})
		b.sp.o.Events([]Event{&StateEvent{Peer: a, Up: true, RemoteAS: 65010, RouterID: a, Local: ip("10.10.10.1"), Session: uint64(n),
			Graceful: &Graceful{Time: time.Minute, Families: both, Kept: both}}})
		b.path(n, "192.0.2.0/24", nil)
		b.path(n, "198.51.100.0/24", nil, func(x *Attributes) { x.HasLocalPref, x.LocalPref = true, uint32(200-n) })
	}
	b.want("192.0.2.0/24", "200 10.10.10.2")
	b.sp.o.Events([]Event{&StateEvent{Peer: ip("10.10.10.2"), Reason: "x", Lost: true}})
	b.want("192.0.2.0/24", "200 10.10.10.3")
	b.want("198.51.100.0/24", "200 10.10.10.2") // what the operator prefers stays so
}

func TestASessionStaysWhileOneOfItsWaysDoes(t *testing.T) {
	for _, six := range []bool{false, true} {
		hub, local, via := "10.1.1.1", "172.16.1.2", "10.1.1.1/32"
		if six {
			hub, local, via = "fd00::1", "2001:db8::2", "fd00::1/128"
		}
		g := newGraceful(t, func(c *Config) { c.Neighbors = []Neighbor{{Address: ip(hub), RemoteAS: 65001, Families: both}} })
		g.rib.SetInterface("Tunnel2", 3, true, nil)
		g.rib.SetInterface("Tunnel0", 4, true, nil)
		g.rib.DeleteIKE(pfx(via), "Tunnel1")
		over := func(names ...string) {
			p := rib.Path{Source: rib.Static}
			for _, n := range names {
				p.NextHops = append(p.NextHops, rib.NextHop{Interface: n})
			}
			g.rib.Update(rib.Static, "config", pfx(via), []rib.Path{p})
		}
		over("Tunnel1", "Tunnel2")
		g.sp.o.Events([]Event{&StateEvent{Peer: ip(hub), Up: true, RemoteAS: 65001, RouterID: ip("1.1.1.1"), Local: ip(local), Session: 1, Families: both}})
		g.sp.told = nil
		over("Tunnel0", "Tunnel1", "Tunnel2") // another one in front
		over("Tunnel2", "Tunnel1")
		g.heard()
		over("Tunnel2")
		g.heard("lost " + hub + ": the route to it changed")
	}
}

func TestRoutesOfAMultipointTunnelDoNotLeaveInClearWhenItGoes(t *testing.T) {
	for _, graceful := range []bool{false, true} {
		g := newGraceful(t, func(c *Config) {
			c.Neighbors = []Neighbor{{Address: ip("10.10.10.1"), RemoteAS: 65001, Families: both}, {Address: ip("172.16.1.9"), RemoteAS: 65001, Families: both}}
		})
		addresses := []netip.Prefix{pfx("10.10.10.3/24"), pfx("fd00:10::3/64")}
		g.rib.SetInterface("Multipoint0", 7, true, addresses)
		for i, a := range []string{"10.10.10.1", "172.16.1.9"} {
			e := &StateEvent{Peer: ip(a), Up: true, RemoteAS: 65001, RouterID: ip(a), Local: addresses[0].Addr(), Session: uint64(i + 1), Families: both}
			if graceful {
				e.Graceful = &Graceful{Time: time.Minute, Families: both, Kept: both}
			}
			g.sp.o.Events([]Event{e})
		}
		say := func(peer string, session uint64, prefix, hop string) {
			g.sp.o.Events([]Event{&PathEvent{Peer: ip(peer), Session: session, Prefixes: []netip.Prefix{pfx(prefix)}, Attributes: &Attributes{NextHop: ip(hop)}}})
		}
		say("10.10.10.1", 1, "192.168.0.0/16", "10.10.10.1")
		say("10.10.10.1", 1, "2001:db8:1::/48", "fd00:10::1")
		say("172.16.1.9", 2, "192.0.2.0/24", "198.51.100.9") // by the WAN's default route
		all := []string{"192.0.2.0/24 Ethernet0", "192.168.0.0/16 Multipoint0", "2001:db8:1::/48 Multipoint0"}
		g.has(all...)
		g.sp.told = nil
		g.rib.SetInterface("Multipoint0", 7, false, addresses)
		g.has("192.0.2.0/24 Ethernet0")
		if graceful {
			g.sp.o.Events([]Event{&StateEvent{Peer: ip("10.10.10.1"), Reason: "x", Lost: true}})
			g.has("192.0.2.0/24 Ethernet0")
		}
		g.heard() // it may be there again before the session is lost
		g.rib.SetInterface("Multipoint0", 7, true, addresses)
		if graceful {
			all[1], all[2] = all[1]+" S", all[2]+" S"
		}
		g.has(all...)
	}
}

func TestWhoWasOnASubnetThatIsGoneKeepsNothing(t *testing.T) {
	for _, six := range []bool{false, true} {
		near, subnet, local, prefix, other := "203.0.113.9", "203.0.113.2/24", "203.0.113.2", "192.0.2.0/24", "172.16.1.9"
		if six {
			near, subnet, local, prefix, other = "2001:db8:9::9", "2001:db8:9::2/64", "2001:db8:9::2", "2001:db8:1::/48", "2001:db8::9"
		}
		g := newGraceful(t, func(c *Config) {
			c.Neighbors = []Neighbor{{Address: ip(near), RemoteAS: 65002, Weight: 10}, {Address: ip(other), RemoteAS: 65003}}
		})
		g.rib.SetInterface("Ethernet1", 7, true, []netip.Prefix{pfx(subnet)})
		for i, a := range []string{near, other} {
			g.sp.o.Events([]Event{&StateEvent{Peer: ip(a), Up: true, RemoteAS: uint32(65002 + i), External: true, RouterID: ip("1.1.1.1"), Local: ip(local), Session: uint64(i + 1),
				Families: both, Graceful: &Graceful{Time: time.Minute, Families: both, Kept: both}}})
			g.sp.o.Events([]Event{&PathEvent{Peer: ip(a), Session: uint64(i + 1), Prefixes: []netip.Prefix{pfx(prefix)}, Attributes: &Attributes{NextHop: ip(a),
				ASPath: []Segment{{ASSequence, []uint32{uint32(65002 + i)}}}}}})
		}
		want := func(via string) {
			t.Helper()
			if r, _ := g.rib.Get(pfx(prefix)); len(r.Paths) != 1 || r.Paths[0].Via != ip(via) {
				t.Errorf("%s is %+v, want it via %s", prefix, r, via)
			}
		}
		want(near)
		g.rib.SetInterface("Ethernet1", 7, false, nil) // its next hop is behind the default route now
		want(other)
		g.sp.o.Events([]Event{&StateEvent{Peer: ip(near), Reason: "Interface flap", Lost: true}})
		want(other)
		if len(g.stale) != 0 {
			t.Error("its paths are kept")
		}
	}
}

func TestAnotherASAtTheAddressKeepsNothing(t *testing.T) {
	g := newGraceful(t, func(c *Config) {
		c.Neighbors, c.Listen = nil, []Listen{{Range: pfx("10.1.1.0/24"), Template: Neighbor{Families: both}}}
	})
	come := func(as uint32, session uint64) {
		g.sp.o.Events([]Event{&StateEvent{Peer: ip("10.1.1.1"), Up: true, RemoteAS: as, External: true, Dynamic: true, RouterID: ip("1.1.1.1"), Local: ip("10.1.1.100"),
			Session: session, Families: both, Graceful: &Graceful{Time: time.Minute, Families: both, Kept: both}}})
	}
	come(65002, 1)
	g.sp.o.Events([]Event{&PathEvent{Peer: ip("10.1.1.1"), Session: 1, Prefixes: []netip.Prefix{pfx("192.0.2.0/24")}, Attributes: &Attributes{NextHop: ip("10.1.1.1")}}})
	g.lost()
	if len(g.stale) != 1 {
		t.Fatal("nothing is kept")
	}
	come(65003, 2)
	if len(g.stale) != 0 || g.Summary().Paths != 0 {
		t.Error("the paths of another AS are kept")
	}
}
