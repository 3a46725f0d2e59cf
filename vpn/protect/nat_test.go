package protect

import (
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/link/mem"
	"felloe/tests/natbox"
	"felloe/vpn/ikev2"
)

// behindNAT makes a hub outside and two spokes inside of a NAT.
func behindNAT(t *testing.T, sp spec) (l *lab, n *natbox.NAT, h, a, b *router) {
	t.Helper()
	l = newLab(t)
	outside, inside := l.Net.Switch("outside", mem.Impairment{Delay: 5 * time.Millisecond}), l.Net.Switch("inside", mem.Impairment{Delay: time.Millisecond})
	l.link = outside
	l.watch(outside)
	l.watch(inside)
	n, err := natbox.New(inside.Port("nat"), outside.Port("nat"), natbox.Config{Inside: netip.MustParsePrefix("192.168.1.254/24"),
		Outside: netip.MustParsePrefix("203.0.113.254/24"), Clock: l.Clock})
	l.Check(err)
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
	n.Rebind(30000)
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
