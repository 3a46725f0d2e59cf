package netstack

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"felloe/netstack/arp"
	"felloe/netstack/ip"
	"felloe/netstack/link/mem"
	"felloe/netstack/ndp"
	"felloe/netstack/packet"
)

// station is a bare port on a link with a router: it sees every frame and sends what it likes.
type station struct {
	*lab
	r      *router
	i      *Interface
	port   *mem.Port
	mac    [6]byte
	frames [][]byte
}

func newStation(t testing.TB, addrs ...string) *station {
	l := newLab(t)
	s := &station{lab: l, r: l.router("R")}
	p, q := l.net.Pair("R", "station", mem.Impairment{})
	s.port, s.mac = q, q.Info().MAC
	_ = q.Start(func(v []*packet.Packet) {
		for _, f := range v {
			s.frames = append(s.frames, append([]byte(nil), f.Bytes()...))
			f.Release()
		}
	})
	i, err := s.r.AddEthernet(EthernetConfig{Name: "Ethernet0", Driver: p})
	if err != nil {
		t.Fatal(err)
	}
	s.i = i
	s.r.address(i, addrs...)
	return s
}

func (s *station) send(frame []byte) {
	s.port.Send([]*packet.Packet{packet.From(frame)})
	s.run(time.Millisecond)
}

func (s *station) arp(a arp.Packet, dst [6]byte) {
	b := make([]byte, 14+arp.Size)
	copy(b, dst[:])
	copy(b[6:], s.mac[:])
	b[12], b[13] = 8, 6
	a.Put(b[14:])
	s.send(b)
}

// take returns the frames that the station saw since the last time.
func (s *station) take() [][]byte {
	f := s.frames
	s.frames = nil
	return f
}

func (s *station) arps(op uint16) (out []arp.Packet) {
	for _, f := range s.take() {
		if f[12] == 8 && f[13] == 6 {
			if a, err := arp.Parse(f[14:]); err == nil && a.Op == op {
				out = append(out, a)
			}
		}
	}
	return
}

func TestAnInterfaceThatNobodyWantsIsSilent(t *testing.T) {
	s := newStation(t, "10.0.0.1/24", "2001:db8::1/64")
	s.arp(arp.Packet{Op: arp.Request, SenderMAC: s.mac, SenderIP: addr("10.0.0.2"), TargetIP: addr("10.0.0.1")}, broadcastMAC)
	s.run(time.Minute)
	if len(s.frames) != 0 {
		t.Fatalf("it said %x", s.frames)
	}
	s.i.SetAdminUp(true)
	s.run(time.Second)
	garp, na, dad := 0, 0, 0
	for _, f := range s.take() {
		switch {
		case f[13] == 6:
			a, err := arp.Parse(f[14:])
			if err == nil && a.Gratuitous() && a.SenderIP == addr("10.0.0.1") {
				garp++
			}
		default:
			var h ip.Header
			if ip.Parse(f[14:], &h) != nil {
				t.Fatalf("frame %x", f)
			}
			m, err := ndp.Parse(&h, f[14:])
			if err != nil {
				t.Fatal(err)
			}
			if m.Type == ndp.Advertisement && h.Dst == ndp.AllNodes {
				na++
			}
			if m.Type == ndp.Solicitation && h.Src.IsUnspecified() {
				dad++
			}
		}
	}
	if garp != 1 || na != 2 || dad != 2 { // the global and the link-local address
		t.Fatalf("%d gratuitous ARPs, %d advertisements, %d probes", garp, na, dad)
	}
}

func TestARPIsAnsweredForOurAddressesOnly(t *testing.T) {
	s := newStation(t, "10.0.0.1/24")
	s.r.loopback("Loopback0", "192.0.2.1/32")
	s.i.SetAdminUp(true)
	s.run(time.Second)
	s.take()
	ask := func(target, sender string) int {
		s.arp(arp.Packet{Op: arp.Request, SenderMAC: s.mac, SenderIP: addr(sender), TargetIP: addr(target)}, broadcastMAC)
		got := s.arps(arp.Reply)
		for _, a := range got {
			if a.SenderIP != addr(target) || a.SenderMAC != s.i.MAC() || a.TargetMAC != s.mac {
				t.Fatalf("reply %+v", a)
			}
		}
		return len(got)
	}
	for _, c := range []struct {
		target, sender string
		want           int
	}{
		{"10.0.0.1", "10.0.0.2", 1},
		{"10.0.0.3", "10.0.0.2", 0},  // a neighbour's
		{"192.0.2.1", "10.0.0.2", 0}, // ours, but of another interface
		{"10.0.0.1", "172.16.0.1", 0},
		{"10.0.0.1", "0.0.0.0", 1}, // a probe
	} {
		if n := ask(c.target, c.sender); n != c.want {
			t.Errorf("%s asked by %s: %d replies, want %d", c.target, c.sender, n, c.want)
		}
	}
	if ns := s.i.Neighbours(); len(ns) != 1 || ns[0].Addr != addr("10.0.0.2") || ns[0].MAC != s.mac {
		t.Fatalf("neighbours %v", ns)
	}
}

func TestARPIsRetriedThenGivenUpWithABoundedQueue(t *testing.T) {
	s := newStation(t, "10.0.0.1/24")
	s.i.SetAdminUp(true)
	s.run(time.Second)
	s.take()
	for k := range 20 {
		_ = s.r.vrf.SendIP(probe(addr("10.0.0.1"), addr("10.0.0.9"), 9, uint16(k)))
	}
	s.run(time.Millisecond)
	if d := s.r.Drops(); d["neighbour-queue-full"] != 20-neighbourQueue {
		t.Fatalf("drops %v", d)
	}
	s.run(10 * time.Second)
	if n := len(s.arps(arp.Request)); n != neighbourTries {
		t.Fatalf("asked %d times", n)
	}
	if d := s.r.Drops(); d["no-neighbour"] != neighbourQueue || len(s.i.Neighbours()) != 0 {
		t.Fatalf("drops %v, neighbours %v", d, s.i.Neighbours())
	}
	// A neighbour that comes late gets what waited, in order.
	for k := range 3 {
		_ = s.r.vrf.SendIP(probe(addr("10.0.0.1"), addr("10.0.0.9"), 9, uint16(k)))
	}
	s.run(1500 * time.Millisecond)
	s.take()
	s.arp(arp.Packet{Op: arp.Reply, SenderMAC: s.mac, SenderIP: addr("10.0.0.9"), TargetMAC: s.i.MAC(), TargetIP: addr("10.0.0.1")}, s.i.MAC())
	got := s.take()
	if len(got) != 3 || [6]byte(got[0][:6]) != s.mac || got[0][14+23] != 0 || got[2][14+23] != 2 {
		t.Fatalf("%d frames: %x", len(got), got)
	}
}

func TestNeighboursInUseAreProbedAndSilentOnesForgotten(t *testing.T) {
	s := newStation(t, "10.0.0.1/24", "2001:db8::1/64")
	s.i.SetAdminUp(true)
	s.run(time.Second)
	for _, c := range [][2]string{{"10.0.0.1", "10.0.0.9"}, {"2001:db8::1", "2001:db8::9"}} {
		learn := func() {
			if addr(c[0]).Is4() {
				s.arp(arp.Packet{Op: arp.Reply, SenderMAC: s.mac, SenderIP: addr(c[1]), TargetMAC: s.i.MAC(), TargetIP: addr(c[0])}, s.i.MAC())
				return
			}
			m := ndp.Message{Type: ndp.Advertisement, Flags: ndp.Solicited | ndp.Override, Target: addr(c[1]), LinkAddr: s.mac, HasLink: true}
			p := m.Packet(addr(c[1]), addr(c[0]))
			mac := s.i.MAC()
			s.send(append(append(append(mac[:], s.mac[:]...), 0x86, 0xdd), p.Bytes()...))
		}
		state := func() NeighbourState {
			for _, n := range s.i.Neighbours() {
				if n.Addr == addr(c[1]) {
					return n.State
				}
			}
			return 99
		}
		use := func() { _ = s.r.vrf.SendIP(probe(addr(c[0]), addr(c[1]), 9, 9)); s.run(time.Millisecond) }
		use()
		learn()
		if state() != Reachable {
			t.Fatalf("%s: %v", c[1], s.i.Neighbours())
		}
		use()
		s.take()
		s.run(neighbourReachable)
		if got := s.take(); state() != Probing || len(got) != 1 || [6]byte(got[0][:6]) != s.mac {
			t.Fatalf("%s: %v after its time, %d frames", c[1], state(), len(got))
		}
		learn()
		if state() != Reachable {
			t.Fatalf("%s: %v after an answer", c[1], state())
		}
		// Nobody uses it: it goes stale, and is forgotten without a question.
		s.take()
		s.run((neighbourIdle + 2) * neighbourReachable)
		if got := s.take(); state() != 99 || len(got) != 0 {
			t.Fatalf("%s: %v, %d frames", c[1], state(), len(got))
		}
		// It dies while in use: asked alone, then all, then given up.
		use()
		learn()
		use()
		s.take()
		s.run(neighbourReachable + 10*time.Second)
		unicast, group := 0, 0
		for _, f := range s.take() {
			if f[0]&1 == 0 {
				unicast++
			} else {
				group++
			}
		}
		if state() != 99 || unicast != neighbourTries || group != neighbourTries {
			t.Fatalf("%s: %v, asked it %d times and all %d times", c[1], state(), unicast, group)
		}
	}
}

func TestNeighbourSolicitationsAreAnswered(t *testing.T) {
	s := newStation(t, "2001:db8::1/64")
	s.i.SetAdminUp(true)
	s.run(time.Second)
	for name, c := range map[string]struct {
		target, src string
		want        int
	}{
		"ours":           {"2001:db8::1", "2001:db8::9", 1},
		"our link-local": {s.i.LinkLocal().String(), "fe80::9", 1},
		"not ours":       {"2001:db8::2", "2001:db8::9", 0},
		"from off link":  {"2001:db8::1", "2001:db9::9", 0},
		"a probe":        {"2001:db8::1", "::", 1},
	} {
		s.take()
		m := ndp.Message{Type: ndp.Solicitation, Target: addr(c.target)}
		if c.src != "::" {
			m.LinkAddr, m.HasLink = s.mac, true
		}
		group := ndp.SolicitedNode(addr(c.target))
		mac := ndp.GroupMAC(group)
		p := m.Packet(addr(c.src), group)
		s.send(append(append(append(mac[:], s.mac[:]...), 0x86, 0xdd), p.Bytes()...))
		n := 0
		for _, f := range s.take() {
			var h ip.Header
			if ip.Parse(f[14:], &h) == nil {
				if a, err := ndp.Parse(&h, f[14:]); err == nil && a.Type == ndp.Advertisement && a.Target == addr(c.target) && a.LinkAddr == s.i.MAC() {
					n++
				}
			}
		}
		if n != c.want {
			t.Errorf("%s: %d answers, want %d", name, n, c.want)
		}
	}
	if !strings.Contains(s.r.log.String(), "address-conflict") {
		t.Error("a station that probes for our address is not logged")
	}
}

func TestAConflictIsLoggedAndDefended(t *testing.T) {
	s := newStation(t, "10.0.0.1/24")
	s.i.SetAdminUp(true)
	s.run(time.Second)
	s.take()
	s.arp(arp.Packet{Op: arp.Request, SenderMAC: s.mac, SenderIP: addr("10.0.0.1"), TargetIP: addr("10.0.0.1")}, broadcastMAC)
	if got := s.arps(arp.Request); len(got) != 1 || !got[0].Gratuitous() {
		t.Fatalf("no defence: %v", got)
	}
	if !strings.Contains(s.r.log.String(), "address-conflict") {
		t.Fatal("not logged")
	}
}

func TestAStaticNeighbourStands(t *testing.T) {
	s := newStation(t, "10.0.0.1/24")
	s.i.SetAdminUp(true)
	s.i.AddStaticNeighbour(addr("10.0.0.9"), [6]byte{2, 1, 1, 1, 1, 1})
	s.arp(arp.Packet{Op: arp.Request, SenderMAC: s.mac, SenderIP: addr("10.0.0.9"), TargetIP: addr("10.0.0.1")}, broadcastMAC)
	s.i.ClearNeighbours()
	s.run(24 * time.Hour)
	if ns := s.i.Neighbours(); len(ns) != 1 || ns[0].MAC != [6]byte{2, 1, 1, 1, 1, 1} || ns[0].State != Static {
		t.Fatalf("neighbours %v", ns)
	}
	s.i.RemoveStaticNeighbour(addr("10.0.0.9"))
	if ns := s.i.Neighbours(); len(ns) != 0 {
		t.Fatalf("neighbours %v", ns)
	}
}

func TestAScanCannotFillTheNeighbourTable(t *testing.T) {
	s := newStation(t, "10.0.0.1/8")
	s.i.SetAdminUp(true)
	s.run(time.Second)
	for k := range 3 * neighbourUnknown {
		_ = s.r.vrf.SendIP(probe(addr("10.0.0.1"), netip.AddrFrom4([4]byte{10, 1, byte(k >> 8), byte(k)}), 9, 9))
	}
	s.run(time.Millisecond)
	if n := len(s.i.Neighbours()); n != neighbourUnknown {
		t.Fatalf("%d entries", n)
	}
	if d := s.r.Drops(); d["neighbour-table-full"] != 2*neighbourUnknown {
		t.Fatalf("drops %v", d)
	}
	s.run(5 * time.Second)
	if n := len(s.i.Neighbours()); n != 0 || s.i.neigh.incomplete != 0 {
		t.Fatalf("%d entries are left, %d counted", n, s.i.neigh.incomplete)
	}
}

func TestLinkLocalAddressesArePingedOnTheirLink(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	p := echo(x.ai.LinkLocal(), x.ra.LinkLocal(), 64, 1, 10, false)
	x.a.mu.Lock()
	x.a.icmp = nil
	x.a.mu.Unlock()
	var answer []byte
	x.left.SetCapture(func(_ time.Time, from *mem.Port, f []byte) {
		if from.Name() == "R.left" && f[12] == 0x86 && f[54] == ip.V6EchoReply {
			answer = append([]byte(nil), f[14:]...)
		}
	})
	if err := x.ai.SendIP(p); err != nil {
		t.Fatal(err)
	}
	x.run(time.Second)
	var h ip.Header
	if answer == nil || ip.Parse(answer, &h) != nil || h.Src != x.ra.LinkLocal() || !ip.L4Valid(&h, answer) {
		x.explain()
		t.Fatalf("answer %x", answer)
	}
	// Nothing link-local crosses the router.
	p = echo(x.ai.LinkLocal(), addr("2001:db8:2::1"), 64, 1, 10, false)
	_ = x.a.vrf.SendIP(p)
	x.run(time.Second)
	if d := x.r.Drops(); d["link-local"] != 1 {
		t.Fatalf("drops %v", d)
	}
}

func TestNeighboursOfASubnetThatIsGoneAreForgotten(t *testing.T) {
	s := newStation(t, "10.0.0.1/24", "10.9.0.1/24")
	s.i.SetAdminUp(true)
	for _, a := range []string{"10.0.0.9", "10.9.0.9"} {
		target := "10.0.0.1"
		if a == "10.9.0.9" {
			target = "10.9.0.1"
		}
		s.arp(arp.Packet{Op: arp.Request, SenderMAC: s.mac, SenderIP: addr(a), TargetIP: addr(target)}, broadcastMAC)
	}
	s.i.SetAddresses([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")})
	if ns := s.i.Neighbours(); len(ns) != 1 || ns[0].Addr != addr("10.0.0.9") {
		t.Fatalf("neighbours %v", ns)
	}
}

func TestTwoStationsWithOneAddressDoNotDefendItForEver(t *testing.T) {
	l := newLab(t)
	p, q := l.net.Pair("A", "B", mem.Impairment{})
	claims := 0
	p.Link().SetCapture(func(_ time.Time, _ *mem.Port, f []byte) {
		if f[12] == 0x08 && f[13] == 0x06 {
			claims++
		}
	})
	l.router("A").eth("Ethernet0", p, "10.0.0.1/24")
	l.router("B").eth("Ethernet0", q, "10.0.0.1/24")
	l.run(time.Second)
	if claims < 3 || claims > 4 { // each says hello, each defends at most once
		t.Fatalf("%d claims in the first second", claims)
	}
	l.run(time.Minute)
	if claims > 4 {
		t.Fatalf("%d claims with nothing new", claims)
	}
}
