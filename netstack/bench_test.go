package netstack

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/netstack/ip"
	"felloe/netstack/link"
	"felloe/netstack/packet"
)

// null is a driver whose wire leads nowhere; last keeps a copy of what was sent when asked to.
type null struct {
	mac   [6]byte
	input func([]*packet.Packet)
	sent  atomic.Uint64
	mu    sync.Mutex
	keep  bool
	last  [][]byte
}

func (n *null) Start(f func([]*packet.Packet)) error { n.input = f; return nil }
func (n *null) Send(v []*packet.Packet) {
	n.sent.Add(uint64(len(v)))
	if n.keep {
		n.mu.Lock()
		for _, p := range v {
			n.last = append(n.last, append([]byte(nil), p.Bytes()...))
		}
		n.mu.Unlock()
	}
	packet.ReleaseAll(v)
}
func (n *null) Info() link.Info {
	return link.Info{Name: "null", MAC: n.mac, MTU: 1500, Driver: "null"}
}
func (n *null) Stats() link.Stats    { return link.Stats{} }
func (n *null) OnState(f func(bool)) { f(true) }
func (n *null) Close() error         { return nil }

// bench is a router between two wires that lead nowhere, with a tunnel to a peer on the right.
type bench struct {
	*router
	left, right *null
	li, ri      *Interface
	session     *Session
	in          [64]*packet.Packet
	toPeer      *esp.Outbound
}

func newBench(t testing.TB, routes int) *bench {
	l := newLab(t)
	b := &bench{router: l.router("R"), left: &null{mac: [6]byte{2, 1}}, right: &null{mac: [6]byte{2, 2}}}
	b.li = b.eth("Ethernet0", b.left, "10.1.0.254/24")
	b.ri = b.eth("Ethernet1", b.right, "10.2.0.254/24")
	b.ri.AddStaticNeighbour(addr("10.2.0.1"), [6]byte{2, 9})
	b.li.AddStaticNeighbour(addr("10.1.0.1"), [6]byte{2, 8})
	var cs []fib.Change
	for i := range routes {
		cs = append(cs, fib.Change{Route: fib.Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 24),
			NextHops: []fib.NextHop{{Interface: b.ri.Index(), Via: addr("10.2.0.1")}}}})
	}
	b.vrf.Program(cs)
	return b
}

// tunnel adds a protected tunnel to 10.2.0.1 with routes through it.
func (b *bench) tunnel(t testing.TB, suite esp.Suite) {
	tun, err := b.AddTunnel(TunnelConfig{Name: "Tunnel0", Mode: GREMultipoint, Protected: true, Source: addr("10.2.0.254")})
	if err != nil {
		t.Fatal(err)
	}
	b.address(tun.Interface(), "10.10.10.1/24")
	b.session = tun.NewSession(addr("10.2.0.1"))
	tun.SetNeighbour(addr("10.10.10.2"), b.session)
	b.route("30.0.0.0/8", tun.Interface(), "10.10.10.2")
	p := esp.Params{SPI: 0x1001, Suite: suite, Mode: esp.Transport, EncrKey: make([]byte, suite.EncrKeyLen()), IntegKey: make([]byte, suite.IntegKeyLen()),
		Local: netip.AddrPortFrom(addr("10.2.0.254"), 0), Remote: netip.AddrPortFrom(addr("10.2.0.1"), 0)}
	out, err := esp.NewOutbound(p)
	if err != nil {
		t.Fatal(err)
	}
	b.session.SetOutbound(out)
	p.SPI = 0x1002
	in, err := esp.NewInbound(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.AddInbound(in, b.session); err != nil {
		t.Fatal(err)
	}
	if b.toPeer, err = esp.NewOutbound(p); err != nil {
		t.Fatal(err)
	}
}

// vector fills the input vector with UDP packets of n bytes to destinations of a network, as frames for an interface.
func (b *bench) vector(to *Interface, net byte, routes, n int) []*packet.Packet {
	for i := range b.in {
		p := packet.Get(n)
		p.Append(n - 28)
		dst := netip.AddrFrom4([4]byte{net, byte(i * 37 % routes >> 8), byte(i * 37 % routes), 9})
		ip.PrependUDP(p, ip.Outer{Src: addr("10.1.0.1"), Dst: dst, TTL: 64}, 1000, uint16(i))
		h := to.ethernetHeader(to.mac, true)
		copy(p.Prepend(etherSize), h[:])
		b.in[i] = p
	}
	return b.in[:]
}

// espVector is the same as the peer of the tunnel would send it.
func (b *bench) espVector(n int) []*packet.Packet {
	for i := range b.in {
		p := packet.Get(n)
		p.Append(n - 28)
		dst := netip.AddrFrom4([4]byte{10, 1, 0, 1})
		ip.PrependUDP(p, ip.Outer{Src: addr("30.0.0.1"), Dst: dst, TTL: 64}, 1000, uint16(i))
		copy(p.Prepend(4), []byte{0, 0, 8, 0})
		if err := b.toPeer.Seal(p, ip.GRE); err != nil {
			panic(err)
		}
		(&ip.Outer{Src: addr("10.2.0.1"), Dst: addr("10.2.0.254"), Proto: ip.ESP, TTL: 64}).Prepend(p)
		h := b.ri.ethernetHeader(b.ri.mac, true)
		copy(p.Prepend(etherSize), h[:])
		b.in[i] = p
	}
	return b.in[:]
}

// run measures the way of packets through the router. Templates are copied into fresh buffers each time, as a driver
// would receive them; what next makes is new each time (ESP does not let a packet in twice) and not measured.
func (x *bench) run(b *testing.B, n int, in *null, templates []*packet.Packet, next func() []*packet.Packet) {
	b.ReportAllocs()
	b.SetBytes(int64(n))
	var v [len(x.in)]*packet.Packet
	templates = append([]*packet.Packet(nil), templates...)
	var made [][]*packet.Packet
	const rounds = 64
	b.ResetTimer()
	for k := range b.N/len(x.in) + 1 {
		if next != nil {
			if k%rounds == 0 {
				b.StopTimer()
				made = made[:0]
				for range rounds {
					made = append(made, append([]*packet.Packet(nil), next()...))
				}
				b.StartTimer()
			}
			in.input(made[k%rounds])
			continue
		}
		for i, p := range templates {
			v[i] = packet.From(p.Bytes())
		}
		in.input(v[:])
	}
	b.StopTimer()
	if d := x.Drops(); len(d) != 0 {
		b.Fatal(d)
	}
}

func BenchmarkForward(b *testing.B) {
	for _, routes := range []int{10, 10000} {
		for _, n := range []int{64, 1400} {
			b.Run(fmt.Sprintf("%d routes/%d B", routes, n), func(b *testing.B) {
				x := newBench(b, routes)
				x.run(b, n, x.left, x.vector(x.li, 20, routes, n), nil)
			})
		}
	}
}

func BenchmarkEncap(b *testing.B) {
	for _, suite := range []esp.Suite{gcm, cbc} {
		for _, n := range []int{64, 1400} {
			b.Run(fmt.Sprintf("%v/%d B", suite, n), func(b *testing.B) {
				x := newBench(b, 10)
				x.tunnel(b, suite)
				x.run(b, n, x.left, x.vector(x.li, 30, 200, n), nil)
			})
		}
	}
}

func BenchmarkDecap(b *testing.B) {
	for _, suite := range []esp.Suite{gcm, cbc} {
		for _, n := range []int{64, 1400} {
			b.Run(fmt.Sprintf("%v/%d B", suite, n), func(b *testing.B) {
				x := newBench(b, 10)
				x.tunnel(b, suite)
				x.run(b, n, x.right, nil, func() []*packet.Packet { return x.espVector(n) })
			})
		}
	}
}

// BenchmarkBareGCM is the arithmetic alone, sealing in place with one AEAD: what Encap is measured against.
func BenchmarkBareGCM(b *testing.B) {
	for _, n := range []int{64, 1400} {
		b.Run(fmt.Sprintf("%d B", n), func(b *testing.B) {
			block, err := aes.NewCipher(make([]byte, 32))
			if err != nil {
				b.Fatal(err)
			}
			aead, err := cipher.NewGCM(block)
			if err != nil {
				b.Fatal(err)
			}
			var nonce [12]byte
			buf, aad := make([]byte, n, n+64), make([]byte, 8)
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for i := range b.N {
				nonce[11], nonce[10], nonce[9] = byte(i), byte(i>>8), byte(i>>16)
				aead.Seal(buf[:0], nonce[:], buf, aad)
			}
		})
	}
}
