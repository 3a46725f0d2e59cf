package endpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/gre"
	"felloe/netstack/ip"
	"felloe/netstack/packet"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	"gvisor.dev/gvisor/pkg/tcpip/link/pipe"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const long = 20 * time.Second

// marker is what no observer of a protected link may see.
var marker = bytes.Repeat([]byte("the quick brown fox "), 60)

// wire is a lower link that looks at what goes over it.
type wire struct {
	nested.Endpoint
	mu   sync.Mutex
	seen [][]byte
}

func (w *wire) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	w.mu.Lock()
	for _, b := range list.AsSlice() {
		v := b.ToView()
		w.seen = append(w.seen, bytes.Clone(v.AsSlice()))
		v.Release()
	}
	w.mu.Unlock()
	return w.Endpoint.WritePackets(list)
}

// wires are the two ends of a link of 1,500 bytes.
func wires() (a, b *wire) {
	x, y := pipe.New("", "", 1500)
	a, b = &wire{}, &wire{}
	a.Init(x, a)
	b.Init(y, b)
	return a, b
}

func newStack(t *testing.T, link stack.LinkEndpoint, addresses ...string) *stack.Stack {
	t.Helper()
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	t.Cleanup(func() { s.Close(); s.Wait() })
	if err := s.CreateNIC(1, link); err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		addr := netip.MustParseAddr(a)
		pa := tcpip.ProtocolAddress{Protocol: number(addr), AddressWithPrefix: tcpip.AddrFromSlice(addr.AsSlice()).WithPrefix()}
		if err := s.AddProtocolAddress(1, pa, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}, {Destination: header.IPv6EmptySubnet, NIC: 1}})
	return s
}

func number(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

func full(a netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(a.AsSlice()), Port: port}
}

// ping sends an echo request with the marker in it and waits for the answer.
func ping(t *testing.T, s *stack.Stack, src, dst netip.Addr) {
	t.Helper()
	var wq waiter.Queue
	proto, echo := icmp.ProtocolNumber4, []byte{8, 0, 0, 0, 0, 0, 0, 1}
	if dst.Is6() {
		proto, echo = icmp.ProtocolNumber6, []byte{128, 0, 0, 0, 0, 0, 0, 1}
	}
	ep, err := s.NewEndpoint(proto, number(dst), &wq)
	if err != nil {
		t.Fatal(err)
	}
	defer ep.Close()
	if err := ep.Bind(full(src, 77)); err != nil {
		t.Fatal(err)
	}
	readable, ch := waiter.NewChannelEntry(waiter.ReadableEvents)
	wq.EventRegister(&readable)
	defer wq.EventUnregister(&readable)
	to := full(dst, 0)
	if _, err := ep.Write(bytes.NewReader(append(echo, marker...)), tcpip.WriteOptions{To: &to}); err != nil {
		t.Fatalf("ping %s: %s", dst, err)
	}
	select {
	case <-ch:
	case <-time.After(long):
		t.Fatalf("ping %s: no answer", dst)
	}
	var answer bytes.Buffer
	if _, err := ep.Read(&answer, tcpip.ReadOptions{}); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(answer.Bytes(), marker) {
		t.Fatal("the answer is not the echo")
	}
}

// transfer sends a quarter of a megabyte by TCP and verifies it.
func transfer(t *testing.T, from, to *stack.Stack, src, dst netip.Addr) {
	t.Helper()
	l, err := gonet.ListenTCP(to, full(dst, 5001), number(dst))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data := bytes.Repeat(marker, 256<<10/len(marker))
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(long))
		got, err := io.ReadAll(c)
		if err == nil && !bytes.Equal(got, data) {
			err = fmt.Errorf("%d bytes came, not those that were sent", len(got))
		}
		done <- err
	}()
	var c net.Conn
	if c, err = gonet.DialTCP(from, full(dst, 5001), number(dst)); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(long))
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// sas makes the two Child SAs between two outer addresses, as each side holds them.
func sas(t testing.TB, suite esp.Suite, mode esp.Mode, udp bool, a, b netip.Addr) (outA *esp.Outbound, inA *esp.Inbound, outB *esp.Outbound, inB *esp.Inbound) {
	t.Helper()
	make1 := func(spi uint32, from, to netip.Addr) (*esp.Outbound, *esp.Inbound) {
		key := func(n int) []byte { return bytes.Repeat([]byte{byte(spi)}, n) }
		p := esp.Params{
			SPI: spi, Suite: suite, Mode: mode, UDPEncap: udp, EncrKey: key(suite.EncrKeyLen()), IntegKey: key(suite.IntegKeyLen()),
			Local: netip.AddrPortFrom(from, 4500), Remote: netip.AddrPortFrom(to, 4500),
		}
		out, err := esp.NewOutbound(p)
		if err != nil {
			t.Fatal(err)
		}
		p.Local, p.Remote = p.Remote, p.Local
		in, err := esp.NewInbound(p)
		if err != nil {
			t.Fatal(err)
		}
		return out, in
	}
	outA, inB = make1(0x1001, a, b)
	outB, inA = make1(0x2002, b, a)
	return outA, inA, outB, inB
}

var (
	gcm = esp.Suite{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}
	cbc = esp.Suite{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_512_256}

	outerA4, outerB4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	outerA6, outerB6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	innerA4, innerB4 = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	innerA6, innerB6 = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
)

func TestStacksPingAndSpeakTCPThroughEveryEndpoint(t *testing.T) {
	type ends struct{ a, b stack.LinkEndpoint }
	for _, c := range []struct {
		name  string
		build func(t *testing.T, a, b *wire, x, y netip.Addr) ends
		// proto is what the outer header must say; clear tells whether the payload may be seen; own that the inner
		// addresses are the outer ones (transport mode).
		proto      uint8
		clear, own bool
		overhead   int
	}{
		{name: "GRE", proto: ip.GRE, clear: true, overhead: 4, build: func(t *testing.T, a, b *wire, x, y netip.Addr) ends {
			return ends{NewGRE(a, x, y, GREOptions{}), NewGRE(b, y, x, GREOptions{})}
		}},
		{name: "GRE with key, checksum and sequence", proto: ip.GRE, clear: true, overhead: 16, build: func(t *testing.T, a, b *wire, x, y netip.Addr) ends {
			o := GREOptions{Key: 42, HasKey: true, Checksum: true, HasSeq: true}
			return ends{NewGRE(a, x, y, o), NewGRE(b, y, x, o)}
		}},
		{name: "ESP in transport mode", proto: ip.ESP, own: true, build: func(t *testing.T, a, b *wire, x, y netip.Addr) ends {
			oa, ia, ob, ib := sas(t, gcm, esp.Transport, false, x, y)
			return ends{NewESP(a, oa, ia), NewESP(b, ob, ib)}
		}},
		{name: "VTI", proto: ip.ESP, build: func(t *testing.T, a, b *wire, x, y netip.Addr) ends {
			oa, ia, ob, ib := sas(t, cbc, esp.Tunnel, false, x, y)
			return ends{NewVTI(a, oa, ia), NewVTI(b, ob, ib)}
		}},
		{name: "VTI in UDP", proto: ip.UDP, build: func(t *testing.T, a, b *wire, x, y netip.Addr) ends {
			oa, ia, ob, ib := sas(t, gcm, esp.Tunnel, true, x, y)
			return ends{NewVTI(a, oa, ia), NewVTI(b, ob, ib)}
		}},
		{name: "GRE over ESP", proto: ip.ESP, build: func(t *testing.T, a, b *wire, x, y netip.Addr) ends {
			oa, ia, ob, ib := sas(t, gcm, esp.Transport, false, x, y)
			return ends{NewGRE(NewESP(a, oa, ia), x, y, GREOptions{}), NewGRE(NewESP(b, ob, ib), y, x, GREOptions{})}
		}},
		{name: "GRE over ESP in UDP", proto: ip.UDP, build: func(t *testing.T, a, b *wire, x, y netip.Addr) ends {
			oa, ia, ob, ib := sas(t, cbc, esp.Transport, true, x, y)
			return ends{NewGRE(NewESP(a, oa, ia), x, y, GREOptions{}), NewGRE(NewESP(b, ob, ib), y, x, GREOptions{})}
		}},
	} {
		for _, six := range []bool{false, true} {
			name, x, y := c.name+" over IPv4", outerA4, outerB4
			if six {
				name, x, y = c.name+" over IPv6", outerA6, outerB6
			}
			t.Run(name, func(t *testing.T) {
				a, b := wires()
				e := c.build(t, a, b, x, y)
				inner := [][2]netip.Addr{{innerA4, innerB4}, {innerA6, innerB6}}
				if c.own {
					inner = [][2]netip.Addr{{x, y}}
				}
				var forA, forB []string
				for _, p := range inner {
					forA, forB = append(forA, p[0].String()), append(forB, p[1].String())
				}
				sa, sb := newStack(t, e.a, forA...), newStack(t, e.b, forB...)
				for _, p := range inner {
					ping(t, sa, p[0], p[1])
					ping(t, sb, p[1], p[0])
					transfer(t, sa, sb, p[0], p[1])
					transfer(t, sb, sa, p[1], p[0])
				}
				for _, w := range []*wire{a, b} {
					largest := inspect(t, w, c.proto, c.clear, x, y)
					if largest > 1500 {
						t.Errorf("an outer packet of %d bytes", largest)
					}
				}
				// A pair that no stack uses: nothing else is on its wire.
				a, b = wires()
				e = c.build(t, a, b, x, y)
				mtu := int(e.a.MTU())
				if n := lengthOf(t, e.a, a, mtu, inner[0]); n > 1500 {
					t.Errorf("a packet of the MTU, %d bytes, becomes one of %d", mtu, n)
				}
				if n := lengthOf(t, e.a, a, mtu+1, inner[0]); n <= 1500 {
					t.Errorf("a packet above the MTU, %d bytes, would fit", mtu+1)
				}
				if c.overhead > 0 {
					outer := 20
					if six {
						outer = 40
					}
					if want := uint32(1500 - outer - c.overhead); e.a.MTU() != want {
						t.Errorf("MTU %d, want %d", e.a.MTU(), want)
					}
				}
			})
		}
	}
}

// lengthOf is how long a packet of n bytes gets on the wire.
func lengthOf(t *testing.T, link stack.LinkEndpoint, w *wire, n int, ends [2]netip.Addr) int {
	t.Helper()
	o := ip.Outer{Src: ends[0], Dst: ends[1], Proto: 253, TTL: 9}
	p := packet.From(make([]byte, n-o.Size()))
	defer p.Release()
	o.Prepend(p)
	var list stack.PacketBufferList
	b := give(p, number(ends[0]), 0)
	defer b.DecRef()
	list.PushBack(b)
	if _, err := link.WritePackets(list); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen[len(w.seen)-1])
}

// inspect looks at every packet that went over a wire and returns the length of the largest.
func inspect(t *testing.T, w *wire, proto uint8, clear bool, x, y netip.Addr) (largest int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		t.Fatal("nothing went over the wire")
	}
	marked := false
	for _, b := range w.seen {
		var h ip.Header
		if err := ip.Parse(b, &h); err != nil || h.Len != len(b) {
			t.Fatalf("not an IP packet: %v: %x", err, b)
		}
		if h.Proto != proto || h.Src != x && h.Src != y || h.Dst != x && h.Dst != y {
			t.Fatalf("outer header: protocol %d, %s to %s", h.Proto, h.Src, h.Dst)
		}
		if proto == ip.UDP && h.Version == 6 {
			pseudo := header.PseudoHeaderChecksum(17, tcpip.AddrFromSlice(h.Src.AsSlice()), tcpip.AddrFromSlice(h.Dst.AsSlice()), uint16(len(b)-40))
			if checksum.Checksum(b[40:], pseudo) != 0xffff {
				t.Fatal("UDP checksum over IPv6 is wrong")
			}
		}
		marked = marked || bytes.Contains(b, marker[:20])
		largest = max(largest, len(b))
	}
	if marked != clear {
		t.Fatalf("payload visible on the wire: %v", marked)
	}
	return largest
}

// lonely is a tunnel of each kind whose lower link leads to the test.
func lonely(t *testing.T) (g *GRE, e *ESP, v *VTI, far []*esp.Outbound) {
	t.Helper()
	oa, ia, ob, _ := sas(t, gcm, esp.Transport, false, outerA4, outerB4)
	a, _ := wires()
	b, _ := wires()
	c, _ := wires()
	g = NewGRE(a, outerA4, outerB4, GREOptions{Key: 1, HasKey: true})
	e = NewESP(b, oa, ia)
	ot, it, obt, _ := sas(t, gcm, esp.Tunnel, false, outerA4, outerB4)
	v = NewVTI(c, ot, it)
	return g, e, v, []*esp.Outbound{ob, obt}
}

// sink is a dispatcher that counts.
type sink struct{ n int }

func (s *sink) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) { s.n++ }
func (s *sink) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer)    {}

func TestWhatIsNotOfTheTunnelIsDroppedAndCounted(t *testing.T) {
	inner := func() *packet.Packet {
		p := packet.From([]byte("inner"))
		(&ip.Outer{Src: innerB4, Dst: innerA4, Proto: 253, TTL: 9}).Prepend(p)
		return p
	}
	greTo := func(h gre.Header, src, dst netip.Addr) *packet.Packet {
		p := inner()
		gre.Prepend(p, h)
		(&ip.Outer{Src: src, Dst: dst, Proto: ip.GRE, TTL: 9}).Prepend(p)
		return p
	}
	key := gre.Header{Protocol: gre.ProtocolIPv4, HasKey: true, Key: 1}
	g, e, v, far := lonely(t)
	sealed := func(o *esp.Outbound, next uint8, src netip.Addr) *packet.Packet {
		p := inner()
		if err := o.Seal(p, next); err != nil {
			t.Fatal(err)
		}
		(&ip.Outer{Src: src, Dst: outerA4, Proto: ip.ESP, TTL: 9}).Prepend(p)
		return p
	}
	garbled := sealed(far[0], 253, outerB4)
	garbled.Bytes()[40] ^= 1
	replay := sealed(far[1], 4, outerB4)
	for _, c := range []struct {
		name string
		t    *tunnel
		p    *packet.Packet
		good bool
	}{
		{"GRE", &g.tunnel, greTo(key, outerB4, outerA4), true},
		{"GRE with another key", &g.tunnel, greTo(gre.Header{Protocol: 0x800, HasKey: true, Key: 2}, outerB4, outerA4), false},
		{"GRE without a key", &g.tunnel, greTo(gre.Header{Protocol: 0x800}, outerB4, outerA4), false},
		{"GRE from elsewhere", &g.tunnel, greTo(key, outerA6, outerB6), false},
		{"clear IP to GRE", &g.tunnel, inner(), false},
		{"rubbish", &g.tunnel, packet.From([]byte{1, 2, 3}), false},
		{"ESP", &e.tunnel, sealed(far[0], 253, outerB4), true},
		{"clear GRE to ESP", &e.tunnel, greTo(key, outerB4, outerA4), false},
		{"clear IP to ESP", &e.tunnel, inner(), false},
		{"ESP with a flipped bit", &e.tunnel, garbled, false},
		{"ESP from elsewhere", &e.tunnel, sealed(far[0], 253, outerA4), false},
		{"VTI", &v.tunnel, replay.Clone(), true},
		{"VTI replayed", &v.tunnel, replay, false},
		{"VTI with GRE inside", &v.tunnel, sealed(far[1], 47, outerB4), false},
		{"VTI with a protocol that lies", &v.tunnel, sealed(far[1], 41, outerB4), false},
		{"clear IP to VTI", &v.tunnel, inner(), false},
	} {
		s := &sink{}
		c.t.Attach(s)
		before := c.t.Counters()
		b := give(c.p, header.IPv4ProtocolNumber, 0)
		c.t.DeliverNetworkPacket(header.IPv4ProtocolNumber, b)
		b.DecRef()
		c.p.Release()
		after := c.t.Counters()
		if got := s.n == 1; got != c.good || after.ReceiveDrops-before.ReceiveDrops == 1 == c.good {
			t.Errorf("%s: delivered %v, counters %+v", c.name, got, after)
		}
		c.t.Attach(nil)
	}
}

func TestWithoutAnSANothingLeaves(t *testing.T) {
	for _, kind := range []string{"ESP", "VTI"} {
		w, _ := wires()
		var link stack.LinkEndpoint
		var counters func() Counters
		if kind == "ESP" {
			e := NewESP(w, nil, nil)
			link, counters = e, e.Counters
		} else {
			v := NewVTI(w, nil, nil)
			link, counters = v, v.Counters
		}
		p := packet.From([]byte("inner"))
		(&ip.Outer{Src: outerA4, Dst: outerB4, Proto: 253, TTL: 9}).Prepend(p)
		var list stack.PacketBufferList
		b := give(p, header.IPv4ProtocolNumber, 0)
		list.PushBack(b)
		link.WritePackets(list)
		b.DecRef()
		p.Release()
		if len(w.seen) > 0 || counters().SendDrops != 1 {
			t.Fatalf("%s: %d packets left, %+v", kind, len(w.seen), counters())
		}
	}
}

func TestAnMTUCanBeLoweredNotRaised(t *testing.T) {
	g, _, _, _ := lonely(t)
	derived := g.MTU()
	g.SetMTU(1300)
	if g.MTU() != 1300 {
		t.Fatal(g.MTU())
	}
	g.SetMTU(9000)
	if g.MTU() != derived {
		t.Fatal(g.MTU())
	}
}

func TestTheTrafficClassIsCopiedOutwards(t *testing.T) {
	w, _ := wires()
	g := NewGRE(w, outerA6, outerB6, GREOptions{})
	p := packet.From([]byte("inner"))
	(&ip.Outer{Src: innerA4, Dst: innerB4, Proto: 253, TTL: 9, TOS: 0xb8}).Prepend(p)
	var list stack.PacketBufferList
	b := give(p, header.IPv4ProtocolNumber, 0)
	list.PushBack(b)
	g.WritePackets(list)
	b.DecRef()
	var h ip.Header
	if err := ip.Parse(w.seen[0], &h); err != nil || h.TOS != 0xb8 || binary.BigEndian.Uint16(w.seen[0][42:]) != gre.ProtocolIPv4 {
		t.Fatalf("%+v, %v", h, err)
	}
}

func FuzzDeliver(f *testing.F) {
	f.Add([]byte(strings.Repeat("E", 60)))
	p := packet.From([]byte("inner"))
	gre.Prepend(p, gre.Header{Protocol: 0x800})
	(&ip.Outer{Src: outerB4, Dst: outerA4, Proto: ip.GRE, TTL: 9}).Prepend(p)
	f.Add(bytes.Clone(p.Bytes()))
	w, _ := wires()
	oa, ia, _, _ := sas(f, gcm, esp.Transport, false, outerA4, outerB4)
	ends := []*tunnel{&NewGRE(w, outerA4, outerB4, GREOptions{}).tunnel, &NewESP(w, oa, ia).tunnel, &NewVTI(w, oa, ia).tunnel}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 65535 {
			return
		}
		for i, e := range ends {
			s := &sink{}
			e.Attach(s)
			p := packet.From(b)
			pb := give(p, header.IPv4ProtocolNumber, 0)
			e.DeliverNetworkPacket(header.IPv4ProtocolNumber, pb)
			pb.DecRef()
			p.Release()
			if i > 0 && s.n > 0 {
				t.Fatal("something came through ESP that nobody sealed")
			}
		}
	})
}
