package protect

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/link"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"
	"felloe/tests/labkit"
	"felloe/vpn/ikev2"
)

// nat is a small address and port translator for UDP over IPv4. It drops everything else, as many do.
type nat struct {
	mu   sync.Mutex
	side [2]natSide // inside, outside
	out  map[netip.AddrPort]uint16
	in   map[uint16]netip.AddrPort
	next uint16
}

type natSide struct {
	port link.Driver
	addr netip.Addr
	macs map[netip.Addr][6]byte
}

func newNAT(inside, outside link.Driver, in, out string) *nat {
	n := &nat{side: [2]natSide{{inside, netip.MustParseAddr(in), map[netip.Addr][6]byte{}}, {outside, netip.MustParseAddr(out), map[netip.Addr][6]byte{}}}}
	n.rebind(20000)
	for i := range n.side {
		_ = n.side[i].port.Start(func(v []*packet.Packet) {
			n.mu.Lock()
			defer n.mu.Unlock()
			for _, p := range v {
				n.input(i, p)
			}
		})
	}
	return n
}

// rebind forgets all mappings; new ones have ports from first on.
func (n *nat) rebind(first uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.out, n.in, n.next = map[netip.AddrPort]uint16{}, map[uint16]netip.AddrPort{}, first
}

func (n *nat) input(from int, p *packet.Packet) {
	defer p.Release()
	f := p.Bytes()
	s := &n.side[from]
	if len(f) < 14 {
		return
	}
	switch binary.BigEndian.Uint16(f[12:]) {
	case 0x0806:
		if len(f) < 42 {
			return
		}
		who := netip.AddrFrom4([4]byte(f[28:32]))
		s.macs[who] = [6]byte(f[22:28])
		if f[21] == 1 && netip.AddrFrom4([4]byte(f[38:42])) == s.addr {
			n.arp(s, 2, [6]byte(f[22:28]), who)
		}
	case 0x0800:
		n.forward(from, f)
	}
}

func (n *nat) arp(s *natSide, op byte, to [6]byte, who netip.Addr) {
	mac := s.port.Info().MAC
	b := make([]byte, 42)
	copy(b, to[:])
	if op == 1 {
		copy(b, "\xff\xff\xff\xff\xff\xff")
	}
	copy(b[6:], mac[:])
	copy(b[12:], []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, op})
	copy(b[22:], mac[:])
	copy(b[28:], s.addr.AsSlice())
	copy(b[32:], to[:])
	copy(b[38:], who.AsSlice())
	s.port.Send([]*packet.Packet{packet.From(b)})
}

func (n *nat) forward(from int, f []byte) {
	b := append([]byte(nil), f...)
	ip := b[14:]
	if len(ip) < 28 || ip[0] != 0x45 || ip[9] != 17 {
		return
	}
	src := netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(ip[20:]))
	dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(ip[22:]))
	to := &n.side[1-from]
	if from == 0 {
		port, ok := n.out[src]
		if !ok {
			port = n.next
			n.next += 7
			n.out[src], n.in[port] = port, src
		}
		copy(ip[12:], to.addr.AsSlice())
		binary.BigEndian.PutUint16(ip[20:], port)
	} else {
		inner, ok := n.in[dst.Port()]
		if !ok || dst.Addr() != n.side[1].addr {
			return
		}
		dst = inner
		copy(ip[16:], inner.Addr().AsSlice())
		binary.BigEndian.PutUint16(ip[22:], inner.Port())
	}
	ip[8]--
	ip[10], ip[11], ip[26], ip[27] = 0, 0, 0, 0
	binary.BigEndian.PutUint16(ip[10:], labkit.Sum(ip[:20]))
	mac, ok := to.macs[dst.Addr()]
	if !ok {
		n.arp(to, 1, [6]byte{}, dst.Addr())
		return
	}
	own := to.port.Info().MAC
	copy(b, mac[:])
	copy(b[6:], own[:])
	to.port.Send([]*packet.Packet{packet.From(b)})
}

// behindNAT makes a hub outside and two spokes inside of a NAT.
func behindNAT(t *testing.T, sp spec) (l *lab, n *nat, h, a, b *router) {
	t.Helper()
	l = newLab(t)
	outside, inside := l.Net.Switch("outside", mem.Impairment{Delay: 5 * time.Millisecond}), l.Net.Switch("inside", mem.Impairment{Delay: time.Millisecond})
	l.link = outside
	l.watch(outside)
	l.watch(inside)
	n = newNAT(inside.Port("nat"), outside.Port("nat"), "192.168.1.254", "203.0.113.254")
	h = l.add("hub", netip.MustParsePrefix("203.0.113.1/24"), outside.Port("hub"), sp)
	a = l.add("a", netip.MustParsePrefix("192.168.1.2/24"), inside.Port("a"), sp)
	b = l.add("b", netip.MustParsePrefix("192.168.1.3/24"), inside.Port("b"), sp)
	h.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{})
	for i, r := range []*router{a, b} {
		r.defaultRoute("192.168.1.254")
		r.tunnel("Tunnel0", []string{"10.10.10.2/24", "10.10.10.3/24"}[i], "203.0.113.1", 0, TunnelProtection{})
	}
	l.until(20*time.Second, "both spokes are up", func() bool { return h.up() == 2 && a.up() == 1 && b.up() == 1 })
	for _, i := range h.sessions() {
		if i.Peer == ikev2.AddressIdentity(a.wan) {
			h.neighbour("Tunnel0", "10.10.10.2", i.Session)
		} else {
			h.neighbour("Tunnel0", "10.10.10.3", i.Session)
		}
	}
	return l, n, h, a, b
}

func TestTwoSpokesBehindOneNATAreTwoSessions(t *testing.T) {
	for _, mode := range []esp.Mode{esp.Transport, esp.Tunnel} {
		t.Run(mode.String(), func(t *testing.T) {
			l, _, h, a, b := behindNAT(t, spec{mode: mode})
			for i, r := range []*router{a, b, a, b} {
				if !r.ping([]string{"10.10.10.2", "10.10.10.3"}[i%2], "10.10.10.1", uint16(i)) {
					t.Fatalf("%s gets no answer: %v, hub %v", r.name, r.dp.Drops(), h.dp.Drops())
				}
			}
			if !h.ping("10.10.10.1", "10.10.10.2", 50) || !h.ping("10.10.10.1", "10.10.10.3", 51) {
				t.Error("the hub's pings are not answered")
			}
			ports := map[uint16]bool{}
			for _, i := range h.sessions() {
				ports[i.Remote.Port()] = true
				if i.NBMA != netip.MustParseAddr("203.0.113.254") || !i.NAT.Remote || !i.UDPEncap || i.Pairs[0].In.Packets == 0 || i.Pairs[0].Out.Packets == 0 {
					t.Errorf("%+v", i)
				}
			}
			if len(ports) != 2 || l.esp != 0 || l.natt == 0 {
				t.Errorf("ports %v, %d ESP frames, %d in UDP", ports, l.esp, l.natt)
			}
			if i := a.sessions()[0]; !i.NAT.Local {
				t.Errorf("%+v", i.NAT)
			}
		})
	}
}

func TestAPeerWhoseNATForgetsIsFollowed(t *testing.T) {
	l, n, h, a, b := behindNAT(t, spec{dpd: ikev2.DPD{Interval: 10 * time.Second, Retry: 2 * time.Second}})
	before := h.sessions()
	n.rebind(30000)
	// Whatever comes first, a keepalive, a DPD probe or ESP from the new port, the session stays.
	for i := range uint16(40) {
		a.echo("10.10.10.2", "10.10.10.1", i)
		l.run(time.Second)
	}
	if !a.ping("10.10.10.2", "10.10.10.1", 100) || !b.ping("10.10.10.3", "10.10.10.1", 101) || !h.ping("10.10.10.1", "10.10.10.2", 102) {
		t.Errorf("no answer after the NAT forgot: %v\n%s", h.dp.Drops(), h.logs())
	}
	after := h.sessions()
	if len(after) != 2 || after[0].Session != before[0].Session || after[0].Remote == before[0].Remote {
		t.Errorf("%+v\n%+v", before, after)
	}
	moved := 0
	for _, k := range h.kinds() {
		if k == Down {
			t.Errorf("%v", h.kinds())
		}
		if k == Moved {
			moved++
		}
	}
	if moved < 2 {
		t.Errorf("%v", h.kinds())
	}
}

func TestARekeyBehindNATLosesNoPacket(t *testing.T) {
	l, _, _, a, _ := behindNAT(t, spec{lifetime: time.Minute, ikeLifetime: 100 * time.Second})
	if sent, lost := l.stream(a, "10.10.10.2", "10.10.10.1", 3*time.Minute, thin(25*time.Millisecond)); lost != 0 {
		t.Errorf("%d of %d lost\n%s", lost, sent, a.logs())
	}
}
