package netstack

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/esp"
	"felloe/netstack/ip"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

func full(a string, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 0, Addr: tcpip.AddrFromSlice(addr(a).AsSlice()), Port: port}
}

func proto(a string) tcpip.NetworkProtocolNumber {
	if addr(a).Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// wireDelay keeps two TCPs from answering each other without end in one instant, while the one who reads has no turn.
const wireDelay = time.Millisecond

// transfer moves n bytes by TCP from one router's host stack to another's while keep moves the lab's clock.
func (l *lab) transfer(from, to *router, src, dst string, n int) {
	l.t.Helper()
	ln, err := gonet.ListenTCP(to.vrf.Stack(), full(dst, 179), proto(dst))
	if err != nil {
		l.t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan []byte, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			got <- nil
			return
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		got <- b
	}()
	data := bytes.Repeat([]byte("0123456789abcdef"), n/16)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		defer cancel()
		c, err := gonet.DialTCPWithBind(ctx, from.vrf.Stack(), full(src, 0), full(dst, 179), proto(dst))
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Write(data)
		_ = c.CloseWrite()
	}()
	// Virtual time keeps the pace of the real one here: ahead of it, TCP would take the stacks' own goroutines for late.
	last := time.Now()
	deadline := last.Add(90 * time.Second)
	for {
		select {
		case b := <-got:
			if !bytes.Equal(b, data) {
				l.explain()
				l.t.Fatalf("%d of %d bytes arrived, or others", len(b), len(data))
			}
			return
		default:
			if time.Now().After(deadline) {
				l.explain()
				l.t.Fatal("the transfer does not end")
			}
			now := time.Now()
			l.run(now.Sub(last))
			last = now
			time.Sleep(200 * time.Microsecond)
		}
	}
}

func TestHostStacksTalkTCPAcrossARouter(t *testing.T) {
	x := newThree(t, mem.Impairment{Delay: wireDelay}, mem.Impairment{Delay: wireDelay, MTU: 1400})
	x.transfer(x.a, x.b, "10.1.0.1", "10.2.0.1", 200_000)
	x.transfer(x.a, x.b, "2001:db8:1::1", "2001:db8:2::1", 200_000)
}

func TestHostStacksLearnOfANarrowPlaceInTheMiddle(t *testing.T) {
	x := newThree(t, mem.Impairment{Delay: wireDelay}, mem.Impairment{Delay: wireDelay})
	x.rb.SetIPMTU(1300) // neither end can know
	x.transfer(x.a, x.b, "10.1.0.1", "10.2.0.1", 100_000)
	x.transfer(x.a, x.b, "2001:db8:1::1", "2001:db8:2::1", 100_000)
}

func TestHostStacksTalkTCPThroughAProtectedTunnel(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true}, false)
	ab, ba := x.join(0, 1, false)
	x.key(0, 1, ab, ba, esp.Transport, gcm, false)
	for _, k := range x.links {
		k.SetImpairment(mem.Impairment{Delay: wireDelay})
	}
	longest, fragments := 0, 0
	x.links[1].SetCapture(func(_ time.Time, _ *mem.Port, f []byte) {
		longest = max(longest, len(f)-14)
		if f[12] == 8 && f[13] == 0 && f[20]&0x3f != 0 {
			fragments++
		}
	})
	x.transfer(x.node[1], x.node[0], "10.10.10.2", "10.10.10.1", 300_000)
	x.transfer(x.node[1], x.node[0], overlay(1, true).String(), overlay(0, true).String(), 100_000)
	x.links[1].SetCapture(nil)
	x.links[1].Impairment() // passes the Network's lock: no call is under way any more
	if longest > 1500 || longest < 1450 || fragments != 0 {
		t.Fatalf("longest packet %d, %d fragments", longest, fragments)
	}
	// The clamp of the SYNs did it: nothing had to be refused on the way.
	for _, n := range x.node {
		if d := n.Drops(); d["too-big"] != 0 {
			t.Errorf("%s refused packets: %v", n.name, d)
		}
	}
}

func TestTheHostStackPingsAndIsPinged(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	for _, c := range [][2]string{{"10.1.0.1", "10.2.0.1"}, {"2001:db8:1::1", "2001:db8:2::1"}} {
		var q waiter.Queue
		transport := icmp.ProtocolNumber4
		typ := byte(ip.Echo)
		if addr(c[0]).Is6() {
			transport, typ = icmp.ProtocolNumber6, ip.V6Echo
		}
		ep, terr := x.a.vrf.Stack().NewEndpoint(transport, proto(c[0]), &q)
		if terr != nil {
			t.Fatal(terr)
		}
		defer ep.Close()
		if terr := ep.Bind(full(c[0], 0)); terr != nil {
			t.Fatal(terr)
		}
		to := full(c[1], 0)
		msg := append([]byte{typ, 0, 0, 0, 0, 0, 0, 1}, "ping"...)
		if _, terr := ep.Write(bytes.NewReader(msg), tcpip.WriteOptions{To: &to}); terr != nil {
			t.Fatal(terr)
		}
		x.run(time.Second)
		var b bytes.Buffer
		res, terr := ep.Read(&b, tcpip.ReadOptions{NeedRemoteAddr: true})
		if terr != nil || res.RemoteAddr.Addr != full(c[1], 0).Addr || !bytes.HasSuffix(b.Bytes(), []byte("ping")) {
			x.explain()
			t.Fatalf("%v: %v %x", c, terr, b.Bytes())
		}
	}
}

func TestTheHostStackHearsOfWhatItsOwnPacketsMet(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	c, err := gonet.DialUDP(x.a.vrf.Stack(), &tcpip.FullAddress{Addr: full("10.1.0.1", 0).Addr}, &tcpip.FullAddress{Addr: full("10.2.0.1", 0).Addr, Port: 7}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("anybody?")); err != nil {
		t.Fatal(err)
	}
	x.run(time.Second)
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 10)); err == nil || !bytes.Contains([]byte(err.Error()), []byte("refused")) {
		x.explain()
		t.Fatalf("got %v", err)
	}
}

func TestUDPReachesHandlersAndComesFromTheEgressAddress(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	for _, c := range [][2]string{{"10.1.0.1", "10.2.0.1"}, {"2001:db8:1::1", "2001:db8:2::1"}} {
		var got []UDP
		x.b.vrf.HandleUDP(500, func(u UDP) {
			u.Payload = bytes.Clone(u.Payload)
			got = append(got, u)
			_ = x.b.vrf.SendUDP(u.Local, u.Remote, []byte("yes"), SendOptions{})
		})
		var back []string
		x.a.vrf.HandleUDP(500, func(u UDP) { back = append(back, string(u.Payload)) })
		if err := x.a.vrf.SendUDP(netip.AddrPortFrom(netip.Addr{}, 500), netip.AddrPortFrom(addr(c[1]), 500), []byte("ike?"), SendOptions{TOS: 0xc0}); err != nil {
			t.Fatal(err)
		}
		x.run(time.Second)
		if len(got) != 1 || string(got[0].Payload) != "ike?" || got[0].Remote != netip.AddrPortFrom(addr(c[0]), 500) || got[0].Local.Addr() != addr(c[1]) {
			x.explain()
			t.Fatalf("got %+v", got)
		}
		if len(back) != 1 || back[0] != "yes" {
			t.Fatalf("got back %q", back)
		}
	}
	if err := x.a.vrf.SendUDP(netip.AddrPort{}, netip.MustParseAddrPort("[fd99::1]:5"), nil, SendOptions{}); err != nil {
		t.Fatal(err) // the default route covers it
	}
	x.a.vrf.HandleUDP(500, nil)
	// To ourselves: through the clock, never in the sender's own call.
	inside, called := true, false
	x.a.vrf.HandleUDP(501, func(UDP) { called = true; inside = inside && false })
	_ = x.a.vrf.SendUDP(netip.AddrPort{}, netip.MustParseAddrPort("10.1.0.1:501"), []byte("me"), SendOptions{})
	if called {
		t.Fatal("a handler ran inside SendUDP")
	}
	x.run(time.Millisecond)
	if !called {
		t.Fatal("what we send to ourselves is lost")
	}
}

func TestOnPort4500IKEAndKeepalivesAreToldFromESP(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	var got []string
	x.b.vrf.HandleUDP(natPort, func(u UDP) { got = append(got, string(u.Payload)) })
	send := func(b string) {
		_ = x.a.vrf.SendUDP(netip.AddrPortFrom(addr("10.1.0.1"), natPort), netip.AddrPortFrom(addr("10.2.0.1"), natPort), []byte(b), SendOptions{})
	}
	send("\x00\x00\x00\x00ike message")
	send("\xff")
	send("\x00")
	send("\x00\x00\x11\x11 this is ESP with an SPI that nobody has")
	x.run(time.Second)
	if len(got) != 1 || got[0] != "ike message" || x.b.Stats().Keepalives.Load() != 1 {
		t.Fatalf("got %q, %d keepalives", got, x.b.Stats().Keepalives.Load())
	}
	if d := x.b.Drops(); d["malformed"] != 1 || d["unknown-spi"] != 1 {
		t.Fatalf("drops %v", d)
	}
	if p := x.b.takePunts(PuntUnknownSPI); len(p) != 1 || p[0].SPI != 0x1111 || p[0].Remote.Port() != natPort {
		t.Fatalf("punts %+v", p)
	}
}

func TestMSSIsClampedForwardedAndOurs(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	syn := func(src, dst string, mss int) *packet.Packet {
		b := make([]byte, 24)
		b[12], b[13] = 6<<4, 2
		b[3] = 179
		b[20], b[21], b[22], b[23] = 2, 4, byte(mss>>8), byte(mss)
		s, d := addr(src), addr(dst)
		sum := ip.L4Checksum(s, d, ip.TCP, b)
		b[16], b[17] = byte(sum>>8), byte(sum)
		p := packet.From(b)
		(&ip.Outer{Src: s, Dst: d, Proto: ip.TCP, TTL: 64}).Prepend(p)
		return p
	}
	seen := 0
	x.right.SetCapture(func(_ time.Time, from *mem.Port, f []byte) {
		var h ip.Header
		if from.Name() == "R.right" && ip.Parse(f[14:], &h) == nil && h.Proto == ip.TCP && ip.L4Valid(&h, f[14:]) {
			seen = int(f[14+h.L4+22])<<8 | int(f[14+h.L4+23])
		}
	})
	for _, c := range []struct {
		in, out, want4, want6 int
	}{{0, 0, 1460, 1440}, {1360, 0, 1360, 1340}, {0, 1350, 1350, 1330}, {1360, 1350, 1350, 1330}} {
		x.ra.SetAdjustMSS(c.in)
		x.rb.SetAdjustMSS(c.out)
		_ = x.a.vrf.SendIP(syn("10.1.0.1", "10.2.0.1", 1460))
		x.run(time.Second)
		if seen != c.want4 {
			t.Errorf("%+v: MSS %d", c, seen)
		}
		_ = x.a.vrf.SendIP(syn("2001:db8:1::1", "2001:db8:2::1", 1440))
		x.run(time.Second)
		if seen != c.want6 {
			t.Errorf("%+v: MSS %d over IPv6", c, seen)
		}
	}
	// Ours: by the MTU of the way, without being told.
	x.ra.SetAdjustMSS(0)
	x.rb.SetAdjustMSS(0)
	x.ai.SetIPMTU(1300)
	_ = x.a.vrf.SendIP(syn("10.1.0.1", "10.2.0.1", 65495))
	x.run(time.Second)
	if seen != 1260 {
		t.Errorf("our own SYN left with MSS %d", seen)
	}
}

func TestRealTimeWithManyGoroutines(t *testing.T) {
	net1 := mem.NewNetwork(clock.Real)
	pa, pb := net1.Pair("a", "b", mem.Impairment{})
	mk := func(p *mem.Port, own string) *router {
		r := &router{lab: &lab{t: t}, name: own}
		r.Dataplane = New(Options{})
		r.vrf = r.Default()
		t.Cleanup(r.Close)
		r.eth("Ethernet0", p, own)
		return r
	}
	a, b := mk(pa, "10.0.0.1/24"), mk(pb, "10.0.0.2/24")
	conn, err := gonet.DialUDP(b.vrf.Stack(), &tcpip.FullAddress{Addr: full("10.0.0.2", 0).Addr, Port: 9}, nil, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ln, err := gonet.ListenTCP(b.vrf.Stack(), full("10.0.0.2", 179), ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := gonet.DialTCPWithBind(ctx, a.vrf.Stack(), full("10.0.0.1", 0), full("10.0.0.2", 179), ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("echo")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	const senders, each = 4, 50
	for g := range senders {
		go func() {
			for k := range each {
				_ = a.vrf.SendUDP(netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.2:9"), []byte{byte(g), byte(k)}, SendOptions{})
			}
		}()
	}
	got := 0
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for got < senders*each {
		if _, _, err := conn.ReadFrom(make([]byte, 10)); err != nil {
			t.Fatalf("after %d datagrams: %v, drops %v %v", got, err, a.Drops(), b.Drops())
		}
		got++
	}
}

var (
	_ stack.LinkEndpoint = (*host)(nil)
)
