package netstack

import (
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/netstack/ip"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"
)

// dmvpn is a hub and two spokes on an underlay with a router in the middle, with tunnels in any mode.
type dmvpn struct {
	*lab
	inet  *router
	node  [3]*router // hub, spoke 1, spoke 2
	wan   [3]*Interface
	tun   [3]*Tunnel
	links [3]*mem.Link
}

func nbma(n int, v6 bool) netip.Addr {
	if v6 {
		return addr(fmt.Sprintf("2001:db8:a%d::%d", n+1, n+1))
	}
	return addr(fmt.Sprintf("172.16.%d.%d", n+1, n+1))
}

func overlay(n int, v6 bool) netip.Addr {
	if v6 {
		return addr(fmt.Sprintf("fd00:10::%d", n+1))
	}
	return addr(fmt.Sprintf("10.10.10.%d", n+1))
}

func lan(n int, v6 bool) netip.Addr {
	if v6 {
		return addr(fmt.Sprintf("fd00:192:%d::%d", n+1, n+1))
	}
	return addr(fmt.Sprintf("192.168.%d%d.%d", n+1, n+1, n+1))
}

// newDMVPN makes the network with tunnels of the config (mode, key, protection) over an underlay of the given family.
// There are no sessions yet.
func newDMVPN(t testing.TB, c TunnelConfig, v6 bool) *dmvpn {
	x := &dmvpn{lab: newLab(t)}
	x.inet = x.router("Internet")
	for n, name := range []string{"Hub", "Spoke1", "Spoke2"} {
		r := x.router(name)
		x.node[n] = r
		p, q := x.net.Pair(name, "Internet."+name, mem.Impairment{})
		x.links[n] = p.Link()
		bits := map[bool]int{false: 24, true: 64}[v6]
		me := netip.PrefixFrom(nbma(n, v6), bits)
		gw := me.Masked().Addr().As16()
		gw[15] = 254
		gateway := netip.AddrFrom16(gw).Unmap()
		x.wan[n] = r.eth("GigabitEthernet1", p, me.String())
		x.inet.eth(fmt.Sprintf("GigabitEthernet%d", n+1), q, netip.PrefixFrom(gateway, bits).String())
		def := "0.0.0.0/0"
		if v6 {
			def = "::/0"
		}
		r.route(def, x.wan[n], gateway.String())
		r.loopback("Loopback10", lan(n, false).String()+"/24", lan(n, true).String()+"/64")
		tc := c
		tc.Name, tc.Source = "Tunnel0", nbma(n, v6)
		if tc.Mode != GREMultipoint && n > 0 {
			tc.Destination = nbma(0, v6)
		}
		tun, err := r.AddTunnel(tc)
		if err != nil {
			t.Fatal(err)
		}
		x.tun[n] = tun
		r.address(tun.Interface(), overlay(n, false).String()+"/24", overlay(n, true).String()+"/64")
	}
	// Everything goes by the hub.
	for n := 1; n < 3; n++ {
		for _, six := range []bool{false, true} {
			x.node[0].route(lanNet(n, six), x.tun[0].Interface(), overlay(n, six).String())
			for other := range 3 {
				if other != n {
					x.node[n].route(lanNet(other, six), x.tun[n].Interface(), overlay(0, six).String())
				}
			}
		}
	}
	x.run(time.Second)
	return x
}

func lanNet(n int, v6 bool) string {
	if v6 {
		return netip.PrefixFrom(lan(n, v6), 64).Masked().String()
	}
	return netip.PrefixFrom(lan(n, v6), 24).Masked().String()
}

// join makes sessions between two nodes and points the overlay at them.
func (x *dmvpn) join(a, b int, v6 bool) (ab, ba *Session) {
	ab = x.tun[a].NewSession(nbma(b, v6))
	ba = x.tun[b].NewSession(nbma(a, v6))
	for _, six := range []bool{false, true} {
		x.tun[a].SetNeighbour(overlay(b, six), ab)
		x.tun[b].SetNeighbour(overlay(a, six), ba)
	}
	return ab, ba
}

var nextSPI = uint32(0x1000)

// key installs an SA pair between two sessions of two nodes.
func (x *dmvpn) key(a, b int, ab, ba *Session, mode esp.Mode, suite esp.Suite, encap bool) {
	x.t.Helper()
	one := func(from, to *router, out, in *Session, tag byte) {
		nextSPI++
		port := uint16(0)
		if encap {
			port = natPort
		}
		mk := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = tag + byte(i)
			}
			return b
		}
		local, remote := out.tunnel.Source(), out.NBMA()
		o, err := esp.NewOutbound(esp.Params{SPI: nextSPI, Suite: suite, Mode: mode, EncrKey: mk(suite.EncrKeyLen()), IntegKey: mk(suite.IntegKeyLen()),
			Local: netip.AddrPortFrom(local, port), Remote: netip.AddrPortFrom(remote, port), UDPEncap: encap, Rand: zeroes{}})
		if err != nil {
			x.t.Fatal(err)
		}
		i, err := esp.NewInbound(esp.Params{SPI: nextSPI, Suite: suite, Mode: mode, EncrKey: mk(suite.EncrKeyLen()), IntegKey: mk(suite.IntegKeyLen()),
			Local: netip.AddrPortFrom(remote, port), Remote: netip.AddrPortFrom(local, port), UDPEncap: encap, Rand: zeroes{}})
		if err != nil {
			x.t.Fatal(err)
		}
		if err := to.AddInbound(i, in); err != nil {
			x.t.Fatal(err)
		}
		out.SetOutbound(o)
	}
	one(x.node[a], x.node[b], ab, ba, 1)
	one(x.node[b], x.node[a], ba, ab, 2)
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

var _ io.Reader = zeroes{}

var (
	gcm = esp.Suite{Encr: esp.Encr(20), KeyBits: 256}
	cbc = esp.Suite{Encr: esp.Encr(12), KeyBits: 256, Integ: esp.Integ(12)}
)

func TestPingThroughGREInAllFamilies(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, keyed := range []bool{false, true} {
			t.Run(fmt.Sprintf("outer IPv6 %v, key %v", v6, keyed), func(t *testing.T) {
				x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, HasKey: keyed, Key: 77}, v6)
				x.join(0, 1, v6)
				x.join(0, 2, v6)
				for _, six := range []bool{false, true} {
					if !x.node[1].ping(overlay(1, six).String(), overlay(0, six).String(), 100) ||
						!x.node[1].ping(lan(1, six).String(), lan(2, six).String(), 1200) {
						x.explain()
						t.Fatalf("no answer (inner IPv6 %v)", six)
					}
				}
				want := 1500 - 20 - 4
				if v6 {
					want -= 20
				}
				if keyed {
					want -= 4
				}
				if m := x.tun[1].Interface().MTU(); m != want {
					t.Errorf("tunnel MTU %d, want %d", m, want)
				}
				x.noDrops()
			})
		}
	}
}

func TestPointToPointTunnelsNeedNoNeighbours(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREPointToPoint}, false)
	x.tun[0].SetDefault(x.tun[0].NewSession(nbma(1, false)))
	for _, six := range []bool{false, true} {
		if !x.node[1].ping(lan(1, six).String(), lan(0, six).String(), 100) {
			x.explain()
			t.Fatal("no answer")
		}
	}
}

func TestPingThroughESPInBothModesAndSuites(t *testing.T) {
	for _, mode := range []esp.Mode{esp.Transport, esp.Tunnel} {
		for _, suite := range []esp.Suite{gcm, cbc} {
			for _, v6 := range []bool{false, true} {
				for _, encap := range []bool{false, true} {
					t.Run(fmt.Sprintf("%v %v outer IPv6 %v UDP %v", mode, suite, v6, encap), func(t *testing.T) {
						x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true}, v6)
						longest := 0
						for n := range x.node {
							x.node[n].vrf.HandleUDP(natPort, func(UDP) {})
							x.links[n].SetCapture(func(_ time.Time, _ *mem.Port, f []byte) { longest = max(longest, len(f)-14) })
						}
						for n := 1; n < 3; n++ {
							ab, ba := x.join(0, n, v6)
							x.key(0, n, ab, ba, mode, suite, encap)
						}
						mtu := x.tun[1].Sessions()[0].mtu()
						for _, six := range []bool{false, true} {
							if !x.node[1].ping(lan(1, six).String(), lan(2, six).String(), 100) {
								x.explain()
								t.Fatal("no answer")
							}
							// The MTU is exact: its packets are not fragmented, and one of them fills the wire.
							for n := mtu - 20; n <= mtu; n++ {
								head := 28
								if six {
									head = 48
								}
								p := echo(lan(1, six), lan(2, six), 64, 1, n-head, true)
								if got := x.node[1].ask(p, time.Second); len(got) != 1 {
									x.explain()
									t.Fatalf("no answer to %d bytes, MTU is %d", n, mtu)
								}
							}
						}
						if longest > 1500 || longest < 1500-16 {
							t.Errorf("the longest packet on the wire has %d bytes (MTU %d)", longest, mtu)
						}
						got := x.node[1].ask(echo(lan(1, false), lan(2, false), 64, 1, mtu-27, true), time.Second)
						if len(got) != 1 || got[0].code != ip.CodeFragNeeded || int(got[0].info) != mtu {
							t.Errorf("one byte more: %v", got)
						}
						delete(x.node[1].Drops(), "too-big")
						x.inetOnlyESP(encap)
					})
				}
			}
		}
	}
}

// inetOnlyESP checks that the underlay dropped nothing.
func (x *dmvpn) inetOnlyESP(bool) {
	x.t.Helper()
	if d := x.inet.Drops(); len(d) != 0 {
		x.t.Errorf("the underlay dropped %v", d)
	}
}

func TestAProtectedTunnelWithoutAnSASaysNothing(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true}, false)
	ab, ba := x.join(0, 1, false)
	heard := 0
	x.links[1].SetCapture(func(_ time.Time, _ *mem.Port, f []byte) {
		if f[12] == 8 && f[13] == 0 {
			heard++
		}
	})
	send := func() {
		for k := range 5 {
			_ = x.node[1].vrf.SendIP(echo(lan(1, false), lan(0, false), 64, uint16(k), 10, false))
			x.run(100 * time.Millisecond)
		}
	}
	send()
	if err := x.tun[1].SendNHRP(ba, []byte("registration")); err == nil {
		t.Fatal("NHRP was accepted without an SA")
	}
	if heard != 0 {
		t.Fatalf("%d packets left in clear", heard)
	}
	if d := x.node[1].Drops(); d["no-sa"] != 5 {
		t.Fatalf("drops %v", d)
	}
	if p := x.node[1].takePunts(PuntNoSA); len(p) != 1 || p[0].Session != ba {
		t.Fatalf("punts %+v", p)
	}
	x.key(0, 1, ab, ba, esp.Transport, gcm, false)
	if !x.node[1].ping(lan(1, false).String(), lan(0, false).String(), 10) {
		t.Fatal("no answer with an SA")
	}
	// It closes again when the SA goes, and refuses clear GRE from outside.
	ba.SetOutbound(nil)
	heard = 0
	send()
	if heard != 0 {
		t.Fatalf("%d packets left in clear after the SA was gone", heard)
	}
	in := echo(lan(1, false), lan(0, false), 64, 1, 10, false)
	copy(in.Prepend(4), []byte{0, 0, 8, 0})
	(&ip.Outer{Src: nbma(1, false), Dst: nbma(0, false), Proto: ip.GRE, TTL: 9}).Prepend(in)
	_ = x.node[1].vrf.SendIP(in)
	x.run(time.Second)
	if d := x.node[0].Drops(); d["clear-gre"] != 1 {
		t.Fatalf("hub drops %v", d)
	}
}

func TestAnSAOpensOnlyWhatIsForItsTunnel(t *testing.T) {
	for _, mode := range []esp.Mode{esp.Transport, esp.Tunnel} {
		x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true}, false)
		ab, ba := x.join(0, 1, false)
		x.key(0, 1, ab, ba, mode, gcm, false)
		out := ba.Outbound()
		inject := func(p *packet.Packet, next uint8) {
			t.Helper()
			if err := out.Seal(p, next); err != nil {
				t.Fatal(err)
			}
			(&ip.Outer{Src: nbma(1, false), Dst: nbma(0, false), Proto: ip.ESP, TTL: 9}).Prepend(p)
			if err := x.node[1].vrf.SendIP(p); err != nil {
				t.Fatal(err)
			}
			x.run(time.Second)
		}
		inject(echo(lan(1, false), lan(0, false), 64, 1, 10, false), ip.IPv4) // not GRE
		gre := func() *packet.Packet {
			p := echo(lan(1, false), lan(0, false), 64, 1, 10, false)
			copy(p.Prepend(4), []byte{0, 0, 8, 0})
			return p
		}
		want := uint64(2)
		if mode == esp.Transport {
			p := gre()
			(&ip.Outer{Src: nbma(1, false), Dst: nbma(0, false), Proto: ip.GRE, TTL: 9}).Prepend(p)
			inject(p, ip.IPv4) // tunnel mode in a transport SA
		} else {
			inject(gre(), ip.GRE) // transport mode in a tunnel SA
			p := gre()
			(&ip.Outer{Src: nbma(2, false), Dst: nbma(0, false), Proto: ip.GRE, TTL: 9}).Prepend(p)
			inject(p, ip.IPv4) // another peer's address inside
			want = 3
		}
		if d := x.node[0].Drops(); d["not-for-tunnel"] != want {
			t.Fatalf("%v: drops %v", mode, d)
		}
		if c := ab.Counters(); c.RxPackets != 0 {
			t.Fatalf("%d packets came through", c.RxPackets)
		}
	}
}

func TestUnknownSPIsArePuntedSparinglyAndReplaysDropped(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true}, false)
	ab, ba := x.join(0, 1, false)
	x.key(0, 1, ab, ba, esp.Transport, gcm, false)
	raw := func(spi uint32) *packet.Packet {
		p := packet.From(make([]byte, 60))
		p.Bytes()[2], p.Bytes()[3] = byte(spi>>8), byte(spi)
		(&ip.Outer{Src: nbma(1, false), Dst: nbma(0, false), Proto: ip.ESP, TTL: 9}).Prepend(p)
		return p
	}
	for range 10 {
		_ = x.node[1].vrf.SendIP(raw(0x7777))
	}
	x.run(time.Second)
	p := x.node[0].takePunts(PuntUnknownSPI)
	if len(p) != 1 || p[0].SPI != 0x7777 || p[0].Remote.Addr() != nbma(1, false) || p[0].Local.Addr() != nbma(0, false) {
		t.Fatalf("punts %+v", p)
	}
	var copyOf []byte
	x.links[1].SetCapture(func(_ time.Time, _ *mem.Port, f []byte) {
		if f[23] == ip.ESP && copyOf == nil {
			copyOf = append([]byte(nil), f[14:]...)
		}
	})
	if !x.node[1].ping(lan(1, false).String(), lan(0, false).String(), 10) {
		x.explain()
		t.Fatal("no answer")
	}
	_ = x.node[1].vrf.SendIP(packet.From(copyOf))
	damaged := packet.From(copyOf)
	damaged.Bytes()[27] = 99 // another sequence number
	_ = x.node[1].vrf.SendIP(damaged)
	x.run(time.Second)
	if d := x.node[0].Drops(); d["unknown-spi"] != 10 || d["replay"] != 1 || d["bad-icv"] != 1 {
		t.Fatalf("drops %v", d)
	}
}

func TestUnresolvedNextHopsArePuntedWhilePacketsGoByTheNHS(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint}, false)
	x.join(0, 1, false)
	x.join(0, 2, false)
	// Phase 2: spoke 1 sees spoke 2 as the next hop.
	x.node[1].route(lanNet(2, false), x.tun[1].Interface(), overlay(2, false).String())
	got := x.node[1].ask(echo(lan(1, false), lan(2, false), 64, 1, 10, false), time.Second)
	if d := x.node[1].Drops(); d["no-neighbour"] != 1 || len(got) != 1 || got[0].code != ip.CodeHost {
		t.Fatalf("drops %v, got %v", d, got)
	}
	p := x.node[1].takePunts(PuntNoNeighbour)
	if len(p) != 1 || p[0].NextHop != overlay(2, false) || p[0].Packet == nil || p[0].Interface != x.tun[1].Interface() {
		t.Fatalf("punts %+v", p)
	}
	nhs, _ := x.tun[1].Neighbour(overlay(0, false))
	x.tun[1].SetGleanVia(nhs)
	x.run(2 * time.Second)
	if !x.node[1].ping(lan(1, false).String(), lan(2, false).String(), 10) {
		x.explain()
		t.Fatal("no answer by the NHS")
	}
	if len(x.node[1].takePunts(PuntNoNeighbour)) == 0 {
		t.Fatal("the resolution was not asked for again")
	}
	before := x.tun[0].Interface().Counters().RxPackets
	s, _ := x.join(1, 2, false)
	if !x.node[1].ping(lan(1, false).String(), lan(2, false).String(), 10) {
		x.explain()
		t.Fatal("no answer directly")
	}
	if now := x.tun[0].Interface().Counters().RxPackets; now != before+1 { // spoke 2's answer still goes by the hub
		t.Fatalf("the hub saw %d packets", now-before)
	}
	s.Close()
	if _, ok := x.tun[1].Neighbour(overlay(2, false)); ok {
		t.Fatal("a neighbour points at a closed session")
	}
	if !x.node[1].ping(lan(1, false).String(), lan(2, false).String(), 10) {
		x.explain()
		t.Fatal("no answer by the NHS again")
	}
}

func TestPacketsThatLeaveTheNetworkTheyCameFromAreRedirectedOnce(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, NetworkID: 1}, false)
	hubTo1, _ := x.join(0, 1, false)
	hubTo2, _ := x.join(0, 2, false)
	ping := func() {
		t.Helper()
		if !x.node[1].ping(lan(1, false).String(), lan(2, false).String(), 1400) {
			x.explain()
			t.Fatal("no answer")
		}
	}
	ping()
	if p := x.node[0].takePunts(PuntRedirect); len(p) != 0 {
		t.Fatal("redirected without being told to")
	}
	x.tun[0].SetRedirect(true)
	ping() // takes 5 s of the lab's time
	ps := x.node[0].takePunts(PuntRedirect)
	if len(ps) != 2 {
		t.Fatalf("%d redirects, want one a direction", len(ps))
	}
	var h ip.Header
	if err := ip.Parse(ps[0].Packet.Bytes(), &h); err != nil || h.Src != lan(1, false) || h.Dst != lan(2, false) || h.TTL != 64 ||
		ps[0].Session != hubTo1 || ps[0].EgressSession != hubTo2 || ps[0].EgressInterface != x.tun[0].Interface() {
		t.Fatalf("punt %+v %+v", ps[0], h)
	}
	ping()
	if p := x.node[0].takePunts(PuntRedirect); len(p) != 0 {
		t.Fatal("redirected again within the interval")
	}
	x.run(8 * time.Second)
	ping()
	if p := x.node[0].takePunts(PuntRedirect); len(p) != 2 {
		t.Fatalf("%d redirects after the interval", len(p))
	}
	// Not for the router's own packets, nor when it leaves the network.
	x.run(8 * time.Second)
	if !x.node[1].ping(lan(1, false).String(), lan(0, false).String(), 10) {
		t.Fatal("no answer from the hub")
	}
	x.tun[0].SetNetworkID(0)
	ping()
	if p := x.node[0].takePunts(PuntRedirect); len(p) != 0 {
		t.Fatalf("redirected what was the router's own, or without a network: %+v", p)
	}
}

func TestNHRPIsPuntedWithItsContext(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true}, false)
	ab, ba := x.join(0, 1, false)
	x.key(0, 1, ab, ba, esp.Tunnel, cbc, false)
	if err := x.tun[1].SendNHRP(ba, []byte("hello hub")); err != nil {
		t.Fatal(err)
	}
	x.run(time.Second)
	p := x.node[0].takePunts(PuntNHRP)
	if len(p) != 1 {
		x.explain()
		t.Fatalf("%d punts", len(p))
	}
	k := p[0].Packet
	if string(k.Bytes()) != "hello hub" || p[0].Session != ab || k.Session != packet.Session(ab) || k.SA == nil || k.OuterSrc != nbma(1, false) ||
		k.Ingress != x.tun[0].Interface().Index() || p[0].Interface != x.tun[0].Interface() {
		t.Fatalf("punt %+v", p[0])
	}
	if c := ba.Counters(); c.TxPackets != 1 || c.TxData != 0 {
		t.Fatalf("NHRP counts as data: %+v", c)
	}
	if c := ab.Counters(); c.RxPackets != 1 || c.RxData != 0 {
		t.Fatalf("NHRP counts as data: %+v", c)
	}
}

func TestMulticastGoesToTheListOnly(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint}, false)
	s1, _ := x.join(0, 1, false)
	s2, _ := x.join(0, 2, false)
	got := map[string]int{}
	for n := 1; n < 3; n++ {
		x.node[n].vrf.HandleProtocol(88, func(p *packet.Packet) {
			got[x.node[n].name]++
			p.Release()
		})
	}
	hello := func() {
		p := packet.From([]byte("eigrp hello"))
		(&ip.Outer{Src: overlay(0, false), Dst: addr("224.0.0.10"), Proto: 88, TTL: 1}).Prepend(p)
		if err := x.tun[0].Interface().SendIP(p); err != nil {
			t.Fatal(err)
		}
		x.run(time.Second)
	}
	hello()
	if len(got) != 0 || x.node[0].Drops()["no-session"] != 1 {
		t.Fatalf("heard by %v, drops %v", got, x.node[0].Drops())
	}
	x.tun[0].SetMulticast([]*Session{s1, s2})
	hello()
	if got["Spoke1"] != 1 || got["Spoke2"] != 1 {
		x.explain()
		t.Fatalf("heard by %v", got)
	}
	s2.Close()
	hello()
	if got["Spoke1"] != 2 || got["Spoke2"] != 1 {
		t.Fatalf("heard by %v", got)
	}
}

func TestStrangersOfAClearTunnelAreBounded(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint}, false)
	// The spoke knows the hub, the hub does not know the spoke: it learns the session from the packet.
	x.tun[1].SetNeighbour(overlay(0, false), x.tun[1].NewSession(nbma(0, false)))
	_ = x.node[1].vrf.SendIP(echo(lan(1, false), lan(0, false), 64, 1, 10, false))
	x.run(time.Second)
	first := x.tun[0].Sessions()
	if len(first) != 1 || first[0].NBMA() != nbma(1, false) || first[0].Counters().RxPackets != 1 {
		t.Fatalf("sessions %v", first)
	}
	x.tun[0].SetNeighbour(overlay(1, false), first[0])
	for k := range 3 * autoSessions {
		p := echo(lan(1, false), lan(0, false), 64, 1, 10, false)
		copy(p.Prepend(4), []byte{0, 0, 8, 0})
		(&ip.Outer{Src: netip.AddrFrom4([4]byte{100, 64, byte(k >> 8), byte(k)}), Dst: nbma(0, false), Proto: ip.GRE, TTL: 9}).Prepend(p)
		_ = x.node[1].vrf.SendIP(p)
		if k%100 == 0 {
			x.run(time.Millisecond)
		}
	}
	x.run(time.Second)
	if n := len(x.tun[0].Sessions()); n > autoSessions+1 || n < autoSessions/2 {
		t.Fatalf("%d sessions", n)
	}
	if first[0].Closed() {
		t.Fatal("a session that a neighbour needs was forgotten")
	}
}

func TestATunnelThroughItselfEnds(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint}, false)
	x.join(0, 1, false)
	x.node[1].route("172.16.1.0/24", x.tun[1].Interface(), overlay(0, false).String())
	_ = x.node[1].vrf.SendIP(echo(lan(1, false), lan(0, false), 64, 1, 10, false))
	x.run(time.Second)
	if d := x.node[1].Drops(); d["tunnel-loop"] != 1 {
		t.Fatalf("drops %v", d)
	}
}

func TestTunnelsFollowTheirSourceInterface(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	tun, err := x.a.AddTunnel(TunnelConfig{Name: "Tunnel0", Mode: GREMultipoint, SourceInterface: "Ethernet0"})
	if err != nil {
		t.Fatal(err)
	}
	var states []bool
	tun.Interface().OnState(func(up bool) { states = append(states, up) })
	if tun.Source() != addr("10.1.0.1") || !tun.Interface().Up() {
		t.Fatalf("source %v, up %v", tun.Source(), tun.Interface().Up())
	}
	x.a.address(x.ai, "10.1.0.7/24")
	if tun.Source() != addr("10.1.0.7") {
		t.Fatalf("source %v", tun.Source())
	}
	x.ai.SetAdminUp(false)
	x.ai.SetAdminUp(true)
	if len(states) != 3 || states[1] || !states[2] {
		t.Fatalf("states %v", states)
	}
	if _, err := x.a.AddTunnel(TunnelConfig{Name: "Tunnel1", Mode: GREMultipoint, SourceInterface: "Ethernet0"}); err == nil {
		t.Fatal("two clear tunnels with the same source and key")
	}
	if _, err := x.a.AddTunnel(TunnelConfig{Name: "Tunnel1", Mode: GREMultipoint, SourceInterface: "Ethernet0", HasKey: true}); err != nil {
		t.Fatal(err)
	}
}

func TestSessionPathMTUIsLearntFromTheUnderlayWithAFloor(t *testing.T) {
	for _, protected := range []bool{false, true} {
		for _, v6 := range []bool{false, true} {
			x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: protected}, v6)
			ab, ba := x.join(0, 1, v6)
			if protected {
				x.key(0, 1, ab, ba, esp.Transport, gcm, false)
			}
			before := ba.mtu() // HandleICMP hears of errors about outer packets too
			out, _ := x.inet.Interface("GigabitEthernet1")
			out.SetIPMTU(1400)
			// The first long packet is lost on the way, its sender learns why from the second.
			if got := x.node[1].ask(echo(lan(1, false), lan(0, false), 64, 1, 1372, true), time.Second); len(got) != 1 || got[0].from.Is4() == v6 || got[0].from == overlay(1, false) {
				t.Fatalf("got %v", got)
			}
			if ba.PathMTU() != 1400 || ba.mtu() >= before || ba.mtu() < 1300 {
				x.explain()
				t.Fatalf("path MTU %d, tunnel MTU %d (was %d), protected %v outer IPv6 %v", ba.PathMTU(), ba.mtu(), before, protected, v6)
			}
			got := x.node[1].ask(echo(lan(1, false), lan(0, false), 64, 1, 1372, true), time.Second)
			if len(got) != 1 || got[0].code != ip.CodeFragNeeded || int(got[0].info) != ba.mtu() {
				t.Fatalf("got %v, MTU %d", got, ba.mtu())
			}
			ba.SetPathMTU(100)
			if m := ba.PathMTU(); !v6 && m != 576 || v6 && m != 1280 {
				t.Fatalf("floor %d", m)
			}
			ba.SetPathMTU(1400)
			ba.learnPathMTU(1390)
			x.run(pathMTUAge + time.Second)
			if ba.PathMTU() != 1500 {
				t.Fatalf("an old path MTU is believed for ever: %d", ba.PathMTU())
			}
		}
	}
}

func TestForgedTooBigsAreNotBelieved(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true}, false)
	ab, ba := x.join(0, 1, false)
	x.key(0, 1, ab, ba, esp.Transport, gcm, false)
	forge := func(spi uint32) {
		b := make([]byte, 28)
		(&ip.Outer{Src: nbma(1, false), Dst: nbma(0, false), Proto: ip.ESP, TTL: 9, DF: true}).Put(b, 8)
		b[20], b[21], b[22], b[23] = byte(spi>>24), byte(spi>>16), byte(spi>>8), byte(spi)
		var h ip.Header
		if err := ip.Parse(b, &h); err != nil {
			t.Fatal(err)
		}
		e := ip.NewError(ip.TooBig(4, 600), addr("172.16.2.254"), &h, b)
		_ = x.inet.vrf.SendIP(e)
		x.run(time.Second)
	}
	forge(ba.Outbound().SPI() + 1)
	if ba.PathMTU() != 1500 {
		t.Fatal("an error about an SPI that is not ours was believed")
	}
	forge(ba.Outbound().SPI())
	if ba.PathMTU() != 600 {
		x.explain()
		t.Fatal("an error about our own packet was not believed")
	}
}

func TestTwoProtectedTunnelsToOnePeerAreToldApartByTheirSAs(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true}, false)
	var second [2]*Tunnel
	for n := range 2 {
		tun, err := x.node[n].AddTunnel(TunnelConfig{Name: "Tunnel1", Mode: GREMultipoint, Protected: true, Source: nbma(n, false)})
		if err != nil {
			t.Fatal(err)
		}
		second[n] = tun
		x.node[n].address(tun.Interface(), fmt.Sprintf("10.20.20.%d/24", n+1))
	}
	ab, ba := x.join(0, 1, false)
	x.key(0, 1, ab, ba, esp.Transport, gcm, false)
	first := x.tun
	x.tun[0], x.tun[1] = second[0], second[1]
	ab2, ba2 := x.tun[0].NewSession(nbma(1, false)), x.tun[1].NewSession(nbma(0, false))
	x.tun[0].SetNeighbour(addr("10.20.20.2"), ab2)
	x.tun[1].SetNeighbour(addr("10.20.20.1"), ba2)
	x.key(0, 1, ab2, ba2, esp.Tunnel, gcm, false)
	if !x.node[1].ping("10.10.10.2", "10.10.10.1", 10) || !x.node[1].ping("10.20.20.2", "10.20.20.1", 10) {
		x.explain()
		t.Fatal("no answer")
	}
	if a, b := first[0].Interface().Counters().RxPackets, second[0].Interface().Counters().RxPackets; a != 1 || b != 1 {
		t.Fatalf("%d packets came in on Tunnel0, %d on Tunnel1", a, b)
	}
}

func TestAVTICarriesIPDirectlyInESP(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: VTI}, false)
	if x.tun[1].Interface().Up() {
		t.Fatal("up without an SA")
	}
	ab := x.tun[0].NewSession(nbma(1, false))
	ba := x.tun[1].NewSession(nbma(0, false))
	x.tun[0].SetDefault(ab)
	x.tun[1].SetDefault(ba)
	x.key(0, 1, ab, ba, esp.Tunnel, gcm, false)
	if !x.tun[1].Interface().Up() {
		t.Fatal("down with an SA")
	}
	for _, six := range []bool{false, true} {
		if !x.node[1].ping(lan(1, six).String(), lan(0, six).String(), 1000) {
			x.explain()
			t.Fatal("no answer")
		}
	}
	if m := ba.mtu(); m != 1446 { // 1500 - 20 - 8 - 8 - 16, and the padding to 4 with 2 bytes of trailer
		t.Fatalf("MTU %d", m)
	}
	ba.SetOutbound(nil)
	if x.tun[1].Interface().Up() {
		t.Fatal("up without an SA")
	}
}

func TestDSCPIsCopiedToTheOuterHeaderAndDFIsSet(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint}, false)
	x.join(0, 1, false)
	var outer []byte
	x.links[1].SetCapture(func(_ time.Time, from *mem.Port, f []byte) {
		if from.Name() == "Spoke1" && f[12] == 8 && f[13] == 0 {
			outer = append([]byte(nil), f[14:]...)
		}
	})
	p := echo(lan(1, false), lan(0, false), 64, 1, 10, false)
	ip.SetTOS(p.Bytes(), 0xb8)
	x.node[1].ask(p, time.Second)
	if len(outer) == 0 || outer[1] != 0xb8 || outer[6]&0x40 == 0 || outer[8] != 255 {
		t.Fatalf("outer header %x", outer[:20])
	}
}

var _ = fib.Local
