package netstack

import (
	"fmt"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/ip"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"
)

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
						if d := x.inet.Drops(); len(d) != 0 {
							t.Errorf("the underlay dropped %v", d)
						}
					})
				}
			}
		}
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

func TestIPv6HasIts1280BytesOnEveryTunnel(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, mode := range []esp.Mode{esp.Transport, esp.Tunnel} {
			x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true}, v6)
			ab, ba := x.join(0, 1, v6)
			x.key(0, 1, ab, ba, mode, cbc, false)
			ab.SetPathMTU(1290)
			ba.SetPathMTU(1290)
			if m := ba.mtu(); m >= ip.MinMTUv6 {
				t.Fatalf("tunnel MTU %d", m)
			}
			if !x.node[1].ping(lan(1, true).String(), lan(0, true).String(), 1280-48) {
				x.explain()
				t.Fatal("1,280 bytes do not pass")
			}
			if x.node[0].Stats().Reassembled.Load() == 0 {
				t.Fatal("nothing was fragmented outside")
			}
			got := x.node[1].ask(echo(lan(1, true), lan(0, true), 64, 1, 1281-48, true), time.Second)
			if len(got) != 1 || got[0].typ != ip.EchoReply && got[0].typ != ip.V6EchoReply {
				// Our own ping is cut into IPv6 fragments, which is a source's right.
				t.Fatalf("got %v", got)
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
