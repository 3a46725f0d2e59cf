package netstack

import (
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/gre"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// What a worker remembers from one packet to the next must not show.

func TestPacketsOfOneVectorReachEachItsOwnNeighbour(t *testing.T) {
	b := newBench(t, 1)
	b.right.keep = true
	for n := byte(1); n <= 3; n++ {
		b.ri.AddStaticNeighbour(addr("10.2.0."+string('0'+n)), [6]byte{2, 9, n})
	}
	order := []byte{1, 1, 2, 1, 3, 3, 2, 2, 2, 1}
	send := func() {
		var v []*packet.Packet
		for k, n := range order {
			p := probe(addr("10.1.0.1"), addr("10.2.0."+string('0'+n)), 9, uint16(k))
			h := b.li.ethernetHeader(b.li.mac, true)
			copy(p.Prepend(etherSize), h[:])
			v = append(v, p)
		}
		b.left.input(v)
	}
	send()
	if len(b.right.last) != len(order) {
		t.Fatalf("%d frames came out", len(b.right.last))
	}
	for k, f := range b.right.last {
		if f[2] != order[k] || f[14+19] != order[k] {
			t.Fatalf("frame %d for %d went to %x", k, f[14+19], f[:6])
		}
	}
	// A neighbour that moves or goes is not remembered in the next vector.
	b.right.last = nil
	b.ri.AddStaticNeighbour(addr("10.2.0.1"), [6]byte{2, 9, 77})
	b.ri.RemoveStaticNeighbour(addr("10.2.0.3"))
	send()
	for _, f := range b.right.last {
		if f[12] != 8 || f[13] != 0 {
			continue // the question for the one that is gone
		}
		if want := map[byte]byte{1: 77, 2: 2}[f[14+19]]; want == 0 || f[2] != want {
			t.Fatalf("a packet for %d went to %x", f[14+19], f[:6])
		}
	}
}

func TestPacketsOfOneVectorAreOpenedEachByItsOwnSA(t *testing.T) {
	x := newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true}, false)
	var far, near [3]*Session
	for n := 1; n < 3; n++ {
		near[n], far[n] = x.join(0, n, false)
		x.key(0, n, near[n], far[n], esp.Transport, gcm, false)
	}
	send := func(order ...int) {
		var v []*packet.Packet
		for k, n := range order {
			p := echo(lan(n, false), lan(0, false), 64, uint16(k), 10, false)
			gre.Prepend(p, gre.Header{Protocol: gre.ProtocolIPv4})
			if err := far[n].Outbound().Seal(p, ip.GRE); err != nil {
				t.Fatal(err)
			}
			(&ip.Outer{Src: nbma(n, false), Dst: nbma(0, false), Proto: ip.ESP, TTL: 9}).Prepend(p)
			h := x.wan[0].ethernetHeader(x.wan[0].mac, true)
			copy(p.Prepend(etherSize), h[:])
			v = append(v, p)
		}
		x.wan[0].receive(v)
		x.run(time.Second)
	}
	send(1, 2, 2, 1, 1, 2)
	if a, b := near[1].Counters(), near[2].Counters(); a.RxPackets != 3 || b.RxPackets != 3 {
		t.Fatalf("%d and %d packets came in", a.RxPackets, b.RxPackets)
	}
	// An SA that is removed opens nothing in the next vector.
	for spi := range near[1].spis {
		x.node[0].RemoveInbound(spi)
	}
	send(2, 1, 2, 1)
	if a, b := near[1].Counters(), near[2].Counters(); a.RxPackets != 3 || b.RxPackets != 5 {
		t.Fatalf("%d and %d packets came in", a.RxPackets, b.RxPackets)
	}
	if d := x.node[0].Drops(); d["unknown-spi"] != 2 || len(d) != 1 {
		t.Fatalf("drops %v", d)
	}
}
