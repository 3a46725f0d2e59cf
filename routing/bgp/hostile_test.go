package bgp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/routing/policy"
)

func TestAPeerThatAsksWithoutEndIsToldAgainOnceOrTwice(t *testing.T) {
	b := newBench(t, peers)
	b.up(2, 65002)
	b.up(3, 65003)
	b.announce(3, manyPrefixes(10), 65003)
	b.sp.told = nil
	var flood []Event
	for range 1000 {
		flood = append(flood, &RefreshEvent{Peer: ip("10.10.10.2"), Session: 2, Family: IPv4})
	}
	b.sp.o.Events(flood)
	if n := len(b.sp.told); n < 10 || n > 20 {
		t.Errorf("it is told %d routes for 10", n)
	}
	b.sp.told = nil
	b.sp.o.Events(flood[:1])
	if n := len(b.sp.told); n != 10 {
		t.Errorf("asking later it is told %d routes for 10", n)
	}
}

func TestARefreshDuringOneIsAnsweredInWhole(t *testing.T) {
	b := newBench(t, peers)
	b.up(2, 65002)
	b.up(3, 65003)
	b.announce(3, manyPrefixes(10), 65003)
	b.sp.told = nil
	p := b.peers[ip("10.10.10.2")]
	b.o.Post = func(func()) {}
	b.sweep(p, true, IPv4)
	b.work(5)
	b.sweep(p, true, IPv4)
	b.sweep(p, true, IPv4)
	for range 20 {
		b.work(5)
	}
	if n := len(b.sp.told); n != 20 || len(b.sweeps) != 0 {
		t.Errorf("it is told %d routes, %d are under way", n, len(b.sweeps))
	}
}

func TestASessionThatIsOnItsWayOutIsToldNothing(t *testing.T) {
	b := newBench(t, func(c *Config) { peers(c); c.Listen = nil })
	b.up(3, 65003)
	b.path(3, "192.0.2.0/24", []uint32{65003})
	b.up(4, 65004) // nobody's neighbor: removed while it came up
	b.path(4, "198.51.100.0/24", []uint32{65004})
	b.tells(4)
	b.want("198.51.100.0/24", "none")
	b.down(4)
}

// slowRank is what rank comes to, said simply.
func (b *bench) slowRank(paths []*path) []*path {
	rest, out := slices.Clone(paths), []*path(nil)
	for len(rest) > 0 {
		best := -1
		for i, x := range rest {
			beaten := slices.ContainsFunc(rest, func(y *path) bool {
				return y.attrs.FirstAS() == x.attrs.FirstAS() && b.compare(y, x, true) < 0
			})
			if !beaten && (best < 0 || b.compare(x, rest[best], false) < 0) {
				best = i
			}
		}
		out = append(out, rest[best])
		rest = slices.Delete(rest, best, best+1)
	}
	return out
}

func TestManyPathsAreRankedAsFewAre(t *testing.T) {
	b := newBench(t, nil)
	rnd := rand.New(rand.NewPCG(1, 2))
	nh := &nexthop{reachable: true}
	for round := range 200 {
		var paths []*path
		for n := range 1 + rnd.IntN(30) {
			a := netip.AddrFrom4([4]byte{10, 10, 10, byte(n + 2)})
			as := uint32(65001 + rnd.IntN(4))
			paths = append(paths, &path{nh: nh, peer: &peer{address: a, routerID: a, external: rnd.IntN(2) == 0}, received: time.Unix(int64(rnd.IntN(3)), 0),
				attrs: &Attributes{NextHop: a, ASPath: []Segment{{ASSequence, []uint32{as}}}, MED: uint32(rnd.IntN(4)), Origin: Origin(rnd.IntN(2))}})
		}
		want := b.slowRank(paths)
		b.rank(paths)
		if !slices.Equal(paths, want) {
			t.Fatalf("round %d: %d paths are ranked in another order", round, len(paths))
		}
	}
}

func TestEqualPathsShareTheTrafficAlthoughOthersRankBetweenThem(t *testing.T) {
	b := newBench(t, func(c *Config) { peers(c); c.MaximumPaths = 4; c.BestPath.CompareRouterID = true })
	b.up(2, 65002)
	b.up(3, 65002)
	b.up(4, 65002)
	b.path(2, "192.0.2.0/24", []uint32{65002, 7})
	b.path(3, "192.0.2.0/24", []uint32{65002, 8})
	b.path(4, "192.0.2.0/24", []uint32{65002, 7})
	b.want("192.0.2.0/24", "20 10.10.10.2 10.10.10.4")
	b.path(3, "192.0.2.0/24", []uint32{65002, 7}, func(a *Attributes) { a.NextHop = ip("10.10.10.2") })
	b.want("192.0.2.0/24", "20 10.10.10.2 10.10.10.4")
}

func TestADefaultRouteOnConditionDoesNotWaverBetweenEntries(t *testing.T) {
	b := newBench(t, peers)
	m := routeMap(t, policy.Entry{Permit: true, Match: policy.Match{PrefixLists: []*policy.PrefixList{prefixList(t, "20.0.1.0/24")}}, Set: policy.Set{Metric: u32(1)}},
		policy.Entry{Permit: true, Set: policy.Set{Metric: u32(2)}})
	b.up(3, 65003)
	b.announce(3, manyPrefixes(40)[1:], 65003)
	b.up(2, 65002)
	b.set(2, func(n *Neighbor) { n.DefaultOriginate, n.DefaultMap = true, m })
	b.wantAttrs(2, "0.0.0.0/0", "65010 i via 1 med 1")
	b.sp.told = nil
	for i := range 50 {
		b.path(3, "192.0.2.0/24", []uint32{65003, uint32(i + 1)})
	}
	for _, s := range b.sp.told {
		if strings.Contains(s, "0.0.0.0/0") {
			t.Fatalf("the default route is told again: %s", s)
		}
	}
}

func TestMaximumPrefixCountsEachFamilyByItself(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		c.Neighbors[slices.IndexFunc(c.Neighbors, func(n Neighbor) bool { return n.RemoteAS == 65002 })].MaximumPrefix = MaximumPrefix{Limit: 3}
	})
	a := ip("10.10.10.2")
	b.sp.o.Events([]Event{&StateEvent{Peer: a, Up: true, RemoteAS: 65002, RouterID: a, External: true, Local: ip("10.10.10.1"), Session: 2,
		Families: []Family{IPv4, IPv6}}})
	six := &Attributes{NextHop: ip("2001:db8::2"), ASPath: []Segment{{ASSequence, []uint32{65002}}}}
	for i := range 3 {
		b.path(2, fmt.Sprintf("192.0.%d.0/24", i), []uint32{65002})
		b.sp.o.Events([]Event{&PathEvent{Peer: a, Session: 2, Prefixes: []netip.Prefix{pfx(fmt.Sprintf("2001:db8:%d::/48", i))}, Attributes: six}})
	}
	b.withdraw(2, "192.0.0.0/24")
	b.path(2, "192.0.0.0/24", []uint32{65002})
	b.heard()
	b.sp.o.Events([]Event{&PathEvent{Peer: a, Session: 2, Prefixes: []netip.Prefix{pfx("2001:db8:9::/48")}, Attributes: six}})
	b.heard("too many from 2: 4 prefixes, the limit is 3, again in 0s")
}

func TestMappedNextHopsLeadNowhereUntilAPolicyNamesAnother(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		for i := range c.Neighbors {
			c.Neighbors[i].Families = []Family{IPv4, IPv6}
		}
	})
	b.rib.SetInterface("Ethernet1", 3, true, []netip.Prefix{pfx("2001:db8::1/64")})
	a := ip("10.10.10.2")
	b.sp.o.Events([]Event{&StateEvent{Peer: a, Up: true, RemoteAS: 65002, RouterID: a, External: true, Local: ip("10.10.10.1"), Session: 2,
		Families: []Family{IPv4, IPv6}}})
	b.sp.o.Events([]Event{&PathEvent{Peer: a, Session: 2, Prefixes: []netip.Prefix{pfx("2001:db8:7::/48")},
		Attributes: &Attributes{NextHop: ip("::ffff:10.10.10.2"), ASPath: []Segment{{ASSequence, []uint32{65002}}}}}})
	if d := b.table[pfx("2001:db8:7::/48")]; d == nil || d.best != nil {
		t.Fatalf("the path is not in the table as one that cannot be reached: %+v", d)
	}
	b.set(2, func(n *Neighbor) {
		n.In.RouteMap = routeMap(t, policy.Entry{Permit: true, Set: policy.Set{NextHop: ip("2001:db8::2")}})
	})
	b.want("2001:db8:7::/48", "20 2001:db8::2")
}

func TestNobodyIsToldToSendToItself(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		for i := range c.Neighbors {
			c.Neighbors[i].NextHopUnchanged = true
		}
	})
	b.up(2, 65002)
	b.up(3, 65003)
	b.path(3, "192.0.2.0/24", []uint32{65003}, func(a *Attributes) { a.NextHop = ip("10.10.10.2") })
	b.path(3, "198.51.100.0/24", []uint32{65003})
	b.tells(2, "198.51.100.0/24")
}

func TestExtendedCommunitiesOfTheASStayInIt(t *testing.T) {
	b := newBench(t, peers)
	b.up(2, 65002)
	b.up(12, 65010)
	b.up(3, 65003)
	b.path(3, "192.0.2.0/24", []uint32{65003}, func(a *Attributes) {
		a.ExtendedCommunities = [][8]byte{{0x40, 4, 0, 1}, {0, 2, 0, 1}}
	})
	for peer, want := range map[string]int{"2": 1, "12": 2} {
		if a := b.sp.out[peer+" 192.0.2.0/24"]; a == nil || len(a.ExtendedCommunities) != want {
			t.Errorf("%s is told %+v, want %d extended communities", peer, a, want)
		}
	}
}

func TestAClosedInstanceIsForgotten(t *testing.T) {
	b := newBench(t, peers)
	gone := make(chan struct{})
	func() {
		x, err := New(b.Config(), Options{RIB: b.rib, Post: func(f func()) { f() }, Speaker: func(SpeakerOptions) (Speaker, error) { return &puppet{}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		runtime.AddCleanup(x, func(c chan struct{}) { close(c) }, gone)
		x.Close()
	}()
	for range 200 {
		runtime.GC()
		select {
		case <-gone:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("the RIB keeps a closed instance")
}
