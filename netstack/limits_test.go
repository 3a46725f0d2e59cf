package netstack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/netstack/frag"
	"felloe/netstack/ip"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"
)

func TestFlowsSpreadOverEqualWaysAndKeepTheirOrder(t *testing.T) {
	l := newLab(t)
	r := l.router("R")
	in := &null{mac: [6]byte{2, 1}}
	out := [2]*null{{mac: [6]byte{2, 2}, keep: true}, {mac: [6]byte{2, 3}, keep: true}}
	li := r.eth("Ethernet0", in, "10.1.0.254/24")
	c := fib.Change{Route: fib.Route{Prefix: netip.MustParsePrefix("20.0.0.0/8")}}
	for n, o := range out {
		i := r.eth(fmt.Sprintf("Ethernet%d", n+1), o, fmt.Sprintf("10.%d.0.254/24", n+2))
		via := addr(fmt.Sprintf("10.%d.0.1", n+2))
		i.AddStaticNeighbour(via, [6]byte{2, 9})
		c.Route.NextHops = append(c.Route.NextHops, fib.NextHop{Interface: i.Index(), Via: via})
	}
	r.vrf.Program([]fib.Change{c})
	out[0].last, out[1].last = nil, nil
	var v []*packet.Packet
	for round := range 4 {
		for flow := range 50 {
			p := packet.From([]byte{byte(round)})
			ip.PrependUDP(p, ip.Outer{Src: addr("10.1.0.1"), Dst: addr("20.0.0.1"), TTL: 9}, uint16(flow), 80)
			h := li.ethernetHeader(li.mac, true)
			copy(p.Prepend(14), h[:])
			v = append(v, p)
		}
	}
	in.input(v)
	way := map[byte]int{}
	last := map[byte]byte{}
	for n, o := range out {
		for _, f := range o.last {
			flow, round := f[14+21], f[14+28]
			if w, ok := way[flow]; ok && w != n {
				t.Fatalf("flow %d took both ways", flow)
			}
			way[flow] = n
			if round < last[flow] {
				t.Fatalf("flow %d is out of order", flow)
			}
			last[flow] = round
		}
	}
	if len(way) != 50 || len(out[0].last) < 40 || len(out[1].last) < 40 {
		t.Fatalf("%d flows; %d and %d packets", len(way), len(out[0].last), len(out[1].last))
	}
}

// behindNAT is a lab in which two spokes share one public address.
func TestTwoPeersBehindOneNATAreToldApart(t *testing.T) {
	l := newLab(t)
	hub := l.router("Hub")
	ph, pn := l.net.Pair("Hub", "NAT", mem.Impairment{})
	hi := hub.eth("Ethernet0", ph, "172.16.1.1/24")
	_ = hi
	hubTun, err := hub.AddTunnel(TunnelConfig{Name: "Tunnel0", Mode: GREMultipoint, Protected: true, Source: addr("172.16.1.1")})
	if err != nil {
		t.Fatal(err)
	}
	hub.address(hubTun.Interface(), "10.10.10.1/24")
	hub.vrf.HandleUDP(natPort, func(UDP) {})
	public := addr("172.16.1.99")
	hi.AddStaticNeighbour(public, pn.Info().MAC)
	// The NAT: its inside ports lead to spokes of the same address, its outside has one address.
	type side struct {
		port *mem.Port
		mac  [6]byte
		ext  uint16
	}
	var inside [2]*side
	shift := uint16(0) // the NAT forgets its mapping: other ports from now on
	fix := func(b []byte, src, dst netip.Addr, sport, dport uint16) *packet.Packet {
		var h ip.Header
		if ip.Parse(b, &h) != nil || h.Proto != ip.UDP {
			return nil
		}
		p := packet.From(b[h.L4+8 : h.Len])
		ip.PrependUDP(p, ip.Outer{Src: src, Dst: dst, TTL: 60}, sport, dport)
		u := p.Bytes()[20:]
		u[6], u[7] = 0, 0
		return p
	}
	frame := func(p *packet.Packet, src, dst [6]byte) *packet.Packet {
		copy(p.Prepend(14), append(append(dst[:], src[:]...), 8, 0))
		return p
	}
	private := addr("192.168.0.2")
	_ = pn.Start(func(v []*packet.Packet) {
		for _, f := range v {
			var h ip.Header
			if ip.Parse(f.Bytes()[14:], &h) == nil {
				_, dport, _ := h.Ports(f.Bytes()[14:])
				for _, s := range inside {
					if dport == s.ext+shift {
						if p := fix(f.Bytes()[14:], h.Src, private, natPort, natPort); p != nil {
							s.port.Send([]*packet.Packet{frame(p, s.port.Info().MAC, s.mac)})
						}
					}
				}
			}
			f.Release()
		}
	})
	var spokes [2]*router
	var tuns [2]*Tunnel
	var hubSessions, spokeSessions [2]*Session
	for n := range 2 {
		r := l.router(fmt.Sprintf("Spoke%d", n+1))
		spokes[n] = r
		p, q := l.net.Pair(r.name, "NAT.in", mem.Impairment{})
		s := &side{port: q, mac: p.Info().MAC, ext: uint16(50000 + n)}
		inside[n] = s
		_ = q.Start(func(v []*packet.Packet) {
			for _, f := range v {
				if f.Bytes()[12] == 8 && f.Bytes()[13] == 0 {
					if p := fix(f.Bytes()[14:], public, addr("172.16.1.1"), s.ext+shift, natPort); p != nil {
						pn.Send([]*packet.Packet{frame(p, pn.Info().MAC, hi.MAC())})
					}
				}
				f.Release()
			}
		})
		i := r.eth("Ethernet0", p, "192.168.0.2/24")
		i.AddStaticNeighbour(addr("192.168.0.1"), q.Info().MAC)
		r.route("0.0.0.0/0", i, "192.168.0.1")
		r.vrf.HandleUDP(natPort, func(UDP) {})
		tun, err := r.AddTunnel(TunnelConfig{Name: "Tunnel0", Mode: GREMultipoint, Protected: true, Source: private})
		if err != nil {
			t.Fatal(err)
		}
		tuns[n] = tun
		r.address(tun.Interface(), fmt.Sprintf("10.10.10.%d/24", n+2))
		spokeSessions[n] = tun.NewSession(addr("172.16.1.1"))
		tun.SetNeighbour(addr("10.10.10.1"), spokeSessions[n])
		hubSessions[n] = hubTun.NewSession(public)
		hubTun.SetNeighbour(addr(fmt.Sprintf("10.10.10.%d", n+2)), hubSessions[n])
		mode := []esp.Mode{esp.Transport, esp.Tunnel}[n]
		mk := func(spi uint32, local, remote netip.AddrPort) (*esp.Outbound, *esp.Inbound) {
			pr := esp.Params{SPI: spi, Suite: gcm, Mode: mode, EncrKey: make([]byte, gcm.EncrKeyLen()), UDPEncap: true, Local: local, Remote: remote}
			pr.EncrKey[0] = byte(spi)
			o, err := esp.NewOutbound(pr)
			if err != nil {
				t.Fatal(err)
			}
			in, err := esp.NewInbound(pr)
			if err != nil {
				t.Fatal(err)
			}
			return o, in
		}
		hubEnd, natEnd := netip.MustParseAddrPort("172.16.1.1:4500"), netip.AddrPortFrom(public, s.ext)
		me := netip.AddrPortFrom(private, natPort)
		toHub, _ := mk(uint32(0x2000+n), me, hubEnd)
		_, atHub := mk(uint32(0x2000+n), hubEnd, natEnd)
		toSpoke, _ := mk(uint32(0x3000+n), hubEnd, natEnd)
		_, atSpoke := mk(uint32(0x3000+n), me, hubEnd)
		// In tunnel mode the far end calls itself by its inside address.
		hubSessions[n].SetInner(addr("172.16.1.1"), private)
		if err := hub.AddInbound(atHub, hubSessions[n]); err != nil {
			t.Fatal(err)
		}
		if err := r.AddInbound(atSpoke, spokeSessions[n]); err != nil {
			t.Fatal(err)
		}
		hubSessions[n].SetOutbound(toSpoke)
		spokeSessions[n].SetOutbound(toHub)
	}
	for n, r := range spokes {
		if !r.ping(fmt.Sprintf("10.10.10.%d", n+2), "10.10.10.1", 100) {
			l.explain()
			t.Fatalf("no answer to spoke %d", n+1)
		}
		if c := hubSessions[n].Counters(); c.RxPackets != 1 || c.TxPackets != 1 {
			t.Fatalf("session %d: %+v", n, c)
		}
	}
	// The NAT moves the mapping: the hub is told where an authentic packet came from.
	shift = 77
	_ = spokes[0].vrf.SendIP(echo(addr("10.10.10.2"), addr("10.10.10.1"), 64, 5, 10, false))
	l.run(time.Second)
	p := hub.takePunts(PuntMoved)
	if len(p) != 1 || p[0].Session != hubSessions[0] || p[0].Remote != netip.AddrPortFrom(public, 50077) {
		t.Fatalf("punts %+v", p)
	}
	hubSessions[0].Outbound().SetRemote(p[0].Remote)
	if !spokes[0].ping("10.10.10.2", "10.10.10.1", 100) {
		l.explain()
		t.Fatal("no answer after the move")
	}
}

func TestFragmentsForUsAreBoundedAndTransitOnesPass(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	x.b.frags = frag.New(frag.Limits{Datagrams: 8, PerSource: 4}, func(p *packet.Packet, _ error) { x.b.count(p, dropReassembly) })
	x.a.ping("10.1.0.1", "10.2.0.1", 1) // ARP is done with
	for id := range 100 {
		p := packet.From(make([]byte, 2000))
		ip.PrependUDP(p, ip.Outer{Src: addr("10.1.0.1"), Dst: addr("10.2.0.1"), TTL: 9, ID: uint16(id)}, 1, 500)
		var h ip.Header
		_ = ip.Parse(p.Bytes(), &h)
		fs := ip.Fragment4(p, &h, 1400, nil)
		_ = x.a.vrf.SendIP(fs[1]) // the first ones never come
		fs[0].Release()
	}
	x.run(time.Second)
	if n := x.b.frags.Len(); n != 4 {
		t.Fatalf("%d datagrams wait", n)
	}
	if d := x.b.Drops(); d["reassembly-failed"] != 96 {
		t.Fatalf("drops %v", d)
	}
	if x.r.frags.Len() != 0 {
		t.Fatal("the router in the middle kept fragments that are not for it")
	}
	x.run(time.Minute)
	if d := x.b.Drops(); d["reassembly-failed"] != 100 || x.b.frags.Len() != 0 {
		t.Fatalf("drops %v, %d wait", d, x.b.frags.Len())
	}
}

func TestAPanicCostsOnePacket(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	got := 0
	x.b.vrf.HandleUDP(7, func(u UDP) {
		if u.Payload[0] == 'X' {
			panic("bad packet")
		}
		got++
	})
	x.b.vrf.HandleProtocol(99, func(*packet.Packet) { panic("bad protocol") })
	x.a.ping("10.1.0.1", "10.2.0.1", 1) // so that what follows is one vector
	for k := range 10 {
		b := []byte("good")
		if k == 4 {
			b = []byte("X")
		}
		_ = x.a.vrf.SendUDP(netip.AddrPort{}, netip.MustParseAddrPort("10.2.0.1:7"), b, SendOptions{})
		if k == 6 {
			p := packet.From(b)
			(&ip.Outer{Src: addr("10.1.0.1"), Dst: addr("10.2.0.1"), Proto: 99, TTL: 9}).Prepend(p)
			_ = x.a.vrf.SendIP(p)
		}
	}
	x.run(time.Second)
	if got != 9 || x.b.Drops()["panic"] != 2 || x.b.Stats().Panics.Load() != 2 {
		t.Fatalf("%d arrived, drops %v", got, x.b.Drops())
	}
	if s := x.b.log.String(); strings.Count(s, "contained a panic") != 2 || strings.Contains(s, "good") {
		t.Fatalf("log: %s", s)
	}
}

// Every packet that comes in goes out, is handed to somebody, or has a reason; exactly one of these.
func TestEveryPacketIsAccountedFor(t *testing.T) {
	b := newBench(t, 10)
	b.tunnel(t, gcm)
	b.kind("21.0.0.0/8", fib.Discard)
	b.kind("22.0.0.0/8", fib.Unreachable)
	b.vrf.HandleUDP(500, func(UDP) {})
	b.vrf.HandleUDP(natPort, func(UDP) {})
	b.right.keep = true
	r := rand.New(rand.NewPCG(5, 6))
	dsts := []string{"20.0.1.9", "21.0.0.1", "22.0.0.1", "23.0.0.1", "30.0.0.1", "10.1.0.254", "10.1.0.255", "10.2.0.55", "224.0.0.5", "239.1.1.1",
		"255.255.255.255", "127.0.0.1", "10.10.10.9", "10.10.10.1"}
	sent := 0
	var v []*packet.Packet
	for range 5000 {
		n := r.IntN(1380)
		p := packet.Get(n)
		p.Append(n)
		clear(p.Bytes())
		if r.IntN(5) == 0 { // noise
			for i := range p.Bytes() {
				p.Bytes()[i] = byte(r.Uint32())
			}
			if n > 14 {
				copy(p.Bytes(), b.li.mac[:])
				p.Bytes()[12], p.Bytes()[13] = 8, byte(r.IntN(2)*6)
			}
		} else {
			dst := addr(dsts[r.IntN(len(dsts))])
			o := ip.Outer{Src: addr("10.1.0.1"), Dst: dst, TTL: byte(r.IntN(4)), Proto: byte([]int{1, 17, 47, 50, 6, 89}[r.IntN(6)]), DF: r.IntN(2) == 0}
			if o.Proto == 17 && n > 8 {
				p.TrimFront(8)
				ip.PrependUDP(p, o, 1, uint16([]int{500, natPort, 7}[r.IntN(3)]))
			} else {
				o.Prepend(p)
			}
			h := b.li.ethernetHeader(b.li.mac, true)
			if dst.IsMulticast() || r.IntN(10) == 0 {
				h[0] |= 1
			}
			copy(p.Prepend(14), h[:])
		}
		v = append(v, p)
		sent++
		if len(v) == 100 {
			b.left.input(v)
			v = v[:0]
		}
	}
	b.lab.run(time.Hour) // what waits for a neighbour gives up
	s := b.Stats()
	dropped := 0
	for _, n := range b.Drops() {
		dropped += int(n)
	}
	out := 0
	for _, f := range b.right.last {
		if f[12] == 8 && f[13] == 0 {
			out++
		}
	}
	handed := int(s.Handled.Load() + s.ToHost.Load() + s.Keepalives.Load())
	if sent != dropped+out+handed || out == 0 || handed == 0 {
		t.Fatalf("%d came in: %d were dropped %v, %d left, %d were handed on", sent, dropped, b.Drops(), out, handed)
	}
}

func TestInterfacesComeAndGo(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	if !x.a.ping("10.1.0.1", "10.2.0.1", 10) {
		t.Fatal("no answer")
	}
	if err := x.r.RemoveInterface(x.rb); err != nil {
		t.Fatal(err)
	}
	if err := x.r.RemoveInterface(x.rb); err == nil {
		t.Fatal("removed twice")
	}
	got := x.a.ask(echo(addr("10.1.0.1"), addr("10.2.0.1"), 64, 1, 10, false), time.Second)
	if len(got) != 1 || got[0].typ != ip.DestUnreachable {
		t.Fatalf("got %v", got)
	}
	if d := x.r.Drops(); d["no-interface"] != 1 {
		t.Fatalf("drops %v", d)
	}
	if _, err := x.r.AddLoopback("Ethernet0", nil); err == nil {
		t.Fatal("two interfaces of one name")
	}
	if _, err := x.r.AddVRF(DefaultVRF); err == nil {
		t.Fatal("two VRFs of one name")
	}
	v, err := x.r.AddVRF("red")
	if err != nil {
		t.Fatal(err)
	}
	lo, err := x.r.AddLoopback("Loopback1", v)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.r.RemoveVRF("red"); err == nil {
		t.Fatal("a VRF in use was removed")
	}
	_ = x.r.RemoveInterface(lo)
	if err := x.r.RemoveVRF("red"); err != nil {
		t.Fatal(err)
	}
}

func TestVRFsDoNotSeeEachOther(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	red, err := x.r.AddVRF("red")
	if err != nil {
		t.Fatal(err)
	}
	p, q := x.net.Pair("R.red", "C", mem.Impairment{})
	i, err := x.r.AddEthernet(EthernetConfig{Name: "Ethernet9", VRF: red, Driver: p})
	if err != nil {
		t.Fatal(err)
	}
	x.r.address(i, "10.1.0.254/24") // the same addresses as in the default VRF
	i.SetAdminUp(true)
	c := x.router("C")
	ci := c.eth("Ethernet0", q, "10.1.0.1/24")
	c.route("0.0.0.0/0", ci, "10.1.0.254")
	if !c.ping("10.1.0.1", "10.1.0.254", 10) {
		x.explain()
		t.Fatal("no answer in the VRF")
	}
	got := c.ask(echo(addr("10.1.0.1"), addr("10.2.0.1"), 64, 1, 10, false), time.Second)
	if len(got) != 1 || got[0].code != ip.CodeNet || got[0].typ != ip.DestUnreachable {
		t.Fatalf("got %v", got)
	}
}

func FuzzInput(f *testing.F) {
	b := newBench(f, 4)
	b.tunnel(f, gcm)
	for _, p := range b.vector(b.li, 20, 4, 100)[:2] {
		f.Add(p.Bytes())
	}
	for _, p := range b.espVector(100)[:2] {
		f.Add(p.Bytes())
	}
	f.Add(append([]byte{0x33, 0x33, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255}, make([]byte, 56)...))
	gre := packet.From([]byte{0, 0, 8, 0, 0x45})
	(&ip.Outer{Src: addr("10.1.0.1"), Dst: addr("10.1.0.254"), Proto: ip.GRE, TTL: 9}).Prepend(gre)
	f.Add(append(append(b.li.mac[:], 2, 0, 0, 0, 0, 9, 8, 0), gre.Bytes()...))
	b.vrf.HandleUDP(natPort, func(UDP) {})
	b.vrf.HandleUDP(500, func(UDP) {})
	open, err := b.AddTunnel(TunnelConfig{Name: "Tunnel1", Mode: GREMultipoint, Source: addr("10.1.0.254"), NetworkID: 3, Redirect: true})
	if err != nil {
		f.Fatal(err)
	}
	b.address(open.Interface(), "10.11.0.1/24", "fd00::1/64")
	// One router for all inputs: its tables are bounded, and what one packet leaves behind the next one meets.
	f.Fuzz(func(t *testing.T, frame []byte) {
		frame = frame[:min(len(frame), 1514)]
		if len(frame) >= 14 {
			copy(frame, b.li.mac[:])
			if len(frame) >= 34 && frame[14] == 0x45 {
				// Mend the header checksum: the fuzzer need not find it.
				frame[24], frame[25] = 0, 0
				sum := ^ip.Sum(frame[14:34], 0)
				frame[24], frame[25] = byte(sum>>8), byte(sum)
			}
		}
		b.left.input([]*packet.Packet{packet.From(frame)})
		b.lab.run(10 * time.Millisecond)
		if b.Stats().Panics.Load() != 0 {
			t.Fatal(b.log.String())
		}
		b.mu.Lock()
		b.punts, b.icmp = nil, nil
		b.mu.Unlock()
	})
}
