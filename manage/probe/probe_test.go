package probe

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/packet"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// way answers like a path of two routers before the destination.
type way struct {
	handle func(*packet.Packet)
	drop   func(seq int) bool
	n      int
}

func (w *way) HandleICMP(f func(*packet.Packet)) { w.handle = f }
func (w *way) SourceFor(dst netip.Addr) (netip.Addr, bool) {
	if dst.Is4() {
		return netip.MustParseAddr("192.0.2.1"), true
	}
	return netip.MustParseAddr("2001:db8::1"), true
}

var (
	hops4 = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	hops6 = []netip.Addr{netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:2::1")}
)

func (w *way) SendIP(p *packet.Packet) error {
	n := w.n
	w.n++
	if w.drop != nil && w.drop(n) {
		p.Release()
		return nil
	}
	b := p.Bytes()
	src, proto, ttl, body, _ := parseIP(b)
	v4 := src.Is4()
	dst, hops, icmp := netip.AddrFrom4([4]byte(b[16:20])), hops4, header.ICMPv4ProtocolNumber
	if !v4 {
		dst, hops, icmp = netip.AddrFrom16([16]byte(b[24:40])), hops6, header.ICMPv6ProtocolNumber
	}
	var reply *packet.Packet
	switch {
	case int(ttl) <= len(hops):
		var r []byte
		reply, r = build(hops[ttl-1], src, icmp, 64, 0, false, 0, 8+len(b))
		if v4 {
			header.ICMPv4(r).SetType(header.ICMPv4TimeExceeded)
		} else {
			header.ICMPv6(r).SetType(header.ICMPv6TimeExceeded)
		}
		copy(r[8:], b)
	case proto == header.UDPProtocolNumber:
		var r []byte
		reply, r = build(dst, src, icmp, 64, 0, false, 0, 8+len(b))
		if v4 {
			header.ICMPv4(r).SetType(header.ICMPv4DstUnreachable)
			header.ICMPv4(r).SetCode(header.ICMPv4PortUnreachable)
		} else {
			header.ICMPv6(r).SetType(header.ICMPv6DstUnreachable)
			header.ICMPv6(r).SetCode(header.ICMPv6PortUnreachable)
		}
		copy(r[8:], b)
	default:
		var r []byte
		reply, r = build(dst, src, icmp, 64, 0, false, 0, len(body))
		copy(r, body)
		if v4 {
			r[0] = byte(header.ICMPv4EchoReply)
		} else {
			r[0] = byte(header.ICMPv6EchoReply)
		}
	}
	p.Release()
	w.handle(reply)
	reply.Release()
	return nil
}

var destinations = []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:9::7")}

func TestPingCountsAnswersAndNamesTheLost(t *testing.T) {
	for _, dst := range destinations {
		w := &way{drop: func(n int) bool { return n == 2 || n == 5 }}
		p := New(w, clock.Real)
		marks := ""
		r, err := p.Ping(context.Background(), PingOptions{Destination: dst, Count: 8, Interval: time.Microsecond, Timeout: 50 * time.Millisecond},
			func(m byte) { marks += string(m) })
		if err != nil || r.Sent != 8 || r.Received != 6 || len(r.Lost) != 2 || r.Lost[0] != 2 || r.Lost[1] != 5 || len(marks) != 8 {
			t.Fatalf("%s: %+v %q %v", dst, r, marks, err)
		}
	}
}

func TestTracerouteTellsTheWay(t *testing.T) {
	for i, dst := range destinations {
		p := New(&way{}, clock.Real)
		r, err := p.Trace(context.Background(), TraceOptions{Destination: dst}, nil)
		want := append(append([]netip.Addr{}, [][]netip.Addr{hops4, hops6}[i]...), dst)
		if err != nil || !r.Reached || len(r.Hops) != len(want) {
			t.Fatalf("%+v %v", r, err)
		}
		for j, h := range r.Hops {
			if len(h.Probes) != 3 || h.Probes[0].From != want[j] {
				t.Fatalf("hop %d is %+v, want %s", j+1, h, want[j])
			}
		}
	}
}

func TestPingEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	w := &way{drop: func(n int) bool { stop(); return true }}
	r, err := New(w, clock.Real).Ping(ctx, PingOptions{Destination: destinations[0], Count: 1000, Timeout: time.Hour}, nil)
	if err != nil || r.Sent != 1 {
		t.Fatalf("%+v %v", r, err)
	}
}

func FuzzReceive(f *testing.F) {
	w := &way{}
	p := New(w, clock.Real)
	pkt, _ := build(hops4[0], destinations[0], header.ICMPv4ProtocolNumber, 1, 0, false, 0, 40)
	f.Add(pkt.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4000 {
			return
		}
		q := packet.From(b)
		p.receive(q)
		q.Release()
	})
}
