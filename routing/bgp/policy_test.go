package bgp

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/routing/policy"
	"felloe/routing/rib"
)

func u32(n uint32) *uint32 { return &n }

// prefixList permits what is named, with everything inside it if it ends in "+".
func prefixList(t *testing.T, permit ...string) *policy.PrefixList {
	t.Helper()
	var list []policy.PrefixEntry
	for _, s := range permit {
		s, inside := strings.CutSuffix(s, "+")
		e := policy.PrefixEntry{Permit: true, Prefix: pfx(s)}
		if inside {
			e.LE = e.Prefix.Addr().BitLen()
		}
		list = append(list, e)
	}
	l, err := policy.NewPrefixList("L", list)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func routeMap(t *testing.T, entries ...policy.Entry) *policy.RouteMap {
	t.Helper()
	m, err := policy.NewRouteMap("M", entries)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// with changes the settings of 10.10.10.N.
func (b *bench) set(n int, change func(*Neighbor)) {
	b.t.Helper()
	cfg := b.Config()
	cfg.Neighbors = slices.Clone(cfg.Neighbors)
	for i := range cfg.Neighbors {
		if cfg.Neighbors[i].Address == ip(fmt.Sprintf("10.10.10.%d", n)) {
			change(&cfg.Neighbors[i])
		}
	}
	b.apply(cfg)
}

func (b *bench) apply(cfg Config) {
	b.t.Helper()
	if err := b.Apply(cfg); err != nil {
		b.t.Fatal(err)
	}
	b.sp.told = slices.DeleteFunc(b.sp.told, func(s string) bool { return strings.HasPrefix(s, "apply") })
}

// peers configures 10.10.10.2 and .3 in their own AS, and .12 and .13 in ours.
func peers(c *Config) {
	for n, as := range map[int]uint32{2: 65002, 3: 65003, 12: 65010, 13: 65010} {
		c.Neighbors = append(c.Neighbors, Neighbor{Address: ip(fmt.Sprintf("10.10.10.%d", n)), RemoteAS: as, SendCommunity: true})
	}
}

func (b *bench) static(p string, tag uint32) {
	b.rib.Update(rib.Static, "config", pfx(p), []rib.Path{{Source: rib.Static, Tag: tag, NextHops: []rib.NextHop{{Via: ip("172.16.1.254")}}}})
}

// out is what a peer has been told: the prefixes, or the attributes of one.
func (b *bench) out(n int) (list []string) {
	for k := range b.sp.out {
		if peer, p, _ := strings.Cut(k, " "); peer == fmt.Sprint(n) {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

func (b *bench) tells(n int, want ...string) {
	b.t.Helper()
	if got := b.out(n); !slices.Equal(got, want) {
		b.t.Errorf("peer %d knows %q, want %q", n, got, want)
	}
}

// attrs is what a peer has been told of a prefix, in words.
func (b *bench) attrs(n int, p string) string {
	a := b.sp.out[fmt.Sprintf("%d %s", n, p)]
	if a == nil {
		return "nothing"
	}
	s := fmt.Sprintf("%s %s via %s", a.PathString(), a.Origin.Letter(), last(a.NextHop))
	if a.HasMED {
		s += fmt.Sprintf(" med %d", a.MED)
	}
	if a.HasLocalPref {
		s += fmt.Sprintf(" pref %d", a.LocalPref)
	}
	for _, c := range a.Communities {
		s += " " + policy.CommunityText(c)
	}
	if a.OriginatorID.IsValid() {
		s += fmt.Sprintf(" originator %v cluster %v", a.OriginatorID, a.ClusterList)
	}
	if a.AtomicAggregate {
		s += " atomic"
	}
	if a.Aggregator.ID.IsValid() {
		s += fmt.Sprintf(" aggregator %d %v", a.Aggregator.AS, a.Aggregator.ID)
	}
	return strings.TrimSpace(s)
}

func (b *bench) wantAttrs(n int, p, want string) {
	b.t.Helper()
	if got := b.attrs(n, p); got != want {
		b.t.Errorf("peer %d was told %s %q, want %q", n, p, got, want)
	}
}

func TestPoliciesDecideWhatIsAccepted(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		for i := range c.Neighbors {
			if c.Neighbors[i].Address == ip("10.10.10.2") {
				c.Neighbors[i].In = Policy{prefixList(t, "10.0.0.0/8+"), routeMap(t,
					policy.Entry{Seq: 10, Match: policy.Match{PrefixLists: []*policy.PrefixList{prefixList(t, "10.66.0.0/16")}}},
					policy.Entry{Seq: 20, Permit: true, Set: policy.Set{LocalPreference: u32(200), Weight: u32(7), Communities: []uint32{65010 << 16}, SetCommunities: true, Additive: true}})}
			}
		}
	})
	b.up(2, 65002)
	b.up(3, 65003)
	for _, p := range []string{"10.1.0.0/16", "10.66.0.0/16", "20.0.0.0/8"} {
		b.path(2, p, []uint32{65002, 1, 2}, func(a *Attributes) { a.Communities = []uint32{65002<<16 | 5} })
		b.path(3, p, []uint32{65003})
	}
	b.want("10.1.0.0/16", "20 10.10.10.2")
	b.want("10.66.0.0/16", "20 10.10.10.3")
	b.want("20.0.0.0/8", "20 10.10.10.3")
	e, _ := b.Prefix(pfx("10.1.0.0/16"))
	if p := e.Paths[0]; p.LocalPref != 200 || p.Weight != 7 || !slices.Equal(p.Communities, []uint32{65002<<16 | 5, 65010 << 16}) {
		t.Errorf("the path is %+v", p.Attributes)
	}
	b.sp.told = nil
	// Without the list more passes; the peer is asked for what was refused, and is not reset.
	b.set(2, func(n *Neighbor) { n.In = Policy{} })
	if !slices.Contains(b.sp.told, "clear 10.10.10.2 1") {
		t.Errorf("the peer was not asked: %q", b.sp.told)
	}
	b.want("10.1.0.0/16", "20 10.10.10.3") // the longer path no longer has a better preference
}

func TestWhatCameIsKeptWithSoftReconfiguration(t *testing.T) {
	b := newBench(t, peers)
	b.set(2, func(n *Neighbor) { n.SoftReconfiguration, n.In.PrefixList = true, prefixList(t, "10.0.0.0/8") })
	b.up(2, 65002)
	b.path(2, "10.0.0.0/8", []uint32{65002})
	b.path(2, "20.0.0.0/8", []uint32{65002})
	b.want("20.0.0.0/8", "none")
	list, err := b.Received(ip("10.10.10.2"))
	if err != nil || len(list) != 2 || !list[0].Paths[0].Best || list[1].Paths[0].Valid {
		t.Errorf("received %+v, %v", list, err)
	}
	b.sp.told = nil
	b.set(2, func(n *Neighbor) { n.In.PrefixList = prefixList(t, "20.0.0.0/8") })
	b.want("20.0.0.0/8", "20 10.10.10.2")
	b.want("10.0.0.0/8", "none")
	b.heard() // nobody was asked
	b.withdraw(2, "10.0.0.0/8")
	b.set(2, func(n *Neighbor) { n.In.PrefixList = nil })
	b.want("10.0.0.0/8", "none")
	b.set(2, func(n *Neighbor) { n.SoftReconfiguration = false })
	if _, err := b.Received(ip("10.10.10.2")); err == nil {
		t.Error("what is not kept was shown")
	}
}

func TestPoliciesDecideWhatIsTold(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		c.Redistribute = []Redistribution{{Source: rib.Static}}
	})
	for _, n := range []int{2, 3, 12} {
		b.up(n, map[int]uint32{2: 65002, 3: 65003, 12: 65010}[n])
	}
	b.static("10.1.0.0/16", 7)
	b.static("10.2.0.0/16", 0)
	b.path(2, "20.0.0.0/8", []uint32{65002}, func(a *Attributes) { a.MED, a.HasMED, a.Communities = 5, true, []uint32{65002<<16 | 1} })
	b.tells(3, "10.1.0.0/16", "10.2.0.0/16", "20.0.0.0/8")
	b.wantAttrs(3, "20.0.0.0/8", "65010 65002 i via 1 65002:1")
	b.wantAttrs(12, "20.0.0.0/8", "65002 i via 2 med 5 pref 100 65002:1")
	b.wantAttrs(3, "10.1.0.0/16", "65010 ? via 1 med 0")

	b.set(3, func(n *Neighbor) { n.Out.PrefixList = prefixList(t, "10.0.0.0/8+") })
	b.tells(3, "10.1.0.0/16", "10.2.0.0/16")
	b.tells(12, "10.1.0.0/16", "10.2.0.0/16", "20.0.0.0/8")
	b.set(3, func(n *Neighbor) {
		n.Out = Policy{RouteMap: routeMap(t,
			policy.Entry{Seq: 10, Match: policy.Match{Tags: []uint32{7}}},
			policy.Entry{Seq: 20, Permit: true, Match: policy.Match{Interfaces: []string{"Ethernet0"}}, Set: policy.Set{Metric: u32(50), Prepend: []uint32{65010, 65010}}},
			policy.Entry{Seq: 30, Permit: true, Set: policy.Set{NextHop: ip("10.10.10.99"), Origin: new(uint8), SetCommunities: true, Communities: []uint32{policy.NoExport}}})}
	})
	b.tells(3, "10.2.0.0/16", "20.0.0.0/8")
	b.wantAttrs(3, "10.2.0.0/16", "65010 65010 65010 ? via 1 med 50")
	b.wantAttrs(3, "20.0.0.0/8", "65010 65002 i via 99 no-export")
	list, err := b.Advertised(ip("10.10.10.3"))
	if err != nil || len(list) != 2 || list[0].Prefix != pfx("10.2.0.0/16") {
		t.Errorf("advertised %+v, %v", list, err)
	}
	b.set(3, func(n *Neighbor) { n.Out, n.SendCommunity = Policy{}, false })
	b.wantAttrs(3, "20.0.0.0/8", "65010 65002 i via 1")
	for _, s := range b.sp.told {
		if strings.HasPrefix(s, "clear") {
			t.Error("a policy towards a peer reset or asked it")
		}
	}
	b.sp.told = nil
	b.sp.peers = []Peer{{Address: ip("10.10.10.3")}}
	if err := b.Clear(ip("10.10.10.3"), ClearSoftOut); err != nil {
		t.Fatal(err)
	}
	if len(b.sp.told) != 3 {
		t.Errorf("told again: %q", b.sp.told)
	}
	b.sp.told = nil
	b.sp.o.Events([]Event{&RefreshEvent{Peer: ip("10.10.10.3"), Session: 3, Family: IPv4}})
	if len(b.sp.told) != 3 {
		t.Errorf("told when asked: %q", b.sp.told)
	}
}

func TestWellKnownCommunitiesAreObeyed(t *testing.T) {
	b := newBench(t, peers)
	for _, n := range []int{2, 3, 12} {
		b.up(n, map[int]uint32{2: 65002, 3: 65003, 12: 65010}[n])
	}
	for p, c := range map[string]uint32{"10.1.0.0/16": policy.NoExport, "10.2.0.0/16": policy.NoAdvertise, "10.3.0.0/16": policy.LocalAS} {
		b.path(2, p, []uint32{65002}, func(a *Attributes) { a.Communities = []uint32{c} })
	}
	b.tells(3)
	b.tells(12, "10.1.0.0/16", "10.3.0.0/16")
}

func TestInternalPathsAreReflectedToClientsAndFromThem(t *testing.T) {
	b := newBench(t, peers)
	for n, as := range map[int]uint32{2: 65002, 12: 65010, 13: 65010} {
		b.up(n, as)
	}
	b.path(12, "10.0.0.0/8", nil)
	b.tells(13)
	b.wantAttrs(2, "10.0.0.0/8", "65010 i via 1")
	b.set(13, func(n *Neighbor) { n.RouteReflectorClient = true })
	b.wantAttrs(13, "10.0.0.0/8", "i via 12 pref 100 originator 10.10.10.12 cluster [10.10.10.1]")
	b.set(13, func(n *Neighbor) { n.NextHopSelf = true })
	b.wantAttrs(13, "10.0.0.0/8", "i via 12 pref 100 originator 10.10.10.12 cluster [10.10.10.1]")
	b.set(13, func(n *Neighbor) { n.NextHopSelfAll = true })
	b.wantAttrs(13, "10.0.0.0/8", "i via 1 pref 100 originator 10.10.10.12 cluster [10.10.10.1]")
	b.tells(12)
}

func TestPrivateNumbersAreRemovedAndTheNeighboursReplaced(t *testing.T) {
	b := newBench(t, peers)
	b.up(2, 65002)
	b.up(3, 65003)
	b.path(2, "10.0.0.0/8", []uint32{65002, 100, 65003, 4200000001})
	b.wantAttrs(3, "10.0.0.0/8", "65010 65002 100 65003 4200000001 i via 1")
	b.set(3, func(n *Neighbor) { n.ASOverride = true })
	b.wantAttrs(3, "10.0.0.0/8", "65010 65002 100 65010 4200000001 i via 1")
	b.set(3, func(n *Neighbor) { n.RemovePrivateAS = true })
	b.wantAttrs(3, "10.0.0.0/8", "65010 100 i via 1")
}

func TestADefaultRouteIsOriginatedForANeighbour(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		c.Redistribute = []Redistribution{{Source: rib.Static}}
	})
	b.up(2, 65002)
	b.up(3, 65003)
	b.set(2, func(n *Neighbor) { n.DefaultOriginate, n.Out.PrefixList = true, prefixList(t, "10.0.0.0/8") })
	b.wantAttrs(2, "0.0.0.0/0", "65010 i via 1 med 0")
	b.tells(3)
	b.want("0.0.0.0/0", "none")
	m := routeMap(t, policy.Entry{Permit: true, Match: policy.Match{PrefixLists: []*policy.PrefixList{prefixList(t, "10.0.0.0/8")}}, Set: policy.Set{Metric: u32(9)}})
	b.set(2, func(n *Neighbor) { n.DefaultMap = m })
	b.tells(2)
	b.static("10.0.0.0/8", 0)
	b.wantAttrs(2, "0.0.0.0/0", "65010 i via 1 med 9")
	b.rib.Withdraw(rib.Static, "config", pfx("10.0.0.0/8"))
	b.tells(2)
	b.static("10.0.0.0/8", 0)
	b.set(2, func(n *Neighbor) { n.DefaultOriginate, n.DefaultMap = false, nil })
	b.tells(2, "10.0.0.0/8")
}

func TestDefaultRoutesAreRedistributedOnlyWhenSaidSo(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		c.Redistribute = []Redistribution{{Source: rib.Static}}
	})
	b.up(2, 65002)
	b.static("0.0.0.0/0", 0)
	b.tells(2)
	cfg := b.Config()
	cfg.DefaultInformation = true
	b.apply(cfg)
	b.tells(2, "0.0.0.0/0")
	cfg.DefaultInformation, cfg.Networks = false, []netip.Prefix{pfx("0.0.0.0/0")}
	b.apply(cfg)
	b.wantAttrs(2, "0.0.0.0/0", "65010 i via 1 med 0")
}

func TestRedistributionIsFilteredAndChanged(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		c.Redistribute = []Redistribution{{Source: rib.Static, RouteMap: routeMap(t, policy.Entry{Permit: true, Match: policy.Match{Tags: []uint32{7}}, Set: policy.Set{Metric: u32(70), LocalPreference: u32(300)}})},
			{Source: rib.Connected, Metric: u32(5), RouteMap: routeMap(t, policy.Entry{Permit: true, Match: policy.Match{Interfaces: []string{"Loopback80"}}})}, {Source: rib.IKE}}
	})
	b.up(2, 65002)
	b.up(12, 65010)
	b.static("10.1.0.0/16", 7)
	b.static("10.2.0.0/16", 8)
	b.rib.SetInterface("Loopback80", 8, true, []netip.Prefix{pfx("81.81.81.1/32")})
	b.rib.Update(rib.IKE, "Virtual-Access1", pfx("10.122.144.128/27"), []rib.Path{{Source: rib.IKE, NextHops: []rib.NextHop{{Interface: "Tunnel0"}}}})
	b.tells(2, "10.1.0.0/16", "10.122.144.128/27", "81.81.81.1/32")
	b.wantAttrs(12, "10.1.0.0/16", "? via 1 med 70 pref 300")
	b.wantAttrs(2, "10.122.144.128/27", "65010 ? via 1 med 0")
	b.wantAttrs(2, "81.81.81.1/32", "65010 ? via 1 med 5")
	b.static("10.1.0.0/16", 8)
	b.tells(2, "10.122.144.128/27", "81.81.81.1/32")
}

func TestASummaryStandsForWhatItCovers(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		c.Aggregates = []Aggregate{{Prefix: pfx("10.0.0.0/8"), SummaryOnly: true}}
	})
	b.up(2, 65002)
	b.up(3, 65003)
	b.path(2, "10.0.0.0/8", []uint32{65002}) // the same prefix is nothing that it covers
	b.tells(3, "10.0.0.0/8")
	b.wantAttrs(3, "10.0.0.0/8", "65010 65002 i via 1")
	b.withdraw(2, "10.0.0.0/8")
	b.path(2, "10.1.0.0/16", []uint32{65002})
	b.path(2, "10.2.0.0/16", []uint32{65002, 7})
	b.path(2, "20.0.0.0/8", []uint32{65002})
	b.tells(3, "10.0.0.0/8", "20.0.0.0/8")
	b.wantAttrs(3, "10.0.0.0/8", "65010 i via 1 med 0 atomic aggregator 65010 10.10.10.1")
	b.tells(2, "10.0.0.0/8")
	if r, _ := b.rib.Get(pfx("10.0.0.0/8")); r.Distance != 200 || len(r.Hops) != 0 {
		t.Errorf("the RIB has %+v", r)
	}
	b.want("10.1.0.0/16", "20 10.10.10.2")
	e, _ := b.Prefix(pfx("10.1.0.0/16"))
	if f := e.Paths[0].Flags(); f != "s> " {
		t.Errorf("the flags are %q", f)
	}
	cfg := b.Config()
	cfg.Aggregates = []Aggregate{{Prefix: pfx("10.0.0.0/8"), ASSet: true, AttributeMap: routeMap(t, policy.Entry{Permit: true, Set: policy.Set{Metric: u32(3)}})}}
	b.apply(cfg)
	b.tells(3, "10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16", "20.0.0.0/8")
	b.wantAttrs(3, "10.0.0.0/8", "65010 {7,65002} i via 1 med 3 aggregator 65010 10.10.10.1")
	b.withdraw(2, "10.2.0.0/16")
	b.wantAttrs(3, "10.0.0.0/8", "65010 {65002} i via 1 med 3 aggregator 65010 10.10.10.1")
	b.withdraw(2, "10.1.0.0/16")
	b.tells(3, "20.0.0.0/8")
	b.want("10.0.0.0/8", "none")
	cfg.Aggregates[0].SummaryOnly = true
	b.apply(cfg)
	b.down(2)
	b.tells(3)
	if len(b.table) != 0 || b.rib.Len() != 4 {
		t.Errorf("something is left: %v", slices.Collect(maps.Keys(b.table)))
	}
}

func TestSummariesOfSummaries(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		c.Aggregates = []Aggregate{{Prefix: pfx("10.0.0.0/8"), SummaryOnly: true}, {Prefix: pfx("10.1.0.0/16"), SummaryOnly: true}}
	})
	b.up(2, 65002)
	b.up(3, 65003)
	b.path(2, "10.1.1.0/24", []uint32{65002})
	b.tells(3, "10.0.0.0/8")
	cfg := b.Config()
	cfg.Aggregates = cfg.Aggregates[1:]
	b.apply(cfg)
	b.tells(3, "10.1.0.0/16")
	cfg.Aggregates = nil
	b.apply(cfg)
	b.tells(3, "10.1.1.0/24")
	b.want("10.1.0.0/16", "none")
}

func TestTheLimitOfPrefixes(t *testing.T) {
	b := newBench(t, peers)
	b.set(2, func(n *Neighbor) {
		n.MaximumPrefix = MaximumPrefix{Limit: 4, Threshold: 50, Restart: 5 * time.Minute}
	})
	b.set(3, func(n *Neighbor) { n.MaximumPrefix = MaximumPrefix{Limit: 1, WarningOnly: true} })
	b.up(2, 65002)
	b.up(3, 65003)
	for i := range 6 {
		b.path(2, fmt.Sprintf("10.%d.0.0/16", i), []uint32{65002})
		b.path(3, fmt.Sprintf("20.%d.0.0/16", i), []uint32{65003})
	}
	if !slices.Contains(b.sp.told, "too many from 2: 5 prefixes, the limit is 4, again in 5m0s") {
		t.Errorf("the speaker was told %q", b.sp.told)
	}
	for s, want := range map[string]int{"MAXPFX: Number of prefixes received from 10.10.10.2 reaches 3, max 4": 1, "MAXPFXEXCEED: Number of prefixes received from 10.10.10.2 : 5 exceeds limit 4": 1,
		"MAXPFXEXCEED: Number of prefixes received from 10.10.10.3 : 2 exceeds limit 1": 1, "MAXPFXEXCEED": 2} {
		if got := strings.Count(b.log.String(), s); got != want {
			t.Errorf("%q is %d times in the log", s, got)
		}
	}
	for _, n := range b.Neighbors() {
		t.Log(n.Address, n.Prefixes)
	}
	if n := len(b.peers[ip("10.10.10.2")].paths); n != 5 {
		t.Errorf("%d paths were taken of the peer that had too many", n)
	}
	if n := len(b.peers[ip("10.10.10.3")].paths); n != 6 {
		t.Errorf("%d paths were taken of the peer that is only warned of", n)
	}
}

func TestWeightComesFirst(t *testing.T) {
	b := newBench(t, peers)
	b.up(2, 65002)
	b.up(12, 65010)
	b.set(2, func(n *Neighbor) { n.Weight = 1 })
	b.path(12, "10.0.0.0/8", nil, func(a *Attributes) { a.LocalPref, a.HasLocalPref = 1000, true })
	b.path(2, "10.0.0.0/8", []uint32{65002, 1, 2, 3})
	b.want("10.0.0.0/8", "20 10.10.10.2")
	b.set(2, func(n *Neighbor) { n.Weight = 0 })
	b.want("10.0.0.0/8", "200 10.10.10.12")
	// More than what begins here has.
	cfg := b.Config()
	cfg.Redistribute = []Redistribution{{Source: rib.Static}}
	b.apply(cfg)
	b.set(2, func(n *Neighbor) { n.Weight = 40000 })
	b.static("10.0.0.0/8", 0)
	if e, _ := b.Prefix(pfx("10.0.0.0/8")); e.Paths[0].Peer != ip("10.10.10.2") || !e.Paths[0].RIBFailure {
		t.Errorf("the best path is %+v", e.Paths[0])
	}
}

func TestWithoutDeterministicMEDTheOrderOfArrivalMatters(t *testing.T) {
	best := func(order []int, change func(*Config)) string {
		b := newBench(t, func(c *Config) {
			peers(c)
			c.BestPath.CompareRouterID = true
			change(c)
		})
		b.up(2, 65002)
		b.up(3, 65003)
		b.up(4, 65004)
		add := map[int]func(){
			2: func() { b.path(2, "192.0.2.0/24", []uint32{1, 9}, func(a *Attributes) { a.MED = 20 }) },
			3: func() { b.path(3, "192.0.2.0/24", []uint32{2, 9}, func(a *Attributes) { a.MED = 30 }) },
			4: func() { b.path(4, "192.0.2.0/24", []uint32{1, 9}, func(a *Attributes) { a.MED = 10 }) },
		}
		for _, n := range order {
			add[n]()
		}
		return b.via("192.0.2.0/24")
	}
	orders := [][]int{{2, 3, 4}, {2, 4, 3}, {3, 2, 4}, {3, 4, 2}, {4, 2, 3}, {4, 3, 2}}
	count := func(change func(*Config)) int {
		seen := map[string]bool{}
		for _, o := range orders {
			seen[best(o, change)] = true
		}
		return len(seen)
	}
	if n := count(func(*Config) {}); n != 1 {
		t.Errorf("%d outcomes with deterministic MED", n)
	}
	if n := count(func(c *Config) { c.BestPath.NoDeterministicMED = true }); n < 2 {
		t.Errorf("%d outcome without deterministic MED", n)
	}
	if got := best(orders[0], func(c *Config) { c.BestPath.AlwaysCompareMED = true }); got != "20 10.10.10.4" {
		t.Errorf("always-compare-med takes %s", got)
	}
}

func TestIPv6PoliciesAreTheSame(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Neighbors = []Neighbor{{Address: ip("fd00::2"), RemoteAS: 65002}, {Address: ip("fd00::3"), RemoteAS: 65003, DefaultOriginate: true,
			Out: Policy{PrefixList: prefixList(t, "2001:db8::/32+")}}}
		c.Aggregates = []Aggregate{{Prefix: pfx("2001:db8::/32"), SummaryOnly: true}}
	})
	b.rib.SetInterface("Tunnel0", 2, true, []netip.Prefix{pfx("fd00::1/64")})
	for i, as := range []uint32{65002, 65003} {
		b.sp.o.Events([]Event{&StateEvent{Peer: b.Config().Neighbors[i].Address, Up: true, RemoteAS: as, RouterID: ip("1.1.1.1"), External: true, Local: ip("fd00::1"), Session: uint64(i)}})
	}
	b.sp.o.Events([]Event{&PathEvent{Peer: ip("fd00::2"), Prefixes: []netip.Prefix{pfx("2001:db8:1::/48"), pfx("fd55::/16")},
		Attributes: &Attributes{NextHop: ip("fd00::2"), ASPath: []Segment{{ASSequence, []uint32{65002}}}}}})
	want := []string{"fd00::3 2001:db8::/32", "fd00::3 ::/0", "fd00::2 2001:db8::/32"}
	got := slices.Sorted(maps.Keys(b.sp.out))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the peers know %q", got)
	}
	if a := b.sp.out["fd00::3 2001:db8::/32"]; a != nil && a.NextHop != ip("fd00::1") {
		t.Errorf("the next hop is %v", a.NextHop)
	}
	if r, ok := b.rib.Get(pfx("2001:db8::/32")); !ok || r.Distance != 200 {
		t.Errorf("the RIB has %+v", r)
	}
}

func TestClearingEverythingChoosesTheRouterIDAnew(t *testing.T) {
	b := newBench(t, nil)
	b.o.RouterID = func() netip.Addr { return ip("9.9.9.9") }
	_ = b.Clear(netip.Addr{}, ClearHard)
	if b.Config().RouterID != ip("9.9.9.9") {
		t.Error("the router ID is the old one")
	}
	b.heard("apply 65010")
	_ = b.Clear(netip.Addr{}, ClearHard)
	b.heard("clear invalid IP 0")
}

func TestTheSummaryTellsTheVRF(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.RD, c.ListenLimit = "65000:7", 255
		c.Listen = []Listen{{Range: pfx("10.122.144.0/24")}}
	})
	b.o.VRF = "private-vrf"
	s := b.Summary()
	if s.VRF != "private-vrf" || s.RD != "65000:7" || s.Limit != 100 || s.LimitAll != 255 || b.RD() != "Route Distinguisher: 65000:7 (default for vrf private-vrf)" {
		t.Errorf("the summary is %+v, %q", s, b.RD())
	}
}
