package rib

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/netstack/fib"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

// bench is a RIB with the FIB that its output made.
type bench struct {
	*RIB
	t       testing.TB
	table   *fib.Table
	batches [][]fib.Change
	now     time.Time
}

func newBench(t testing.TB, o Options) *bench {
	b := &bench{t: t, table: new(fib.Table), now: time.Unix(1000, 0)}
	o.Now = func() time.Time { return b.now }
	o.Output = func(c []fib.Change) {
		b.batches = append(b.batches, slices.Clone(c))
		if err := b.table.Apply(c); err != nil {
			t.Errorf("the FIB refused a change: %v", err)
		}
	}
	b.RIB = New(o)
	return b
}

// spoke is the usual bench: WAN 172.16.3.3/24 (index 1), Tunnel0 10.10.10.3/24 (2), Loopback10 192.168.33.3/24 (3).
func spoke(t testing.TB) *bench {
	b := newBench(t, Options{})
	b.SetInterface("Ethernet0", 1, true, []netip.Prefix{pfx("172.16.3.3/24"), pfx("2001:db8:3::3/64")})
	b.SetInterface("Tunnel0", 2, true, []netip.Prefix{pfx("10.10.10.3/24")})
	b.SetInterface("Loopback10", 3, true, []netip.Prefix{pfx("192.168.33.3/24")})
	return b
}

func via(s string) []Path { return []Path{{Source: Static, NextHops: []NextHop{{Via: ip(s)}}}} }

// fib is the route of a prefix in the FIB, as text.
func (b *bench) fib(p string) string {
	e, ok := b.table.Get(pfx(p))
	if !ok {
		return "none"
	}
	s := e.Kind.String()
	for _, h := range e.NextHops {
		s += fmt.Sprintf(" %d", h.Interface)
		if h.Via.IsValid() {
			s += "/" + h.Via.String()
		}
	}
	return s
}

func (b *bench) want(p, want string) {
	b.t.Helper()
	if got := b.fib(p); got != want {
		b.t.Errorf("%s is %q in the FIB, want %q", p, got, want)
	}
}

func (b *bench) shown(p string) string {
	r, ok := b.Get(pfx(p))
	if !ok {
		return "none"
	}
	s := fmt.Sprintf("%s [%d/%d]", r.Code(), r.Distance, r.Metric)
	for _, n := range r.Paths {
		s += fmt.Sprintf(" via %v %s", n.Via, n.Interface)
	}
	if r.Overridden() {
		s += fmt.Sprintf(" %% %v %s", r.Override[0].Via, r.Override[0].Interface)
	}
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "invalid IP ", "")), " ")
}

func TestAnInterfaceGivesConnectedAndLocalRoutes(t *testing.T) {
	b := spoke(t)
	b.want("172.16.3.0/24", "forward 1")
	b.want("172.16.3.3/32", "local 1")
	b.want("2001:db8:3::/64", "forward 1")
	b.want("2001:db8:3::3/128", "local 1")
	if got := b.shown("192.168.33.3/32"); got != "L [0/0] via Loopback10" {
		t.Errorf("got %q", got)
	}
	b.SetInterface("Ethernet0", 1, false, []netip.Prefix{pfx("172.16.3.3/24")})
	b.want("172.16.3.0/24", "none")
	b.want("172.16.3.3/32", "none")
	b.SetInterface("Ethernet0", 1, true, []netip.Prefix{pfx("172.16.4.3/24")})
	b.want("172.16.3.0/24", "none")
	b.want("172.16.4.0/24", "forward 1")
}

func TestALoopbackHostRouteIsConnectedAndOurs(t *testing.T) {
	b := newBench(t, Options{})
	b.SetInterface("Loopback0", 7, true, []netip.Prefix{pfx("1.1.1.1/32")})
	b.want("1.1.1.1/32", "local 7")
	if got := b.shown("1.1.1.1/32"); got != "C [0/0] via Loopback0" {
		t.Errorf("got %q", got)
	}
}

func TestStaticRoutes(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths []Path
		want  string
	}{
		{"to a neighbour", via("172.16.3.254"), "forward 1/172.16.3.254"},
		{"over an interface", []Path{{Source: Static, NextHops: []NextHop{{Interface: "Tunnel0"}}}}, "forward 2"},
		{"to a neighbour on an interface", []Path{{Source: Static, NextHops: []NextHop{{ip("10.9.9.9"), "Tunnel0"}}}}, "forward 2/10.9.9.9"},
		{"to Null0", []Path{{Source: Static, Discard: true}}, "discard"},
		{"over an interface that is not there", []Path{{Source: Static, NextHops: []NextHop{{Interface: "Tunnel9"}}}}, "none"},
		{"to nowhere", via("203.0.113.1"), "none"},
		{"to ourselves", via("172.16.3.3"), "none"},
		{"to the other family", via("2001:db8:3::1"), "none"},
		{"with distance 255", []Path{{Source: Static, Distance: 255, NextHops: []NextHop{{Via: ip("172.16.3.254")}}}}, "none"},
		{"over two neighbours", append(via("172.16.3.254"), via("172.16.3.253")...), "forward 1/172.16.3.254 1/172.16.3.253"},
		{"over two next hops of one path", []Path{{Source: Static, NextHops: []NextHop{{Via: ip("172.16.3.254")}, {Via: ip("10.10.10.1")}}}},
			"forward 1/172.16.3.254 2/10.10.10.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := spoke(t)
			b.Update(Static, "config", pfx("10.0.0.0/8"), c.paths)
			b.want("10.0.0.0/8", c.want)
		})
	}
}

func TestTheLowestDistanceWinsAndTheOthersWait(t *testing.T) {
	b := spoke(t)
	p := pfx("10.0.0.0/8")
	b.Update(EBGP, "bgp 1", p, []Path{{Source: EBGP, NextHops: []NextHop{{Via: ip("10.10.10.1")}}}})
	b.want("10.0.0.0/8", "forward 2/10.10.10.1")
	b.Update(Static, "config", p, via("172.16.3.254"))
	b.want("10.0.0.0/8", "forward 1/172.16.3.254")
	if got := b.shown("10.0.0.0/8"); got != "S [1/0] via 172.16.3.254" {
		t.Errorf("got %q", got)
	}
	b.Withdraw(Static, "config", p)
	b.want("10.0.0.0/8", "forward 2/10.10.10.1")
	b.Withdraw(EBGP, "bgp 1", p)
	b.want("10.0.0.0/8", "none")
	if len(b.entries) != 8 {
		t.Errorf("%d prefixes are remembered, want the 8 of the interfaces", len(b.entries))
	}
}

func TestAFloatingStaticRouteTakesOverWhenTheInterfaceFails(t *testing.T) {
	b := spoke(t)
	b.Update(Static, "config", pfx("0.0.0.0/0"), []Path{
		{Source: Static, Distance: 200, NextHops: []NextHop{{Via: ip("10.10.10.1")}}},
		{Source: Static, NextHops: []NextHop{{Via: ip("172.16.3.254")}}},
	})
	b.want("0.0.0.0/0", "forward 1/172.16.3.254")
	if got := b.shown("0.0.0.0/0"); got != "S* [1/0] via 172.16.3.254" {
		t.Errorf("got %q", got)
	}
	b.SetInterface("Ethernet0", 1, false, nil)
	b.want("0.0.0.0/0", "forward 2/10.10.10.1")
	b.SetInterface("Ethernet0", 1, true, []netip.Prefix{pfx("172.16.3.3/24")})
	b.want("0.0.0.0/0", "forward 1/172.16.3.254")
}

func TestNextHopsResolveThroughOtherRoutes(t *testing.T) {
	b := spoke(t)
	b.Update(EBGP, "bgp 1", pfx("20.0.0.0/8"), []Path{{Source: IBGP, NextHops: []NextHop{{Via: ip("1.1.1.1")}}}})
	b.want("20.0.0.0/8", "none")
	b.Update(Static, "config", pfx("1.1.1.0/24"), via("30.0.0.1"))
	b.want("20.0.0.0/8", "none")
	b.Update(Static, "config", pfx("30.0.0.0/8"), via("172.16.3.254"))
	b.want("1.1.1.0/24", "forward 1/172.16.3.254")
	b.want("20.0.0.0/8", "forward 1/172.16.3.254")
	// A more specific route takes the next hop elsewhere.
	b.Update(Static, "config", pfx("1.1.1.1/32"), via("10.10.10.1"))
	b.want("20.0.0.0/8", "forward 2/10.10.10.1")
	b.Withdraw(Static, "config", pfx("1.1.1.1/32"))
	b.want("20.0.0.0/8", "forward 1/172.16.3.254")
	b.Withdraw(Static, "config", pfx("30.0.0.0/8"))
	b.want("1.1.1.0/24", "none")
	b.want("20.0.0.0/8", "none")
}

func TestANextHopOverAnInterfaceRouteIsTheNeighbour(t *testing.T) {
	b := spoke(t)
	b.Update(Static, "config", pfx("1.1.1.0/24"), []Path{{Source: Static, NextHops: []NextHop{{Interface: "Tunnel0"}}}})
	b.Update(EBGP, "bgp 1", pfx("20.0.0.0/8"), []Path{{Source: EBGP, NextHops: []NextHop{{Via: ip("1.1.1.9")}}}})
	b.want("20.0.0.0/8", "forward 2/1.1.1.9")
}

func TestANextHopInNull0Discards(t *testing.T) {
	b := spoke(t)
	b.Update(Static, "config", pfx("192.0.2.1/32"), []Path{{Source: Static, Discard: true}})
	b.Update(EBGP, "bgp 1", pfx("203.0.113.7/32"), []Path{{Source: EBGP, NextHops: []NextHop{{Via: ip("192.0.2.1")}}}})
	b.want("203.0.113.7/32", "discard")
}

func TestANextHopDoesNotResolveThroughItself(t *testing.T) {
	b := spoke(t)
	b.Update(Static, "config", pfx("0.0.0.0/0"), via("172.16.3.254"))
	// Only the default route is less specific than 20/8, which would cover its own next hop.
	b.Update(EBGP, "bgp 1", pfx("20.0.0.0/8"), []Path{{Source: EBGP, NextHops: []NextHop{{Via: ip("20.0.0.1")}}}})
	b.want("20.0.0.0/8", "none")
	b.Update(Static, "config", pfx("20.0.0.0/24"), via("10.10.10.1"))
	b.want("20.0.0.0/8", "forward 2/10.10.10.1")
	b.Withdraw(Static, "config", pfx("20.0.0.0/24"))
	b.want("20.0.0.0/8", "none")
}

func TestARingOfRoutesIsLeftOut(t *testing.T) {
	b := spoke(t)
	b.Update(Static, "config", pfx("40.0.0.0/8"), via("50.0.0.1"))
	b.Update(Static, "config", pfx("50.0.0.0/8"), via("60.0.0.1"))
	b.Update(Static, "config", pfx("60.0.0.0/8"), via("40.0.0.1"))
	for _, p := range []string{"40.0.0.0/8", "50.0.0.0/8", "60.0.0.0/8"} {
		b.want(p, "none")
	}
	// With a default route each of them could stand on it, and then on each other: the outcome must not hang, and
	// nothing may stand on itself.
	b.Update(Static, "config", pfx("0.0.0.0/0"), via("172.16.3.254"))
	for _, e := range b.sorted() {
		if e.best != nil && slices.ContainsFunc(e.best.through, func(v *entry) bool { return chainHas(v, e, 8) }) {
			t.Errorf("%v resolves through itself", e.prefix)
		}
	}
	// A real way out of the ring heals it.
	b.Update(Static, "config", pfx("40.0.0.1/32"), via("10.10.10.1"))
	b.want("60.0.0.0/8", "forward 2/10.10.10.1")
	b.want("50.0.0.0/8", "forward 2/10.10.10.1")
	b.want("40.0.0.0/8", "forward 2/10.10.10.1")
}

func TestTheDefaultRouteResolvesNextHopsUnlessToldNotTo(t *testing.T) {
	for _, never := range []bool{false, true} {
		b := newBench(t, Options{NoResolveViaDefault: never})
		b.SetInterface("Ethernet0", 1, true, []netip.Prefix{pfx("172.16.3.3/24")})
		b.Update(Static, "config", pfx("0.0.0.0/0"), via("172.16.3.254"))
		b.Update(EBGP, "bgp 1", pfx("20.0.0.0/8"), []Path{{Source: EBGP, NextHops: []NextHop{{Via: ip("9.9.9.9")}}}})
		want := "forward 1/172.16.3.254"
		if never {
			want = "none"
		}
		b.want("20.0.0.0/8", want)
	}
}

func TestRankDecidesAmongAProtocolsPathsAndUnreachableOnesAreSkipped(t *testing.T) {
	b := spoke(t)
	b.Update(EBGP, "bgp 1", pfx("20.0.0.0/8"), []Path{
		{Source: IBGP, Rank: 0, NextHops: []NextHop{{Via: ip("9.9.9.9")}}}, // best, but not reachable
		{Source: EBGP, Rank: 1, NextHops: []NextHop{{Via: ip("10.10.10.1")}}},
		{Source: EBGP, Rank: 1, NextHops: []NextHop{{Via: ip("10.10.10.2")}}},
		{Source: EBGP, Rank: 2, NextHops: []NextHop{{Via: ip("172.16.3.254")}}},
	})
	b.want("20.0.0.0/8", "forward 2/10.10.10.1 2/10.10.10.2")
	b.Update(Static, "config", pfx("9.9.9.9/32"), via("172.16.3.254"))
	b.want("20.0.0.0/8", "forward 1/172.16.3.254")
	if got := b.shown("20.0.0.0/8"); got != "B [200/0] via 9.9.9.9" {
		t.Errorf("got %q", got)
	}
}

func TestMaximumPathsBoundsTheGroup(t *testing.T) {
	b := newBench(t, Options{MaximumPaths: 2})
	b.SetInterface("Ethernet0", 1, true, []netip.Prefix{pfx("172.16.3.3/24")})
	var p []Path
	for i := range 5 {
		p = append(p, via(fmt.Sprintf("172.16.3.%d", 10+i))...)
	}
	b.Update(Static, "config", pfx("10.0.0.0/8"), p)
	b.want("10.0.0.0/8", "forward 1/172.16.3.10 1/172.16.3.11")
}

func TestOneTurnIsOneBatchInOrder(t *testing.T) {
	var later []func()
	b := newBench(t, Options{Defer: func(f func()) { later = append(later, f) }})
	run := func() {
		for len(later) > 0 {
			f := later[0]
			later = later[1:]
			f()
		}
	}
	b.SetInterface("Ethernet0", 1, true, []netip.Prefix{pfx("172.16.3.3/24")})
	b.Update(Static, "config", pfx("10.0.0.0/8"), via("172.16.3.254"))
	b.Update(Static, "config", pfx("20.0.0.0/8"), via("10.0.0.1"))
	if len(b.batches) != 0 {
		t.Fatal("there was output before the turn's end")
	}
	run()
	if len(b.batches) != 1 || len(b.batches[0]) != 4 {
		t.Fatalf("got %v", b.batches)
	}
	b.Update(Static, "config", pfx("10.0.0.0/8"), via("172.16.3.253"))
	b.Update(Static, "config", pfx("10.0.0.0/8"), via("172.16.3.254"))
	run()
	if len(b.batches) != 1 {
		t.Fatalf("what came back to what it was is a change: %v", b.batches[1:])
	}
	b.Update(Static, "config", pfx("10.0.0.0/8"), via("172.16.3.253"))
	if _, v, _, _, _, _ := b.Lookup("", ip("20.0.0.1")); v != ip("172.16.3.253") {
		t.Errorf("Lookup between change and flush gives %v", v)
	}
	run()
	if len(b.batches) != 2 || len(b.batches[1]) != 2 {
		t.Fatalf("the change and what follows from it: %v", b.batches[1:])
	}
}

func TestTheAgeOfARouteSurvivesAnotherWayToItsNextHop(t *testing.T) {
	b := spoke(t)
	b.Update(Static, "config", pfx("1.1.1.0/24"), via("172.16.3.254"))
	b.Update(EBGP, "bgp 1", pfx("20.0.0.0/8"), []Path{{Source: EBGP, NextHops: []NextHop{{Via: ip("1.1.1.1")}}}})
	b.now = b.now.Add(time.Minute)
	b.Update(Static, "config", pfx("1.1.1.0/24"), via("10.10.10.1"))
	b.want("20.0.0.0/8", "forward 2/10.10.10.1")
	if r, _ := b.Get(pfx("20.0.0.0/8")); !r.Since.Equal(time.Unix(1000, 0)) {
		t.Errorf("its age began at %v", r.Since)
	}
	b.Update(EBGP, "bgp 1", pfx("20.0.0.0/8"), []Path{{Source: EBGP, Metric: 5, NextHops: []NextHop{{Via: ip("1.1.1.1")}}}})
	if r, _ := b.Get(pfx("20.0.0.0/8")); !r.Since.Equal(b.now) {
		t.Errorf("another metric is another route: %v", r.Since)
	}
}

func TestWatchersHearOfNextHops(t *testing.T) {
	b := spoke(t)
	var got []string
	stop := b.TrackNextHop(ip("1.1.1.1"), func(ok bool, metric uint32) { got = append(got, fmt.Sprint(ok, metric)) })
	b.Update(EIGRP, "eigrp 1", pfx("1.1.1.0/24"), []Path{{Source: EIGRP, Metric: 30720, NextHops: []NextHop{{ip("172.16.3.254"), "Ethernet0"}}}})
	b.Update(EIGRP, "eigrp 1", pfx("1.1.1.0/24"), []Path{{Source: EIGRP, Metric: 30721, NextHops: []NextHop{{ip("172.16.3.254"), "Ethernet0"}}}})
	b.Update(Static, "config", pfx("9.0.0.0/8"), via("172.16.3.254"))
	b.SetInterface("Ethernet0", 1, false, nil)
	stop()
	b.SetInterface("Ethernet0", 1, true, []netip.Prefix{pfx("172.16.3.3/24")})
	if want := []string{"false 0", "true 30720", "true 30721", "false 0"}; !slices.Equal(got, want) {
		t.Errorf("heard %v, want %v", got, want)
	}
	if len(b.nexthops) != 1 { // that of 9/8
		t.Errorf("%d next hops are left", len(b.nexthops))
	}
}

func TestSubscribersHearOfTheRoutesOfTheirSources(t *testing.T) {
	b := spoke(t)
	b.Update(Static, "config", pfx("10.0.0.0/8"), via("172.16.3.254"))
	var got []string
	stop := b.Subscribe(func(changes []Change) {
		for _, c := range changes {
			got = append(got, fmt.Sprint(c.Prefix, c.Old != nil, c.New != nil))
		}
	}, Static)
	b.Update(Static, "config", pfx("20.0.0.0/8"), via("172.16.3.254"))
	b.Update(EBGP, "bgp 1", pfx("30.0.0.0/8"), []Path{{Source: EBGP, NextHops: []NextHop{{Via: ip("172.16.3.254")}}}})
	b.SetInterface("Loopback1", 9, true, []netip.Prefix{pfx("20.0.0.1/8")}) // connected takes 20/8 over
	b.Withdraw(Static, "config", pfx("10.0.0.0/8"))
	stop()
	b.Update(Static, "config", pfx("10.0.0.0/8"), via("172.16.3.254"))
	want := []string{"10.0.0.0/8 false true", "20.0.0.0/8 false true", "20.0.0.0/8 true false", "10.0.0.0/8 true false"}
	if !slices.Equal(got, want) {
		t.Errorf("heard %v, want %v", got, want)
	}
}

func TestAListenerMayChangeTheTable(t *testing.T) {
	b := spoke(t)
	n := 0
	b.OnChange(func() {
		if n++; n == 1 {
			b.Update(Static, "config", pfx("20.0.0.0/8"), via("10.0.0.1"))
		}
	})
	b.Update(Static, "config", pfx("10.0.0.0/8"), via("172.16.3.254"))
	b.want("20.0.0.0/8", "forward 1/172.16.3.254")
	if n != 2 {
		t.Errorf("the listener heard %d changes", n)
	}
}

func TestRoutesAreShownInTheOrderOfPrefixes(t *testing.T) {
	b := spoke(t)
	b.Update(Static, "config", pfx("0.0.0.0/0"), via("172.16.3.254"))
	var got []string
	for _, r := range b.Routes() {
		got = append(got, r.Code()+" "+r.Prefix.String())
	}
	want := []string{"S* 0.0.0.0/0", "C 10.10.10.0/24", "L 10.10.10.3/32", "C 172.16.3.0/24", "L 172.16.3.3/32",
		"C 192.168.33.0/24", "L 192.168.33.3/32", "C 2001:db8:3::/64", "L 2001:db8:3::3/128"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestLookupSaysWhatIsOursAndWhatIsDropped(t *testing.T) {
	b := spoke(t)
	b.Update(Static, "config", pfx("10.0.0.0/8"), []Path{{Source: Static, Discard: true}})
	for _, c := range []struct {
		dst, prefix, via, ifname string
		local, discard, ok       bool
	}{
		{"10.10.10.1", "10.10.10.0/24", "", "Tunnel0", false, false, true},
		{"192.168.33.3", "192.168.33.3/32", "", "Loopback10", true, false, true},
		{"10.1.1.1", "10.0.0.0/8", "", "", false, true, true},
		{"8.8.8.8", "", "", "", false, false, false},
	} {
		p, v, i, l, d, ok := b.Lookup("default", ip(c.dst))
		if ok != c.ok || ok && p != pfx(c.prefix) || v.IsValid() || i != c.ifname || l != c.local || d != c.discard {
			t.Errorf("%s: %v %v %q %v %v %v", c.dst, p, v, i, l, d, ok)
		}
	}
	if _, _, _, _, _, ok := b.Lookup("other", ip("10.10.10.1")); ok {
		t.Error("there is a route in another VRF")
	}
}

func hundredThousand(b *bench, change int) {
	b.Batch(func() {
		for i := range 100_000 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i >> 12), byte(i >> 4), byte(i << 4)}), 28)
			b.Update(EBGP, "bgp 1", p, []Path{{Source: EBGP, Metric: uint32(change), NextHops: []NextHop{{Via: ip(fmt.Sprintf("10.10.10.%d", 10+i%50))}}}})
		}
	})
}

func TestAHundredThousandPrefixesFollowTheirNextHops(t *testing.T) {
	b := spoke(t)
	hundredThousand(b, 0)
	if b.table.Len() != 100_008 {
		t.Fatalf("the FIB has %d routes", b.table.Len())
	}
	b.SetInterface("Tunnel0", 2, false, nil)
	if b.table.Len() != 6 {
		t.Fatalf("the FIB has %d routes after the tunnel went down", b.table.Len())
	}
	b.SetInterface("Tunnel0", 2, true, []netip.Prefix{pfx("10.10.10.3/24")})
	if b.table.Len() != 100_008 {
		t.Fatalf("the FIB has %d routes after it came up again", b.table.Len())
	}
}

func BenchmarkLoad100kPrefixes(bm *testing.B) {
	for bm.Loop() {
		hundredThousand(spoke(bm), 0)
	}
}

func BenchmarkOneChangeAmong100k(bm *testing.B) {
	b := spoke(bm)
	hundredThousand(b, 0)
	i := 0
	for bm.Loop() {
		i++
		b.Update(EBGP, "bgp 1", pfx("100.1.0.0/28"), []Path{{Source: EBGP, NextHops: []NextHop{{Via: ip(fmt.Sprintf("10.10.10.%d", 10+i%2))}}}})
	}
}
