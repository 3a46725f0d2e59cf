package fib

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func route(prefix string, ifindex uint32, via ...string) Change {
	c := Change{Route: Route{Prefix: netip.MustParsePrefix(prefix)}}
	for _, v := range via {
		c.Route.NextHops = append(c.Route.NextHops, NextHop{ifindex, netip.MustParseAddr(v)})
	}
	if len(via) == 0 {
		c.Route.NextHops = []NextHop{{Interface: ifindex}}
	}
	return c
}

func TestTheLongestPrefixWinsInBothFamilies(t *testing.T) {
	var table Table
	if table.Lookup(netip.MustParseAddr("10.0.0.1")) != nil {
		t.Fatal("an empty table knows a way")
	}
	if err := table.Apply([]Change{
		route("0.0.0.0/0", 1, "192.0.2.1"), route("10.0.0.0/8", 2), route("10.1.0.0/16", 3),
		{Route: Route{Prefix: netip.MustParsePrefix("10.1.2.3/32"), Kind: Local}},
		route("::/0", 1, "2001:db8::1"), route("2001:db8:1::/48", 4),
	}); err != nil {
		t.Fatal(err)
	}
	for dst, want := range map[string]string{
		"8.8.8.8": "0.0.0.0/0", "10.2.0.1": "10.0.0.0/8", "10.1.2.4": "10.1.0.0/16", "10.1.2.3": "10.1.2.3/32",
		"2001:db8:1::7": "2001:db8:1::/48", "2001:db8:2::7": "::/0",
	} {
		if e := table.Lookup(netip.MustParseAddr(dst)); e == nil || e.Prefix.String() != want {
			t.Errorf("%s is covered by %v, want %s", dst, e, want)
		}
	}
	_ = table.Apply([]Change{{Route: Route{Prefix: netip.MustParsePrefix("10.1.2.3/32")}, Delete: true}})
	if e := table.Lookup(netip.MustParseAddr("10.1.2.3")); e.Prefix.String() != "10.1.0.0/16" {
		t.Errorf("a deleted prefix still matches: %v", e.Prefix)
	}
}

func TestChangesOfOneCallAreMadeInOrder(t *testing.T) {
	var table Table
	del := Change{Route: Route{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, Delete: true}
	_ = table.Apply([]Change{route("10.0.0.0/8", 1), del, route("10.0.0.0/8", 2)})
	if e := table.Lookup(netip.MustParseAddr("10.0.0.1")); e == nil || e.NextHops[0].Interface != 2 {
		t.Fatalf("the last change does not stand: %v", e)
	}
	if table.Generation() != 1 || table.Len() != 1 {
		t.Fatalf("generation %d, %d routes", table.Generation(), table.Len())
	}
}

func TestARouteThatCannotForwardIsRejectedAloneAndSaid(t *testing.T) {
	var table Table
	err := table.Apply([]Change{
		{Route: Route{Prefix: netip.MustParsePrefix("10.0.0.0/8")}},
		{Route: Route{Prefix: netip.MustParsePrefix("::ffff:10.0.0.0/120")}},
		{},
		route("10.1.0.0/16", 3),
	})
	if !errors.Is(err, ErrRoute) {
		t.Fatalf("got %v", err)
	}
	if table.Len() != 1 {
		t.Fatalf("%d routes are left, want the good one", table.Len())
	}
}

func TestFlowsSpreadOverEqualNextHopsAndStayOnThem(t *testing.T) {
	var table Table
	_ = table.Apply([]Change{route("10.0.0.0/8", 1, "192.0.2.1", "192.0.2.2", "192.0.2.3")})
	e := table.Lookup(netip.MustParseAddr("10.0.0.1"))
	count := map[netip.Addr]int{}
	for range 3000 {
		flow := rand.Uint32()
		h := e.Select(flow)
		if e.Select(flow) != h {
			t.Fatal("a flow moved")
		}
		count[h.Via]++
	}
	for via, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("%v got %d of 3000 flows", via, n)
		}
	}
}

func TestBulkAndSingleChangesLeaveTheSameTable(t *testing.T) {
	var one, bulk Table
	var all []Change
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		a := netip.AddrFrom4([4]byte{10, byte(r.UintN(256)), byte(r.UintN(256)), 0})
		c := route(netip.PrefixFrom(a, 16+int(r.UintN(9))).Masked().String(), uint32(r.UintN(9)+1))
		c.Delete = r.UintN(4) == 0
		all = append(all, c)
	}
	_ = bulk.Apply(all)
	for i := range all {
		_ = one.Apply(all[i : i+1])
	}
	dump := func(t *Table) (s string) {
		t.Routes(func(e *Entry) bool { s += fmt.Sprintln(e.Prefix, e.NextHops); return true })
		return
	}
	if dump(&one) != dump(&bulk) {
		t.Fatal("the tables differ")
	}
}

func TestRoutesWithEqualNextHopsShareThemAndTheLastOneTakesThemAway(t *testing.T) {
	var table Table
	via := func(p, a string) *Hop {
		h := table.Lookup(netip.MustParseAddr(p)).Select(0)
		if h.Via != netip.MustParseAddr(a) {
			t.Fatalf("%s goes to %v, want %s", p, h.Via, a)
		}
		return h
	}
	_ = table.Apply([]Change{
		route("10.0.0.0/8", 1, "192.0.2.1"), route("11.0.0.0/8", 1, "192.0.2.1"),
		route("12.0.0.0/8", 2, "192.0.2.1"),              // another interface
		route("13.0.0.0/8", 1, "192.0.2.1", "192.0.2.2"), // more ways
		route("14.0.0.0/8", 1, "192.0.2.2", "192.0.2.1"), // in another order: other flows
		route("15.0.0.0/8", 1, "fe80::1%1"), route("16.0.0.0/8", 1, "fe80::1%2"), route("17.0.0.0/8", 1, "fe80::1"),
		{Route: Route{Prefix: netip.MustParsePrefix("18.0.0.0/8"), Kind: Discard}},
		{Route: Route{Prefix: netip.MustParsePrefix("19.0.0.0/8"), Kind: Local}},
	})
	shared := via("10.0.0.1", "192.0.2.1")
	if via("11.0.0.1", "192.0.2.1") != shared || via("12.0.0.1", "192.0.2.1") == shared {
		t.Fatal("what is equal is not shared, or what differs is")
	}
	if len(table.groups) != 9 {
		t.Fatalf("%d groups: %q", len(table.groups), slices.Collect(maps.Keys(table.groups)))
	}
	// One of two routes changes, then the other goes: the group stays as long as one has it.
	_ = table.Apply([]Change{route("10.0.0.0/8", 1, "192.0.2.9")})
	if via("11.0.0.1", "192.0.2.1") != shared {
		t.Fatal("a neighbour's change moved a route")
	}
	_ = table.Apply([]Change{route("11.0.0.0/8", 1, "192.0.2.1")}) // again what it was
	if via("11.0.0.1", "192.0.2.1") != shared {
		t.Fatal("a route set to what it was lost what its hop remembers")
	}
	var gone []Change
	table.Routes(func(e *Entry) bool {
		gone = append(gone, Change{Route: e.Route, Delete: true}, Change{Route: e.Route, Delete: true})
		return true
	})
	_ = table.Apply(gone)
	if table.Len() != 0 || len(table.groups) != 0 {
		t.Fatalf("%d routes and %d groups are left", table.Len(), len(table.groups))
	}
}

func TestGroupsAreCountedTheSameInBulkAndOneByOne(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var table Table
	for range 50 {
		var all []Change
		for range 1 + r.UintN(120) {
			c := route(fmt.Sprintf("10.%d.0.0/16", r.UintN(40)), uint32(r.UintN(3)+1), fmt.Sprintf("192.0.2.%d", r.UintN(4)))
			c.Delete = r.UintN(3) == 0
			all = append(all, c)
		}
		_ = table.Apply(all)
		refs := map[*Group]int{}
		table.Routes(func(e *Entry) bool {
			refs[e.group]++
			if table.Find(e.Prefix.Addr()) != e.group || table.View().Find(e.Prefix.Addr()) != e.group || e.group.Kind != e.Kind {
				t.Fatalf("%v forwards otherwise than it says", e.Prefix)
			}
			return true
		})
		if len(refs) != len(table.groups) {
			t.Fatalf("%d groups are used, %d are known", len(refs), len(table.groups))
		}
		for g, n := range refs {
			if g.refs != n || table.groups[g.key] != g {
				t.Fatalf("a group of %d routes counts %d", n, g.refs)
			}
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	table := filled(10000)
	dst := netip.MustParseAddr("10.7.9.1")
	if n := testing.AllocsPerRun(1000, func() { table.Lookup(dst).Select(77); table.Find(dst) }); n != 0 {
		t.Fatalf("%v allocations per look-up", n)
	}
}

func filled(n int) *Table {
	var table Table
	var all []Change
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
		all = append(all, route(netip.PrefixFrom(a, 24).String(), uint32(i%4+1)))
	}
	_ = table.Apply(all)
	return &table
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprintf("%d routes", n), func(b *testing.B) {
			table := filled(n)
			var dst [1024]netip.Addr
			for i := range dst {
				k := rand.IntN(n)
				dst[i] = netip.AddrFrom4([4]byte{10, byte(k >> 8), byte(k), byte(rand.UintN(256))})
			}
			b.ReportAllocs()
			for i := range b.N {
				if table.Find(dst[i&1023]).Select(0) == nil {
					b.Fatal("no way")
				}
			}
		})
	}
}
