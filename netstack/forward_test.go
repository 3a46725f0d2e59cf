package netstack

import (
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/fib"
	"felloe/netstack/ip"
	"felloe/netstack/link/mem"
)

func TestAPingCrossesARouterInBothFamilies(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{Delay: 5 * time.Millisecond})
	for _, c := range [][2]string{{"10.1.0.1", "10.2.0.1"}, {"2001:db8:1::1", "2001:db8:2::1"}} {
		if !x.a.ping(c[0], c[1], 100) {
			x.explain()
			t.Fatalf("no answer from %s", c[1])
		}
	}
	x.noDrops()
	if c := x.rb.Counters(); c.TxPackets == 0 || c.TxBytes == 0 || c.RxBytes == 0 {
		t.Fatalf("counters %+v", c)
	}
}

func TestTracerouteShowsTheInterfacesThatTheProbesCameInOn(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	x.b.loopback("Loopback0", "192.0.2.9/32", "2001:db8:9::9/128")
	x.r.route("192.0.2.9/32", x.rb, "10.2.0.1")
	x.r.route("2001:db8:9::9/128", x.rb, "2001:db8:2::1")
	type hop struct {
		from      string
		typ, code uint8
	}
	for dst, want := range map[string][2]hop{
		"192.0.2.9":     {{"10.1.0.254", ip.TimeExceeded, 0}, {"10.2.0.1", ip.DestUnreachable, ip.CodePort}},
		"2001:db8:9::9": {{"2001:db8:1::fe", ip.V6TimeExceeded, 0}, {"2001:db8:2::1", ip.V6Unreachable, ip.V6PortUnreach}},
	} {
		src, _ := x.a.vrf.SourceFor(addr(dst))
		for ttl, w := range want {
			got := x.a.ask(probe(src, addr(dst), uint8(ttl+1), 33434), 3*time.Second)
			if len(got) != 1 || got[0].from != addr(w.from) || got[0].typ != w.typ || got[0].code != w.code {
				x.explain()
				t.Fatalf("%s ttl %d: %v, want %v", dst, ttl+1, got, w)
			}
		}
	}
	if d := x.r.Drops(); d["ttl-expired"] != 2 {
		t.Fatalf("drops %v", d)
	}
}

func TestUnroutedPacketsAreAnsweredByKind(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{})
	x.r.kind("198.51.100.0/24", fib.Unreachable)
	x.r.kind("198.51.101.0/24", fib.Discard)
	for dst, want := range map[string]struct {
		code uint8
		n    int
	}{
		"203.0.113.1":  {ip.CodeNet, 1},
		"198.51.100.1": {ip.CodeHost, 1},
		"198.51.101.1": {0, 0},
		"10.2.0.77":    {ip.CodeHost, 1}, // nobody answers ARP
	} {
		got := x.a.ask(echo(addr("10.1.0.1"), addr(dst), 64, 1, 10, false), 10*time.Second)
		if len(got) != want.n || want.n == 1 && (got[0].typ != ip.DestUnreachable || got[0].code != want.code || got[0].from != addr("10.1.0.254")) {
			t.Errorf("%s: %v", dst, got)
		}
	}
	d := x.r.Drops()
	if d["no-route"] != 1 || d["unreachable-route"] != 1 || d["discard-route"] != 1 || d["no-neighbour"] != 1 {
		t.Fatalf("drops %v", d)
	}
}

func TestWhatIsTooLongIsFragmentedOrRefused(t *testing.T) {
	x := newThree(t, mem.Impairment{}, mem.Impairment{MTU: 1280})
	if !x.a.ping("10.1.0.1", "10.2.0.1", 1400) {
		x.explain()
		t.Fatal("a packet that may be fragmented did not arrive")
	}
	if x.r.Stats().Fragmented.Load() == 0 || x.b.Stats().Reassembled.Load() == 0 {
		t.Fatal("nothing was fragmented and put together")
	}
	got := x.a.ask(echo(addr("10.1.0.1"), addr("10.2.0.1"), 64, 2, 1400, true), time.Second)
	if len(got) != 1 || got[0].code != ip.CodeFragNeeded || got[0].info != 1280 || got[0].from != addr("10.1.0.254") {
		t.Fatalf("got %v", got)
	}
	got = x.a.ask(echo(addr("2001:db8:1::1"), addr("2001:db8:2::1"), 64, 2, 1400, true), time.Second)
	if len(got) != 1 || got[0].typ != ip.V6PacketTooBig || got[0].info != 1280 || got[0].from != addr("2001:db8:1::fe") {
		t.Fatalf("got %v", got)
	}
	// Our own long packets leave in fragments, both families.
	for _, c := range [][2]string{{"10.1.0.1", "10.2.0.1"}, {"2001:db8:1::1", "2001:db8:2::1"}} {
		x.b.vrf.HandleUDP(9, func(u UDP) {
			if len(u.Payload) == 4000 {
				x.b.vrf.HandleUDP(9, nil)
			}
		})
		x.ai.SetIPMTU(1280)
		if err := x.a.vrf.SendUDP(netip.AddrPortFrom(addr(c[0]), 9), netip.AddrPortFrom(addr(c[1]), 9), make([]byte, 4000), SendOptions{}); err != nil {
			t.Fatal(err)
		}
		x.run(time.Second)
		if (*x.b.vrf.udp.Load())[9] != nil {
			x.explain()
			t.Fatalf("4,000 bytes did not arrive at %s", c[1])
		}
	}
}
