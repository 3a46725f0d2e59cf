package ikev2

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/vpn/ikev2/message"
)

func mobile(c *Config) { c.MOBIKE = true }

// roaming is a client with MOBIKE at a server, in tunnel mode.
func roaming(t testing.TB, change ...func(*Config)) (*world, *node, *node) {
	w, a, b := pair(t, 3, append([]func(*Config){vti("10.0.0.0/8", "10.0.0.0/8"), mobile}, change...)...)
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof", Child: "Tunnel0", MOBIKE: true})
	w.run(time.Second)
	w.oneSession(a, b)
	return w, a, b
}

// roam gives a node another address, and maybe a NAT, and tells its machine.
func (w *world) roam(n *node, to netip.Addr, nat *natBox, remote netip.Addr) {
	n.addr, n.nat = to, nat
	n.do(n.e.Roam(w.now, n.sa(), to, remote))
	w.run(time.Second)
}

func TestIKEFloatsAndESPStaysRawWithMOBIKEAndNoNAT(t *testing.T) {
	w, a, b := roaming(t)
	for _, u := range []ChildUp{a.child(), b.child()} {
		if u.UDPEncap || u.Local.Port() != 4500 || u.Remote.Port() != 4500 {
			t.Errorf("%v %v, in UDP %v", u.Local, u.Remote, u.UDPEncap)
		}
	}
	if i := b.e.Snapshot(w.now)[0]; !i.MOBIKE || i.UDPEncap || i.Local.Port() != 4500 {
		t.Errorf("%+v", i)
	}
	w.run(time.Minute)
	if len(find[Keepalive](a)) != 0 {
		t.Error("NAT keepalives without a NAT")
	}
}

func TestASideWithoutMOBIKEIsLeftAlone(t *testing.T) {
	w, a, b := apart(t, both(vti("10.0.0.0/8", "10.0.0.0/8")), vti("10.0.0.0/8", "10.0.0.0/8"))
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof", Child: "Tunnel0", MOBIKE: true})
	w.run(time.Second)
	w.oneSession(a, b)
	if a.e.Snapshot(w.now)[0].MOBIKE || b.e.Snapshot(w.now)[0].MOBIKE {
		t.Error("MOBIKE with a router that does not do it")
	}
	a.addr = addr("203.0.113.9")
	a.do(a.e.Roam(w.now, a.sa(), a.addr, addrB))
	w.run(time.Second)
	if len(find[PeerMoved](b)) != 0 {
		t.Error("moved")
	}
}

func TestChildrenFollowAMovingPeerInUDPOrNot(t *testing.T) {
	w, a, b := roaming(t)
	w.traffic = 100 * time.Millisecond
	w.run(time.Second)
	step := func(to string, nat *natBox, wantRemote string, encap bool) {
		t.Helper()
		before := len(find[PeerMoved](b))
		w.roam(a, addr(to), nat, addrB)
		m := find[PeerMoved](b)
		if len(m) != before+1 {
			w.fatalf("B was told %d times", len(m)-before)
		}
		last := m[len(m)-1]
		if last.New.String() != wantRemote || last.UDPEncap != encap || last.Local != netip.AddrPortFrom(addrB, 4500) || last.NAT.Remote != encap {
			t.Errorf("%+v", last)
		}
		if ma := find[PeerMoved](a); ma[len(ma)-1].UDPEncap != encap {
			t.Errorf("A: %+v", ma[len(ma)-1])
		}
		if u := b.child(); u.Remote != last.New || u.UDPEncap != encap {
			t.Errorf("%+v", u)
		}
		rx := b.rxPkts
		w.run(2 * time.Second)
		if b.rxPkts < rx+15 {
			t.Errorf("%d packets arrived at %s", b.rxPkts-rx, to)
		}
	}
	step("203.0.113.9", nil, "203.0.113.9:4500", false)
	step("10.0.0.5", &natBox{addr: addr("203.0.113.77"), base: 40000}, "203.0.113.77:40000", true)
	step("10.0.0.6", &natBox{addr: addr("203.0.113.78"), base: 50000}, "203.0.113.78:50000", true)
	step("203.0.113.10", nil, "203.0.113.10:4500", false)
	// New keys and new pairs are where it is now.
	b.do(b.e.RekeyIKE(w.now, b.sa()))
	w.run(time.Second)
	b.do(b.e.RekeyChild(w.now, b.child().Child))
	w.run(time.Second)
	w.oneSession(a, b)
	if u := b.child(); u.Remote.Addr() != addr("203.0.113.10") || u.UDPEncap {
		t.Errorf("%+v", u)
	}
	step("203.0.113.11", nil, "203.0.113.11:4500", false)
	if !b.logged("peer has moved") {
		t.Error("no line in the log")
	}
	// It is found at its new address and nowhere else.
	if len(b.e.withPeer("default", addr("203.0.113.11"))) != 1 || len(b.e.byAddress) != 1 {
		t.Errorf("%v", b.e.byAddress)
	}
	a.do(a.e.DeleteAll(w.now, "end"))
	w.traffic = 0
	w.run(2 * time.Minute)
	w.clean(a)
	w.clean(b)
}

func TestMovesSurviveLossAndReordering(t *testing.T) {
	for seed := range byte(8) {
		w, a, b := roaming(t)
		rnd := newRand(seed)
		w.wire = func(int, Datagram) []time.Duration {
			switch rnd.IntN(10) {
			case 0:
				return nil
			case 3:
				return []time.Duration{5 * time.Millisecond, 300 * time.Millisecond}
			}
			return []time.Duration{time.Duration(rnd.IntN(200)) * time.Millisecond}
		}
		for i := range 6 {
			to := addr(fmt.Sprintf("203.0.113.%d", 20+i))
			a.addr = to
			a.do(a.e.Roam(w.now, a.sa(), to, addrB))
			w.run(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			if rnd.IntN(3) == 0 {
				b.do(b.e.RekeyChild(w.now, b.anyChild()))
			}
		}
		w.run(2 * time.Minute)
		w.wire = nil
		w.run(2 * time.Minute)
		w.oneSession(a, b)
		if u := b.child(); u.Remote.Addr() != a.addr {
			w.fatalf("seed %d: B sends to %v, A is at %v", seed, u.Remote, a.addr)
		}
	}
}

func TestChildrenWaitForThePeersAnswerFromItsNewAddress(t *testing.T) {
	w, a, b := roaming(t)
	// Nothing that B sends to the new address arrives: somebody else may have sent A's message from there.
	w.wire = func(_ int, d Datagram) []time.Duration {
		if d.Local.Addr() == addr("203.0.113.9") {
			return nil
		}
		return []time.Duration{time.Millisecond}
	}
	a.addr = addr("203.0.113.9")
	a.do(a.e.Roam(w.now, a.sa(), a.addr, addrB))
	w.run(3 * time.Second)
	if len(find[PeerMoved](b)) != 0 || b.child().Remote.Addr() != addrA {
		t.Error("ESP goes where nobody has answered")
	}
	w.wire = nil
	w.run(20 * time.Second)
	if m := find[PeerMoved](b); len(m) != 1 || b.child().Remote.Addr() != a.addr {
		t.Errorf("%+v", m)
	}
	// A wrong COOKIE2 ends the SA.
	s := b.e.sessions[b.sa()]
	b.e.begin(w.now)
	(&routeCheck{path: s.here(), cookie: []byte("0123456789abcdef")}).done(s.cur, &parts{notifies: []*message.Notify{{Message: message.COOKIE2, Data: []byte("another")}}})
	b.do(b.e.finish())
	if len(b.ikes) != 0 {
		t.Error("still up")
	}
}

func TestWhatMOBIKEAnswers(t *testing.T) {
	second := addr("198.51.100.99")
	w, a, b := roaming(t, func(c *Config) {
		c.Addresses = map[string][]netip.Addr{"default": {addrB, second, addr("2001:db8::b")}}
	})
	// B's other addresses came with IKE_AUTH.
	if got := fmt.Sprint(a.e.Snapshot(w.now)[0].PeerAddresses); got != "[198.51.100.99 2001:db8::b]" {
		t.Errorf("A knows %s", got)
	}
	s := b.e.sessions[b.sa()]
	from := netip.AddrPortFrom(addr("203.0.113.9"), 4500)
	ask := func(local netip.Addr, n ...*message.Notify) string {
		b.e.begin(w.now)
		out := s.cur.mobikeAnswer(&parts{at: Datagram{"default", netip.AddrPortFrom(local, 4500), from, nil}, notifies: n})
		s.check = nil
		b.do(b.e.finish())
		return names(out)
	}
	cookie := &message.Notify{Message: message.COOKIE2, Data: []byte("12345678")}
	update := &message.Notify{Message: message.UPDATE_SA_ADDRESSES}
	nat := &message.Notify{Message: message.NAT_DETECTION_SOURCE_IP, Data: make([]byte, 20)}
	nats := &message.Notify{Message: message.NO_NATS_ALLOWED, Data: noNATs(from, netip.AddrPortFrom(addrB, 4500))}
	wrong := &message.Notify{Message: message.NO_NATS_ALLOWED, Data: noNATs(netip.AddrPortFrom(addrA, 4500), netip.AddrPortFrom(addrB, 4500))}
	for _, c := range []struct {
		name  string
		local netip.Addr
		n     []*message.Notify
		want  string
		moved bool
	}{
		{"a cookie goes back", addrB, []*message.Notify{cookie}, "N(COOKIE2)", false},
		{"a path is tried, nothing moves", addrB, []*message.Notify{nat}, "N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP)", false},
		{"an unexpected NAT", addrB, []*message.Notify{update, wrong, cookie}, "N(COOKIE2) N(UNEXPECTED_NAT_DETECTED)", false},
		{"to an address that is not ours to use", addr("198.51.100.1"), []*message.Notify{update}, "N(UNACCEPTABLE_ADDRESSES)", false},
		{"a move without a NAT", addrB, []*message.Notify{update, nats}, "none", true},
		{"a move to our other address", second, []*message.Notify{update, nat}, "N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP)", true},
	} {
		s.setPath(netip.AddrPortFrom(addrB, 4500), netip.AddrPortFrom(addrA, 4500))
		if got := ask(c.local, c.n...); got != c.want || (s.remote == from) != c.moved {
			t.Errorf("%s: %s, at %v", c.name, got, s.remote)
		}
	}
	// Additional addresses replace each other.
	v4 := func(a string) *message.Notify {
		return &message.Notify{Message: message.ADDITIONAL_IP4_ADDRESS, Data: addr(a).AsSlice()}
	}
	ask(addrB, v4("192.0.2.7"), v4("192.0.2.8"), &message.Notify{Message: message.ADDITIONAL_IP6_ADDRESS, Data: []byte{1, 2}})
	if got := fmt.Sprint(s.addresses); got != "[192.0.2.7 192.0.2.8]" {
		t.Error(got)
	}
	ask(addrB, cookie)
	ask(addrB, &message.Notify{Message: message.NO_ADDITIONAL_ADDRESSES})
	if len(s.addresses) != 0 {
		t.Error(s.addresses)
	}
}

func TestTransportModeDoesNotMoveToAnotherAddress(t *testing.T) {
	w, a, b := pair(t, 4, mobile)
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof", Child: "Tunnel0", MOBIKE: true})
	w.run(time.Second)
	w.oneSession(a, b)
	if b.e.Snapshot(w.now)[0].MOBIKE || a.e.Snapshot(w.now)[0].MOBIKE {
		t.Error("MOBIKE with transport mode")
	}
	// One that gets a transport-mode child later stays where it is.
	w, a, b = roaming(t, func(c *Config) {
		p := config().Children[0]
		p.Name = "gre"
		c.Children = append(c.Children, p)
	})
	b.do(b.e.CreateChild(w.now, b.sa(), "gre", nil))
	w.run(time.Second)
	a.addr = addr("203.0.113.9")
	a.do(a.e.Roam(w.now, a.sa(), a.addr, addrB))
	w.run(time.Second)
	if len(find[PeerMoved](b)) != 0 || !b.logged("not acceptable") || !a.logged("UNACCEPTABLE_ADDRESSES") {
		t.Error("moved")
	}
}

func TestAnInitThatAllowsNoNATIsRefusedBehindOne(t *testing.T) {
	_, _, b := pair(t, 5)
	data, d := firstRequest(t, &message.Notify{Message: message.NO_NATS_ALLOWED, Data: make([]byte, 12)})
	acts := b.e.Receive(d.w.now, Datagram{Local: netip.AddrPortFrom(addrB, 500), Remote: netip.AddrPortFrom(addrA, 500), Data: data})
	var got string
	for _, x := range acts {
		if s, ok := x.(Send); ok {
			m, _ := message.Decode(s.Data)
			got = names(m.Payloads)
		}
	}
	if got != "N(UNEXPECTED_NAT_DETECTED)" || len(b.e.sas) != 0 {
		t.Error(got)
	}
}

// firstRequest is an IKE_SA_INIT request as A makes it, with another payload.
func firstRequest(t testing.TB, more ...message.Payload) ([]byte, *node) {
	w := newWorld(t, 77)
	a := w.add("A", addrA, config())
	w.add("B", addrB, config())
	_, acts := a.e.Initiate(w.now, InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0"})
	at := slices.IndexFunc(acts, func(x Action) bool { return strings.HasSuffix(fmt.Sprintf("%T", x), "Send") })
	m, err := message.Decode(acts[at].(Send).Data)
	if err != nil {
		t.Fatal(err)
	}
	m.Payloads = append(m.Payloads, more...)
	return m.Encode(), a
}
