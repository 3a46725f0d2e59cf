package netstack

import (
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/gre"
	"felloe/netstack/ip"
)

// sharing is hub and spoke 1 with two tunnels each, keys 10 and 20; the SAs belong to the sessions of the first.
type sharing struct {
	*dmvpn
	second   [2]*Tunnel
	own, two [2]*Session
}

func newSharing(t *testing.T, mode esp.Mode) *sharing {
	x := &sharing{dmvpn: newDMVPN(t, TunnelConfig{Mode: GREMultipoint, Protected: true, HasKey: true, Key: 10}, false)}
	x.own[0], x.own[1] = x.join(0, 1, false)
	for n := range 2 {
		tun, err := x.node[n].AddTunnel(TunnelConfig{Name: "Tunnel1", Mode: GREMultipoint, Protected: true, HasKey: true, Key: 20, Source: nbma(n, false)})
		if err != nil {
			t.Fatal(err)
		}
		x.second[n] = tun
		x.node[n].address(tun.Interface(), []string{"10.20.20.1/24", "10.20.20.2/24"}[n])
		x.two[n] = tun.NewSession(nbma(1-n, false))
		tun.SetNeighbour(addr([]string{"10.20.20.2", "10.20.20.1"}[n]), x.two[n])
	}
	x.key(0, 1, x.own[0], x.own[1], mode, gcm, false)
	for n := range 2 {
		x.two[n].SetOutbound(x.own[n].Outbound())
		x.own[n].SetSharers([]*Session{nil, x.own[n], x.two[n]})
	}
	return x
}

func TestTunnelsThatShareAnSAAreToldApartByTheirKeys(t *testing.T) {
	for _, mode := range []esp.Mode{esp.Transport, esp.Tunnel} {
		x := newSharing(t, mode)
		for _, dst := range []string{"10.10.10.1", "10.20.20.1"} {
			src := map[string]string{"10.10.10.1": "10.10.10.2", "10.20.20.1": "10.20.20.2"}[dst]
			if !x.node[1].ping(src, dst, 100) {
				x.explain()
				t.Fatalf("%v: no answer from %s", mode, dst)
			}
		}
		if err := x.second[1].SendNHRP(x.two[1], []byte("registration")); err != nil {
			t.Fatal(err)
		}
		x.run(time.Second)
		p := x.node[0].takePunts(PuntNHRP)
		if len(p) != 1 || p[0].Session != x.two[0] || p[0].Interface != x.second[0].Interface() {
			t.Fatalf("%v: punts %+v", mode, p)
		}
		for n := range 2 {
			if a, b := x.own[n].Counters(), x.two[n].Counters(); a.RxData != 1 || a.TxData != 1 || b.RxData != 1 || b.TxData != 1 {
				t.Fatalf("%v: node %d: %+v and %+v", mode, n, a, b)
			}
		}
		x.noDrops()
	}
}

func TestAMixedVectorOfAnSAIsCutByTunnelAndForeignKeysAreDropped(t *testing.T) {
	x := newSharing(t, esp.Transport)
	out := x.own[1].Outbound()
	w := x.node[1].worker()
	var want [2]uint64
	for k, key := range []uint32{10, 20, 20, 30, 10, 20, 0, 10} {
		net := byte(10)
		switch key {
		case 10:
			want[0]++
		case 20:
			want[1]++
			net = 20
		}
		p := echo(addr([]string{"10.10.10.2", "10.20.20.2"}[net/10-1]), addr([]string{"10.10.10.1", "10.20.20.1"}[net/10-1]), 64, uint16(k), 10, false)
		gre.Prepend(p, gre.Header{Protocol: gre.ProtocolIPv4, HasKey: key != 0, Key: key})
		if err := out.Seal(p, ip.GRE); err != nil {
			t.Fatal(err)
		}
		(&ip.Outer{Src: nbma(1, false), Dst: nbma(0, false), Proto: ip.ESP, TTL: 9}).Prepend(p)
		h := x.wan[0].ethernetHeader(x.wan[0].mac, true)
		copy(p.Prepend(etherSize), h[:])
		w.local = append(w.local, p)
	}
	x.wan[0].receive(w.local) // one vector of the hub's driver
	w.local = w.local[:0]
	w.done()
	x.run(time.Second)
	if a, b := x.own[0].Counters(), x.two[0].Counters(); a.RxPackets != want[0] || b.RxPackets != want[1] {
		t.Fatalf("%d and %d packets came in, want %v", a.RxPackets, b.RxPackets, want)
	}
	if d := x.node[0].Drops(); d["no-tunnel"] != 2 || len(d) != 1 {
		t.Fatalf("drops %v", d)
	}
}

func TestSharersEndWithTheirSessionsAndNeverHearClearPackets(t *testing.T) {
	x := newSharing(t, esp.Transport)
	ping := func(n string) bool { return x.node[1].ping("10."+n+"."+n+".2", "10."+n+"."+n+".1", 10) }

	// A tunnel that is shut leaves the other alone, whichever has the SAs.
	x.tun[0].Interface().SetAdminUp(false)
	if ping("10") || !ping("20") {
		t.Fatal("the owner's shutdown ended the sharer, or did not end the owner")
	}
	if d := x.node[0].Drops(); d["interface-down"] != 1 {
		t.Fatalf("drops %v", d)
	}
	x.tun[0].Interface().SetAdminUp(true)
	x.second[0].Interface().SetAdminUp(false)
	if !ping("10") || ping("20") {
		t.Fatal("the sharer's shutdown ended the owner, or did not end the sharer")
	}
	x.second[0].Interface().SetAdminUp(true)

	// In clear the key opens no door.
	p := echo(addr("10.20.20.2"), addr("10.20.20.1"), 64, 1, 10, false)
	gre.Prepend(p, gre.Header{Protocol: gre.ProtocolIPv4, HasKey: true, Key: 20})
	(&ip.Outer{Src: nbma(1, false), Dst: nbma(0, false), Proto: ip.GRE, TTL: 9}).Prepend(p)
	_ = x.node[1].vrf.SendIP(p)
	x.run(time.Second)
	if d := x.node[0].Drops(); d["clear-gre"] != 1 {
		t.Fatalf("drops %v", d)
	}

	x.two[0].Close()
	if !ping("10") || ping("20") {
		t.Fatal("a closed sharer receives, or took the owner with it")
	}
	if d := x.node[0].Drops(); d["no-tunnel"] != 1 {
		t.Fatalf("drops %v", d)
	}
	x.own[0].SetSharers(nil)
	if !ping("10") {
		t.Fatal("no answer without sharers")
	}
	x.own[0].Close()
	x.own[0].SetSharers([]*Session{x.two[0]})
	if x.own[0].shared() != nil {
		t.Fatal("a closed session has sharers")
	}
}

func TestAPathMTUIsLearntForAllThatShareAnSA(t *testing.T) {
	x := newSharing(t, esp.Transport)
	before := x.two[1].PathMTU()
	i, _ := x.inet.Interface("GigabitEthernet1")
	i.SetMTU(1300)
	// The second tunnel's packet meets the narrow link; the SA's owner and its sharer hear of it.
	_ = x.node[1].ask(echo(addr("10.20.20.2"), addr("10.20.20.1"), 64, 1, 1350, true), time.Second)
	if a, b := x.own[1].PathMTU(), x.two[1].PathMTU(); before != 1500 || a != 1300 || b != 1300 {
		t.Fatalf("path MTU was %d, is %d and %d", before, a, b)
	}
}
