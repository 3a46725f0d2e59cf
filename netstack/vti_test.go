package netstack

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

var cbc512 = esp.Suite{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_512_256}

func selectorOf(p string) Selector {
	x := netip.MustParsePrefix(p)
	b := x.Masked().Addr().AsSlice()
	for i := x.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(b)
	return Selector{EndPort: 65535, Start: x.Masked().Addr(), End: end}
}

func selectors(local, remote string) *Selectors {
	return NewSelectors([]Selector{selectorOf(local)}, []Selector{selectorOf(remote)})
}

func TestSelectorsMatchAddressesProtocolsAndPorts(t *testing.T) {
	if NewSelectors([]Selector{selectorOf("0.0.0.0/0"), selectorOf("::/0")}, []Selector{selectorOf("0.0.0.0/0"), selectorOf("::/0")}) != nil {
		t.Error("selectors for everything are not nothing")
	}
	a4, b4, a6, b6 := addr("10.1.0.1"), addr("10.2.0.1"), addr("fd00:1::1"), addr("fd00:2::1")
	udp := func(from, to netip.Addr, sport, dport uint16) *packet.Packet {
		p := packet.From([]byte("x"))
		ip.PrependUDP(p, ip.Outer{Src: from, Dst: to, TTL: 9}, sport, dport)
		return p
	}
	later := udp(a4, b4, 1000, 53)
	binary.BigEndian.PutUint16(later.Bytes()[6:], 5) // a fragment that is not the first
	dns := selectorOf("10.2.0.0/16")
	dns.Protocol, dns.StartPort, dns.EndPort = ip.UDP, 53, 53
	opaque := selectorOf("10.2.0.0/16")
	opaque.StartPort, opaque.EndPort = 65535, 0
	for _, c := range []struct {
		name string
		s    *Selectors
		p    *packet.Packet
		want bool
	}{
		{"all of IPv4", selectors("0.0.0.0/0", "0.0.0.0/0"), udp(a4, b4, 1, 2), true},
		{"all of IPv4, IPv6", selectors("0.0.0.0/0", "0.0.0.0/0"), udp(a6, b6, 1, 2), false},
		{"all of IPv6", selectors("::/0", "::/0"), udp(a6, b6, 1, 2), true},
		{"remote subnet", selectors("0.0.0.0/0", "10.2.0.0/16"), udp(a4, b4, 1, 2), true},
		{"remote subnet, elsewhere", selectors("0.0.0.0/0", "10.2.0.0/16"), udp(a4, addr("10.3.0.0"), 1, 2), false},
		{"remote subnet, other way", selectors("0.0.0.0/0", "10.2.0.0/16"), udp(b4, a4, 1, 2), false},
		{"IPv6 subnet", selectors("::/0", "fd00:2::/64"), udp(a6, b6, 1, 2), true},
		{"IPv6 subnet, elsewhere", selectors("::/0", "fd00:3::/64"), udp(a6, b6, 1, 2), false},
		{"a port", NewSelectors([]Selector{selectorOf("0.0.0.0/0")}, []Selector{dns}), udp(a4, b4, 1000, 53), true},
		{"another port", NewSelectors([]Selector{selectorOf("0.0.0.0/0")}, []Selector{dns}), udp(a4, b4, 53, 1000), false},
		{"a port, another protocol", NewSelectors([]Selector{selectorOf("0.0.0.0/0")}, []Selector{dns}), echo(a4, b4, 9, 1, 1, false), false},
		{"a port, a fragment without one", NewSelectors([]Selector{selectorOf("0.0.0.0/0")}, []Selector{dns}), later, false},
		{"opaque ports", NewSelectors([]Selector{selectorOf("0.0.0.0/0")}, []Selector{opaque}), later, true},
		{"two selectors", NewSelectors([]Selector{selectorOf("0.0.0.0/0")}, []Selector{selectorOf("10.9.0.0/16"), selectorOf("10.2.0.0/16")}), udp(a4, b4, 1, 2), true},
		{"rubbish", selectors("0.0.0.0/0", "10.2.0.0/16"), packet.From([]byte{0x45, 1, 2}), false},
	} {
		if got := c.s.out(c.p.Bytes()); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	in := selectors("0.0.0.0/0", "10.2.0.0/16")
	back := echo(b4, a4, 9, 1, 1, false)
	if !in.in(back.Bytes(), ip.IPv4) || in.in(back.Bytes(), ip.IPv6) || in.in(echo(a4, b4, 9, 1, 1, false).Bytes(), ip.IPv4) {
		t.Error("inbound is not the other way round")
	}
}

// vti is two routers with a VTI between them whose SAs a test makes.
func newVTI(t testing.TB, suite esp.Suite, encap bool) (x *dmvpn, ab, ba *Session) {
	x = newDMVPN(t, TunnelConfig{Mode: VTI}, false)
	ab, ba = x.tun[0].NewSession(nbma(1, false)), x.tun[1].NewSession(nbma(0, false))
	x.tun[0].SetDefault(ab)
	x.tun[1].SetDefault(ba)
	if encap {
		for n := range x.node {
			x.node[n].vrf.HandleUDP(natPort, func(UDP) {})
		}
	}
	x.key(0, 1, ab, ba, esp.Tunnel, suite, encap)
	return x, ab, ba
}

func TestTheMTUOfAVTIIsWhatItsSALeaves(t *testing.T) {
	for encap, want := range map[bool]int{false: 1422, true: 1406} {
		x, _, ba := newVTI(t, cbc512, encap)
		if m := ba.MTU(); m != want {
			t.Fatalf("UDP %v: MTU %d, want %d", encap, m, want)
		}
		if got := x.node[1].ask(echo(lan(1, false), lan(0, false), 64, 1, want-28, true), time.Second); len(got) != 1 || got[0].typ != ip.EchoReply {
			t.Fatalf("UDP %v: a packet of %d bytes: %v", encap, want, got)
		}
		if got := x.node[1].ask(echo(lan(1, false), lan(0, false), 64, 1, want-27, true), time.Second); len(got) != 1 || int(got[0].info) != want {
			t.Fatalf("UDP %v: a packet of %d bytes: %v", encap, want+1, got)
		}
		// An ip-mtu of the operator's is below that or nothing.
		x.tun[1].Interface().SetIPMTU(1400)
		if ba.MTU() != 1400 {
			t.Fatalf("MTU %d with an ip-mtu of 1400", ba.MTU())
		}
		x.tun[1].Interface().SetIPMTU(9000)
		if ba.MTU() != want {
			t.Fatalf("MTU %d with an ip-mtu of 9000", ba.MTU())
		}
		// The peer moves into, or out of, UDP: the MTU follows.
		out := ba.Outbound()
		e := *out.Ends()
		e.UDPEncap = !encap
		e.Local, e.Remote = netip.AddrPortFrom(e.Local.Addr(), natPort), netip.AddrPortFrom(e.Remote.Addr(), natPort)
		out.SetEnds(e)
		ba.SetOutbound(out)
		if m := ba.MTU(); m != map[bool]int{true: 1422, false: 1406}[encap] {
			t.Fatalf("MTU %d after a move out of UDP %v", m, encap)
		}
		for n := range x.node {
			x.node[n].vrf.HandleUDP(natPort, func(UDP) {})
		}
		if !x.node[1].ping(lan(1, false).String(), lan(0, false).String(), 1000) {
			x.explain()
			t.Fatal("no answer after the move: an SA must be received with and without UDP (RFC 7296 §2.23)")
		}
	}
}

func TestWhatAnSAWasNotNegotiatedForIsDroppedAndCounted(t *testing.T) {
	x, ab, ba := newVTI(t, gcm, false)
	for spi := range ab.spis {
		in, _, _ := x.node[0].Inbound(spi)
		x.node[0].RemoveInbound(spi)
		// The far end is the one host 192.168.22.2, and IPv4.
		if err := x.node[0].AddInboundFor(in, ab, selectors("0.0.0.0/0", "192.168.22.2/32")); err != nil {
			t.Fatal(err)
		}
	}
	ping := func(src, dst netip.Addr) bool {
		_ = x.node[1].vrf.SendIP(echo(src, dst, 64, 1, 10, false))
		x.run(time.Second)
		return true
	}
	ping(lan(1, false), lan(0, false))
	if c := ab.Counters(); c.RxPackets != 1 {
		t.Fatalf("%d packets came in", c.RxPackets)
	}
	ping(overlay(1, false), lan(0, false)) // another address than the selectors'
	ping(lan(1, true), lan(0, true))       // another family
	if c := ab.Counters(); c.RxPackets != 1 {
		t.Errorf("%d packets came in", c.RxPackets)
	}
	if d := x.node[0].Drops(); d["ts-mismatch"] != 2 {
		t.Errorf("drops %v", d)
	}
	if d := x.tun[0].Interface().Counters().Drops; d["ts-mismatch"] != 2 {
		t.Errorf("the interface's drops %v", d)
	}
	// Outbound the same: what no SA is for does not leave.
	ba.SetOutbounds([]OutboundSA{{ba.Outbound(), selectors("192.168.22.2/32", "0.0.0.0/0")}})
	got := x.node[1].ask(echo(lan(1, false), lan(0, false), 64, 1, 10, false), time.Second)
	if len(got) != 1 || got[0].typ != ip.EchoReply {
		t.Fatalf("what the SA is for: %v", got)
	}
	before := ba.Counters().TxPackets
	if got := x.node[1].ask(echo(overlay(1, false), lan(0, false), 64, 1, 10, false), time.Second); len(got) != 1 || got[0].typ != ip.DestUnreachable {
		t.Fatalf("what it is not for: %v", got)
	}
	if n := ba.Counters().TxPackets; n != before || x.node[1].Drops()["ts-mismatch"] != 1 {
		t.Fatalf("%d packets left, drops %v", n-before, x.node[1].Drops())
	}
}

func TestOfSeveralSAsAPacketTakesTheOneThatItFits(t *testing.T) {
	x, ab, ba := newVTI(t, gcm, false)
	one := ba.Outbound()
	x.key(0, 1, ab, ba, esp.Tunnel, cbc512, false)
	two := ba.Outbound()
	x.key(0, 1, ab, ba, esp.Tunnel, gcm, false)
	six := ba.Outbound()
	ba.SetOutbounds([]OutboundSA{{one, selectors("0.0.0.0/0", "192.168.11.1/32")}, {two, selectors("0.0.0.0/0", "0.0.0.0/0")}, {six, selectors("::/0", "::/0")}})
	if m := ba.MTU(); m != 1422 {
		t.Errorf("MTU %d: the dearest SA decides", m)
	}
	counts := func() string {
		return fmt.Sprint(one.Counters().Packets, two.Counters().Packets, six.Counters().Packets)
	}
	if !x.node[1].ping(lan(1, false).String(), lan(0, false).String(), 10) || counts() != "1 0 0" {
		t.Fatal(counts())
	}
	if !x.node[1].ping(lan(1, false).String(), overlay(0, false).String(), 10) || counts() != "1 1 0" {
		t.Fatal(counts())
	}
	if !x.node[1].ping(lan(1, true).String(), lan(0, true).String(), 10) || counts() != "1 1 1" {
		t.Fatal(counts())
	}
	// A path MTU error about any of them is about the session.
	for _, o := range []*esp.Outbound{two, six} {
		if s, ok := x.node[1].outer.get(outerKey{x.node[1].vrf.id, o.Remote().Addr(), o.SPI()}); !ok || s != ba {
			t.Errorf("SPI %#x is not known by its outer packets", o.SPI())
		}
	}
	ba.SetOutbounds(nil)
	if x.node[1].outer.len() != 0 || x.tun[1].Interface().Up() {
		t.Error("something is left without an SA")
	}
}

func TestAnUnnumberedInterfaceSendsFromTheAddressesThatItBorrows(t *testing.T) {
	x, _, _ := newVTI(t, gcm, false)
	r := x.node[1]
	tun := x.tun[1].Interface()
	tun.SetAddresses(nil)
	lo, _ := r.Interface("Loopback10")
	tun.SetUnnumbered(lo)
	if tun.Unnumbered() != lo {
		t.Fatal("no lender")
	}
	for _, six := range []bool{false, true} {
		if a, ok := r.vrf.SourceFor(lan(0, six)); !ok || a != lan(1, six) {
			t.Errorf("source towards %v is %v", lan(0, six), a)
		}
	}
	// ICMP errors come from it too.
	p := probe(addr("192.168.11.1"), lan(2, false), 1, 33434)
	_ = x.node[0].vrf.SendIP(p)
	x.node[0].icmp = nil
	x.node[0].route("192.0.2.0/24", x.tun[0].Interface())
	_ = x.node[0].vrf.SendIP(probe(lan(0, false), addr("192.0.2.1"), 1, 33434))
	x.run(time.Second)
	found := false
	for _, b := range x.node[0].icmp {
		found = found || netip.AddrFrom4([4]byte(b[12:16])) == lan(1, false)
	}
	if !found {
		x.explain()
		t.Error("no error from the borrowed address")
	}
	// An interface of another VRF lends nothing.
	v, _ := r.AddVRF("red")
	other, _ := r.AddLoopback("Loopback99", v)
	tun.SetUnnumbered(other)
	if tun.Unnumbered() != nil {
		t.Error("an interface of another VRF lends its addresses")
	}
}

func TestAnInterfaceMTUAboveTheNICsIsCutDown(t *testing.T) {
	l := newLab(t)
	r := l.router("R")
	i := r.eth("Ethernet0", &null{mac: [6]byte{2, 1}}, "10.0.0.1/24")
	i.SetMTU(9000)
	if i.MTU() != 1500 {
		t.Errorf("MTU %d", i.MTU())
	}
	i.SetMTU(1400)
	if i.MTU() != 1400 {
		t.Errorf("MTU %d", i.MTU())
	}
	i.SetMTU(0)
	if i.MTU() != 1500 {
		t.Errorf("MTU %d", i.MTU())
	}
	j, err := r.AddEthernet(EthernetConfig{Name: "Ethernet1", Driver: &null{mac: [6]byte{2, 2}}, MTU: 9000})
	if err != nil || j.MTU() != 1500 {
		t.Errorf("MTU %d, %v", j.MTU(), err)
	}
}

func TestATunnelInsideATunnelFollowsTheMTUBelow(t *testing.T) {
	x, ab, ba := newVTI(t, gcm, false)
	inner := [2]*Tunnel{}
	for n := range 2 {
		var err error
		inner[n], err = x.node[n].AddTunnel(TunnelConfig{Name: "Tunnel9", Mode: GREPointToPoint, Source: lan(n, false), Destination: lan(1-n, false)})
		if err != nil {
			t.Fatal(err)
		}
	}
	s := inner[1].Default()
	if m := s.MTU(); m != ba.MTU()-24 {
		t.Fatalf("MTU %d inside %d", m, ba.MTU())
	}
	before := ba.MTU()
	x.key(0, 1, ab, ba, esp.Tunnel, cbc512, false)
	if ba.MTU() == before || s.MTU() != ba.MTU()-24 {
		t.Fatalf("MTU %d inside %d after a rekey to another suite", s.MTU(), ba.MTU())
	}
	ba.SetPathMTU(1300)
	if s.MTU() != ba.MTU()-24 || s.MTU() > 1250 {
		t.Fatalf("MTU %d inside %d after a path MTU", s.MTU(), ba.MTU())
	}
}

func TestInterfacesAreFoundByIndexAndIndicesAreNotUsedAgain(t *testing.T) {
	l := newLab(t)
	r := l.router("R")
	seen := map[uint32]bool{}
	var last []*Interface
	for round := range 4 {
		for _, i := range last {
			if err := r.RemoveInterface(i); err != nil {
				t.Fatal(err)
			}
			if _, ok := r.InterfaceByIndex(i.Index()); ok {
				t.Fatalf("%s is found after its end", i.Name())
			}
		}
		last = nil
		for k := range 300 {
			i, err := r.AddLoopback(fmt.Sprintf("Loopback%d", k), nil)
			if err != nil {
				t.Fatal(err)
			}
			if seen[i.Index()] {
				t.Fatalf("index %d is used again", i.Index())
			}
			seen[i.Index()] = true
			if got, ok := r.InterfaceByIndex(i.Index()); !ok || got != i {
				t.Fatalf("index %d leads elsewhere", i.Index())
			}
			last = append(last, i)
		}
		all := r.Interfaces()
		if len(all) != 300 {
			t.Fatalf("%d interfaces in round %d", len(all), round)
		}
		for k := 1; k < len(all); k++ {
			if all[k-1].Index() >= all[k].Index() {
				t.Fatal("not in the order of their indices")
			}
		}
	}
	chunks := 0
	for _, c := range *r.ifaces.chunks.Load() {
		if c != nil {
			chunks++
		}
	}
	if chunks > 3 {
		t.Errorf("%d chunks are kept for 300 interfaces", chunks)
	}
}
