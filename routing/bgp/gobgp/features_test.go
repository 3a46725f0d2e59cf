//go:build linux

package gobgp

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"felloe/routing/bgp"
	"felloe/routing/rib"
)

// spokes are the neighbours .2 and .3 of a hub.
func spokes(as2, as3 uint32, change ...func(*bgp.Neighbor)) func(*bgp.Config) {
	return with(neighbor("10.10.10.2", as2, change...), neighbor("10.10.10.3", as3, change...))
}

func hubOf(as uint32, change ...func(*bgp.Neighbor)) func(*bgp.Config) {
	return with(neighbor("10.10.10.1", as, change...))
}

func TestASpokeSeesTheOtherSpokesPrefix(t *testing.T) {
	type side = func(*bgp.Config)
	dynamic := func(as uint32, change ...func(*bgp.Neighbor)) side {
		return func(c *bgp.Config) {
			n := neighbor("10.10.10.0", as, change...)
			n.Address = netip.Addr{}
			c.Listen = []bgp.Listen{{Range: pfx("10.10.10.0/24"), Template: n}}
		}
	}
	allow := func(n *bgp.Neighbor) { n.AllowASIn = 1 }
	override := func(n *bgp.Neighbor) { n.ASOverride = true }
	reflect := func(n *bgp.Neighbor) { n.RouteReflectorClient = true }
	self := func(n *bgp.Neighbor) { n.NextHopSelfAll = true }
	selfExternal := func(n *bgp.Neighbor) { n.NextHopSelf = true }
	unchanged := func(n *bgp.Neighbor) { n.NextHopUnchanged = true }
	for _, c := range []struct {
		name             string
		hub, two, three  uint32
		hubSide, spokeIs side
		want             string // the route to spoke 2's prefix at spoke 3
		path             string
	}{
		{"eBGP, an AS each", 65010, 65011, 65012, spokes(65011, 65012), hubOf(65010), "bgp 10.10.10.1 Tunnel0", "65010 65011"},
		{"eBGP, one AS, allowas-in", 65010, 65011, 65011, spokes(65011, 65011), hubOf(65010, allow), "bgp 10.10.10.1 Tunnel0", "65010 65011"},
		{"eBGP, one AS, as-override", 65010, 65011, 65011, spokes(65011, 65011, override), hubOf(65010), "bgp 10.10.10.1 Tunnel0", "65010 65010"},
		{"eBGP, one AS, dynamic, allowas-in", 65010, 65011, 65011, dynamic(65011), hubOf(65010, allow), "bgp 10.10.10.1 Tunnel0", "65010 65011"},
		{"eBGP, an AS each, dynamic", 65010, 65011, 65012, dynamic(0), hubOf(65010), "bgp 10.10.10.1 Tunnel0", "65010 65011"},
		{"eBGP, next hop unchanged (phase 2)", 65010, 65011, 65012, spokes(65011, 65012, unchanged), hubOf(65010), "bgp 10.10.10.2 Tunnel0", "65010 65011"},
		{"eBGP, dynamic, next hop unchanged", 65010, 65011, 65012, dynamic(0, unchanged), hubOf(65010), "bgp 10.10.10.2 Tunnel0", "65010 65011"},
		{"iBGP, route reflector", 65010, 65010, 65010, spokes(65010, 65010, reflect), hubOf(65010), "bgp 10.10.10.2 Tunnel0", ""},
		{"iBGP, route reflector, dynamic", 65010, 65010, 65010, dynamic(65010, reflect), hubOf(65010), "bgp 10.10.10.2 Tunnel0", ""},
		{"iBGP, next-hop-self of external routes only", 65010, 65010, 65010, spokes(65010, 65010, reflect, selfExternal), hubOf(65010), "bgp 10.10.10.2 Tunnel0", ""},
		{"iBGP, next-hop-self all", 65010, 65010, 65010, spokes(65010, 65010, reflect, self), hubOf(65010), "bgp 10.10.10.1 Tunnel0", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBus(t)
			hub := newRouter(t, b, 1, c.hub, c.hubSide)
			newRouter(t, b, 2, c.two, c.spokeIs)
			spoke := newRouter(t, b, 3, c.three, c.spokeIs)
			eventually(t, "the route is "+c.want, func() bool { return spoke.route("192.168.2.2/32") == c.want })
			spoke.on(func() {
				e, _ := spoke.bgp.Prefix(pfx("192.168.2.2/32"))
				if got := e.Paths[0].PathString(); got != c.path {
					t.Errorf("the AS path is %q, want %q", got, c.path)
				}
			})
			if p := hub.peer("10.10.10.2"); p.RemoteAS != c.two || p.Dynamic != (len(hub.cfg.Listen) > 0) {
				t.Errorf("the hub shows %+v", p)
			}
		})
	}
}

func TestOneASWithoutAllowasInStaysApart(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	newRouter(t, b, 1, 65010, spokes(65011, 65011))
	newRouter(t, b, 2, 65011, hubOf(65010))
	spoke := newRouter(t, b, 3, 65011, hubOf(65010))
	eventually(t, "the hub's prefix is there", func() bool { return spoke.route("192.168.1.1/32") != "" })
	eventually(t, "the other spoke's path was seen and refused", func() bool {
		return spoke.log.lines("our AS is in the AS_PATH") == 1
	})
	if r := spoke.route("192.168.2.2/32"); r != "" {
		t.Errorf("the route is %q", r)
	}
}

func TestDynamicNeighboursAreLimitedAndForgotten(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, func(c *bgp.Config) {
		n := neighbor("10.10.10.0", 0)
		n.Address, n.Group = netip.Addr{}, "SPOKES"
		c.Listen = []bgp.Listen{{Range: pfx("10.10.10.0/24"), Limit: 1, Template: n}}
	})
	two := newRouter(t, b, 2, 65011, hubOf(65010))
	eventually(t, "the first is up", func() bool { return hub.up("10.10.10.2") })
	three := newRouter(t, b, 3, 65012, hubOf(65010))
	eventually(t, "the second is refused", func() bool {
		return hub.log.lines("the limit of 1 dynamic neighbors in 10.10.10.0/24 is reached") == 1
	})
	hub.on(func() {
		if s := hub.bgp.Summary(); s.Dynamic != 1 || s.Limit != 1 || len(s.Neighbors) != 1 || !s.Neighbors[0].Dynamic {
			t.Errorf("the summary is %+v", s)
		}
	})
	two.stop()
	eventually(t, "the first is forgotten and the second let in", func() bool {
		return !hub.peer("10.10.10.2").Address.IsValid() && hub.up("10.10.10.3") && three.up("10.10.10.1")
	})
}

func TestAGroupThatIsShutDownEndsTheSessionsOfItsDynamicNeighbours(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	n := neighbor("10.10.10.0", 0)
	n.Address = netip.Addr{}
	hub := newRouter(t, b, 1, 65010, func(c *bgp.Config) { c.Listen = []bgp.Listen{{Range: pfx("10.10.10.0/24"), Template: n}} })
	spoke := newRouter(t, b, 2, 65011, hubOf(65010))
	eventually(t, "the session is up", func() bool { return hub.up("10.10.10.2") && spoke.up("10.10.10.1") })
	hub.apply(func(c *bgp.Config) { c.Listen[0].Template.Shutdown = true })
	eventually(t, "the session is down", func() bool { return !hub.peer("10.10.10.2").Address.IsValid() && !spoke.up("10.10.10.1") })
	eventually(t, "it is refused", func() bool { return hub.log.lines("the peer group is shut down") == 1 })
	hub.apply(func(c *bgp.Config) { c.Listen[0].Template.Shutdown = false })
	eventually(t, "the session is back", func() bool { return hub.up("10.10.10.2") })
}

func TestDynamicNeighboursMustBeAdmitted(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, nil)
	hub.stop()
	hub.o.Admit = func(a netip.Addr) error {
		if a == ip("10.10.10.2") {
			return nil
		}
		return errors.New("no identity is bound to it")
	}
	n := neighbor("10.10.10.0", 0)
	n.Address = netip.Addr{}
	hub.cfg.Listen = []bgp.Listen{{Range: pfx("10.10.10.0/24"), Template: n}}
	hub.start(hubLog(hub))
	newRouter(t, b, 2, 65011, hubOf(65010))
	newRouter(t, b, 3, 65012, hubOf(65010))
	eventually(t, "one is up and the other refused", func() bool {
		return hub.up("10.10.10.2") && hub.log.lines("connection from 10.10.10.3 refused: no identity is bound to it") == 1
	})
}

func TestPathsWithAnUnreachableNextHopAreNotInstalledAndNotAdvertised(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	// Spoke 2 tells the hub a prefix with its own next hop; the hub reflects it to spoke 3, whose subnet it is on too.
	hub := newRouter(t, b, 1, 65010, spokes(65010, 65010, func(n *bgp.Neighbor) { n.RouteReflectorClient = true }))
	newRouter(t, b, 2, 65010, hubOf(65010))
	three := newRouter(t, b, 3, 65010, hubOf(65010))
	eventually(t, "the path is everywhere", func() bool { return three.route("192.168.2.2/32") != "" })
	// The hub loses the way to the next hop, but not its sessions (a discard route is a way; one for ourselves is none).
	hub.on(func() { hub.rib.SetInterface("Loopback9", 9, true, []netip.Prefix{pfx("10.10.10.2/32")}) })
	eventually(t, "the hub does not use it", func() bool { return hub.route("192.168.2.2/32") == "" })
	eventually(t, "the hub does not advertise it", func() bool { return three.route("192.168.2.2/32") == "" })
	hub.on(func() {
		if e, ok := hub.bgp.Prefix(pfx("192.168.2.2/32")); !ok || e.Paths[0].Valid || e.Paths[0].Best {
			t.Errorf("the hub's table is %+v", e)
		}
		hub.rib.RemoveInterface("Loopback9")
	})
	eventually(t, "the path is everywhere again", func() bool {
		return hub.route("192.168.2.2/32") != "" && three.route("192.168.2.2/32") != ""
	})
}

func TestIPv6Unicast(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	six := func(a string, as uint32) func(*bgp.Config) {
		return func(c *bgp.Config) {
			c.Neighbors = []bgp.Neighbor{neighbor(a, as)}
			c.Redistribute = []bgp.Redistribution{{Source: rib.Connected}}
		}
	}
	hub := newRouter(t, b, 1, 65010, six("fd00::2", 65011))
	newRouter(t, b, 2, 65011, six("fd00::1", 65010))
	eventually(t, "the prefix is there", func() bool { return hub.route("fd00:2::/64") == "bgp fd00::2 Tunnel0" })
	hub.on(func() {
		e, _ := hub.bgp.Prefix(pfx("fd00:2::/64"))
		if e.Paths[0].Origin != bgp.OriginIncomplete {
			t.Error("what is redistributed has the origin incomplete")
		}
		if e, _ := hub.bgp.Prefix(pfx("fd00::/64")); len(e.Paths) == 2 {
			for _, p := range e.Paths {
				if p.Best != p.Local {
					t.Error("our own path must be best")
				}
			}
		}
	})
}

func TestMaximumPrefixClosesTheSessionUntilItIsCleared(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, spokes(65011, 65012, func(n *bgp.Neighbor) { n.MaximumPrefix.Limit = 2 }))
	spoke := newRouter(t, b, 2, 65011, hubOf(65010))
	eventually(t, "the session is up", func() bool { return hub.route("192.168.2.2/32") != "" })
	spoke.on(func() {
		spoke.rib.SetInterface("Loopback11", 11, true, []netip.Prefix{pfx("192.168.101.1/24")})
		spoke.rib.SetInterface("Loopback12", 12, true, []netip.Prefix{pfx("192.168.102.1/24")})
	})
	spoke.apply(func(c *bgp.Config) { c.Networks = append(c.Networks, pfx("192.168.101.0/24")) })
	eventually(t, "two prefixes are accepted", func() bool { return hub.route("192.168.101.0/24") != "" })
	spoke.apply(func(c *bgp.Config) { c.Networks = append(c.Networks, pfx("192.168.102.0/24")) })
	eventually(t, "a third closes the session", func() bool {
		return hub.peer("10.10.10.2").Why == "PfxCt" && hub.route("192.168.2.2/32") == ""
	})
	if hub.log.lines("6/1 (maximum number of prefixes reached): 3 prefixes, the limit is 2") == 0 {
		t.Error("the log does not say so")
	}
	spoke.apply(func(c *bgp.Config) { c.Networks = c.Networks[:2] })
	hub.on(func() { _ = hub.bgp.Clear(netip.Addr{}, bgp.ClearHard) })
	eventually(t, "it is up again", func() bool { return hub.up("10.10.10.2") })
}

func TestClearSoftAsksAgainWithoutAReset(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011)))
	spoke := newRouter(t, b, 2, 65011, hubOf(65010))
	eventually(t, "the session is up", func() bool { return hub.route("192.168.2.2/32") != "" && spoke.up("10.10.10.1") })
	before := hub.peer("10.10.10.2").Received.Updates
	hub.on(func() { _ = hub.bgp.Clear(ip("10.10.10.2"), bgp.ClearSoftIn) })
	eventually(t, "the peer has said it again", func() bool { return hub.peer("10.10.10.2").Received.Updates > before })
	if p := spoke.peer("10.10.10.1"); p.Received.Refreshes != 1 || p.Dropped != 0 {
		t.Errorf("the spoke shows %+v", p)
	}
	before = hub.peer("10.10.10.2").Sent.Updates
	hub.on(func() { _ = hub.bgp.Clear(netip.Addr{}, bgp.ClearSoftOut) })
	eventually(t, "we have said it again", func() bool { return hub.peer("10.10.10.2").Sent.Updates > before })
}

func TestPasswordsMustMatch(t *testing.T) {
	t.Parallel()
	password := func(s string) func(*bgp.Neighbor) { return func(n *bgp.Neighbor) { n.Password = s } }
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011, password("CISCO123")), neighbor("10.10.10.3", 65012, password("CISCO123"))))
	newRouter(t, b, 2, 65011, hubOf(65010, password("CISCO123")))
	wrong := newRouter(t, b, 3, 65012, hubOf(65010, password("cisco123")))
	eventually(t, "the right one is up", func() bool { return hub.route("192.168.2.2/32") != "" })
	eventually(t, "the wrong one is dropped", func() bool { return hub.md5.Counters().Bad > 0 && wrong.md5.Counters().Bad > 0 })
	if hub.up("10.10.10.3") || !hub.peer("10.10.10.2").Signed {
		t.Error("the wrong password did")
	}
	wrong.apply(func(c *bgp.Config) { c.Neighbors[0].Password = "CISCO123" })
	eventually(t, "the corrected one is up", func() bool { return hub.route("192.168.3.3/32") != "" })
	wrong.apply(func(c *bgp.Config) { c.Neighbors[0].Password = "" })
	eventually(t, "one without a password is dropped", func() bool { return hub.md5.Counters().Missing > 0 })
}

func TestAnExternalPeerMustBeOnOurSubnet(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011)))
	newRouter(t, b, 2, 65011, hubOf(65010))
	eventually(t, "the session is up", func() bool { return hub.up("10.10.10.2") })
	hub.on(func() { hub.rib.SetInterface("Tunnel0", 2, false, nil) })
	eventually(t, "the session goes with the interface", func() bool { return hub.peer("10.10.10.2").Why == "not connected" })
	if hub.log.lines("neighbor 10.10.10.2 Down Interface flap") != 1 {
		t.Error("the log does not say so")
	}
	hub.apply(func(c *bgp.Config) { c.Neighbors[0].EBGPMultihop = 2 })
	eventually(t, "multihop does without the subnet", func() bool { return hub.up("10.10.10.2") })
	hub.on(func() { hub.rib.SetInterface("Tunnel0", 2, true, []netip.Prefix{pfx("10.10.10.1/24")}) })
	hub.apply(func(c *bgp.Config) { c.Neighbors[0].EBGPMultihop, c.Neighbors[0].TTLSecurity = 0, 1 })
	// The spoke sends with TTL 1, as external peers do.
	eventually(t, "TTL security drops what it sends", func() bool { return hub.md5.Counters().LowTTL > 0 })
}

func TestManyRoutersShareAProcess(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	template := neighbor("10.10.10.0", 0)
	template.Address = netip.Addr{}
	hub := newRouter(t, b, 1, 65000, func(c *bgp.Config) {
		c.Listen = []bgp.Listen{{Range: pfx("10.10.10.0/24"), Template: template}}
	})
	var last *router
	for i := 2; i <= 21; i++ {
		last = newRouter(t, b, i, 65000+uint32(i), hubOf(65000))
	}
	eventually(t, "all have all prefixes", func() bool {
		s := 0
		hub.on(func() { s = hub.bgp.Summary().Prefixes })
		n := 0
		last.on(func() { n = last.bgp.Summary().Prefixes })
		return s == 21 && n == 21
	})
}

func TestAThousandPrefixesArriveAndGo(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011)))
	spoke := newRouter(t, b, 2, 65011, hubOf(65010))
	prefix := func(i int) netip.Prefix { return pfx(fmt.Sprintf("100.%d.%d.0/24", i/250, i%250)) }
	count := func() (n int) {
		hub.on(func() { n = hub.rib.Len() })
		return
	}
	eventually(t, "the session is up", func() bool { return hub.up("10.10.10.2") })
	base := count()
	spoke.on(func() {
		for i := range 1000 {
			spoke.rib.Update(rib.Static, "config", prefix(i), []rib.Path{{Source: rib.Static, Discard: true}})
		}
	})
	began := time.Now()
	spoke.apply(func(c *bgp.Config) { c.Redistribute = []bgp.Redistribution{{Source: rib.Static}} })
	eventually(t, "all are there", func() bool { return count() >= base+1000 })
	t.Logf("1,000 prefixes took %v", time.Since(began))
	spoke.on(func() {
		for i := range 1000 {
			spoke.rib.Withdraw(rib.Static, "config", prefix(i))
		}
	})
	eventually(t, "all are gone", func() bool { return count() <= base+1 })
}
