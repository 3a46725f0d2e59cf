package netstack

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/ip"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"
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
