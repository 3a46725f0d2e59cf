//go:build linux

package gobgp

import (
	"net/netip"
	"testing"

	"felloe/routing/bgp"
	"felloe/routing/rib"
)

func TestTwoRoutersExchangePrefixes(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011)))
	spoke := newRouter(t, b, 2, 65011, with(neighbor("10.10.10.1", 65010)))
	eventually(t, "both have the other's prefix", func() bool {
		return hub.route("192.168.2.2/32") == "bgp 10.10.10.2 Tunnel0" && spoke.route("192.168.1.1/32") == "bgp 10.10.10.1 Tunnel0"
	})
	if n := hub.log.lines("%BGP-5-ADJCHANGE: neighbor 10.10.10.2 Up"); n != 1 {
		t.Errorf("the log says Up %d times", n)
	}
	p := hub.peer("10.10.10.2")
	if p.RemoteAS != 65011 || p.RouterID != ip("10.10.10.2") || p.Prefixes != 1 || !p.External || p.Received.Opens != 1 || p.Sent.Updates == 0 {
		t.Errorf("the hub shows %+v", p)
	}
	hub.on(func() {
		table := hub.bgp.Table(bgp.IPv4)
		if len(table) != 2 || table[1].Paths[0].Flags() != "*> " || table[1].Paths[0].PathString() != "65011" ||
			table[0].Paths[0].Weight != 32768 || hub.bgp.Summary().Paths != 2 {
			t.Errorf("the table is %+v", table)
		}
	})
	// The route of the network statement goes, and comes again.
	spoke.on(func() { spoke.rib.SetInterface("Loopback10", 3, false, nil) })
	eventually(t, "the prefix is withdrawn", func() bool { return hub.route("192.168.2.2/32") == "" })
	spoke.on(func() { spoke.rib.SetInterface("Loopback10", 3, true, []netip.Prefix{pfx("192.168.2.2/24")}) })
	eventually(t, "the prefix is back", func() bool { return hub.route("192.168.2.2/32") != "" })
	// The spoke's session goes down in order.
	spoke.stop()
	eventually(t, "the prefix goes with the session", func() bool { return hub.route("192.168.2.2/32") == "" })
	if n := hub.log.lines("%BGP-5-ADJCHANGE: neighbor 10.10.10.2 Down BGP Notification received: 6/2 (administrative shutdown)"); n != 1 {
		t.Errorf("the log does not say why the session went down")
	}
}

func TestASessionComesBackAfterEachReset(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011)))
	spoke := newRouter(t, b, 2, 65011, with(neighbor("10.10.10.1", 65010)))
	for i := range uint64(3) {
		eventually(t, "the session is up", func() bool {
			return hub.up("10.10.10.2") && spoke.up("10.10.10.1") && hub.route("192.168.2.2/32") != ""
		})
		if p := hub.peer("10.10.10.2"); p.Established != i+1 {
			t.Fatalf("the session came up %d times, not %d", p.Established, i+1)
		}
		r, peer := hub, "10.10.10.2"
		if i == 1 {
			r, peer = spoke, "10.10.10.1"
		}
		r.on(func() {
			if err := r.bgp.Clear(ip(peer), bgp.ClearHard); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "the session is down", func() bool { return hub.route("192.168.2.2/32") == "" })
	}
	if err := hub.bgp.Clear(ip("10.10.10.77"), bgp.ClearHard); err == nil {
		t.Error("an unknown neighbour was cleared")
	}
}

func TestARestartedRouterIsTakenBack(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, func(c *bgp.Config) {
		c.Neighbors = []bgp.Neighbor{neighbor("10.10.10.2", 65011, func(n *bgp.Neighbor) { n.Passive = true; n.Timers = bgp.Timers{} })}
	})
	spoke := newRouter(t, b, 2, 65011, with(neighbor("10.10.10.1", 65010)))
	eventually(t, "the session is up", func() bool { return hub.up("10.10.10.2") })
	// The spoke vanishes without a word, and another one with its address appears. The hub's hold time is 3 minutes.
	b.setCut("10.10.10.2", true)
	spoke.stop()
	again := newRouter(t, b, 2, 65011, with(neighbor("10.10.10.1", 65010)))
	b.setCut("10.10.10.2", false)
	eventually(t, "the new session is up", func() bool { return again.up("10.10.10.1") && hub.peer("10.10.10.2").Established == 2 })
}

func TestACollisionLeavesOneSession(t *testing.T) {
	t.Parallel()
	for range 3 {
		b := newBus(t)
		// Both dial at once: neither hears the other until both have sent their SYN.
		b.setCut("10.10.10.2", true)
		x := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011)))
		y := newRouter(t, b, 2, 65011, with(neighbor("10.10.10.1", 65010)))
		b.setCut("10.10.10.2", false)
		eventually(t, "the session is up", func() bool { return x.up("10.10.10.2") && y.up("10.10.10.1") })
		if p := x.peer("10.10.10.2"); p.Established != 1 || p.Dropped != 0 {
			t.Errorf("it came up %d times and went down %d times", p.Established, p.Dropped)
		}
	}
}

func TestAWrongASIsSaidOnceAndHealsWithTheConfiguration(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65099)))
	spoke := newRouter(t, b, 2, 65011, with(neighbor("10.10.10.1", 65010)))
	eventually(t, "the hub shows what is wrong", func() bool { return hub.peer("10.10.10.2").Why == "wrong AS" })
	for name, p := range map[string]func() bgp.NeighborInfo{"hub": func() bgp.NeighborInfo { return hub.peer("10.10.10.2") }, "spoke": func() bgp.NeighborInfo { return spoke.peer("10.10.10.1") }} {
		eventually(t, "the "+name+" is idle between two tries", func() bool { b := p(); return b.State == bgp.Idle && b.Why == "wrong AS" })
	}
	eventually(t, "it was tried again", func() bool { return hub.peer("10.10.10.2").Received.Opens >= 2 })
	line := "%BGP-3-NOTIFICATION: sent to neighbor 10.10.10.2 2/2 (peer in wrong AS): it is in AS 65011, configured is AS 65099"
	if n := hub.log.lines(line); n != 1 {
		t.Errorf("the hub says so %d times", n)
	}
	if n := spoke.log.lines("%BGP-3-NOTIFICATION"); n != 1 {
		t.Errorf("the spoke says so %d times", n)
	}
	hub.apply(func(c *bgp.Config) { c.Neighbors[0].RemoteAS = 65011 })
	eventually(t, "the session is up", func() bool { return hub.up("10.10.10.2") && hub.peer("10.10.10.2").Why == "" })
}

func TestApplyLeavesUnchangedNeighboursAlone(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011), neighbor("10.10.10.3", 65012)))
	newRouter(t, b, 2, 65011, with(neighbor("10.10.10.1", 65010)))
	newRouter(t, b, 3, 65012, with(neighbor("10.10.10.1", 65010)))
	eventually(t, "both sessions are up", func() bool { return hub.up("10.10.10.2") && hub.up("10.10.10.3") })
	hub.apply(func(c *bgp.Config) {
		c.Neighbors = []bgp.Neighbor{neighbor("10.10.10.2", 65011, func(n *bgp.Neighbor) { n.Description = "Spoke1"; n.NextHopUnchanged = true })}
		c.Redistribute = []bgp.Redistribution{{Source: rib.Connected}}
	})
	eventually(t, "the other neighbour is gone", func() bool { return !hub.peer("10.10.10.3").Address.IsValid() && hub.route("192.168.3.3/32") == "" })
	if p := hub.peer("10.10.10.2"); p.Established != 1 || p.Dropped != 0 || p.Description != "Spoke1" {
		t.Errorf("the unchanged neighbour was touched: %+v", p)
	}
	hub.apply(func(c *bgp.Config) { c.Neighbors[0].Shutdown = true })
	eventually(t, "the neighbour is shut down", func() bool { return hub.peer("10.10.10.2").Why == "Admin" })
	hub.apply(func(c *bgp.Config) { c.Neighbors[0].Shutdown = false })
	eventually(t, "the neighbour is back", func() bool { return hub.up("10.10.10.2") })
}
