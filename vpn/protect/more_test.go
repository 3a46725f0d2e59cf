package protect

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/fib"
	"felloe/netstack/link/mem"
	"felloe/vpn/ikev2"
)

func TestRekeysThatMeetLoseNoPacket(t *testing.T) {
	for _, apart := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 45 * time.Millisecond} {
		t.Run(apart.String(), func(t *testing.T) {
			l, h, s := connected(t, spec{}, spec{}, mem.Impairment{Delay: 20 * time.Millisecond})
			hs, ss := h.sessions()[0].Session, s.sessions()[0].Session
			seq, lost := uint16(0), 0
			for range 5 {
				s.call(func() { s.m.Rekey(ss) })
				l.run(apart)
				h.call(func() { h.m.Rekey(hs) })
				first := seq
				for range 200 {
					seq++
					s.echo("10.10.10.2", "10.10.10.1", seq)
					l.run(10 * time.Millisecond)
				}
				l.run(10 * time.Second)
				for i := first + 1; i <= seq; i++ {
					if !s.got(i) {
						lost++
					}
				}
			}
			if lost != 0 {
				t.Errorf("%d lost; %v %v\n%s", lost, s.dp.Drops(), h.dp.Drops(), s.logs())
			}
			l.run(time.Minute)
			a, b := h.sessions(), s.sessions()
			if len(a) != 1 || len(b) != 1 || len(a[0].Pairs) != 1 || len(b[0].Pairs) != 1 || a[0].Pairs[0].SPIIn != b[0].Pairs[0].SPIOut {
				t.Errorf("%+v\n%+v", a, b)
			}
		})
	}
}

func TestIKESAsThatAreRekeyedByBothAtOnceKeepTheirChildren(t *testing.T) {
	l, h, s := connected(t, spec{ikeLifetime: time.Minute}, spec{ikeLifetime: time.Minute}, mem.Impairment{Delay: 30 * time.Millisecond})
	if sent, lost := l.stream(s, "10.10.10.2", "10.10.10.1", 4*time.Minute, thin(40*time.Millisecond)); lost != 0 {
		t.Errorf("%d of %d lost\n%s", lost, sent, s.logs())
	}
	if h.counters().IKERekeys == 0 || s.counters().IKERekeys == 0 || len(s.kinds()) != 1 || len(h.kinds()) != 1 {
		t.Errorf("%+v %v", s.counters(), s.kinds())
	}
}

func TestALossyLinkIsSurvived(t *testing.T) {
	l := newLab(t)
	sp := spec{lifetime: 30 * time.Second, ikeLifetime: 50 * time.Second, retransmit: ikev2.Retransmit{Base: 500 * time.Millisecond, Max: 4 * time.Second, Tries: 10}}
	h, s := l.pair(sp, sp, mem.Impairment{Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.2, Reorder: 0.1, Duplicate: 0.1})
	h.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{})
	s.tunnel("Tunnel0", "10.10.10.2/24", "172.16.0.1", 0, TunnelProtection{})
	l.until(time.Minute, "both are up", func() bool { return h.up() == 1 && s.up() == 1 })
	h.neighbour("Tunnel0", "10.10.10.2", h.sessions()[0].Session)
	sent, lost := l.stream(s, "10.10.10.2", "10.10.10.1", 5*time.Minute, 50*time.Millisecond)
	// Two ways with a fifth lost on each leave 64 of 100.
	if lost > sent*45/100 {
		t.Errorf("%d of %d lost", lost, sent)
	}
	for _, r := range []*router{h, s} {
		if len(r.kinds()) != 1 {
			t.Errorf("%s: %v", r.name, r.kinds())
		}
	}
	l.link.SetImpairment(mem.Impairment{Delay: 5 * time.Millisecond})
	l.run(30 * time.Second)
	if sent, lost := l.stream(s, "10.10.10.2", "10.10.10.1", time.Minute, 50*time.Millisecond); lost != 0 {
		t.Errorf("%d of %d lost on a good link", lost, sent)
	}
}

func TestAnUnderlayOfIPv6WorksTheSame(t *testing.T) {
	l := newLab(t)
	l.link = l.Net.Switch("wan", mem.Impairment{Delay: 5 * time.Millisecond})
	l.watch(l.link)
	sp := spec{psk6: true}
	h := l.add("hub", netip.MustParsePrefix("2001:db8::1/64"), l.link.Port("hub"), sp)
	s := l.add("spoke", netip.MustParsePrefix("2001:db8::2/64"), l.link.Port("spoke"), sp)
	l.run(5 * time.Second) // duplicate address detection
	h.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{})
	s.tunnel("Tunnel0", "10.10.10.2/24", "2001:db8::1", 0, TunnelProtection{})
	l.until(10*time.Second, "both are up", func() bool { return h.up() == 1 && s.up() == 1 })
	h.neighbour("Tunnel0", "10.10.10.2", h.sessions()[0].Session)
	if !s.ping("10.10.10.2", "10.10.10.1", 1) {
		t.Errorf("no answer: %v %v", s.dp.Drops(), h.dp.Drops())
	}
}

func TestAVTICarriesPacketsWithoutGRE(t *testing.T) {
	l := newLab(t)
	sp := spec{vti: true}
	a, b := l.pair(sp, sp, mem.Impairment{Delay: 5 * time.Millisecond})
	for i, r := range []*router{a, b} {
		tun, err := r.dp.AddTunnel(netstack.TunnelConfig{Name: "Tunnel0", Mode: netstack.VTI, Source: r.wan, Destination: []*router{b, a}[i].wan, Protected: true})
		if err != nil {
			t.Fatal(err)
		}
		r.address(tun.Interface(), netip.MustParsePrefix(fmt.Sprintf("10.10.10.%d/24", i+1)))
		r.call(func() {
			err = r.m.AddTunnel(tun, TunnelProtection{IKEProfile: "PROF", ChildPolicy: "Tunnel0", Passive: i == 0})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	l.until(10*time.Second, "both are up", func() bool { return a.up() == 1 && b.up() == 1 })
	if !b.ping("10.10.10.2", "10.10.10.1", 1) || !a.ping("10.10.10.1", "10.10.10.2", 2) {
		t.Errorf("no answer: %v %v", a.dp.Drops(), b.dp.Drops())
	}
}

func TestAPointToPointTunnelWithoutADestinationTakesWhoComes(t *testing.T) {
	l := newLab(t)
	h, s := l.pair(spec{}, spec{}, mem.Impairment{})
	tun, err := h.dp.AddTunnel(netstack.TunnelConfig{Name: "Tunnel0", Mode: netstack.GREPointToPoint, Source: h.wan, Protected: true})
	if err != nil {
		t.Fatal(err)
	}
	h.address(tun.Interface(), netip.MustParsePrefix("10.10.10.1/24"))
	h.call(func() { err = h.m.AddTunnel(tun, TunnelProtection{IKEProfile: "PROF", ChildPolicy: "Tunnel0"}) })
	if err != nil {
		t.Fatal(err)
	}
	s.tunnel("Tunnel0", "10.10.10.2/24", "172.16.0.1", 0, TunnelProtection{})
	l.until(5*time.Second, "both are up", func() bool { return h.up() == 1 && s.up() == 1 })
	if !h.ping("10.10.10.1", "10.10.10.2", 1) {
		t.Errorf("no answer: %v %v", h.dp.Drops(), s.dp.Drops())
	}
}

func TestAPeerThatIsNotTheDestinationIsTurnedAway(t *testing.T) {
	l := newLab(t)
	h, s := l.pair(spec{}, spec{}, mem.Impairment{})
	h.tunnel("Tunnel0", "10.10.10.1/24", "172.16.0.77", 0, TunnelProtection{})
	s.tunnel("Tunnel0", "10.10.10.2/24", "172.16.0.1", 0, TunnelProtection{})
	l.run(20 * time.Second)
	if h.up() != 0 || h.counters().Homeless == 0 || len(h.lines("child-refused")) != 1 {
		t.Errorf("%d up, %+v\n%s", h.up(), h.counters(), h.logs())
	}
	if i := s.sessions()[0]; i.Failures > 12 {
		t.Errorf("the spoke tries again %d times in 20 s", i.Failures)
	}
}

func TestANewSourceAddressBeginsAnew(t *testing.T) {
	l, h, s := connected(t, spec{}, spec{}, mem.Impairment{Delay: time.Millisecond})
	old := h.sessions()[0].Session
	wan := netip.MustParseAddr("172.16.0.9")
	s.eth.SetAddresses([]netip.Prefix{netip.MustParsePrefix("172.16.0.9/24")})
	s.vrf.Program([]fib.Change{{Route: fib.Route{Prefix: netip.PrefixFrom(wan, 32), Kind: fib.Local}}})
	if err := s.tuns["Tunnel0"].SetSource(wan); err != nil {
		t.Fatal(err)
	}
	s.call(func() { s.m.SetLocal(s.tuns["Tunnel0"], wan) })
	l.until(10*time.Second, "it is up from the new address", func() bool {
		i := s.sessions()[0]
		return i.State == StateUp && i.Local.Addr() == wan
	})
	for _, i := range h.sessions() {
		if i.NBMA == wan {
			h.neighbour("Tunnel0", "10.10.10.2", i.Session)
			if i.Session == old {
				t.Error("another address is another far end")
			}
		}
	}
	if !s.ping("10.10.10.2", "10.10.10.1", 1) {
		t.Errorf("no answer: %v %v", s.dp.Drops(), h.dp.Drops())
	}
}

func TestAnSAThatWeLostIsSaidSo(t *testing.T) {
	l, h, s := connected(t, spec{}, spec{}, mem.Impairment{Delay: time.Millisecond})
	// The hub forgets its inbound SA: as if a packet had come for one that it never had.
	h.dp.RemoveInbound(h.sessions()[0].Pairs[0].SPIIn)
	h.call(func() {
		p := h.m.pairs[h.m.Sessions()[0].Pairs[0].Child]
		h.m.uninstall(p, 0)
		h.m.run(nil)
	})
	for i := range uint16(5) {
		s.echo("10.10.10.2", "10.10.10.1", i)
		l.run(time.Second)
	}
	if h.counters().UnknownSPI == 0 || len(h.lines("unknown-spi")) != 1 {
		t.Errorf("%+v\n%s", h.counters(), h.logs())
	}
}

func TestClearingASessionBringsItBackAtOnce(t *testing.T) {
	for name, clear := range map[string]func(m *Manager, i Info){
		"session":  func(m *Manager, i Info) { m.Reset(i.Session, "cleared") },
		"children": func(m *Manager, i Info) { m.ResetChildren(i.Session, "cleared") },
		"ike":      func(m *Manager, i Info) { m.DeleteIKE(i.IKE, "cleared") },
	} {
		t.Run(name, func(t *testing.T) {
			l, h, s := connected(t, spec{}, spec{}, mem.Impairment{Delay: time.Millisecond})
			before := s.sessions()[0]
			s.call(func() { clear(s.m, before) })
			l.until(500*time.Millisecond, "it is back", func() bool { return s.up() == 1 && s.sessions()[0].Totals.Ups == 2 })
			i := s.sessions()[0]
			if i.Session != before.Session || (i.IKE == before.IKE) != (name == "children") || len(i.Pairs) != 1 {
				t.Errorf("%+v", i)
			}
			s.call(func() { s.m.Probe(before.Session) })
			l.run(10 * time.Second)
			h.neighbour("Tunnel0", "10.10.10.2", h.sessions()[0].Session)
			if !s.ping("10.10.10.2", "10.10.10.1", 1) || len(h.sessions()) != 1 {
				t.Errorf("no answer: %v %v", s.dp.Drops(), h.dp.Drops())
			}
		})
	}
}

func TestTheKeyLogHasALineForEverySA(t *testing.T) {
	dir := t.TempDir()
	l := newLab(t)
	h, s := l.pair(spec{keylog: true}, spec{}, mem.Impairment{})
	log, err := KeyLogDir(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	h.m.o.KeyLog = log
	h.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{})
	s.tunnel("Tunnel0", "10.10.10.2/24", "172.16.0.1", 0, TunnelProtection{})
	l.until(5*time.Second, "up", func() bool { return h.up() == 1 && s.up() == 1 })
	pair := h.sessions()[0].Pairs[0]
	for name, want := range map[string][]string{
		"ikev2_decryption_table": {`"AES-GCM-256 with 16 octet ICV [RFC5282]"`},
		"esp_sa":                 {spi(pair.SPIIn), spi(pair.SPIOut)},
	} {
		file := filepath.Join(dir, "keys", name)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(b), "\n") != len(want) {
			t.Errorf("%s:\n%s", name, b)
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s lacks %s:\n%s", name, w, b)
			}
		}
		if st, _ := os.Stat(file); st.Mode().Perm() != 0o600 {
			t.Errorf("%s can be read by others: %v", name, st.Mode())
		}
	}
	if s.keys.Len() != 0 {
		t.Error("a key log was written that nobody asked for")
	}
}

func TestTheLoopRefusesWhatIsTooMuch(t *testing.T) {
	s := newStage(t, [2]string{"Tunnel0", "Tunnel1"})
	block, started := make(chan struct{}), make(chan struct{})
	s.loop.Post("block", func() { close(started); <-block })
	<-started
	for range 10000 {
		s.m.HandlePunt(netstack.Punt{Reason: netstack.PuntNoSA})
	}
	close(block)
	var c Counters
	_ = s.do(func() { c = s.m.Counters() })
	if c.Refused == 0 {
		t.Errorf("%+v", c)
	}
	if s.m.HandlePunt(netstack.Punt{Reason: netstack.PuntNHRP}) {
		t.Error("a punt that is another's was taken")
	}
}

func TestQuietIsBounded(t *testing.T) {
	q, now := newQuiet(), time.Unix(0, 0)
	a := netip.MustParseAddr("2001:db8::")
	for range 5000 {
		a = a.Next()
		if !q.allow(a, "x", now, time.Minute) {
			t.Fatal("something new was held back")
		}
	}
	if len(q.said) > maxQuiet {
		t.Errorf("%d complaints are remembered", len(q.said))
	}
	if q.allow(a, "x", now, time.Minute) || !q.allow(a, "y", now, time.Minute) || !q.allow(a, "x", now.Add(time.Minute), time.Minute) {
		t.Error("the last one")
	}
	q.forget(a)
	if !q.allow(a, "x", now, time.Minute) {
		t.Error("a forgotten one")
	}
}

func TestTunnelsThatCannotBeProtectedAreRefused(t *testing.T) {
	s := newStage(t, [2]string{"Tunnel0", "Tunnel1"})
	clear, err := s.dp.AddTunnel(netstack.TunnelConfig{Name: "Tunnel2", Mode: netstack.GREMultipoint, Source: us, Key: 3, HasKey: true})
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.dp.AddTunnel(netstack.TunnelConfig{Name: "Tunnel3", Mode: netstack.GREMultipoint, Source: us, Key: 4, HasKey: true, Protected: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.do(func() {
		if err := s.m.AddTunnel(clear, TunnelProtection{}); err == nil || !strings.Contains(err.Error(), "in clear") {
			t.Error(err)
		}
		if err := s.m.AddTunnel(s.tun[0], TunnelProtection{}); err == nil {
			t.Error("twice")
		}
		if err := s.m.AddTunnel(other, TunnelProtection{VRF: "none"}); err == nil || !strings.Contains(err.Error(), `"none"`) {
			t.Error(err)
		}
		if s.m.Open(clear, them) != nil {
			t.Error("a session on a tunnel that is not ours")
		}
		s.m.RemoveTunnel(clear)
		s.m.Close(nil, "")
		s.m.Probe(nil)
	})
	if _, err := New(Options{}); err == nil {
		t.Error("a Manager of nothing")
	}
}

func TestTwoSpokesThatOpenToEachOtherAtOnceLoseNothing(t *testing.T) {
	for _, apart := range []time.Duration{0, 15 * time.Millisecond, 30 * time.Millisecond, 45 * time.Millisecond, 70 * time.Millisecond} {
		t.Run(apart.String(), func(t *testing.T) {
			l := newLab(t)
			a, b := l.pair(spec{}, spec{}, mem.Impairment{Delay: 20 * time.Millisecond})
			ta := a.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{})
			tb := b.tunnel("Tunnel0", "10.10.10.2/24", "", 0, TunnelProtection{})
			var sa, sb *netstack.Session
			a.call(func() { sa = a.m.Open(ta, b.wan) })
			l.run(apart)
			b.call(func() { sb = b.m.Open(tb, a.wan) })
			a.neighbour("Tunnel0", "10.10.10.2", sa)
			b.neighbour("Tunnel0", "10.10.10.1", sb)
			l.until(5*time.Second, "both are up", func() bool { return a.up() == 1 && b.up() == 1 })
			if sent, lost := l.stream(a, "10.10.10.1", "10.10.10.2", 20*time.Second, 10*time.Millisecond); lost != 0 {
				t.Errorf("%d of %d lost; %v %v\n%s", lost, sent, a.dp.Drops(), b.dp.Drops(), a.logs())
			}
			l.run(2 * time.Minute)
			ia, ib := a.sessions(), b.sessions()
			if len(ia) != 1 || len(ib) != 1 || ia[0].Session != sa || ib[0].Session != sb || len(ia[0].Pairs) != 1 || ia[0].Pairs[0].SPIIn != ib[0].Pairs[0].SPIOut {
				t.Errorf("%+v\n%+v", ia, ib)
			}
			// One of them has no more use for it: the other hears so.
			a.call(func() { a.m.Close(sa, "shortcut expired") })
			l.run(time.Second)
			if k := b.kinds(); k[len(k)-1] == Up {
				// b wants it still, and called again.
				if b.up() != 1 || len(k) < 3 {
					t.Errorf("%v", k)
				}
			}
		})
	}
}
