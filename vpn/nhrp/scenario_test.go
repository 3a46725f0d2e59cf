package nhrp

import (
	"slices"
	"testing"
	"time"

	"felloe/vpn/nhrp/message"
)

func TestASpokeRegistersAndTheHubSendsItMulticast(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	for _, s := range []*router{s2, s3} {
		i := s.engine.Snapshot()[0]
		want(t, "nhs flags", i.NHS[0].Flags, "RE")
		want(t, "type", i.Type, "Spoke")
		want(t, "nhs-up events", s.saw(EventNHSUp), 1)
	}
	i := hub.engine.Snapshot()[0]
	want(t, "type", i.Type, "Hub")
	want(t, "peers", len(i.Peers), 2)
	want(t, "address", i.Peers[0].Address, ip("10.10.10.2"))
	want(t, "nbma", i.Peers[0].NBMA, ip("172.16.2.2"))
	want(t, "state", i.Peers[0].State, "UP")
	want(t, "attribute", i.Peers[0].Attrs[0], "D")
	want(t, "multicast list", len(hub.multicast["Tunnel0"]), 2)
	want(t, "neighbours", len(hub.neighbours["Tunnel0"]), 2)
	want(t, "a spoke's multicast goes to the hub", len(s2.multicast["Tunnel0"]), 1)
}

func TestARegistrationIsRefreshedAndNeverLapsesWhileBothLive(t *testing.T) {
	c, hub, s2, _ := scenario(t)
	c.run(10 * time.Minute)
	want(t, "registered", hub.saw(EventRegistered), 2)
	want(t, "unregistered", hub.saw(EventUnregistered), 0)
	want(t, "nhs-down", s2.saw(EventNHSDown), 0)
	if n := hub.engine.Snapshot()[0].Traffic.Received[message.RegistrationRequest]; n < 58 || n > 64 {
		t.Fatalf("%d registrations in 10 minutes with a 20 s timeout", n)
	}
}

func TestWhenTheHubIsLostAndReturnsSpokesRegisterAgain(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	hub.dead = true
	c.run(3 * time.Minute)
	want(t, "nhs-down", s2.saw(EventNHSDown), 1)
	want(t, "flags", s2.engine.Snapshot()[0].NHS[0].Flags, "E")
	want(t, "state", s2.engine.Snapshot()[0].Peers[0].State, "IKE")

	// The hub comes back without a memory.
	again := c.add("hub")
	again.routes = hub.routes
	again.apply(hubConfig())
	c.run(5 * time.Second)
	want(t, "peers", len(again.engine.Snapshot()[0].Peers), 2)
	for _, s := range []*router{s2, s3} {
		want(t, "flags", s.engine.Snapshot()[0].NHS[0].Flags, "RE")
	}
}

func TestARedirectMakesAShortcutThatTheOtherSpokeAnswersDirectly(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	var replies []string
	c.trace = func(from, to *router, p *message.Packet) {
		if p.Type == message.ResolutionReply {
			replies = append(replies, from.name+">"+to.name)
		}
	}
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub", "spoke2")
	c.run(time.Second)
	want(t, "redirects", hub.saw(EventRedirectSent), 1)
	if !slices.Equal(replies, []string{"spoke2>spoke3"}) {
		t.Fatalf("replies %v", replies)
	}
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
	sc, ok := s3.shortcuts[shortcutKey{lan(2), "Tunnel0"}]
	if !ok || !sc.override || sc.hop != ip("10.10.10.2") {
		t.Fatalf("shortcuts %+v", s3.shortcuts)
	}
	i := s3.engine.Snapshot()[0]
	last := i.Peers[len(i.Peers)-1]
	if !slices.Contains(last.Attrs, "T2") {
		t.Fatalf("attributes %v", last.Attrs)
	}
	// The way back is still over the hub: its own redirect makes the other shortcut, over the same session.
	wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "hub", "spoke3")
	c.run(time.Second)
	wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
	want(t, "sessions of spoke2", len(s2.sessions), 2)
	want(t, "sessions of spoke3", len(s3.sessions), 2)
	want(t, "lost", s2.lost+s3.lost+hub.lost, 0)
}

func TestAnAnswerWithoutAnExactRouteBecomesARouteOfItsOwn(t *testing.T) {
	c, _, s2, s3 := scenario(t)
	for _, s := range []*router{s2, s3} { // summaries only
		s.routes = append(s.routes[:3:3], route{prefix: net("192.168.0.0/16"), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	}
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	sc, ok := s3.shortcuts[shortcutKey{lan(2), "Tunnel0"}]
	if !ok || sc.override {
		t.Fatalf("shortcuts %+v", s3.shortcuts)
	}
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
}

func TestARouteMoreSpecificThanTheAnswerIsOverriddenItself(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	s2.routes = append(s2.routes, route{prefix: net("192.168.22.0/24"), ifname: "Loopback10"})
	s3.routes = append(s3.routes, route{prefix: net("192.168.22.2/32"), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	_ = hub
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	if sc, ok := s3.shortcuts[shortcutKey{net("192.168.22.2/32"), "Tunnel0"}]; !ok || !sc.override {
		t.Fatalf("shortcuts %+v", s3.shortcuts)
	}
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
}

func TestAShortcutIsRefreshedWhileUsedWithoutLosingAPacket(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	s3.reset()
	for range 600 {
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
		c.run(time.Second)
	}
	if n := s3.saw(EventShortcutRefreshed); n < 8 {
		t.Fatalf("%d refreshes in 10 minutes with a hold time of 1", n)
	}
	want(t, "installed again", s3.saw(EventShortcutInstalled), 0)
	want(t, "expired", s3.saw(EventShortcutExpired)+s2.saw(EventShortcutExpired), 0)
	want(t, "lost", s2.lost+s3.lost+hub.lost, 0)
}

func TestAnIdleShortcutExpiresAndTakesItsSessionWithIt(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.ping(s2, hostOf(2), hostOf(3))
	c.run(time.Second)
	want(t, "shortcuts", len(s3.shortcuts)+len(s2.shortcuts), 2)
	for range 5 {
		c.ping(s3, hostOf(3), hostOf(2))
		c.run(time.Second)
	}
	c.run(70 * time.Second)
	want(t, "shortcuts", len(s3.shortcuts)+len(s2.shortcuts), 0)
	want(t, "sessions of spoke2", len(s2.sessions), 1)
	want(t, "sessions of spoke3", len(s3.sessions), 1)
	want(t, "neighbours of spoke3", len(s3.neighbours["Tunnel0"]), 1)
	// And it can be made again.
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub", "spoke2")
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
	want(t, "lost", s2.lost+s3.lost+hub.lost, 0)
}

func TestBothSpokesAskingAtOnceEndWithTwoShortcutsOverOneSession(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub", "spoke2")
	wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "hub", "spoke3")
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
	wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
	want(t, "sessions", len(s2.sessions)+len(s3.sessions), 4)
	for range 300 {
		wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
		c.run(time.Second)
	}
	want(t, "lost", s2.lost+s3.lost+hub.lost, 0)
}

func TestARouteChangeAtTheEgressPurgesTheShortcutAtOnce(t *testing.T) {
	c, _, s2, s3 := scenario(t)
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	want(t, "shortcuts", len(s3.shortcuts), 1)
	// The network moves behind the hub.
	s2.routes = slices.DeleteFunc(s2.routes, func(r route) bool { return r.prefix == lan(2) })
	s2.routes = append(s2.routes, route{prefix: lan(2), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	s2.engine.RoutesChanged(c.now)
	c.run(100 * time.Millisecond)
	want(t, "shortcuts", len(s3.shortcuts), 0)
	want(t, "purged", s3.saw(EventPurged), 1)
	want(t, "purges waiting for a reply", len(s2.engine.tunnels["Tunnel0"].net.purges), 0)
}

func TestAShortcutGoesWhenTheRoutedPathNoLongerLeadsIntoTheNetwork(t *testing.T) {
	c, _, _, s3 := scenario(t)
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	s3.routes = append(s3.routes, route{prefix: net("192.168.22.0/24"), ifname: "Loopback99"})
	s3.routes = slices.DeleteFunc(s3.routes, func(r route) bool { return r.prefix == lan(2) && r.ifname == "Tunnel0" })
	s3.engine.RoutesChanged(c.now)
	want(t, "shortcuts", len(s3.shortcuts), 0)
}

func TestWhenTheExactRouteGoesTheOverrideBecomesARoute(t *testing.T) {
	c, _, _, s3 := scenario(t)
	s3.routes = append(s3.routes, route{prefix: net("192.168.0.0/16"), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	want(t, "override", s3.shortcuts[shortcutKey{lan(2), "Tunnel0"}].override, true)
	s3.routes = slices.DeleteFunc(s3.routes, func(r route) bool { return r.prefix == lan(2) })
	s3.engine.RoutesChanged(c.now)
	sc, ok := s3.shortcuts[shortcutKey{lan(2), "Tunnel0"}]
	if !ok || sc.override {
		t.Fatalf("%+v", s3.shortcuts)
	}
}

func TestASessionThatGoesDownTakesItsShortcutsAndRegistrations(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	s2.dead = true
	for _, r := range []*router{hub, s3} {
		for _, s := range r.sessions {
			if s.peer != nil && s.peer.r == s2 {
				s.down("dead peer")
			}
		}
	}
	want(t, "shortcuts", len(s3.shortcuts), 0)
	want(t, "neighbours", len(s3.neighbours["Tunnel0"]), 1)
	want(t, "hub's peers", len(hub.engine.Snapshot()[0].Peers), 1)
	want(t, "hub's multicast", len(hub.multicast["Tunnel0"]), 1)
}

func TestPhase1NeverLeavesTheHub(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	cfg := hubConfig()
	cfg.Redirect = false
	hub.apply(cfg)
	for n, s := range map[int]*router{2: s2, 3: s3} {
		cfg := spokeConfig(n)
		cfg.Shortcut = false
		s.apply(cfg)
	}
	c.run(time.Second)
	for range 10 {
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub", "spoke2")
		c.run(time.Second)
	}
}

func TestPhase2ResolvesTheNextHopAndGoesOverTheHubMeanwhile(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	cfg := hubConfig()
	cfg.Redirect = false
	hub.apply(cfg)
	for n, s := range map[int]*router{2: s2, 3: s3} {
		cfg := spokeConfig(n)
		cfg.Shortcut = false
		s.apply(cfg)
		for i := range s.routes { // the next hop stays the other spoke
			if s.routes[i].prefix == lan(5-n) {
				s.routes[i].via = ip("10.10.10." + string(rune('0'+5-n)))
			}
		}
	}
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub", "spoke2")
	c.run(time.Second)
	for range 300 {
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
		c.run(time.Second)
	}
	want(t, "no route is needed", len(s3.shortcuts), 0)
	want(t, "redirects", hub.saw(EventRedirectSent), 0)
	want(t, "lost", s2.lost+s3.lost+hub.lost, 0)
	c.run(70 * time.Second)
	want(t, "sessions after idling", len(s3.sessions), 1)
}

func TestPhase3WithAThirdPartyNextHopNeedsNoRedirect(t *testing.T) {
	c, hub, _, s3 := scenario(t)
	for i := range s3.routes {
		if s3.routes[i].prefix == lan(2) {
			s3.routes[i].via = ip("10.10.10.2")
		}
	}
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub", "spoke2")
	c.run(time.Second)
	for range 200 {
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
		c.run(time.Second)
	}
	want(t, "lost", hub.lost+s3.lost, 0)
}
