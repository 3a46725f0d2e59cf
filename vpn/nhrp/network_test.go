package nhrp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"felloe/vpn/nhrp/message"
)

// twoHubs is hub1 with spoke 2 and hub2 with spoke 3; the hubs know each other by static maps.
func twoHubs(t *testing.T) (c *cloud, h1, h2, s2, s3 *router) {
	c = newCloud(t)
	for i, n := range []int{1, 4} {
		h := c.add(fmt.Sprintf("hub%d", i+1))
		other := 5 - n
		near, far := 2+i, 3-i
		h.routes = []route{{prefix: net("10.10.10.0/24"), ifname: "Tunnel0"},
			{prefix: lan(near), via: ip(fmt.Sprintf("10.10.10.%d", near)), ifname: "Tunnel0"},
			{prefix: lan(far), via: ip(fmt.Sprintf("10.10.10.%d", other)), ifname: "Tunnel0"},
			{prefix: net(fmt.Sprintf("10.10.10.%d/32", far)), via: ip(fmt.Sprintf("10.10.10.%d", other)), ifname: "Tunnel0"}}
		cfg := hubConfig()
		cfg.Addresses = []netip.Addr{ip(fmt.Sprintf("10.10.10.%d", n))}
		cfg.NBMA = ip(fmt.Sprintf("172.16.%d.%d", n, n))
		cfg.Maps = []Map{{Address: ip(fmt.Sprintf("10.10.10.%d", other)), NBMA: ip(fmt.Sprintf("172.16.%d.%d", other, other))}}
		h.apply(cfg)
	}
	s2, s3 = c.spoke(2, 3), c.spoke(3, 2)
	cfg := spokeConfig(3)
	cfg.NHS[0] = NHS{Address: ip("10.10.10.4"), NBMA: ip("172.16.4.4")}
	s3.apply(cfg)
	for i := range s3.routes {
		if s3.routes[i].via == ip("10.10.10.1") {
			s3.routes[i].via = ip("10.10.10.4")
		}
	}
	return c, c.routers["hub1"], c.routers["hub2"], s2, s3
}

func TestAResolutionTravelsHopByHopThroughTwoHubsAndIsAnsweredDirectly(t *testing.T) {
	c, h1, h2, s2, s3 := twoHubs(t)
	c.run(3 * time.Second)
	var requests, replies []string
	c.trace = func(from, to *router, p *message.Packet) {
		switch p.Type {
		case message.ResolutionRequest:
			requests = append(requests, fmt.Sprintf("%s>%s:%d", from.name, to.name, p.HopCount))
			if to == s2 {
				x := p.Extension(message.ExtForwardTransit)
				if len(x.CIEs) != 2 || x.CIEs[0].Proto != ip("10.10.10.4") || x.CIEs[1].Proto != ip("10.10.10.1") {
					t.Errorf("transit record %+v", x.CIEs)
				}
			}
		case message.ResolutionReply:
			replies = append(replies, from.name+">"+to.name)
		}
	}
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub2", "hub1", "spoke2")
	c.run(time.Second)
	if !slices.Contains(requests, "spoke3>hub2:64") || !slices.Contains(requests, "hub2>hub1:63") || !slices.Contains(requests, "hub1>spoke2:62") {
		t.Fatal(requests)
	}
	if !slices.Contains(replies, "spoke2>spoke3") {
		t.Fatal(replies)
	}
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
	want(t, "lost", h1.lost+h2.lost+s2.lost+s3.lost, 0)
}

func TestAHubWithTwoTunnelsOfOneNetworkRedirectsAndForwardsBetweenThem(t *testing.T) {
	for _, sameNetwork := range []bool{true, false} {
		c, hub, _, s3 := scenario(t)
		second := hubConfig()
		second.Tunnel, second.NBMA, second.Addresses = "Tunnel1", ip("172.16.1.9"), []netip.Addr{ip("10.10.11.1")}
		if !sameNetwork {
			second.NetworkID = 2
		}
		hub.apply(second)
		other := c.add("other")
		other.routes = []route{{prefix: net("10.10.11.0/24"), ifname: "Tunnel1"}, {prefix: lan(5), ifname: "Loopback10"},
			{prefix: lan(3), via: ip("10.10.11.1"), ifname: "Tunnel1"}, {prefix: net("10.10.10.0/24"), via: ip("10.10.11.1"), ifname: "Tunnel1"}}
		cfg := spokeConfig(5)
		cfg.Tunnel, cfg.Addresses, cfg.NetworkID = "Tunnel1", []netip.Addr{ip("10.10.11.5")}, second.NetworkID
		cfg.NHS = []NHS{{Address: ip("10.10.11.1"), NBMA: ip("172.16.1.9")}}
		other.apply(cfg)
		hub.routes = append(hub.routes, route{prefix: net("10.10.11.0/24"), ifname: "Tunnel1"}, route{prefix: lan(5), via: ip("10.10.11.5"), ifname: "Tunnel1"})
		s3.routes = append(s3.routes, route{prefix: lan(5), via: ip("10.10.10.1"), ifname: "Tunnel0"})
		c.run(time.Second)
		wantPath(t, c.ping(s3, hostOf(3), hostOf(5)), "spoke3", "hub", "other")
		want(t, "redirects", hub.saw(EventRedirectSent), map[bool]int{true: 1, false: 0}[sameNetwork])
		c.run(100 * time.Millisecond)
		want(t, "forwarded", hub.engine.Snapshot()[0].Traffic.Forwarded+hub.engine.Snapshot()[1].Traffic.Forwarded > 0, sameNetwork)
	}
}

func TestARequestThatComesBackIsALoopAndAnError(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	var errors []message.ErrorCode
	c.trace = func(_, _ *router, p *message.Packet) {
		if p.Type == message.ErrorIndication {
			errors = append(errors, p.ErrorCode)
		}
	}
	p := everyType("10.10.10.2", hostOf(3))[message.ResolutionRequest-1]
	p.Extension(message.ExtForwardTransit).CIEs = []message.CIE{{NBMA: ip("172.16.1.1"), Proto: ip("10.10.10.1")}, {NBMA: ip("172.16.2.2"), Proto: ip("10.10.10.2")}}
	p.SetAuthentication(auth)
	c.inject(hub, hub.sessionTo(s2).ID, p)
	want(t, "loop events", hub.saw(EventLoop), 1)

	p = everyType("10.10.10.2", hostOf(3))[message.ResolutionRequest-1]
	p.HopCount = 1
	p.SetAuthentication(auth)
	c.inject(hub, hub.sessionTo(s2).ID, p)
	if !slices.Equal(errors, []message.ErrorCode{message.ErrorLoop, message.ErrorHopCount}) {
		t.Fatal(errors)
	}
	_ = s3
}

func TestRoutersThatPointAtEachOtherEndTheRequestInsteadOfCirclingIt(t *testing.T) {
	c, h1, h2, _, s3 := twoHubs(t)
	// Each hub believes that the other has the network.
	h1.routes = append(h1.routes, route{prefix: lan(7), via: ip("10.10.10.4"), ifname: "Tunnel0"})
	h2.routes = append(h2.routes, route{prefix: lan(7), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	s3.routes = append(s3.routes, route{prefix: lan(7), via: ip("10.10.10.4"), ifname: "Tunnel0"})
	c.run(3 * time.Second)
	requests := 0
	c.trace = func(_, _ *router, p *message.Packet) {
		if p.Type == message.ResolutionRequest {
			requests++
		}
	}
	s3.engine.tunnels["Tunnel0"].resolve(c.now, ip(hostOf(7)), "test", nil)
	c.run(time.Minute)
	if requests > 15 {
		t.Fatalf("%d requests", requests)
	}
	want(t, "negative", s3.engine.tunnels["Tunnel0"].covering(ip(hostOf(7))) != nil || len(s3.engine.tunnels["Tunnel0"].pending) == 0, true)
}

func TestADiscardRouteAndNoRouteAreAnsweredNo(t *testing.T) {
	for _, discard := range []bool{true, false} {
		c, hub, _, s3 := scenario(t)
		hub.routes = slices.DeleteFunc(hub.routes, func(r route) bool { return r.prefix == lan(2) || r.prefix.Bits() == 0 })
		if discard {
			hub.routes = append(hub.routes, route{prefix: lan(2), drop: true})
		}
		c.run(time.Second)
		s3.engine.tunnels["Tunnel0"].resolve(c.now, ip(hostOf(2)), "test", nil)
		c.run(time.Second)
		want(t, "refused", s3.saw(EventResolutionRefused), 1)
		want(t, "negative", s3.engine.tunnels["Tunnel0"].covering(ip(hostOf(2))).kind, KindNegative)
		want(t, "shortcuts", len(s3.shortcuts), 0)
		c.run(2 * time.Minute)
		if en := s3.engine.tunnels["Tunnel0"].covering(ip(hostOf(2))); en != nil {
			t.Fatal("a negative entry must end")
		}
	}
}

func TestAnAnswerNeverCoversAnNBMAOrServerAddress(t *testing.T) {
	c, _, s2, s3 := scenario(t)
	// Spoke 2 is the way out to everything: its default route covers the underlay and the tunnel.
	s2.routes = slices.DeleteFunc(s2.routes, func(r route) bool { return r.prefix.Bits() == 0 })
	s2.routes = append(s2.routes, route{prefix: net("0.0.0.0/0"), via: ip("192.168.22.254"), ifname: "Loopback10"})
	s3.routes = append(s3.routes, route{prefix: net("172.0.0.0/8"), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	hub := c.routers["hub"]
	hub.routes = append(hub.routes, route{prefix: net("172.0.0.0/8"), via: ip("10.10.10.2"), ifname: "Tunnel0"})
	c.run(time.Second)
	c.ping(s3, hostOf(3), "172.20.1.1")
	c.run(time.Second)
	if len(s3.shortcuts) != 1 {
		t.Fatal(s3.shortcuts, s3.eventWords())
	}
	for p := range s3.shortcuts {
		for _, a := range []string{"172.16.1.1", "172.16.2.2", "172.16.3.3", "10.10.10.1", "10.10.10.2"} {
			if p.Contains(ip(a)) {
				t.Fatalf("%s covers %s", p, a)
			}
		}
		if !p.Contains(ip("172.20.1.1")) || p.Bits() > 16 {
			t.Fatal(p)
		}
	}
}

func TestTwoSpokesBehindOneNATAreTwoEntries(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	_ = s2
	for _, n := range []int{5, 6} {
		r := c.spoke(n, 2, 3)
		r.public = ip("203.0.113.1")
		hub.routes = append(hub.routes, route{prefix: lan(n), via: ip(fmt.Sprintf("10.10.10.%d", n)), ifname: "Tunnel0"})
		s3.routes = append(s3.routes, route{prefix: lan(n), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	}
	s5, s6 := c.routers["spoke5"], c.routers["spoke6"]
	s5.routes = append(s5.routes, route{prefix: lan(6), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	s6.routes = append(s6.routes, route{prefix: lan(5), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	c.run(time.Second)
	i := hub.engine.Snapshot()[0]
	natted := 0
	for _, p := range i.Peers {
		if p.NBMA == ip("203.0.113.1") {
			natted++
			want(t, "N", slices.Contains(p.Attrs, "N"), true)
			want(t, "entries of its session", p.Entries, 1)
		}
	}
	want(t, "natted peers", natted, 2)
	want(t, "a spoke knows that it is behind a NAT", s5.engine.Snapshot()[0].NHS[0].NAT, ip("203.0.113.1"))
	wantPath(t, c.ping(s3, hostOf(3), hostOf(5)), "spoke3", "hub", "spoke5")
	wantPath(t, c.ping(s3, hostOf(3), hostOf(6)), "spoke3", "hub", "spoke6")
	c.run(2 * time.Second)
	// Each opened its own session to the spoke outside, who told them apart.
	wantPath(t, c.ping(s3, hostOf(3), hostOf(5)), "spoke3", "spoke5")
	wantPath(t, c.ping(s3, hostOf(3), hostOf(6)), "spoke3", "spoke6")
	// The other direction: nobody can call them, so the answer goes over the hub and they call.
	wantPath(t, c.ping(s5, hostOf(5), hostOf(2)), "spoke5", "hub", "spoke2")
	c.run(2 * time.Second)
	wantPath(t, c.ping(s5, hostOf(5), hostOf(2)), "spoke5", "spoke2")
	// Between the two: behind the same NAT their own addresses work.
	wantPath(t, c.ping(s5, hostOf(5), hostOf(6)), "spoke5", "hub", "spoke6")
	c.run(2 * time.Second)
	wantPath(t, c.ping(s5, hostOf(5), hostOf(6)), "spoke5", "spoke6")
	for range 200 {
		wantPath(t, c.ping(s3, hostOf(3), hostOf(5)), "spoke3", "spoke5")
		wantPath(t, c.ping(s3, hostOf(3), hostOf(6)), "spoke3", "spoke6")
		wantPath(t, c.ping(s5, hostOf(5), hostOf(2)), "spoke5", "spoke2")
		wantPath(t, c.ping(s5, hostOf(5), hostOf(6)), "spoke5", "spoke6")
		c.run(time.Second)
	}
}

func TestTwoTunnelsBetweenTheSameAddressesDoNotMix(t *testing.T) {
	c := newCloud(t)
	hub, spoke := c.add("hub"), c.add("spoke")
	for i, tunnel := range []string{"Tunnel0", "Tunnel1"} {
		cfg := hubConfig()
		cfg.Tunnel, cfg.NetworkID = tunnel, uint32(i+1)
		cfg.Addresses = []netip.Addr{ip(fmt.Sprintf("10.%d.0.1", i))}
		hub.apply(cfg)
		cfg = spokeConfig(2)
		cfg.Tunnel, cfg.NetworkID = tunnel, uint32(i+1)
		cfg.Addresses = []netip.Addr{ip(fmt.Sprintf("10.%d.0.2", i))}
		cfg.NHS[0].Address = ip(fmt.Sprintf("10.%d.0.1", i))
		spoke.apply(cfg)
	}
	c.run(time.Second)
	for i, info := range hub.engine.Snapshot() {
		want(t, "peers", len(info.Peers), 1)
		want(t, "address", info.Peers[0].Address, ip(fmt.Sprintf("10.%d.0.2", i)))
	}
	want(t, "sessions", len(hub.sessions), 2)
	hub.engine.Remove(c.now, "Tunnel0")
	c.run(time.Second)
	want(t, "the other one lives", len(hub.engine.Snapshot()[0].Peers), 1)
}

func TestIPv6OverIPv4AndIPv4OverIPv6(t *testing.T) {
	for _, f := range []struct{ nbma, tunnel, lan string }{
		{"172.16.%d.%d", "2001:db8:10::%d", "2001:db8:1%d%d::"},
		{"2001:db8:ff:%d::%d", "10.10.10.%d", "192.168.%d%d.0"},
		{"2001:db8:ff:%d::%d", "2001:db8:10::%d", "2001:db8:1%d%d::"},
	} {
		c := newCloud(t)
		nbma := func(n int) netip.Addr { return ip(fmt.Sprintf(f.nbma, n, n)) }
		tun := func(n int) netip.Addr { return ip(fmt.Sprintf(f.tunnel, n)) }
		bits := 24
		if tun(1).Is6() {
			bits = 64
		}
		lan := func(n int) netip.Prefix { p, _ := ip(fmt.Sprintf(f.lan, n, n)).Prefix(bits); return p }
		subnet, _ := tun(1).Prefix(bits)
		host := func(n int) string { return lan(n).Addr().Next().String() }
		for n := 1; n <= 3; n++ {
			r := c.add(fmt.Sprint("r", n))
			r.routes = []route{{prefix: subnet, ifname: "Tunnel0"}, {prefix: lan(n), ifname: "Loopback10"}}
			cfg := hubConfig()
			cfg.Addresses, cfg.NBMA = []netip.Addr{tun(n)}, nbma(n)
			if n > 1 {
				cfg.Redirect, cfg.Shortcut = false, true
				cfg.NHS = []NHS{{Address: tun(1), NBMA: nbma(1)}}
				r.routes = append(r.routes, route{prefix: lan(5 - n), via: tun(1), ifname: "Tunnel0"})
				c.routers["r1"].routes = append(c.routers["r1"].routes, route{prefix: lan(n), via: tun(n), ifname: "Tunnel0"})
			}
			r.apply(cfg)
		}
		c.run(time.Second)
		wantPath(t, c.ping(c.routers["r3"], host(3), host(2)), "r3", "r1", "r2")
		c.run(time.Second)
		wantPath(t, c.ping(c.routers["r3"], host(3), host(2)), "r3", "r2")
	}
}

func TestServersOfAClusterAreUsedByPriorityAndReplacedWhenTheyFail(t *testing.T) {
	c := newCloud(t)
	for n := 1; n <= 3; n++ {
		h := c.add(fmt.Sprint("hub", n))
		cfg := hubConfig()
		cfg.Addresses, cfg.NBMA = []netip.Addr{ip(fmt.Sprintf("10.10.10.%d", n))}, ip(fmt.Sprintf("172.16.%d.%d", n, n))
		h.apply(cfg)
	}
	spoke := c.add("spoke")
	cfg := spokeConfig(9)
	cfg.NHS = nil
	for n := 1; n <= 3; n++ {
		cfg.NHS = append(cfg.NHS, NHS{Address: ip(fmt.Sprintf("10.10.10.%d", n)), NBMA: ip(fmt.Sprintf("172.16.%d.%d", n, n)), Priority: uint8(n), Multicast: true})
	}
	cfg.MaxConnections = map[uint8]int{0: 1}
	spoke.apply(cfg)
	flags := func() (f []string) {
		for _, n := range spoke.engine.Snapshot()[0].NHS {
			f = append(f, n.Flags)
		}
		return f
	}
	c.run(time.Second)
	wantPath(t, flags(), "RE", "W", "W")
	first := c.routers["hub1"]
	first.dead = true
	c.run(time.Minute)
	wantPath(t, flags(), "E", "RE", "W")
	want(t, "multicast", len(spoke.multicast["Tunnel0"]), 2)
	first.dead = false
	first.sessions = map[SessionID]*session{}
	c.run(2 * time.Minute)
	wantPath(t, flags(), "RE", "W", "W")
	want(t, "multicast", len(spoke.multicast["Tunnel0"]), 1)
}

func TestApplyingTheSameConfigurationTouchesNothingAndAnotherOnlyWhatChanged(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	sent := 0
	c.trace = func(_, _ *router, _ *message.Packet) { sent++ }
	before := fmt.Sprint(s3.neighbours, s3.shortcuts, s3.multicast, len(s3.sessions))
	s3.apply(spokeConfig(3))
	hub.apply(hubConfig())
	want(t, "packets", sent, 0)
	want(t, "state", fmt.Sprint(s3.neighbours, s3.shortcuts, s3.multicast, len(s3.sessions)), before)

	cfg := spokeConfig(3)
	cfg.Shortcut = false
	s3.apply(cfg)
	want(t, "shortcuts", len(s3.shortcuts), 0)
	want(t, "nhs", s3.engine.Snapshot()[0].NHS[0].Flags, "RE")

	cfg.NHS = nil
	s3.apply(cfg)
	c.run(time.Second)
	want(t, "withdrawn at the hub", len(hub.engine.Snapshot()[0].Peers), 1)
	s3.apply(spokeConfig(3))
	c.run(time.Second)
	want(t, "there again", len(hub.engine.Snapshot()[0].Peers), 2)
	_ = s2
}

func TestRemovingATunnelWithdrawsClosesAndLeavesNothing(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.ping(s2, hostOf(2), hostOf(3))
	c.run(time.Second)
	s2.engine.RemoveAll(c.now)
	c.run(time.Second)
	want(t, "sessions", len(s2.sessions), 0)
	want(t, "shortcuts", len(s2.shortcuts)+len(s3.shortcuts), 0)
	want(t, "neighbours", len(s2.neighbours["Tunnel0"]), 0)
	want(t, "timers", s2.engine.queue.Len(), 0)
	want(t, "hub's peers", len(hub.engine.Snapshot()[0].Peers), 1)
}

func TestStaticMapsAndStaticMulticastNeedNoServer(t *testing.T) {
	c := newCloud(t)
	a, b := c.add("a"), c.add("b")
	for i, r := range []*router{a, b} {
		other := 2 - i
		r.routes = []route{{prefix: net("10.10.10.0/24"), ifname: "Tunnel0"}, {prefix: lan(i + 1), ifname: "Loopback10"},
			{prefix: lan(other), via: ip(fmt.Sprintf("10.10.10.%d", other)), ifname: "Tunnel0"}}
		nbma := ip(fmt.Sprintf("172.16.%d.%d", other, other))
		r.apply(Config{Tunnel: "Tunnel0", NetworkID: 1, Addresses: []netip.Addr{ip(fmt.Sprintf("10.10.10.%d", i+1))},
			NBMA: ip(fmt.Sprintf("172.16.%d.%d", i+1, i+1)), Maps: []Map{{Address: ip(fmt.Sprintf("10.10.10.%d", other)), NBMA: nbma}}, Multicast: []netip.Addr{nbma}})
	}
	c.run(time.Second)
	wantPath(t, c.ping(a, hostOf(1), hostOf(2)), "a", "b")
	want(t, "multicast", len(a.multicast["Tunnel0"]), 1)
	want(t, "S", a.engine.Snapshot()[0].Peers[0].Attrs[0], "S")
	for _, s := range a.sessions {
		s.down("dead peer")
	}
	for _, s := range b.sessions {
		s.down("dead peer")
	}
	c.run(5 * time.Second)
	wantPath(t, c.ping(a, hostOf(1), hostOf(2)), "a", "b")
}

func TestAServerWhoseAddressIsNotConfiguredIsLearned(t *testing.T) {
	c, _, s2, _ := scenario(t)
	cfg := spokeConfig(2)
	cfg.NHS = []NHS{{NBMA: ip("172.16.1.1"), Multicast: true}}
	s2.apply(cfg)
	c.run(time.Second)
	n := s2.engine.Snapshot()[0].NHS[0]
	want(t, "flags", n.Flags, "RE")
	want(t, "address", n.Address, ip("10.10.10.1"))
	wantPath(t, c.ping(s2, hostOf(2), "192.168.11.1"), "spoke2", "hub")
}

func TestClearRemovesLearnedEntriesAndTheyComeBack(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	want(t, "cleared", s3.engine.Clear(c.now, "", netip.Prefix{}), 2)
	want(t, "shortcuts", len(s3.shortcuts), 0)
	want(t, "cleared", hub.engine.Clear(c.now, "Tunnel0", net("10.10.10.2/32")), 1)
	c.run(time.Minute)
	want(t, "hub's peers", len(hub.engine.Snapshot()[0].Peers), 2)
	_ = s2
}

func TestAnAnswerThatPointsAtANATWithSomebodyElseBehindItIsNotBoundToHim(t *testing.T) {
	c, hub, _, s3 := scenario(t)
	for _, n := range []int{5, 6} {
		r := c.spoke(n, 2, 3)
		r.public = ip("203.0.113.1")
		hub.routes = append(hub.routes, route{prefix: lan(n), via: ip(fmt.Sprintf("10.10.10.%d", n)), ifname: "Tunnel0"})
		s3.routes = append(s3.routes, route{prefix: lan(n), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	}
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(5))
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(5)), "spoke3", "spoke5")
	// Spoke 6 cannot reach spoke 3 itself: its answer comes over the hub after a while.
	hidden := s3.nbma["Tunnel0"]
	s3.nbma["Tunnel0"] = ip("172.16.99.99")
	c.ping(s3, hostOf(3), hostOf(6))
	c.run(8 * time.Second)
	s3.nbma["Tunnel0"] = hidden
	wantPath(t, c.ping(s3, hostOf(3), hostOf(6)), "spoke3", "hub", "spoke6")
	wantPath(t, c.ping(s3, hostOf(3), hostOf(5)), "spoke3", "spoke5")
}

func TestANewTunnelAddressReplacesTheOldOneAtTheHub(t *testing.T) {
	c, hub, s2, _ := scenario(t)
	c.run(time.Second)
	cfg := spokeConfig(2)
	cfg.Addresses = []netip.Addr{ip("10.10.10.22")}
	s2.apply(cfg)
	c.run(time.Second)
	want(t, "old", hub.engine.tunnels["Tunnel0"].cache[net("10.10.10.2/32")] == nil, true)
	want(t, "new", hub.engine.tunnels["Tunnel0"].cache[net("10.10.10.22/32")] != nil, true)
}

func TestAPointToPointSpokeRegistersAndIsNobodysShortcut(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	cfg := spokeConfig(2)
	cfg.PointToPoint = true
	s2.apply(cfg)
	c.run(time.Second)
	want(t, "flags", s2.engine.Snapshot()[0].NHS[0].Flags, "RE")
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(40 * time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub", "spoke2")
	want(t, "sessions", len(s2.sessions), 1)
	want(t, "hub", len(hub.engine.Snapshot()[0].Peers), 2)
}
