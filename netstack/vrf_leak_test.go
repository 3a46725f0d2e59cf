package netstack

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"felloe/netstack/arp"
	"felloe/netstack/esp"
	"felloe/netstack/gre"
	"felloe/netstack/ip"
	"felloe/netstack/link/mem"
	"felloe/netstack/ndp"
	"felloe/netstack/packet"
)

// vrfs is a router with two VRFs, red and blue, whose addresses are the same, and one outside, with tunnels that carry
// red inside blue and blue inside the default VRF. Hosts are wires: a test injects frames and sees what comes out.
type vrfs struct {
	*lab
	r    *router
	side map[string]*wing
	spi  uint32
}

// wing is one VRF with its wire.
type wing struct {
	name  string
	vrf   *VRF
	eth   *Interface
	lo    *Interface
	port  *mem.Port
	only  netip.Addr // an address that only this VRF has
	only6 netip.Addr
	host  netip.Addr // a host behind a route that only this VRF has

	mu      sync.Mutex
	frames  [][]byte // that the router sent
	handled []string
}

func newVRFs(t testing.TB) *vrfs {
	x := &vrfs{lab: newLab(t), side: map[string]*wing{}}
	x.r = x.router("R")
	for n, name := range []string{"red", "blue"} {
		v, err := x.r.AddVRF(name)
		if err != nil {
			t.Fatal(err)
		}
		w := &wing{name: name, vrf: v, only: netip.AddrFrom4([4]byte{10, 9, 9, byte(n + 1)}), only6: addr(fmt.Sprintf("fd00:9::%d", n+1)),
			host: netip.AddrFrom4([4]byte{10, 7, byte(n + 1), 1})}
		p, q := x.net.Pair("R."+name, name, mem.Impairment{})
		w.port = q
		if w.eth, err = x.r.AddEthernet(EthernetConfig{Name: "Ethernet-" + name, VRF: v, Driver: p}); err != nil {
			t.Fatal(err)
		}
		x.r.address(w.eth, "10.0.0.254/24", "2001:db8::fe/64")
		w.eth.SetAdminUp(true)
		if w.lo, err = x.r.AddLoopback("Loopback-"+name, v); err != nil {
			t.Fatal(err)
		}
		x.r.address(w.lo, w.only.String()+"/32", w.only6.String()+"/128")
		w.eth.AddStaticNeighbour(addr("10.0.0.1"), [6]byte{2, 0, 0, 0, 0, byte(n + 1)})
		w.eth.AddStaticNeighbour(addr("2001:db8::1"), [6]byte{2, 0, 0, 0, 0, byte(n + 1)})
		x.r.route(w.host.String()+"/24", w.eth, "10.0.0.1")
		if err := q.Start(func(v []*packet.Packet) {
			w.mu.Lock()
			for _, p := range v {
				w.frames = append(w.frames, slices.Clone(p.Bytes()))
			}
			w.mu.Unlock()
			packet.ReleaseAll(v)
		}); err != nil {
			t.Fatal(err)
		}
		note := func(what string) {
			w.mu.Lock()
			w.handled = append(w.handled, what)
			w.mu.Unlock()
		}
		v.HandleUDP(500, func(u UDP) { note("ike " + u.Remote.String()) })
		v.HandleUDP(natPort, func(u UDP) { note("ike-nat " + u.Remote.String()) })
		v.HandleICMP(func(p *packet.Packet) { note("icmp") })
		v.HandleProtocol(88, func(p *packet.Packet) { note("eigrp"); p.Release() })
		x.side[name] = w
	}
	x.run(time.Second)
	x.forget()
	return x
}

func (x *vrfs) forget() {
	for _, w := range x.side {
		w.mu.Lock()
		w.frames, w.handled = nil, nil
		w.mu.Unlock()
	}
}

// inject has the router receive an IP packet (or a frame's payload of another kind) on a wing's wire.
func (x *vrfs) inject(w *wing, p *packet.Packet, kind uint16, dst [6]byte) {
	var h [14]byte
	copy(h[:], dst[:])
	copy(h[6:], []byte{2, 0, 0, 0, 0, 1})
	binary.BigEndian.PutUint16(h[12:], kind)
	copy(p.Prepend(14), h[:])
	w.port.Send([]*packet.Packet{p})
}

func (x *vrfs) injectIP(w *wing, p *packet.Packet) {
	kind := uint16(etherIPv4)
	if p.Bytes()[0]>>4 == 6 {
		kind = etherIPv6
	}
	x.inject(w, p, kind, w.eth.MAC())
}

func tcpSYN(src, dst netip.Addr, port uint16) *packet.Packet {
	p := packet.Get(20)
	m := p.Append(20)
	clear(m)
	binary.BigEndian.PutUint16(m, 40000)
	binary.BigEndian.PutUint16(m[2:], port)
	m[12], m[13], m[14] = 5<<4, 2, 0xff
	binary.BigEndian.PutUint16(m[16:], ip.L4Checksum(src, dst, ip.TCP, m))
	(&ip.Outer{Src: src, Dst: dst, Proto: ip.TCP, TTL: 64}).Prepend(p)
	return p
}

// withOptions puts IPv4 options into a packet.
func withOptions(p *packet.Packet, opts ...byte) *packet.Packet {
	for len(opts)%4 != 0 {
		opts = append(opts, 0)
	}
	b := p.Bytes()
	out := append(slices.Clone(b[:20]), opts...)
	out = append(out, b[20:]...)
	out[0] = 0x40 | byte(5+len(opts)/4)
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	out[10], out[11] = 0, 0
	binary.BigEndian.PutUint16(out[10:], ^ip.Sum(out[:20+len(opts)], 0))
	return packet.From(out)
}

// kinds are packets of every kind towards an address, by name.
func (x *vrfs) kinds(src, dst netip.Addr) map[string]func() *packet.Packet {
	out := map[string]func() *packet.Packet{
		"icmp echo":        func() *packet.Packet { return echo(src, dst, 64, 1, 40, false) },
		"icmp ttl 1":       func() *packet.Packet { return echo(src, dst, 1, 1, 40, false) },
		"icmp too long":    func() *packet.Packet { return echo(src, dst, 64, 1, 1470, true) },
		"udp":              func() *packet.Packet { return probe(src, dst, 64, 33434) },
		"udp ike":          func() *packet.Packet { return probe(src, dst, 64, 500) },
		"udp ike nat":      func() *packet.Packet { return probe(src, dst, 64, natPort) },
		"tcp syn":          func() *packet.Packet { return tcpSYN(src, dst, 179) },
		"own protocol":     func() *packet.Packet { return x.proto(src, dst, 88) },
		"unknown protocol": func() *packet.Packet { return x.proto(src, dst, 253) },
		"gre": func() *packet.Packet {
			p := echo(addr(fam(dst, "10.9.9.1", "fd00:9::1")), addr(fam(dst, "10.9.9.2", "fd00:9::2")), 64, 1, 8, false)
			gre.Prepend(p, gre.Header{Protocol: map[bool]uint16{true: gre.ProtocolIPv4, false: gre.ProtocolIPv6}[dst.Is4()]})
			(&ip.Outer{Src: src, Dst: dst, Proto: ip.GRE, TTL: 64}).Prepend(p)
			return p
		},
		"gre with a key": func() *packet.Packet {
			p := echo(addr("10.9.9.1"), addr("10.9.9.2"), 64, 1, 8, false)
			gre.Prepend(p, gre.Header{Protocol: gre.ProtocolIPv4, HasKey: true, Key: 7})
			(&ip.Outer{Src: src, Dst: dst, Proto: ip.GRE, TTL: 64}).Prepend(p)
			return p
		},
		"esp of the other VRF": func() *packet.Packet {
			p := packet.From(make([]byte, 60))
			binary.BigEndian.PutUint32(p.Bytes(), x.spi)
			(&ip.Outer{Src: src, Dst: dst, Proto: ip.ESP, TTL: 64}).Prepend(p)
			return p
		},
		"esp in udp": func() *packet.Packet {
			p := packet.From(make([]byte, 60))
			binary.BigEndian.PutUint32(p.Bytes(), x.spi)
			ip.PrependUDP(p, ip.Outer{Src: src, Dst: dst, TTL: 64}, natPort, natPort)
			return p
		},
		"ip in ip": func() *packet.Packet {
			p := echo(addr("10.9.9.1"), addr("10.9.9.2"), 64, 1, 8, false)
			(&ip.Outer{Src: src, Dst: dst, Proto: ip.IPv4, TTL: 64}).Prepend(p)
			return p
		},
		"icmp error": func() *packet.Packet {
			in := probe(dst, src, 9, 500)
			var h ip.Header
			_ = ip.Parse(in.Bytes(), &h)
			return ip.NewError(ip.Unreachable(h.Version, ip.CodePort, ip.V6PortUnreach), src, &h, in.Bytes())
		},
	}
	if dst.Is4() {
		out["record route"] = func() *packet.Packet { return withOptions(echo(src, dst, 64, 1, 8, false), 7, 7, 4, 0, 0, 0, 0) }
		out["loose source route"] = func() *packet.Packet {
			return withOptions(echo(src, dst, 64, 1, 8, false), append([]byte{131, 7, 4}, dst.AsSlice()...)...)
		}
		out["router alert"] = func() *packet.Packet { return withOptions(probe(src, dst, 64, 520), 148, 4, 0, 0) }
		out["fragment"] = func() *packet.Packet {
			p := echo(src, dst, 64, 1, 40, false)
			binary.BigEndian.PutUint16(p.Bytes()[6:], 0x2000)
			return resum(p)
		}
		out["last fragment"] = func() *packet.Packet {
			p := echo(src, dst, 64, 1, 40, false)
			binary.BigEndian.PutUint16(p.Bytes()[6:], 0x0005)
			return resum(p)
		}
	}
	return out
}

func fam(a netip.Addr, v4, v6 string) string {
	if a.Is4() {
		return v4
	}
	return v6
}

func resum(p *packet.Packet) *packet.Packet {
	b := p.Bytes()
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^ip.Sum(b[:20], 0))
	return p
}

func (x *vrfs) proto(src, dst netip.Addr, n uint8) *packet.Packet {
	p := packet.From([]byte("nothing that anybody knows"))
	(&ip.Outer{Src: src, Dst: dst, Proto: n, TTL: 64}).Prepend(p)
	return p
}

// silent fails when anything happened in a wing.
func (x *vrfs) silent(w *wing, what string) {
	x.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.frames) > 0 {
		x.t.Errorf("%s: %d frames on the wire of %s: %x", what, len(w.frames), w.name, w.frames[0])
	}
	if len(w.handled) > 0 {
		x.t.Errorf("%s: %s's handlers heard %v", what, w.name, w.handled)
	}
	if c := w.eth.Counters(); c.RxPackets > 0 {
		x.t.Errorf("%s: %s counted %d packets in", what, w.name, c.RxPackets)
	}
	for _, i := range x.r.Interfaces() {
		if c := i.Counters(); i.VRF() == w.vrf && (c.RxPackets > 0 || c.TxPackets > 0 && i.kind != Ethernet) {
			x.t.Errorf("%s: %s counted %d in and %d out", what, i.Name(), c.RxPackets, c.TxPackets)
		}
	}
	if s := w.vrf.Stack().Stats().IP.PacketsReceived.Value(); s > 0 {
		x.t.Errorf("%s: the host stack of %s received %d packets", what, w.name, s)
	}
	w.frames, w.handled = nil, nil
}

func TestNothingLeaksFromOneVRFIntoAnother(t *testing.T) {
	for _, from := range []string{"red", "blue"} {
		x := newVRFs(t)
		w, o := x.side[from], x.side[map[string]string{"red": "blue", "blue": "red"}[from]]
		// Tunnels of the other VRF: on its underlay, and into it from the default VRF.
		open, err := x.r.AddTunnel(TunnelConfig{Name: "Tunnel0", VRF: o.vrf, Underlay: o.vrf, Mode: GREMultipoint, Source: addr("10.0.0.254")})
		if err != nil {
			t.Fatal(err)
		}
		keyed, err := x.r.AddTunnel(TunnelConfig{Name: "Tunnel1", VRF: o.vrf, Underlay: o.vrf, Mode: GREPointToPoint, Source: addr("10.0.0.254"), Destination: addr("10.0.0.1"), Key: 7, HasKey: true})
		if err != nil {
			t.Fatal(err)
		}
		vti, err := x.r.AddTunnel(TunnelConfig{Name: "Tunnel2", VRF: o.vrf, Underlay: o.vrf, Mode: VTI, Source: addr("10.0.0.254")})
		if err != nil {
			t.Fatal(err)
		}
		s := vti.NewSession(addr("10.0.0.1"))
		vti.SetDefault(s)
		out, in := xpair(t, 0x5555, addr("10.0.0.254"), addr("10.0.0.1"))
		s.SetOutbound(out)
		if err := x.r.AddInbound(in, s); err != nil {
			t.Fatal(err)
		}
		x.spi = 0x5555
		_, _ = open, keyed
		x.run(time.Second)
		x.forget()

		sources := []netip.Addr{addr("10.0.0.1"), addr("10.7.1.1"), addr("10.7.2.1"), addr("10.9.9.1"), addr("10.9.9.2"), addr("192.0.2.77")}
		targets := []netip.Addr{o.only, o.host, addr("10.0.0.254"), addr("10.0.0.1"), addr("10.0.0.255"), addr("255.255.255.255"), addr("224.0.0.1"), addr("224.0.0.10"), addr("239.1.2.3"), addr("203.0.113.9")}
		sources6 := []netip.Addr{addr("2001:db8::1"), addr("fd00:9::1"), addr("fd00:9::2"), addr("fe80::1")}
		targets6 := []netip.Addr{o.only6, addr("2001:db8::fe"), addr("2001:db8::1"), addr("ff02::1"), addr("ff02::2"), addr("ff0e::1"), o.eth.LinkLocal()}
		n := 0
		try := func(src, dst netip.Addr) {
			for name, make := range x.kinds(src, dst) {
				x.injectIP(w, make())
				x.run(20 * time.Millisecond)
				x.silent(o, fmt.Sprintf("%s from %v to %v in %s", name, src, dst, from))
				n++
				if t.Failed() {
					x.explain()
					t.FailNow()
				}
			}
		}
		for _, src := range sources {
			for _, dst := range targets {
				try(src, dst)
			}
		}
		for _, src := range sources6 {
			for _, dst := range targets6 {
				try(src, dst)
			}
		}
		// Who has the other VRF's addresses?
		for _, a := range []netip.Addr{o.only, o.host, addr("10.0.0.254")} {
			p := packet.Get(arp.Size)
			(&arp.Packet{Op: arp.Request, SenderMAC: [6]byte{2, 0, 0, 0, 0, 1}, SenderIP: addr("10.0.0.1"), TargetIP: a}).Put(p.Append(arp.Size))
			w.frames = nil
			x.inject(w, p, etherARP, broadcastMAC)
			x.run(20 * time.Millisecond)
			x.silent(o, "arp for "+a.String())
			if got := len(w.frames); got != map[bool]int{true: 1, false: 0}[a == addr("10.0.0.254")] {
				t.Errorf("arp for %v in %s: %d answers", a, from, got)
			}
		}
		for _, a := range []netip.Addr{o.only6, addr("2001:db8::fe")} {
			m := ndp.Message{Type: ndp.Solicitation, Target: a, LinkAddr: [6]byte{2, 0, 0, 0, 0, 1}, HasLink: true}
			group := ndp.SolicitedNode(a)
			x.inject(w, m.Packet(addr("2001:db8::1"), group), etherIPv6, ndp.GroupMAC(group))
			x.run(20 * time.Millisecond)
			x.silent(o, "solicitation for "+a.String())
		}
		// Frames that are not for us, and of no known kind.
		x.inject(w, echo(addr("10.0.0.1"), o.only, 64, 1, 8, false), etherIPv4, o.eth.MAC())
		x.inject(w, packet.From([]byte("who knows")), 0x88cc, broadcastMAC)
		x.run(20 * time.Millisecond)
		x.silent(o, "foreign frames")
		if c := s.Counters(); c.RxPackets != 0 || c.TxPackets != 0 {
			t.Errorf("the other VRF's SA: %+v", c)
		}
		if n < 1000 {
			t.Errorf("only %d packets were tried", n)
		}
		// What belongs to the VRF arrives in it: the silence was not that of a dead router.
		x.forget()
		x.injectIP(w, echo(addr("10.0.0.1"), w.only, 64, 1, 8, false))
		x.injectIP(w, probe(addr("10.0.0.1"), w.only, 64, 500))
		x.injectIP(w, echo(addr("10.0.0.1"), w.host, 64, 1, 8, false))
		x.run(time.Second)
		if len(w.frames) < 2 || len(w.handled) == 0 {
			t.Errorf("%s itself is dead: %d frames, %v", from, len(w.frames), w.handled)
		}
		x.silent(o, "the control")
	}
}

// xpair is an SA towards a peer and one from it, with the same keys and SPI.
func xpair(t testing.TB, spi uint32, local, remote netip.Addr) (*esp.Outbound, *esp.Inbound) {
	t.Helper()
	p := esp.Params{SPI: spi, Suite: gcm, Mode: esp.Tunnel, EncrKey: make([]byte, gcm.EncrKeyLen()), Local: netip.AddrPortFrom(local, 0), Remote: netip.AddrPortFrom(remote, 0)}
	out, err := esp.NewOutbound(p)
	if err != nil {
		t.Fatal(err)
	}
	in, err := esp.NewInbound(p)
	if err != nil {
		t.Fatal(err)
	}
	return out, in
}

func TestFragmentsOfTwoVRFsAreNotPutTogether(t *testing.T) {
	x := newVRFs(t)
	red, blue := x.side["red"], x.side["blue"]
	whole := echo(addr("10.0.0.1"), addr("10.0.0.254"), 64, 1, 2000, false)
	var h ip.Header
	if err := ip.Parse(whole.Bytes(), &h); err != nil {
		t.Fatal(err)
	}
	h.ID = 77
	ip.SetID(whole.Bytes(), 77)
	parts := ip.Fragment4(whole, &h, 1500, nil)
	x.injectIP(red, parts[0])
	x.injectIP(blue, parts[1])
	x.run(time.Second)
	if n := x.r.Stats().Reassembled.Load(); n != 0 || len(red.frames)+len(blue.frames) > 0 {
		t.Fatalf("%d reassembled, answers %d and %d", n, len(red.frames), len(blue.frames))
	}
	x.run(time.Minute)
	whole = echo(addr("10.0.0.1"), addr("10.0.0.254"), 64, 1, 2000, false)
	h.ID = 78
	ip.SetID(whole.Bytes(), 78)
	for _, p := range ip.Fragment4(whole, &h, 1500, nil) {
		x.injectIP(blue, p)
	}
	x.run(time.Second)
	if len(blue.frames) != 2 || len(red.frames) != 0 {
		t.Fatalf("the fragments of one VRF: %d frames in blue, %d in red", len(blue.frames), len(red.frames))
	}
}

func TestOverlappingAddressesInTwoVRFsAreTwoHosts(t *testing.T) {
	x := newVRFs(t)
	for name, w := range x.side {
		o := x.side[map[string]string{"red": "blue", "blue": "red"}[name]]
		x.forget()
		// A host that has the same address on both sides is answered where it asks.
		x.injectIP(w, echo(addr("10.0.0.1"), addr("10.0.0.254"), 64, 1, 8, false))
		x.injectIP(w, probe(addr("10.0.0.1"), addr("10.0.0.254"), 64, 33434))
		x.run(time.Second)
		if len(w.frames) != 2 || w.frames[0][5] != map[string]byte{"red": 1, "blue": 2}[name] {
			t.Fatalf("%s: %d answers", name, len(w.frames))
		}
		if len(o.frames) != 0 {
			t.Fatalf("%s's answers came out on the other side", name)
		}
		// What we send ourselves leaves by its own VRF.
		x.forget()
		if err := w.vrf.SendUDP(netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.1:9"), []byte("hello"), SendOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := w.vrf.SendUDP(netip.AddrPort{}, netip.AddrPortFrom(o.host, 9), []byte("hello"), SendOptions{}); err == nil {
			t.Fatal("a route of the other VRF was used")
		}
		x.run(time.Second)
		if len(w.frames) != 1 || len(o.frames) != 0 {
			t.Fatalf("%s: %d frames here, %d there", name, len(w.frames), len(o.frames))
		}
	}
}

func TestPeersOfTwoVRFsMayHaveTheSameAddressAndSPI(t *testing.T) {
	x := newVRFs(t)
	sessions := map[string]*Session{}
	for n, name := range []string{"red", "blue"} {
		w := x.side[name]
		tun, err := x.r.AddTunnel(TunnelConfig{Name: fmt.Sprintf("Tunnel%d", n), VRF: x.r.Default(), Underlay: w.vrf, Mode: VTI, Source: addr("10.0.0.254")})
		if err != nil {
			t.Fatal(err)
		}
		s := tun.NewSession(addr("10.0.0.1"))
		tun.SetDefault(s)
		out, _ := xpair(t, 0x7777, addr("10.0.0.254"), addr("10.0.0.1")) // the peers chose the same SPI
		s.SetOutbound(out)
		sessions[name] = s
	}
	tooBig := func() *packet.Packet {
		b := make([]byte, 28)
		(&ip.Outer{Src: addr("10.0.0.254"), Dst: addr("10.0.0.1"), Proto: ip.ESP, TTL: 9, DF: true}).Put(b, 8)
		binary.BigEndian.PutUint32(b[20:], 0x7777)
		var h ip.Header
		_ = ip.Parse(b, &h)
		return ip.NewError(ip.TooBig(4, 1300), addr("10.0.0.1"), &h, b)
	}
	reply := tooBig()
	copy(reply.Bytes()[16:20], addr("10.0.0.254").AsSlice())
	x.injectIP(x.side["red"], resum(reply))
	x.run(time.Second)
	if r, b := sessions["red"].PathMTU(), sessions["blue"].PathMTU(); r != 1300 || b != 1500 {
		t.Fatalf("path MTU in red %d, in blue %d", r, b)
	}
	sessions["red"].SetOutbound(nil)
	if _, ok := x.r.outer.get(outerKey{x.side["blue"].vrf.ID(), addr("10.0.0.1"), 0x7777}); !ok {
		t.Fatal("the end of one session made the other unknown")
	}
}
