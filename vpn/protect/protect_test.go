package protect

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/link/mem"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"
)

// connected makes a hub and a spoke whose Tunnel0 is up.
func connected(t *testing.T, hub, spoke spec, imp mem.Impairment) (*lab, *router, *router) {
	t.Helper()
	l := newLab(t)
	h, s := l.pair(hub, spoke, imp)
	h.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{VolumeBytes: hub.volume, IdleTime: hub.idle})
	s.tunnel("Tunnel0", "10.10.10.2/24", "172.16.0.1", 0, TunnelProtection{VolumeBytes: spoke.volume, IdleTime: spoke.idle})
	l.until(10*time.Second, "both sides are up", func() bool { return h.up() == 1 && s.up() == 1 })
	h.neighbour("Tunnel0", "10.10.10.2", h.sessions()[0].Session)
	return l, h, s
}

func TestASpokePingsTheHubThroughAProtectedTunnel(t *testing.T) {
	for _, mode := range []esp.Mode{esp.Transport, esp.Tunnel} {
		for _, su := range []esp.Suite{gcm, cbc} {
			t.Run(fmt.Sprintf("%v %v", mode, su), func(t *testing.T) {
				sp := spec{mode: mode, suite: su}
				l, h, s := connected(t, sp, sp, mem.Impairment{Delay: 5 * time.Millisecond})
				for i := range uint16(5) {
					if !s.ping("10.10.10.2", "10.10.10.1", i+1) {
						t.Fatalf("no answer to ping %d: spoke drops %v, hub drops %v", i, s.dp.Drops(), h.dp.Drops())
					}
				}
				if !h.ping("10.10.10.1", "10.10.10.2", 99) {
					t.Fatal("the hub's ping is not answered")
				}
				i := s.sessions()[0]
				if i.Peer != ikev2.AddressIdentity(h.wan) || len(i.Pairs) != 1 || i.Pairs[0].Mode != mode || i.Pairs[0].Suite != su || !i.Pairs[0].Sending {
					t.Errorf("%+v", i)
				}
				if i.Pairs[0].Out.Packets < 5 || i.Pairs[0].In.Packets < 5 || l.esp < 10 {
					t.Errorf("counters %+v %+v, %d ESP frames", i.Pairs[0].In, i.Pairs[0].Out, l.esp)
				}
				for _, r := range []*router{h, s} {
					if len(r.lines("ike-up")) != 1 || len(r.lines("child-up")) != 1 || len(r.kinds()) != 1 || r.kinds()[0] != Up {
						t.Errorf("%s: events %v, log\n%s", r.name, r.kinds(), r.logs())
					}
				}
				if msg := s.lines("ike-up")[0]; msg["mnemonic"] != nil || msg["message"] != "Crypto tunnel v2 is UP.  Peer 172.16.0.1:500 Id: 172.16.0.1" {
					t.Errorf("%v", msg)
				}
			})
		}
	}
}

// thin is for the interval of long streams: the race detector makes each packet ten times as dear, and sees all there is to
// see in a few.
func thin(every time.Duration) time.Duration {
	if raced {
		return 5 * every
	}
	return every
}

// stream sends an echo every interval for as long as it takes and returns how many were lost.
func (l *lab) stream(from *router, src, dst string, d, every time.Duration) (sent, lost int) {
	seq := uint16(1000)
	for end := l.Clock.Now().Add(d); l.Clock.Now().Before(end); {
		seq++
		sent++
		from.echo(src, dst, seq)
		l.run(every)
	}
	l.run(time.Second)
	for i := uint16(1001); i <= seq; i++ {
		if !from.got(i) {
			lost++
		}
	}
	return sent, lost
}

func TestARekeyUnderTrafficLosesNoPacket(t *testing.T) {
	for _, c := range []struct {
		name       string
		hub, spoke spec
	}{
		{"the initiator rekeys children", spec{lifetime: time.Hour}, spec{lifetime: time.Minute}},
		{"the responder rekeys children", spec{lifetime: time.Minute}, spec{lifetime: time.Hour}},
		{"both do, with PFS", spec{lifetime: time.Minute, pfs: []suite.Group{suite.CURVE25519}}, spec{lifetime: time.Minute, pfs: []suite.Group{suite.CURVE25519}}},
		{"IKE SAs and children", spec{lifetime: time.Minute, ikeLifetime: 90 * time.Second}, spec{lifetime: time.Minute, ikeLifetime: 90 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, h, s := connected(t, c.hub, c.spoke, mem.Impairment{Delay: 15 * time.Millisecond, Jitter: 10 * time.Millisecond})
			sent, lost := l.stream(s, "10.10.10.2", "10.10.10.1", 4*time.Minute, thin(35*time.Millisecond))
			if lost != 0 {
				t.Errorf("%d of %d packets lost; drops %v %v\n%s", lost, sent, s.dp.Drops(), h.dp.Drops(), s.logs())
			}
			n := s.counters()
			if n.ChildRekeys < 3 || n.ChildDowns < 3 {
				t.Errorf("rekeyed %d times, %d old pairs gone", n.ChildRekeys, n.ChildDowns)
			}
			if c.spoke.ikeLifetime > 0 && n.IKERekeys < 1 {
				t.Error("the IKE SA was not rekeyed")
			}
			if k := s.kinds(); len(k) != 1 {
				t.Errorf("rekeys are no events: %v", k)
			}
			if i := s.sessions()[0]; len(i.Pairs) > 2 || i.Totals.Rekeys != n.ChildRekeys {
				t.Errorf("%+v", i)
			}
		})
	}
}

func TestVolumeIsRekeyedBeforeItEnds(t *testing.T) {
	l, h, s := connected(t, spec{}, spec{volume: 20000}, mem.Impairment{Delay: 5 * time.Millisecond})
	sent, lost := l.stream(s, "10.10.10.2", "10.10.10.1", 30*time.Second, 20*time.Millisecond)
	if lost != 0 {
		t.Errorf("%d of %d lost; drops %v %v", lost, sent, s.dp.Drops(), h.dp.Drops())
	}
	if n := s.counters(); n.VolumeRekeys < 3 || n.ChildRekeys < 3 {
		t.Errorf("%+v", n)
	}
}

func TestAWrongKeyIsSaidOnceAndMendedByConfiguration(t *testing.T) {
	l := newLab(t)
	h, s := l.pair(spec{}, spec{psk: "WRONG"}, mem.Impairment{Delay: time.Millisecond})
	h.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{})
	s.tunnel("Tunnel0", "10.10.10.2/24", "172.16.0.1", 0, TunnelProtection{})
	for i := range uint16(60) {
		s.echo("10.10.10.2", "10.10.10.1", i)
		l.run(time.Second)
	}
	i := s.sessions()[0]
	if i.State == StateUp || i.Failures < 2 || i.LastError == nil || i.LastReason == "" || i.Totals.Attempts < 3 {
		t.Errorf("%+v", i)
	}
	for _, r := range []*router{h, s} {
		if n := len(r.lines("auth-failed")); n != 1 {
			t.Errorf("%s says %d times that authentication failed:\n%s", r.name, n, r.logs())
		}
		warnings := 0
		for line := range strings.Lines(r.logs()) {
			if strings.Contains(line, `"level":"warn"`) || strings.Contains(line, `"level":"error"`) {
				warnings++
			}
		}
		if warnings != 1 {
			t.Errorf("%s warns %d times:\n%s", r.name, warnings, r.logs())
		}
		if strings.Contains(r.logs(), "WRONG") || strings.Contains(r.logs(), "CISCO123") {
			t.Errorf("%s logs a key", r.name)
		}
	}
	if len(h.sessions()) != 0 || l.esp != 0 {
		t.Errorf("the hub has %d sessions, %d ESP frames", len(h.sessions()), l.esp)
	}
	s.call(func() { s.engine.SetConfig(spec{}.config()) })
	l.until(40*time.Second, "it comes up", func() bool { return s.up() == 1 && h.up() == 1 })
	if i := s.sessions()[0]; i.Failures != 0 || i.LastError != nil {
		t.Errorf("%+v", i)
	}
}

func TestDPDFindsASilentPeerAndTheNetworkHeals(t *testing.T) {
	for _, dpd := range []ikev2.DPD{{Interval: 10 * time.Second, Retry: 2 * time.Second}, {Interval: 10 * time.Second, Retry: 2 * time.Second, OnDemand: true}} {
		t.Run(fmt.Sprintf("on demand %v", dpd.OnDemand), func(t *testing.T) {
			l, h, s := connected(t, spec{dpd: dpd}, spec{dpd: dpd}, mem.Impairment{Delay: time.Millisecond})
			l.cut(true)
			for i := range uint16(60) {
				// Traffic without an answer is what on-demand detection waits for.
				s.echo("10.10.10.2", "10.10.10.1", i)
				h.echo("10.10.10.1", "10.10.10.2", i)
				l.run(time.Second)
			}
			if s.up() != 0 || h.up() != 0 {
				t.Fatalf("the dead peer was not found: spoke %d, hub %d", s.up(), h.up())
			}
			if len(s.lines("ike-down")) != 1 || len(h.lines("ike-down")) != 1 || len(h.sessions()) != 0 {
				t.Errorf("%s\n%s", s.logs(), h.logs())
			}
			l.cut(false)
			l.until(time.Minute, "it heals", func() bool { return s.up() == 1 && h.up() == 1 })
			h.neighbour("Tunnel0", "10.10.10.2", h.sessions()[0].Session)
			if !s.ping("10.10.10.2", "10.10.10.1", 999) {
				t.Error("no answer after healing")
			}
		})
	}
}

func TestOnDemandDPDLeavesAQuietPeerAlone(t *testing.T) {
	dpd := ikev2.DPD{Interval: 10 * time.Second, Retry: 2 * time.Second, OnDemand: true}
	l, h, s := connected(t, spec{dpd: dpd}, spec{dpd: dpd}, mem.Impairment{})
	l.cut(true)
	l.run(2 * time.Minute)
	if s.up() != 1 || h.up() != 1 {
		t.Error("a peer was declared dead although nothing was sent to it")
	}
	_ = l
}

func TestARestartOfEitherSideRecovers(t *testing.T) {
	dpd := ikev2.DPD{Interval: 5 * time.Second, Retry: time.Second}
	t.Run("spoke", func(t *testing.T) {
		l, h, s := connected(t, spec{dpd: dpd}, spec{dpd: dpd}, mem.Impairment{Delay: time.Millisecond})
		port := l.ports["spoke"]
		s.stop()
		l.run(time.Second)
		s2 := l.add("spoke", netip.MustParsePrefix("172.16.0.2/24"), l.replug(port), spec{dpd: dpd})
		s2.tunnel("Tunnel0", "10.10.10.2/24", "172.16.0.1", 0, TunnelProtection{})
		l.until(5*time.Second, "the spoke is up again", func() bool { return s2.up() == 1 && h.up() == 1 && len(h.sessions()) == 1 })
		h.neighbour("Tunnel0", "10.10.10.2", h.sessions()[0].Session)
		if !s2.ping("10.10.10.2", "10.10.10.1", 7) {
			t.Errorf("no answer; hub %v\n%s", h.dp.Drops(), h.logs())
		}
		if k := h.kinds(); len(k) < 3 || k[1] != Down || k[len(k)-1] != Up {
			t.Errorf("the hub's events: %v", k)
		}
	})
	t.Run("hub", func(t *testing.T) {
		l, h, s := connected(t, spec{dpd: dpd}, spec{dpd: dpd}, mem.Impairment{Delay: time.Millisecond})
		port := l.ports["hub"]
		h.stop()
		l.run(30 * time.Second)
		h2 := l.add("hub", netip.MustParsePrefix("172.16.0.1/24"), l.replug(port), spec{dpd: dpd})
		h2.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{})
		l.until(time.Minute, "the hub is up again", func() bool { return s.up() == 1 && h2.up() == 1 })
		h2.neighbour("Tunnel0", "10.10.10.2", h2.sessions()[0].Session)
		if !s.ping("10.10.10.2", "10.10.10.1", 7) {
			t.Error("no answer")
		}
	})
}

func TestTwoRoutersThatCallEachOtherEndInOneSession(t *testing.T) {
	for _, delay := range []time.Duration{0, 10 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			l := newLab(t)
			a, b := l.pair(spec{}, spec{}, mem.Impairment{Delay: delay, Jitter: delay / 2})
			a.tunnel("Tunnel0", "10.10.10.1/24", "172.16.0.2", 0, TunnelProtection{})
			b.tunnel("Tunnel0", "10.10.10.2/24", "172.16.0.1", 0, TunnelProtection{})
			l.until(10*time.Second, "both are up", func() bool { return a.up() == 1 && b.up() == 1 })
			// From the first moment on that both can send, nothing is lost, whatever is tidied up meanwhile.
			sent, lost := l.stream(b, "10.10.10.2", "10.10.10.1", 30*time.Second, 10*time.Millisecond)
			if lost != 0 {
				t.Errorf("%d of %d lost; drops %v %v\n%s", lost, sent, a.dp.Drops(), b.dp.Drops(), b.logs())
			}
			l.run(2 * time.Minute)
			ia, ib := a.sessions(), b.sessions()
			if len(ia) != 1 || len(ib) != 1 || len(ia[0].Pairs) != 1 || len(ib[0].Pairs) != 1 ||
				ia[0].Pairs[0].SPIIn != ib[0].Pairs[0].SPIOut || ia[0].Pairs[0].SPIOut != ib[0].Pairs[0].SPIIn {
				t.Errorf("%+v\n%+v", ia, ib)
			}
			for _, r := range []*router{a, b} {
				var n int
				r.call(func() { n = len(r.engine.Snapshot(l.Clock.Now())) })
				if n != 1 {
					t.Errorf("%s has %d IKE SAs", r.name, n)
				}
				for _, k := range r.kinds() {
					if k == Down {
						t.Errorf("%s: %v", r.name, r.kinds())
					}
				}
			}
		})
	}
}

func TestTwoTunnelsBetweenTheSameTwoAddresses(t *testing.T) {
	l := newLab(t)
	sp := spec{policies: []string{"Tunnel0", "Tunnel1"}, keyed: true}
	h, s := l.pair(sp, sp, mem.Impairment{Delay: time.Millisecond})
	for i, n := range []string{"Tunnel0", "Tunnel1"} {
		h.tunnel(n, fmt.Sprintf("10.%d.%[1]d.1/24", 10*(i+1)), "", uint32(i+1), TunnelProtection{})
	}
	for i, n := range []string{"Tunnel1", "Tunnel0"} { // the other way round
		s.tunnel(n, fmt.Sprintf("10.%d.%[1]d.2/24", 10*(2-i)), "172.16.0.1", uint32(2-i), TunnelProtection{})
	}
	l.until(10*time.Second, "both tunnels are up", func() bool { return h.up() == 2 && s.up() == 2 })
	for _, i := range h.sessions() {
		if i.Tunnel == "Tunnel0" {
			h.neighbour("Tunnel0", "10.10.10.2", i.Session)
		} else {
			h.neighbour("Tunnel1", "10.20.20.2", i.Session)
		}
	}
	if !s.ping("10.10.10.2", "10.10.10.1", 1) || !s.ping("10.20.20.2", "10.20.20.1", 2) {
		t.Fatalf("a tunnel does not carry: %v %v\n%s", s.dp.Drops(), h.dp.Drops(), h.logs())
	}
	var n int
	s.call(func() { n = len(s.engine.Snapshot(l.Clock.Now())) })
	if n != 1 {
		t.Errorf("%d IKE SAs for two tunnels to one peer", n)
	}
	// Closing one leaves the other alone.
	s.call(func() { s.m.RemoveTunnel(s.tuns["Tunnel1"]) })
	l.run(time.Second)
	if h.up() != 1 || s.up() != 1 || !s.ping("10.10.10.2", "10.10.10.1", 3) {
		t.Error("the other tunnel went down too")
	}
}

func TestAnIdleSessionLosesItsSAsAndTrafficBringsThemBack(t *testing.T) {
	l, h, s := connected(t, spec{}, spec{idle: 30 * time.Second}, mem.Impairment{})
	if !s.ping("10.10.10.2", "10.10.10.1", 1) {
		t.Fatal("no answer")
	}
	l.run(25 * time.Second)
	if s.up() != 1 {
		t.Fatal("it was not idle long enough")
	}
	l.until(20*time.Second, "it is down", func() bool { return s.up() == 0 && h.up() == 0 })
	if i := s.sessions(); len(i) != 1 || i[0].State != StateIdle || !i[0].Wanted {
		t.Fatalf("%+v", i)
	}
	l.run(2 * time.Minute)
	if s.up() != 0 {
		t.Fatal("it came back without traffic")
	}
	s.echo("10.10.10.2", "10.10.10.1", 2)
	l.until(5*time.Second, "traffic brings it back", func() bool { return s.up() == 1 })
}

func TestOpenAndCloseFollowTheCaller(t *testing.T) {
	l := newLab(t)
	h, s := l.pair(spec{}, spec{}, mem.Impairment{Delay: time.Millisecond})
	h.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{})
	tun := s.tunnel("Tunnel0", "10.10.10.2/24", "", 0, TunnelProtection{})
	l.run(time.Second)
	if len(s.sessions()) != 0 {
		t.Fatal("a multipoint tunnel called somebody by itself")
	}
	hub := netip.MustParseAddr("172.16.0.1")
	s.call(func() {
		a, b := s.m.Open(tun, hub), s.m.Open(tun, hub)
		if a == nil || a != b {
			t.Errorf("two Opens give %p and %p", a, b)
		}
	})
	l.until(5*time.Second, "it is up", func() bool { return s.up() == 1 && h.up() == 1 })
	i := s.sessions()[0]
	s.neighbour("Tunnel0", "10.10.10.1", i.Session)
	h.neighbour("Tunnel0", "10.10.10.2", h.sessions()[0].Session)
	if !s.ping("10.10.10.2", "10.10.10.1", 1) {
		t.Fatal("no answer")
	}
	s.call(func() {
		if got, ok := s.m.SessionInfo(i.Session); !ok || got.Peer != ikev2.AddressIdentity(hub) {
			t.Errorf("%+v", got)
		}
		s.m.Close(i.Session, "shortcut expired")
		if _, ok := s.m.SessionInfo(i.Session); ok {
			t.Error("a closed session is still known")
		}
	})
	l.until(5*time.Second, "both sides are clean", func() bool {
		var n int
		for _, r := range []*router{h, s} {
			r.call(func() { n += len(r.engine.Snapshot(l.Clock.Now())) })
		}
		return n == 0 && len(h.sessions()) == 0 && len(s.sessions()) == 0
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.events[len(s.events)-1]; last.Kind != Down || last.Reason != "shortcut expired" {
		t.Errorf("%+v", last)
	}
}

func TestAnOrderlyShutdownTellsEverybody(t *testing.T) {
	l, h, s := connected(t, spec{}, spec{}, mem.Impairment{Delay: 20 * time.Millisecond})
	var result []bool
	s.call(func() {
		s.m.DeleteAll("power off", 5*time.Second, func(clean bool) { result = append(result, clean) })
		if s.m.Open(s.tuns["Tunnel0"], h.wan) != nil {
			t.Error("a router that shuts down opens a session")
		}
	})
	l.until(time.Second, "done", func() bool {
		var n int
		s.call(func() { n = len(result) })
		return n == 1
	})
	if !result[0] || h.up() != 0 || len(h.sessions()) != 0 || s.up() != 0 {
		t.Errorf("%v, hub %d", result, h.up())
	}
	l.run(time.Minute)
	if s.up() != 0 || len(result) != 1 {
		t.Error("it came up again")
	}

	l2, _, s2 := connected(t, spec{}, spec{}, mem.Impairment{})
	l2.cut(true)
	result = nil
	s2.call(func() {
		s2.m.DeleteAll("power off", 3*time.Second, func(clean bool) { result = append(result, clean) })
	})
	l2.run(2 * time.Second)
	if len(result) != 0 {
		t.Error("done although nobody answered")
	}
	l2.run(2 * time.Second)
	if len(result) != 1 || result[0] {
		t.Errorf("%v", result)
	}
}

func TestNothingLeavesInClearWhileAPeerIsMissing(t *testing.T) {
	l := newLab(t)
	h, s := l.pair(spec{}, spec{}, mem.Impairment{})
	_ = h // without a tunnel it knows nobody
	s.tunnel("Tunnel0", "10.10.10.2/24", "172.16.0.1", 0, TunnelProtection{})
	for i := range uint16(100) {
		s.echo("10.10.10.2", "10.10.10.1", i)
		l.run(100 * time.Millisecond)
	}
	if s.dp.Drops()["no-sa"] == 0 || l.frames == 0 {
		t.Errorf("%v, %d frames", s.dp.Drops(), l.frames)
	}
}
