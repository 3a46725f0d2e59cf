package ikev2

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
)

func TestANATIsSeenAndIKEFloatsTo4500(t *testing.T) {
	w, a, b := pair(t, 1)
	a.addr = addr("10.0.0.5")
	a.nat = &natBox{addr: addrA, base: 40000}
	w.traffic = 100 * time.Millisecond
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	ca, cb := a.child(), b.child()
	if !ca.UDPEncap || !cb.UDPEncap || ca.NAT != (NAT{Local: true}) || cb.NAT != (NAT{Remote: true}) {
		t.Errorf("%+v %+v", ca.NAT, cb.NAT)
	}
	if ca.Local != netip.AddrPortFrom(a.addr, 4500) || ca.Remote != netip.AddrPortFrom(addrB, 4500) ||
		cb.Local != netip.AddrPortFrom(addrB, 4500) || cb.Remote != netip.AddrPortFrom(addrA, 40001) {
		t.Errorf("%v %v, %v %v", ca.Local, ca.Remote, cb.Local, cb.Remote)
	}
	// RFC 7296 §2.23.1: transport selectors are what each side sees.
	if ca.Mode != esp.Transport || ca.TSLocal[0].String() != "gre 10.0.0.5" || ca.TSRemote[0].String() != "gre 198.51.100.2" ||
		cb.TSLocal[0].String() != "gre 198.51.100.2" || cb.TSRemote[0].String() != "gre 192.0.2.1" {
		t.Errorf("A %v %v, B %v %v", ca.TSLocal, ca.TSRemote, cb.TSLocal, cb.TSRemote)
	}
	if cb.Peer != AddressIdentity(a.addr) {
		t.Errorf("identity %v", cb.Peer)
	}
	w.traffic = 0
	w.run(65 * time.Second)
	if k := find[Keepalive](a); len(k) != 3 || k[0].Remote.Port() != 4500 {
		t.Errorf("%d keepalives from behind the NAT", len(k))
	}
	if len(find[Keepalive](b)) != 0 {
		t.Error("keepalives from the open side")
	}
	b.do(b.e.RekeyChild(w.now, cb.Child))
	w.run(time.Second)
	b.do(b.e.RekeyIKE(w.now, b.sa()))
	w.run(time.Second)
	a.do(a.e.RekeyChild(w.now, a.child().Child))
	w.run(time.Second)
	w.oneSession(a, b)
	if c := b.child(); c.TSRemote[0].String() != "gre 192.0.2.1" || c.Mode != esp.Transport || !c.UDPEncap {
		t.Errorf("after rekeying: %+v", c)
	}
}

func TestTunnelModeBehindNATKeepsTheInnerAddresses(t *testing.T) {
	tunnel := func(c *Config) { c.Children[0].Mode = esp.Tunnel }
	w, a, b := pair(t, 1, tunnel)
	a.addr = addr("10.0.0.5")
	a.nat = &natBox{addr: addrA, base: 40000}
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	if cb := b.child(); cb.TSRemote[0].String() != "gre 10.0.0.5" || cb.TSLocal[0].String() != "gre 198.51.100.2" {
		t.Errorf("%v %v", cb.TSLocal, cb.TSRemote)
	}
}

func TestAResponderBehindANATWithAForwardedPortIsReached(t *testing.T) {
	for _, mode := range []esp.Mode{esp.Transport, esp.Tunnel} {
		w, a, b := pair(t, 1, func(c *Config) { c.Children[0].Mode = mode })
		b.addr = addr("10.0.0.9")
		b.nat = &natBox{addr: addrB, ports: map[uint16]uint16{500: 500, 4500: 4500}}
		w.traffic = 100 * time.Millisecond
		a.initiate(addrB)
		w.run(time.Second)
		w.oneSession(a, b)
		ca, cb := a.child(), b.child()
		if ca.NAT != (NAT{Remote: true}) || cb.NAT != (NAT{Local: true}) || len(w.lost) > 0 {
			t.Errorf("%+v %+v %v", ca.NAT, cb.NAT, w.lost)
		}
		inner := map[esp.Mode]string{esp.Transport: "gre 10.0.0.9", esp.Tunnel: "gre 198.51.100.2"}[mode]
		if cb.TSLocal[0].String() != inner || ca.TSRemote[0].String() != "gre 198.51.100.2" {
			t.Errorf("%v: %v %v", mode, ca.TSRemote, cb.TSLocal)
		}
	}
}

func TestTwoSpokesBehindOneNATAreTwoSessions(t *testing.T) {
	w := newWorld(t, 1)
	a, b, hub := w.add("A", addr("10.0.0.5"), config()), w.add("B", addr("10.0.0.6"), config()), w.add("H", addrC, config())
	a.nat, b.nat = &natBox{addr: addrA, base: 40000}, &natBox{addr: addrA, base: 50000}
	w.traffic = 100 * time.Millisecond
	a.initiate(addrC)
	b.initiate(addrC)
	w.run(10 * time.Second)
	if len(hub.ups) != 2 || len(a.ups) != 1 || len(b.ups) != 1 || len(w.lost) > 0 || len(find[IKESuperseded](hub)) > 0 {
		w.fatalf("%d %d %d %v", len(hub.ups), len(a.ups), len(b.ups), w.lost)
	}
	// One of them begins anew. The other one is not touched.
	a.boot()
	a.initiate(addrC)
	w.run(10 * time.Second)
	if len(hub.ups) != 2 || len(b.ups) != 1 {
		w.fatalf("%d %d", len(hub.ups), len(b.ups))
	}
}

func TestAPeerWhoseMappingMovesIsFollowedByWhatItProves(t *testing.T) {
	w, a, b := pair(t, 1)
	a.addr = addr("10.0.0.5")
	a.nat = &natBox{addr: addrA, base: 40000}
	a.initiate(addrB)
	w.run(time.Second)
	old := netip.AddrPortFrom(addrA, 40001)
	// Somebody else replays what A has sent, and sends garbage in its name: nothing happens.
	for _, act := range slices.Clone(a.actions) {
		if s, ok := act.(Send); ok {
			data := bytes.Clone(s.Data)
			b.do(b.e.Receive(w.now, Datagram{Local: netip.AddrPortFrom(addrB, 4500), Remote: netip.AddrPortFrom(addrC, 666), Data: bytes.Clone(data)}))
			data[len(data)-1] ^= 1
			b.do(b.e.Receive(w.now, Datagram{Local: netip.AddrPortFrom(addrB, 4500), Remote: netip.AddrPortFrom(addrC, 666), Data: data}))
		}
	}
	if len(find[PeerMoved](b)) != 0 || b.e.sessions[b.sa()].remote != old {
		w.fatalf("moved by a stranger")
	}
	a.nat = &natBox{addr: addrC, base: 50000}
	a.do(a.e.Probe(w.now, a.sa()))
	w.run(time.Second)
	moved := find[PeerMoved](b)
	if len(moved) != 1 || moved[0].Old != old || moved[0].New != netip.AddrPortFrom(addrC, 50000) || moved[0].SA != b.sa() {
		w.fatalf("%+v", moved)
	}
	b.do(b.e.Probe(w.now, b.sa()))
	w.run(time.Second)
	if b.e.sessions[b.sa()].cur.pending != nil {
		t.Error("B does not reach A at its new address")
	}
	// An authentic ESP packet is a proof too.
	b.do(b.e.NoteMoved(w.now, b.sa(), netip.AddrPortFrom(addrC, 51000)))
	if m := find[PeerMoved](b); len(m) != 2 || m[1].New.Port() != 51000 {
		t.Errorf("%+v", m)
	}
	// Who is behind a NAT itself does not follow: that would invite anybody on the way.
	a.do(a.e.NoteMoved(w.now, a.sa(), netip.AddrPortFrom(addrC, 51000)))
	if len(find[PeerMoved](a)) != 0 {
		t.Error("A followed")
	}
}

func TestAPeerWithoutNATIsNotFollowed(t *testing.T) {
	w, a, b := connected(t, 1)
	b.do(b.e.NoteMoved(w.now, b.sa(), netip.AddrPortFrom(addrC, 500)))
	w.mangle = func(_ int, d *Datagram) {
		if d.Remote.Addr() == addrA {
			d.Remote = netip.AddrPortFrom(addrA, 1234)
		}
	}
	a.do(a.e.Probe(w.now, a.sa()))
	w.run(100 * time.Millisecond)
	if len(find[PeerMoved](b)) != 0 {
		t.Error("followed")
	}
}

func TestUDPEncapsulationCanBeForced(t *testing.T) {
	_, a, _ := connected(t, 1)
	if a.child().UDPEncap {
		t.Error("encapsulated without a NAT")
	}
	w := newWorld(t, 1)
	a = w.add("A", addrA, config(func(c *Config) { c.ForceNAT = true }))
	b := w.add("B", addrB, config())
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	if !a.child().UDPEncap || !b.child().UDPEncap || b.child().Remote.Port() != 4500 {
		t.Errorf("%+v %+v", a.child().NAT, b.child().NAT)
	}
}

func TestAPeerThatDoesNotDetectNATIsTakenAsItIs(t *testing.T) {
	p := &parts{notifies: []*message.Notify{{Message: message.COOKIE}}}
	if n := detectNAT(p, 1, 2, Datagram{Local: netip.AddrPortFrom(addrA, 500), Remote: netip.AddrPortFrom(addrB, 500)}); n != (NAT{}) {
		t.Errorf("%+v", n)
	}
}
