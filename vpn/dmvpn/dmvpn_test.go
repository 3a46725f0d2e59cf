package dmvpn

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"felloe/vpn/nhrp"
)

func both(t *testing.T, f func(t *testing.T, l *lab)) {
	for _, protected := range []bool{true, false} {
		t.Run(map[bool]string{true: "protected", false: "unprotected"}[protected], func(t *testing.T) { f(t, newLab(t, protected)) })
	}
}

func TestTheScenarioFromRegistrationToIdleExpiry(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		hub, s2, s3 := l.scenario()
		l.registered(s2, s3)
		if i := hub.snapshot(); i.Type != "Hub" || len(i.Peers) != 2 || i.Peers[0].State != "UP" || len(i.Multicast) != 2 {
			t.Fatalf("%+v", i)
		}
		if n := l.ping(s3, s2, hub, 1); n != 2 {
			t.Fatalf("%d packets crossed the hub, want question and answer", n)
		}
		l.until(5*time.Second, "both shortcuts", func() bool {
			return s3.saw(nhrp.EventShortcutInstalled) == 2 && s2.saw(nhrp.EventShortcutInstalled) == 2
		})
		if n := l.ping(s3, s2, hub, 2); n != 0 {
			t.Fatalf("%d packets crossed the hub beside a shortcut", n)
		}
		if r := s3.nhrpRoute("192.168.22.2/32"); !strings.Contains(r, "10.10.10.2") {
			t.Fatalf("route: %s", r)
		}
		// A flow of two minutes: the hold time is one, so shortcuts are refreshed under it.
		before := hub.transit()
		for seq := uint16(10); seq < 250; seq++ {
			s3.echo(s2, seq)
			l.run(500 * time.Millisecond)
		}
		l.run(time.Second)
		for seq := uint16(10); seq < 250; seq++ {
			if !s3.answered(seq) {
				t.Fatalf("packet %d was lost", seq)
			}
		}
		if n := hub.transit() - before; n != 0 {
			t.Fatalf("%d packets crossed the hub", n)
		}
		if s3.saw(nhrp.EventShortcutRefreshed) == 0 {
			t.Fatal("never refreshed")
		}
		l.until(3*time.Minute, "shortcuts expire with their sessions", func() bool {
			return len(s3.snapshot().Peers) == 1 && len(s2.snapshot().Peers) == 1 && len(s3.tunnel.Sessions()) == 1 && len(s2.tunnel.Sessions()) == 1
		})
		if r := s3.nhrpRoute("192.168.22.2/32"); !strings.Contains(r, "10.10.10.1") {
			t.Fatalf("route: %s", r)
		}
		if n := l.ping(s3, s2, hub, 500); n != 2 {
			t.Fatalf("%d packets crossed the hub", n)
		}
	})
}

func TestBothSpokesStartingAtOnceLoseNothing(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		hub, s2, s3 := l.scenario()
		l.registered(s2, s3)
		for seq := uint16(1); seq < 100; seq++ {
			s2.echo(s3, seq)
			s3.echo(s2, seq)
			l.run(50 * time.Millisecond)
		}
		l.run(2 * time.Second)
		for seq := uint16(1); seq < 100; seq++ {
			if !s2.answered(seq) || !s3.answered(seq) {
				t.Fatalf("packet %d was lost", seq)
			}
		}
		if n := l.ping(s2, s3, hub, 300) + l.ping(s3, s2, hub, 301); n != 0 {
			t.Fatalf("%d packets crossed the hub", n)
		}
	})
}

func TestTheNetworkHealsAfterTheHubIsKilledAndRestarted(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		hub, s2, s3 := l.scenario()
		for _, s := range []*router{s2, s3} {
			s.cfg.RegistrationTimeout = 10 * time.Second
			s.apply()
		}
		l.registered(s2, s3)
		hub.stop()
		l.links["hub"].SetUp(false)
		l.until(2*time.Minute, "spokes notice", func() bool { return !s2.responding() && !s3.responding() })
		if s2.saw(nhrp.EventNHSDown) != 1 {
			t.Fatal("nhs-down must be told once")
		}
		hub = l.again(hub)
		l.until(time.Minute, "spokes register again", func() bool { return s2.responding() && s3.responding() && len(hub.snapshot().Peers) == 2 })
		l.ping(s3, s2, hub, 9)
	})
}

// again is the hub after a reboot, on a new wire to the internet.
func (l *lab) again(old *router) *router {
	for i, name := range []string{"Ethernet1"} {
		_ = i
		dead, _ := l.internet.Interface(name)
		l.check(l.internet.RemoveInterface(dead))
	}
	r := l.add(old.name, old.n, old.cfg)
	r.hubRoutes()
	return r
}

func TestPhase2AcrossTheWholeRouter(t *testing.T) {
	l := newLab(t, true)
	hub, s2, s3 := l.scenario()
	hub.cfg.Redirect = false
	hub.apply()
	for _, s := range []*router{s2, s3} {
		s.cfg.Shortcut = false
		s.apply()
	}
	s2.route("192.168.33.3/32", "10.10.10.3")
	s3.route("192.168.22.2/32", "10.10.10.2")
	l.registered(s2, s3)
	if n := l.ping(s3, s2, hub, 1); n == 0 {
		t.Fatal("the first packet goes over the hub")
	}
	l.run(3 * time.Second)
	if n := l.ping(s3, s2, hub, 2); n != 0 {
		t.Fatalf("%d packets crossed the hub", n)
	}
}

func TestPhase1StaysOnTheHub(t *testing.T) {
	l := newLab(t, true)
	hub, s2, s3 := l.scenario()
	hub.cfg.Redirect = false
	hub.apply()
	l.registered(s2, s3)
	for seq := uint16(1); seq < 6; seq++ {
		if n := l.ping(s3, s2, hub, seq); n != 2 {
			t.Fatalf("%d packets crossed the hub", n)
		}
		l.run(time.Second)
	}
}

func TestWrongAuthenticationIsOneClearLineAndRecoversByApply(t *testing.T) {
	l := newLab(t, true)
	hub, s2, s3 := l.scenario()
	s3.cfg.Authentication = "WRONG"
	s3.apply()
	l.registered(s2)
	l.run(20 * time.Second)
	if hub.saw(nhrp.EventAuthMismatch) != 1 || len(hub.snapshot().Peers) != 1 || s3.responding() {
		t.Fatalf("%d mismatches told, peers %+v", hub.saw(nhrp.EventAuthMismatch), hub.snapshot().Peers)
	}
	if n := strings.Count(hub.logs(), "wrong NHRP authentication"); n != 1 {
		t.Fatalf("%d log lines", n)
	}
	for _, r := range []*router{hub, s3} {
		if strings.Contains(r.logs(), "DMVPN\"") || strings.Contains(r.logs(), "WRONG") {
			t.Fatal("a log shows the string")
		}
	}
	s3.cfg.Authentication = "DMVPN"
	s3.apply()
	l.registered(s3)
}

func TestApplyingTheSameAgainLosesNoPacketAndSendsNone(t *testing.T) {
	l := newLab(t, true)
	hub, s2, s3 := l.scenario()
	l.registered(s2, s3)
	l.ping(s3, s2, hub, 1)
	l.run(3 * time.Second)
	before, sessions := fmt.Sprint(s3.snapshot().Traffic.Sent), fmt.Sprint(s3.tunnel.Sessions())
	s3.apply()
	s2.apply()
	hub.apply()
	if after := fmt.Sprint(s3.snapshot().Traffic.Sent); after != before {
		t.Fatalf("sent %s, before %s", after, before)
	}
	if n := l.ping(s3, s2, hub, 2); n != 0 || fmt.Sprint(s3.tunnel.Sessions()) != sessions {
		t.Fatal("the shortcut was touched")
	}
}

func TestRemovingATunnelWithdrawsAndClosesAndItCanComeBack(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		hub, s2, s3 := l.scenario()
		l.registered(s2, s3)
		l.ping(s3, s2, hub, 1)
		l.run(3 * time.Second)
		s3.call(func() { s3.m.Remove("Tunnel0") })
		l.until(5*time.Second, "the hub forgets", func() bool { return len(hub.snapshot().Peers) == 1 })
		if n := len(s3.tunnel.Sessions()); n != 0 {
			t.Fatalf("%d sessions are left", n)
		}
		if n := len(s3.m.sessions); n != 0 {
			t.Fatalf("%d sessions are known", n)
		}
		s3.apply()
		l.registered(s3)
		l.ping(s3, s2, hub, 2)
	})
}

func TestASpokeWhoseWANAddressChangesIsAcceptedWithinAMinute(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		hub, s2, s3 := l.scenario()
		l.registered(s2, s3)
		s2.stop()
		l.links["spoke2"].SetUp(false)
		moved := l.add("spoke2", 7, spokeConfig())
		moved.address(moved.tunnel.Interface(), "10.10.10.2/24")
		moved.call(func() { moved.m.Refresh("Tunnel0") })
		l.until(time.Minute, "the spoke that moved", func() bool {
			if !moved.responding() {
				return false
			}
			for _, p := range hub.snapshot().Peers {
				if p.Address == netip.MustParseAddr("10.10.10.2") {
					return p.NBMA == netip.MustParseAddr("172.16.7.7")
				}
			}
			return false
		})
	})
}

func TestAThiefOfALivingSpokesAddressIsRefused(t *testing.T) {
	l := newLab(t, true)
	hub, s2, s3 := l.scenario()
	l.registered(s2, s3)
	thief := l.add("thief", 8, spokeConfig())
	thief.address(thief.tunnel.Interface(), "10.10.10.2/24")
	thief.call(func() { thief.m.Refresh("Tunnel0") })
	for seq := uint16(1); seq < 90; seq++ {
		s3.echo(s2, seq)
		l.run(time.Second)
	}
	for seq := uint16(1); seq < 90; seq++ {
		if !s3.answered(seq) {
			t.Fatalf("packet %d was lost", seq)
		}
	}
	for _, p := range hub.snapshot().Peers {
		if p.Address == netip.MustParseAddr("10.10.10.2") && p.NBMA != netip.MustParseAddr("172.16.2.2") {
			t.Fatalf("%+v", p)
		}
	}
	if hub.saw(nhrp.EventRegistrationRefused) == 0 || thief.saw(nhrp.EventRegistrationRefused) == 0 {
		t.Fatal("not refused")
	}
}

func TestAPanicCostsTheSessionAndNothingElse(t *testing.T) {
	l := newLab(t, true)
	hub, s2, s3 := l.scenario()
	l.registered(s2, s3)
	hub.call(func() {
		id := nhrp.SessionID(0)
		for _, p := range hub.m.Snapshot()[0].Peers {
			if p.Address == netip.MustParseAddr("10.10.10.2") {
				id = p.Session
			}
		}
		hub.m.step("test", id, func(time.Time) { panic("a bug") })
	})
	if n := len(hub.snapshot().Peers); n != 1 {
		t.Fatalf("%d peers", n)
	}
	// It registers again in its time.
	l.until(time.Minute, "the spoke is back", func() bool { return len(hub.snapshot().Peers) == 2 })
}
