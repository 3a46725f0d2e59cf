package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/routing/policy"
	"felloe/routing/rib"

	"github.com/rs/zerolog"
)

// gracefulBench is a bench with graceful restart, and time that passes when told.
type gracefulBench struct {
	*bench
	timers []*timer
	bfd    map[string]func(bool)
}

type timer struct {
	at time.Time
	f  func()
}

// Watch implements BFD.
func (g *gracefulBench) Watch(vrf string, local, remote netip.Addr, multihop bool, f func(bool)) func() {
	key := fmt.Sprintf("%s %v %v multihop=%v", vrf, local, remote, multihop)
	g.bfd[key] = f
	f(false)
	return func() { delete(g.bfd, key) }
}

func (g *gracefulBench) pass(d time.Duration) {
	g.now = g.now.Add(d)
	for {
		i := slices.IndexFunc(g.timers, func(t *timer) bool { return t.f != nil && !t.at.After(g.now) })
		if i < 0 {
			return
		}
		f := g.timers[i].f
		g.timers[i].f = nil
		f()
	}
}

// newGraceful is spoke 10.1.1.100, whose Tunnel1 leads to the hub 10.1.1.1, beside a WAN with a default route.
func newGraceful(t *testing.T, change func(*Config)) *gracefulBench {
	g := &gracefulBench{bench: &bench{t: t, now: time.Unix(1000, 0), sp: &puppet{}}, bfd: make(map[string]func(bool))}
	g.rib = rib.New(rib.Options{})
	g.rib.SetInterface("Ethernet0", 1, true, []netip.Prefix{pfx("172.16.1.2/24"), pfx("2001:db8::2/64")})
	for _, p := range []string{"0.0.0.0/0", "::/0"} {
		via := "172.16.1.254"
		if p == "::/0" {
			via = "2001:db8::1"
		}
		g.rib.Update(rib.Static, "config", pfx(p), []rib.Path{{Source: rib.Static, NextHops: []rib.NextHop{{Via: ip(via)}}}})
	}
	g.tunnel(true)
	cfg := Config{AS: 65001, RouterID: ip("10.1.1.100"), GracefulRestart: GracefulRestart{Enabled: true},
		Neighbors: []Neighbor{{Address: ip("10.1.1.1"), RemoteAS: 65001, Families: []Family{IPv4, IPv6}}}}
	if change != nil {
		change(&cfg)
	}
	var err error
	g.BGP, err = New(cfg, Options{RIB: g.rib, Now: func() time.Time { return g.now }, Log: zerolog.New(&g.log), BFD: g,
		Follows: func(ifname string) bool { return strings.HasPrefix(ifname, "Tunnel") },
		Tunnel:  func(ifname string) bool { return ifname == "Multipoint0" },
		After: func(d time.Duration, f func()) func() {
			x := &timer{g.now.Add(d), f}
			g.timers = append(g.timers, x)
			return func() { x.f = nil }
		},
		Post: func(f func()) { f() }, Speaker: func(o SpeakerOptions) (Speaker, error) { g.sp.o = o; return g.sp, nil }})
	if err != nil {
		t.Fatal(err)
	}
	g.sp.told = nil
	return g
}

func (g *gracefulBench) tunnel(up bool) {
	g.rib.SetInterface("Tunnel1", 2, up, []netip.Prefix{pfx("10.1.1.100/32"), pfx("fd00::100/128")})
	for _, p := range []string{"10.1.1.1/32", "fd00::1/128"} {
		if up {
			g.rib.SetIKE(pfx(p), "Tunnel1", 1, 0)
		} else {
			g.rib.DeleteIKE(pfx(p), "Tunnel1")
		}
	}
}

var both = []Family{IPv4, IPv6}

// hub says that a session with the hub is up.
func (g *gracefulBench) hub(session uint64, id string, x *Graceful) {
	g.sp.o.Events([]Event{&StateEvent{Peer: ip("10.1.1.1"), Up: true, RemoteAS: 65001, RouterID: ip(id), Local: ip("10.1.1.100"),
		Session: session, Refresh: true, Families: both, Graceful: x}})
}

func (g *gracefulBench) says(session uint64, prefixes ...string) {
	for _, p := range prefixes {
		a := &Attributes{NextHop: ip("10.1.1.1")}
		if pfx(p).Addr().Is6() {
			a.NextHop = ip("fd00::1")
		}
		g.sp.o.Events([]Event{&PathEvent{Peer: ip("10.1.1.1"), Session: session, Prefixes: []netip.Prefix{pfx(p)}, Attributes: a}})
	}
}

func (g *gracefulBench) end(session uint64, f Family) {
	g.sp.o.Events([]Event{&EndOfRIBEvent{Peer: ip("10.1.1.1"), Session: session, Family: f}})
}

func (g *gracefulBench) lost() {
	g.sp.o.Events([]Event{&StateEvent{Peer: ip("10.1.1.1"), Reason: "Peer closed the session", Lost: true}})
}

// has are the prefixes that BGP has in the RIB, with the interface each leaves by; stale ones with an S.
func (g *gracefulBench) has(want ...string) {
	g.t.Helper()
	var got []string
	for _, r := range g.rib.Routes() {
		if r.Source != rib.IBGP || r.Kind != 0 {
			continue
		}
		s := r.Prefix.String() + " " + r.Hops[0].Interface
		if e, ok := g.Prefix(r.Prefix); ok && strings.HasPrefix(e.Paths[0].Flags(), "S") {
			s += " S"
		}
		got = append(got, s)
	}
	if !slices.Equal(got, want) {
		g.t.Errorf("BGP's routes are %q, want %q", got, want)
	}
}

func TestTheOldPathsHoldUntilTheNewHubHasSaidEverything(t *testing.T) {
	g := newGraceful(t, nil)
	keeps := &Graceful{Time: 2 * time.Minute, Families: both, Kept: both}
	g.hub(1, "1.1.1.1", keeps)
	g.says(1, "192.168.0.0/16", "192.168.7.0/24", "2001:db8:1::/48", "2001:db8:7::/48")
	g.end(1, IPv4)
	g.end(1, IPv6)
	all := []string{"192.168.0.0/16 Tunnel1", "192.168.7.0/24 Tunnel1", "2001:db8:1::/48 Tunnel1", "2001:db8:7::/48 Tunnel1"}
	g.has(all...)
	// The hub is found dead. Nothing goes to the WAN's default route instead.
	g.sp.told, g.sp.nudged = nil, nil
	g.tunnel(false)
	g.heard("lost 10.1.1.1: our address is gone")
	g.has()
	g.lost()
	g.has()
	if n := g.Neighbors(); len(n) != 0 && n[0].Stale != 4 {
		t.Errorf("the neighbour is %+v", n)
	}
	// The tunnel leads to the other hub, which has the same address: what was learned is used before BGP is up.
	g.tunnel(true)
	stale := make([]string, len(all))
	for i := range all {
		stale[i] = all[i] + " S"
	}
	g.has(stale...)
	if len(g.sp.nudged) == 0 {
		t.Error("nobody connects at once")
	}
	g.hub(2, "2.2.2.2", keeps)
	g.has(stale...)
	g.says(2, "192.168.0.0/16", "2001:db8:1::/48")
	g.has("192.168.0.0/16 Tunnel1", "192.168.7.0/24 Tunnel1 S", "2001:db8:1::/48 Tunnel1", "2001:db8:7::/48 Tunnel1 S")
	g.end(2, IPv4)
	g.has("192.168.0.0/16 Tunnel1", "2001:db8:1::/48 Tunnel1", "2001:db8:7::/48 Tunnel1 S")
	g.end(2, IPv6)
	g.has("192.168.0.0/16 Tunnel1", "2001:db8:1::/48 Tunnel1")
	if len(g.stale) != 0 || g.Summary().Paths != 2 {
		t.Errorf("%d sessions are left, and %d paths", len(g.stale), g.Summary().Paths)
	}
	g.Close()
	g.has()
}

func TestAMoveWhileTheTunnelStaysUpBeginsTheSessionAnew(t *testing.T) {
	g := newGraceful(t, nil)
	keeps := &Graceful{Time: 2 * time.Minute, Families: both, Kept: both}
	g.hub(1, "2.2.2.2", keeps)
	g.says(1, "192.168.0.0/16")
	g.sp.told, g.sp.nudged = nil, nil
	g.Moved("Tunnel1", "the tunnel leads to 172.25.1.1")
	g.heard("lost 10.1.1.1: the tunnel leads to 172.25.1.1")
	if !slices.Contains(g.sp.nudged, "10.1.1.1") {
		t.Error("nobody connects at once")
	}
	g.has("192.168.0.0/16 Tunnel1")
	g.lost()
	g.has("192.168.0.0/16 Tunnel1 S")
	g.hub(2, "1.1.1.1", keeps)
	g.says(2, "192.168.0.0/16")
	g.has("192.168.0.0/16 Tunnel1")
	g.Moved("Tunnel9", "another")
	g.heard()
}

func TestWhatIsStaleDoesNotStayForEver(t *testing.T) {
	for name, c := range map[string]struct {
		g     *Graceful
		lost  bool
		kept  bool
		after func(*gracefulBench) bool // says whether it is still there
	}{
		"a NOTIFICATION ends it":          {&Graceful{Time: time.Minute, Families: both}, false, false, nil},
		"a peer that knows nothing of it": {nil, true, false, nil},
		"a peer that keeps nothing":       {&Graceful{Time: time.Minute}, true, false, nil},
		"the peer does not come back": {&Graceful{Time: time.Minute, Families: both}, true, true, func(g *gracefulBench) bool {
			g.pass(59 * time.Second)
			g.has("192.168.0.0/16 Tunnel1 S")
			g.pass(time.Second)
			return false
		}},
		"the peer kept nothing": {&Graceful{Time: time.Minute, Families: both, Kept: both}, true, true, func(g *gracefulBench) bool {
			g.hub(2, "1.1.1.1", &Graceful{Restarting: true, Families: both, Kept: []Family{IPv6}})
			return false
		}},
		"the peer comes back without": {&Graceful{Time: time.Minute, Families: both, Kept: both}, true, true, func(g *gracefulBench) bool {
			g.hub(2, "1.1.1.1", nil)
			return false
		}},
		"the peer never says that it has said everything": {&Graceful{Time: time.Minute, Families: both, Kept: both}, true, true, func(g *gracefulBench) bool {
			g.hub(2, "1.1.1.1", &Graceful{Families: both, Kept: both})
			g.pass(359 * time.Second)
			g.has("192.168.0.0/16 Tunnel1 S")
			g.pass(time.Second)
			return false
		}},
		"the peer restarts once more": {&Graceful{Time: time.Minute, Families: both, Kept: both}, true, true, func(g *gracefulBench) bool {
			g.hub(2, "1.1.1.1", &Graceful{Time: time.Minute, Families: both, Kept: both})
			g.lost()
			return false
		}},
		"the neighbour is taken out of the configuration": {&Graceful{Time: time.Minute, Families: both}, true, true, func(g *gracefulBench) bool {
			cfg := g.Config()
			cfg.Neighbors = nil
			if err := g.Apply(cfg); err != nil {
				g.t.Fatal(err)
			}
			return false
		}},
		"graceful restart is switched off": {&Graceful{Time: time.Minute, Families: both}, true, true, func(g *gracefulBench) bool {
			cfg := g.Config()
			cfg.GracefulRestart = GracefulRestart{}
			if err := g.Apply(cfg); err != nil {
				g.t.Fatal(err)
			}
			return false
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGraceful(t, nil)
			g.hub(1, "1.1.1.1", c.g)
			g.says(1, "192.168.0.0/16")
			g.sp.o.Events([]Event{&StateEvent{Peer: ip("10.1.1.1"), Reason: "x", Lost: c.lost}})
			if !c.kept {
				g.has()
				return
			}
			g.has("192.168.0.0/16 Tunnel1 S")
			if !c.after(g) {
				g.has()
			}
			if len(g.stale) != 0 {
				t.Error("it is remembered")
			}
		})
	}
}

func TestEverythingIsToldBeforeEndOfRIB(t *testing.T) {
	g := newGraceful(t, func(c *Config) { c.Networks = []netip.Prefix{pfx("172.16.1.0/24")} })
	if g.sp.recovered {
		t.Error("the router says that it has not restarted")
	}
	// It has just started: what the peer has comes first.
	g.hub(1, "1.1.1.1", &Graceful{Time: time.Minute, Families: both, Kept: both})
	g.says(1, "192.168.0.0/16")
	g.end(1, IPv4)
	if len(g.sp.told)+len(g.sp.eor) != 0 {
		t.Errorf("the peer heard %q, %q", g.sp.told, g.sp.eor)
	}
	g.end(1, IPv6)
	g.heard("10.1.1.1 < 172.16.1.0/24 via 10.1.1.100 path i")
	if !slices.Equal(g.sp.eor, []string{"10.1.1.1"}) || !g.sp.recovered {
		t.Errorf("End-of-RIB went to %q, recovered %v", g.sp.eor, g.sp.recovered)
	}
	// A changed policy ends nothing once more, and neither does a refresh.
	cfg := g.Config()
	cfg.Neighbors = slices.Clone(cfg.Neighbors)
	cfg.Neighbors[0].SendCommunity = true
	if err := g.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	g.sp.o.Events([]Event{&RefreshEvent{Peer: ip("10.1.1.1"), Session: 1, Family: IPv4}})
	if len(g.sp.eor) != 1 {
		t.Errorf("End-of-RIB went to %q", g.sp.eor)
	}
	// Nobody waits for a peer that has restarted, too, and nobody waits for ever.
	for _, x := range []*Graceful{nil, {Restarting: true, Families: both}} {
		g = newGraceful(t, nil)
		g.hub(1, "1.1.1.1", x)
		if len(g.sp.eor) != 1 {
			t.Error("the router waits")
		}
	}
	g = newGraceful(t, nil)
	g.hub(1, "1.1.1.1", &Graceful{Families: both})
	g.pass(deferral)
	if len(g.sp.eor) != 1 {
		t.Error("the router waits for ever")
	}
}

func TestBFDEndsASession(t *testing.T) {
	g := newGraceful(t, func(c *Config) {
		c.Neighbors[0].BFD = BFDAuto
		c.MaximumPathsIBGP = 2
	})
	g.hub(1, "1.1.1.1", &Graceful{Time: time.Minute, Families: both, Kept: both})
	g.says(1, "192.168.0.0/16")
	f := g.bfd["default 10.1.1.100 10.1.1.1 multihop=false"] // it is at the other end of the tunnel
	if f == nil {
		t.Fatalf("BFD watches %v", g.bfd)
	}
	f(false)
	g.has("192.168.0.0/16 Tunnel1") // it did not come up: the peer may not do it
	f(true)
	g.sp.told = nil
	f(false)
	// What leads nowhere is not used, though its session may come back.
	g.heard("lost 10.1.1.1: BFD adjacency down")
	g.has()
	g.lost()
	g.has()
	if len(g.bfd) != 0 {
		t.Errorf("BFD watches %v", g.bfd)
	}
	g.Moved("Tunnel1", "the tunnel leads to 172.25.2.1")
	g.has("192.168.0.0/16 Tunnel1 S")
	// Settings that change count at once.
	g.hub(2, "2.2.2.2", nil)
	for mode, want := range []string{BFDSingleHop: "default 10.1.1.100 10.1.1.1 multihop=false", BFDMultihop: "default 10.1.1.100 10.1.1.1 multihop=true", BFDOff: ""} {
		if BFDMode(mode) == BFDAuto {
			continue
		}
		cfg := g.Config()
		cfg.Neighbors = slices.Clone(cfg.Neighbors)
		cfg.Neighbors[0].BFD = BFDMode(mode)
		if err := g.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		if (len(g.bfd) == 1) != (want != "") || want != "" && g.bfd[want] == nil {
			t.Errorf("%v: BFD watches %v", BFDMode(mode), g.bfd)
		}
	}
}

func TestADynamicNeighbourGoesWithItsTunnel(t *testing.T) {
	g := newGraceful(t, func(c *Config) {
		c.Neighbors, c.Listen = nil, []Listen{{Range: pfx("10.1.1.0/24"), Template: Neighbor{RemoteAS: 65001}}}
	})
	come := func(a string, tunnel string, session uint64) {
		g.rib.SetInterface(tunnel, uint32(session), true, nil)
		g.rib.SetIKE(netip.PrefixFrom(ip(a), 32), tunnel, 1, 0)
		g.sp.o.Events([]Event{&StateEvent{Peer: ip(a), Up: true, RemoteAS: 65001, RouterID: ip(a), Local: ip("10.1.1.100"), Session: session,
			Dynamic: true, Graceful: &Graceful{Time: time.Minute, Families: both, Kept: both}}})
		g.sp.o.Events([]Event{&PathEvent{Peer: ip(a), Session: session, Prefixes: []netip.Prefix{pfx("192.168.101.0/24")}, Attributes: &Attributes{NextHop: ip(a)}}})
	}
	come("10.1.1.101", "Virtual-Access1", 11)
	g.has("192.168.101.0/24 Virtual-Access1")
	g.rib.DeleteIKE(pfx("10.1.1.101/32"), "Virtual-Access1")
	g.rib.RemoveInterface("Virtual-Access1")
	g.heard("lost 10.1.1.101: the route to it is gone")
	g.sp.o.Events([]Event{&StateEvent{Peer: ip("10.1.1.101"), Reason: "gone", Lost: true}})
	g.has()
	if len(g.stale)+len(g.peers) != 0 || g.ways.Size() != 0 {
		t.Errorf("%d sessions and %d ways are left", len(g.stale), g.ways.Size())
	}
	// One that announced too much is let in again when the address is somebody else's.
	come("10.1.1.102", "Virtual-Access2", 12)
	cfg := g.Config()
	cfg.Listen = []Listen{{Range: pfx("10.1.1.0/24"), Template: Neighbor{RemoteAS: 65001, MaximumPrefix: MaximumPrefix{Limit: 1}}}}
	if err := g.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	g.sp.told = nil
	g.sp.o.Events([]Event{&PathEvent{Peer: ip("10.1.1.102"), Session: 12, Prefixes: []netip.Prefix{pfx("192.168.103.0/24")}, Attributes: &Attributes{NextHop: ip("10.1.1.102")}}})
	g.sp.o.Events([]Event{&StateEvent{Peer: ip("10.1.1.102"), Reason: "too many"}})
	g.heard("too many from 10.1.1.102: 2 prefixes, the limit is 1, again in 0s")
	g.rib.DeleteIKE(pfx("10.1.1.102/32"), "Virtual-Access2")
	g.rib.RemoveInterface("Virtual-Access2")
	g.rib.Withdraw(rib.Static, "config", pfx("0.0.0.0/0"))
	g.heard("forget 10.1.1.102")
}

func TestRoutesOfATunnelDoNotLeaveByAnothersDefaultRoute(t *testing.T) {
	g := newGraceful(t, nil)
	g.hub(1, "1.1.1.1", nil)
	// A next hop behind the hub, which a default route leads to: the tunnel's will do.
	g.sp.o.Events([]Event{&PathEvent{Peer: ip("10.1.1.1"), Session: 1, Prefixes: []netip.Prefix{pfx("192.168.9.0/24")}, Attributes: &Attributes{NextHop: ip("192.168.0.2")}}})
	g.has()
	g.rib.SetIKE(pfx("0.0.0.0/0"), "Tunnel1", 1, 0)
	g.rib.Withdraw(rib.Static, "config", pfx("0.0.0.0/0"))
	g.has("192.168.9.0/24 Tunnel1")
}

func TestAHubTellsTheSpokesOfTheSummaryAndTheOtherHubOfEverything(t *testing.T) {
	all := routeMap(t, policy.Entry{Permit: true})
	b := newBench(t, func(c *Config) {
		c.Networks = []netip.Prefix{pfx("172.16.1.0/24")}
		c.Aggregates = []Aggregate{{Prefix: pfx("172.16.0.0/16"), SummaryOnly: true}, {Prefix: pfx("192.168.0.0/16"), SummaryOnly: true}}
		c.Neighbors = []Neighbor{{Address: ip("10.10.10.2"), RemoteAS: 65010, RouteReflectorClient: true, NextHopSelfAll: true, UnsuppressMap: all}}
		c.Listen[0].Template = Neighbor{RemoteAS: 65010}
	})
	b.up(2, 65010)
	b.up(101, 65010)
	b.up(102, 65010)
	b.path(101, "192.168.101.0/24", nil)
	b.path(2, "192.168.102.0/24", nil)
	slices.Sort(b.sp.told)
	b.heard("101 < 172.16.0.0/16 via 1 path i", "101 < 192.168.0.0/16 via 1 path i", "102 < 172.16.0.0/16 via 1 path i", "102 < 192.168.0.0/16 via 1 path i",
		"2 < 172.16.0.0/16 via 1 path i", "2 < 172.16.1.0/24 via 1 path i", "2 < 192.168.0.0/16 via 1 path i", "2 < 192.168.101.0/24 via 1 path i")
	if r, ok := b.rib.Get(pfx("192.168.0.0/16")); !ok || r.Distance != 200 || len(r.Hops) != 0 {
		t.Errorf("the summary is %+v in the RIB", r)
	}
	if x := b.sp.out["2 192.168.101.0/24"]; x.OriginatorID != ip("10.10.10.101") || len(x.ClusterList) != 1 || x.ClusterList[0] != ip("10.10.10.1") {
		t.Errorf("the other hub gets %+v", x)
	}
	cfg := b.Config()
	cfg.ClusterID = ip("9.9.9.9")
	if err := b.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	b.sp.told = nil
	// Only what the map permits, and as it sets it.
	cfg.Neighbors = slices.Clone(cfg.Neighbors)
	cfg.Neighbors[0].UnsuppressMap = routeMap(t, policy.Entry{Permit: true, Match: policy.Match{PrefixLists: []*policy.PrefixList{prefixList(t, "192.168.0.0/16+")}},
		Set: policy.Set{LocalPreference: u32(50)}})
	if err := b.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	slices.Sort(b.sp.told)
	b.heard("2 < - 172.16.1.0/24", "2 < 192.168.101.0/24 via 1 path i", "apply 65010")
	if x := b.sp.out["2 192.168.101.0/24"]; x.LocalPref != 50 || x.ClusterList[0] != ip("9.9.9.9") {
		t.Errorf("the other hub gets %+v", x)
	}
}

func TestTwoCloudsShareTheTrafficInside(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaximumPaths, c.MaximumPathsIBGP = 1, 2 })
	b.rib.SetInterface("Tunnel1", 5, true, nil)
	b.rib.SetInterface("Tunnel2", 6, true, nil)
	b.rib.SetIKE(pfx("10.10.10.12/32"), "Tunnel1", 1, 0)
	b.rib.SetIKE(pfx("10.10.10.13/32"), "Tunnel2", 1, 0)
	for _, n := range []int{12, 13, 14} {
		b.up(n, 65010)
		b.path(n, "192.168.0.0/16", nil)
	}
	b.want("192.168.0.0/16", "200 10.10.10.12 10.10.10.13")
	r, _ := b.rib.Get(pfx("192.168.0.0/16"))
	if r.Hops[0].Interface != "Tunnel1" || r.Hops[1].Interface != "Tunnel2" {
		t.Errorf("the hops are %+v", r.Hops)
	}
	b.rib.DeleteIKE(pfx("10.10.10.12/32"), "Tunnel1")
	b.rib.RemoveInterface("Tunnel1")
	b.want("192.168.0.0/16", "200 10.10.10.13 10.10.10.14")
}

func TestTrackedObjectsDecideAnew(t *testing.T) {
	up := false
	when := routeMap(t, policy.Entry{Permit: true, Match: policy.Match{Tracks: []int{5}, Track: func(id int) bool { return id == 5 && up }}, Set: policy.Set{Metric: u32(7)}},
		policy.Entry{Seq: 20, Permit: true, Match: policy.Match{PrefixLists: []*policy.PrefixList{prefixList(t, "172.16.1.0/24")}}})
	b := newBench(t, func(c *Config) {
		c.Redistribute = []Redistribution{{Source: rib.Connected, RouteMap: when}}
		c.Neighbors = []Neighbor{{Address: ip("10.10.10.3"), RemoteAS: 65003, In: Policy{RouteMap: when}}}
	})
	b.up(2, 65002)
	b.up(3, 65003)
	b.path(3, "192.0.2.0/24", []uint32{65003})
	b.want("192.0.2.0/24", "none")
	b.sp.told = nil
	up = true
	b.ObjectsChanged()
	slices.Sort(b.sp.told)
	b.heard("2 < 10.10.10.0/24 via 1 path 65010 ?", "2 < 172.16.1.0/24 via 1 path 65010 ?", "3 < 10.10.10.0/24 via 1 path 65010 ?",
		"3 < 172.16.1.0/24 via 1 path 65010 ?", "clear 10.10.10.3 1")
	if x := b.sp.out["2 172.16.1.0/24"]; x.MED != 7 {
		t.Errorf("the MED is %d", x.MED)
	}
	b.path(3, "192.0.2.0/24", []uint32{65003})
	b.want("192.0.2.0/24", "20 10.10.10.3")
	up = false
	b.ObjectsChanged()
	b.want("192.0.2.0/24", "none")
}
