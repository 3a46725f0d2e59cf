package bgp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/routing/rib"

	"github.com/rs/zerolog"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

// puppet is a Speaker without sessions: the test says what it reports, and sees what it is told.
type puppet struct {
	o           SpeakerOptions
	told        []string
	fails       error
	peers       []Peer
	out         map[string]*Attributes // by peer and prefix
	eor, nudged []string
	recovered   bool
	quiet       bool // notes nothing of what peers are told
}

func (p *puppet) say(format string, a ...any) { p.told = append(p.told, fmt.Sprintf(format, a...)) }
func (p *puppet) Apply(c Config) error        { p.say("apply %d", c.AS); return p.fails }

// Advertise notes what a peer is told: "2 < 192.0.2.0/24 65010 65011 ?" or "2 < - 192.0.2.0/24".
func (p *puppet) Advertise(a netip.Addr, session uint64, list []Advertisement) {
	if p.quiet {
		return
	}
	for _, x := range list {
		if x.Attributes == nil {
			p.say("%s < - %v", last(a), x.Prefix)
			continue
		}
		path := x.Attributes.PathString()
		if path != "" {
			path += " "
		}
		p.say("%s < %v via %s path %s%s", last(a), x.Prefix, last(x.Attributes.NextHop), path, x.Attributes.Origin.Letter())
	}
	if p.out == nil {
		p.out = make(map[string]*Attributes)
	}
	for _, x := range list {
		key := last(a) + " " + x.Prefix.String()
		if p.out[key] = x.Attributes; x.Attributes == nil {
			delete(p.out, key)
		}
	}
}

// last is the part of an address in 10.10.10.0/24 that differs.
func last(a netip.Addr) string { return strings.TrimPrefix(a.String(), "10.10.10.") }

func (p *puppet) TooMany(a netip.Addr, session uint64, text string, again time.Duration) {
	p.say("too many from %s: %s, again in %v", last(a), text, again)
}
func (p *puppet) Clear(a netip.Addr, how Clear) { p.say("clear %v %d", a, how) }
func (p *puppet) Connected(a netip.Addr, ok bool) {
	p.say("connected %v %v", a, ok)
}
func (p *puppet) Peers() []Peer                         { return p.peers }
func (p *puppet) Close()                                { p.say("close") }
func (p *puppet) EndOfRIB(a netip.Addr, session uint64) { p.eor = append(p.eor, last(a)) }
func (p *puppet) Lost(a netip.Addr, session uint64, reason string) {
	p.say("lost %s: %s", last(a), reason)
}
func (p *puppet) Nudge(a netip.Addr)  { p.nudged = append(p.nudged, last(a)) }
func (p *puppet) Recovered()          { p.recovered = true }
func (p *puppet) Forget(a netip.Addr) { p.say("forget %s", last(a)) }

// bench is BGP with a puppet and a RIB, in AS 65010.
type bench struct {
	*BGP
	t   *testing.T
	rib *rib.RIB
	sp  *puppet
	log bytes.Buffer
	now time.Time
}

func newBench(t *testing.T, change func(*Config)) *bench {
	b := &bench{t: t, now: time.Unix(1000, 0), sp: &puppet{}}
	b.rib = rib.New(rib.Options{})
	b.rib.SetInterface("Ethernet0", 1, true, []netip.Prefix{pfx("172.16.1.1/24")})
	b.rib.SetInterface("Tunnel0", 2, true, []netip.Prefix{pfx("10.10.10.1/24")})
	cfg := Config{AS: 65010, RouterID: ip("10.10.10.1"), MaximumPaths: 1, Listen: []Listen{{Range: pfx("10.10.10.0/24")}}}
	if change != nil {
		change(&cfg)
	}
	var err error
	b.BGP, err = New(cfg, Options{RIB: b.rib, Now: func() time.Time { return b.now }, Log: zerolog.New(&b.log),
		Post: func(f func()) { f() }, Speaker: func(o SpeakerOptions) (Speaker, error) { b.sp.o = o; return b.sp, nil }})
	if err != nil {
		t.Fatal(err)
	}
	b.sp.told = nil
	return b
}

// up brings a session up: 10.10.10.N in the AS given.
func (b *bench) up(n int, as uint32) {
	a := ip(fmt.Sprintf("10.10.10.%d", n))
	b.sp.o.Events([]Event{&StateEvent{Peer: a, Up: true, RemoteAS: as, RouterID: a, External: as != 65010,
		Local: ip("10.10.10.1"), Session: uint64(n), Refresh: true}})
}

func (b *bench) down(n int) {
	b.sp.o.Events([]Event{&StateEvent{Peer: ip(fmt.Sprintf("10.10.10.%d", n)), Reason: "Peer closed the session"}})
}

// path is a path of 10.10.10.N with itself as the next hop, and the AS path given.
func (b *bench) path(n int, p string, as []uint32, change ...func(*Attributes)) {
	a := ip(fmt.Sprintf("10.10.10.%d", n))
	x := &Attributes{NextHop: a}
	if len(as) > 0 {
		x.ASPath = []Segment{{ASSequence, as}}
	}
	for _, f := range change {
		f(x)
	}
	b.now = b.now.Add(time.Second)
	b.sp.o.Events([]Event{&PathEvent{Peer: a, Session: uint64(n), Prefixes: []netip.Prefix{pfx(p)}, Attributes: x}})
}

func (b *bench) withdraw(n int, p string) {
	b.sp.o.Events([]Event{&PathEvent{Peer: ip(fmt.Sprintf("10.10.10.%d", n)), Session: uint64(n), Prefixes: []netip.Prefix{pfx(p)}}})
}

func (b *bench) via(p string) string {
	r, ok := b.rib.Get(pfx(p))
	if !ok {
		return "none"
	}
	var s []string
	for _, h := range r.Hops {
		s = append(s, h.Via.String())
	}
	return fmt.Sprintf("%d %s", r.Distance, strings.Join(s, " "))
}

func (b *bench) want(p, want string) {
	b.t.Helper()
	if got := b.via(p); got != want {
		b.t.Errorf("%s is %q in the RIB, want %q", p, got, want)
	}
}

func (b *bench) heard(want ...string) {
	b.t.Helper()
	if !slices.Equal(b.sp.told, want) {
		b.t.Errorf("the speaker was told %q, want %q", b.sp.told, want)
	}
	b.sp.told = nil
}

func TestTheBetterPathIsUsed(t *testing.T) {
	pref := func(v uint32) func(*Attributes) {
		return func(a *Attributes) { a.LocalPref, a.HasLocalPref = v, true }
	}
	med := func(v uint32) func(*Attributes) { return func(a *Attributes) { a.MED, a.HasMED = v, true } }
	origin := func(o Origin) func(*Attributes) { return func(a *Attributes) { a.Origin = o } }
	away := func(a *Attributes) { a.NextHop = ip("203.0.113.1") }
	type p struct {
		peer   int // 2 and 3 are external, 12 and 13 internal
		as     []uint32
		change []func(*Attributes)
	}
	for _, c := range []struct {
		name   string
		a, b   p
		better string
		cfg    func(*Config)
	}{
		{"a reachable next hop", p{2, []uint32{1}, []func(*Attributes){away}}, p{3, []uint32{2, 3}, nil}, "20 10.10.10.3", nil},
		{"local preference", p{12, nil, []func(*Attributes){pref(50)}}, p{2, []uint32{1, 2}, nil}, "20 10.10.10.2", nil},
		{"local preference over being external", p{12, nil, []func(*Attributes){pref(200)}}, p{2, []uint32{1}, nil}, "200 10.10.10.12", nil},
		{"the shorter AS path", p{2, []uint32{1, 2}, nil}, p{3, []uint32{3}, nil}, "20 10.10.10.3", nil},
		{"unless it does not count", p{2, []uint32{1, 2}, nil}, p{3, []uint32{3}, nil}, "20 10.10.10.2", func(c *Config) { c.BestPath.IgnoreASPathLength = true }},
		{"the lower origin", p{2, []uint32{1}, []func(*Attributes){origin(OriginIncomplete)}}, p{3, []uint32{2}, nil}, "20 10.10.10.3", nil},
		{"the lower MED of one AS", p{2, []uint32{1}, []func(*Attributes){med(20)}}, p{3, []uint32{1}, []func(*Attributes){med(10)}}, "20 10.10.10.3", nil},
		{"but not of two", p{2, []uint32{1}, []func(*Attributes){med(20)}}, p{3, []uint32{2}, []func(*Attributes){med(10)}}, "20 10.10.10.2", nil},
		{"unless it always counts", p{2, []uint32{1}, []func(*Attributes){med(20)}}, p{3, []uint32{2}, []func(*Attributes){med(10)}}, "20 10.10.10.3", func(c *Config) { c.BestPath.AlwaysCompareMED = true }},
		{"the external one", p{12, []uint32{1}, nil}, p{2, []uint32{2}, nil}, "20 10.10.10.2", nil},
		{"the older external one", p{3, []uint32{1}, nil}, p{2, []uint32{2}, nil}, "20 10.10.10.3", nil},
		{"the lower router ID", p{3, []uint32{1}, nil}, p{2, []uint32{2}, nil}, "20 10.10.10.2", func(c *Config) { c.BestPath.CompareRouterID = true }},
		{"the lower router ID of internal ones", p{13, nil, nil}, p{12, nil, nil}, "200 10.10.10.12", nil},
		{"the originator's ID counts as that", p{13, nil, []func(*Attributes){func(a *Attributes) { a.OriginatorID = ip("1.1.1.1") }}}, p{12, nil, nil}, "200 10.10.10.13", nil},
		{"the shorter cluster list", p{12, nil, []func(*Attributes){func(a *Attributes) { a.OriginatorID, a.ClusterList = ip("1.1.1.1"), []netip.Addr{ip("9.9.9.9")} }}},
			p{13, nil, []func(*Attributes){func(a *Attributes) { a.OriginatorID = ip("1.1.1.1") }}}, "200 10.10.10.13", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.cfg)
			for n, as := range map[int]uint32{2: 65002, 3: 65003, 12: 65010, 13: 65010} {
				b.up(n, as)
			}
			b.path(c.a.peer, "192.0.2.0/24", c.a.as, c.a.change...)
			b.path(c.b.peer, "192.0.2.0/24", c.b.as, c.b.change...)
			b.want("192.0.2.0/24", c.better)
			// The order of arrival matters to age only.
			if !strings.Contains(c.name, "older") && !strings.Contains(c.name, "but not") && !strings.Contains(c.name, "unless it does") {
				b.withdraw(c.a.peer, "192.0.2.0/24")
				b.path(c.a.peer, "192.0.2.0/24", c.a.as, c.a.change...)
				b.want("192.0.2.0/24", c.better)
			}
		})
	}
}

func TestTheCostToTheNextHopCounts(t *testing.T) {
	b := newBench(t, nil)
	b.up(12, 65010)
	b.up(13, 65010)
	for i, nh := range []string{"1.1.1.1", "2.2.2.2"} {
		b.rib.Update(rib.EIGRP, "eigrp 1", netip.PrefixFrom(ip(nh), 32), []rib.Path{{Source: rib.EIGRP, Metric: uint32(100 - i), NextHops: []rib.NextHop{{Via: ip(fmt.Sprintf("172.16.1.%d", 10+i)), Interface: "Ethernet0"}}}})
		b.path(12+i, "192.0.2.0/24", nil, func(a *Attributes) { a.NextHop = ip(nh) })
	}
	b.want("192.0.2.0/24", "200 172.16.1.11")
	b.rib.Update(rib.EIGRP, "eigrp 1", pfx("2.2.2.2/32"), []rib.Path{{Source: rib.EIGRP, Metric: 200, NextHops: []rib.NextHop{{Via: ip("172.16.1.11"), Interface: "Ethernet0"}}}})
	b.want("192.0.2.0/24", "200 172.16.1.10")
}

func TestMEDDoesNotDependOnTheOrderOfArrival(t *testing.T) {
	// The classic: A and C of one AS, C with the lower MED; B of another AS with the lowest router ID.
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		b := newBench(t, func(c *Config) { c.BestPath.CompareRouterID = true })
		for _, n := range []int{2, 3, 4} {
			b.up(n, 65000+uint32(n))
		}
		add := []func(){
			func() { b.path(2, "192.0.2.0/24", []uint32{1, 9}, func(a *Attributes) { a.MED = 20 }) },
			func() { b.path(3, "192.0.2.0/24", []uint32{2, 9}, func(a *Attributes) { a.MED = 30 }) },
			func() { b.path(4, "192.0.2.0/24", []uint32{1, 9}, func(a *Attributes) { a.MED = 10 }) },
		}
		for _, i := range order {
			add[i]()
		}
		b.want("192.0.2.0/24", "20 10.10.10.3")
	}
}

func TestEqualPathsShareTheTraffic(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaximumPaths = 2 })
	for _, n := range []int{2, 3, 4} {
		b.up(n, 65002)
		b.path(n, "192.0.2.0/24", []uint32{65002})
	}
	b.want("192.0.2.0/24", "20 10.10.10.2 10.10.10.3")
	e, _ := b.Prefix(pfx("192.0.2.0/24"))
	var flags []string
	for _, p := range e.Paths {
		flags = append(flags, p.Flags())
	}
	if want := []string{"*> ", "*m ", "*  "}; !slices.Equal(flags, want) {
		t.Errorf("the flags are %q", flags)
	}
	b.path(3, "192.0.2.0/24", []uint32{65002, 65002})
	b.want("192.0.2.0/24", "20 10.10.10.2 10.10.10.4")
	cfg := b.Config()
	cfg.MaximumPaths = 1
	if err := b.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	b.want("192.0.2.0/24", "20 10.10.10.2")
}

func TestPathsWithAnUnreachableNextHopAreNotPassedOn(t *testing.T) {
	b := newBench(t, nil)
	b.up(2, 65002)
	b.up(3, 65003)
	b.path(2, "192.0.2.0/24", []uint32{65002}, func(a *Attributes) { a.NextHop = ip("203.0.113.1") })
	b.path(2, "198.51.100.0/24", []uint32{65002}, func(a *Attributes) { a.NextHop = ip("203.0.113.1") })
	b.heard()
	b.want("192.0.2.0/24", "none")
	if e, _ := b.Prefix(pfx("192.0.2.0/24")); e.Paths[0].Flags() != "   " {
		t.Errorf("the flags are %q", e.Paths[0].Flags())
	}
	b.rib.Update(rib.Static, "config", pfx("203.0.113.0/24"), []rib.Path{{Source: rib.Static, NextHops: []rib.NextHop{{Via: ip("172.16.1.254")}}}})
	slices.Sort(b.sp.told)
	b.heard("3 < 192.0.2.0/24 via 1 path 65010 65002 i", "3 < 198.51.100.0/24 via 1 path 65010 65002 i")
	b.want("192.0.2.0/24", "20 172.16.1.254")
	b.want("198.51.100.0/24", "20 172.16.1.254")
	b.rib.Withdraw(rib.Static, "config", pfx("203.0.113.0/24"))
	slices.Sort(b.sp.told)
	b.heard("3 < - 192.0.2.0/24", "3 < - 198.51.100.0/24")
	b.down(2)
	b.heard()
	if len(b.nexthops) != 0 || len(b.table) != 0 {
		t.Error("something is left")
	}
}

func TestNetworksAreAnnouncedWhileTheRIBHasThem(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Networks = []netip.Prefix{pfx("192.168.11.1/32"), pfx("10.10.10.0/24")}
		c.Redistribute = []Redistribution{{Source: rib.Static}}
	})
	b.up(2, 65002)
	b.heard("2 < 10.10.10.0/24 via 1 path 65010 i")
	b.rib.SetInterface("Loopback10", 3, true, []netip.Prefix{pfx("192.168.11.1/24")})
	b.heard("2 < 192.168.11.1/32 via 1 path 65010 i")
	static := func(p string) {
		b.rib.Update(rib.Static, "config", pfx(p), []rib.Path{{Source: rib.Static, NextHops: []rib.NextHop{{Via: ip("172.16.1.254")}}}})
	}
	static("20.0.0.0/8")
	b.heard("2 < 20.0.0.0/8 via 1 path 65010 ?")
	// A network statement for a redistributed route makes its origin IGP.
	cfg := b.Config()
	cfg.Networks = append(slices.Clone(cfg.Networks), pfx("20.0.0.0/8"))
	if err := b.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	b.heard("apply 65010", "2 < 20.0.0.0/8 via 1 path 65010 i")
	b.rib.SetInterface("Loopback10", 3, false, nil)
	b.heard("2 < - 192.168.11.1/32")
	cfg.Networks, cfg.Redistribute = nil, nil
	if err := b.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	slices.Sort(b.sp.told)
	b.heard("2 < - 10.10.10.0/24", "2 < - 20.0.0.0/8", "apply 65010")
	static("30.0.0.0/8")
	b.heard()
}

func TestALearnedPathIsNotAnnouncedAsOurs(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Networks = []netip.Prefix{pfx("192.0.2.0/24")} })
	b.up(2, 65002)
	b.path(2, "192.0.2.0/24", []uint32{65002})
	b.want("192.0.2.0/24", "20 10.10.10.2")
	b.heard()
	// A route of our own makes it ours, and takes BGP's out of the RIB.
	b.rib.Update(rib.Static, "config", pfx("192.0.2.0/24"), []rib.Path{{Source: rib.Static, NextHops: []rib.NextHop{{Via: ip("172.16.1.254")}}}})
	b.heard("2 < 192.0.2.0/24 via 1 path 65010 i")
	b.want("192.0.2.0/24", "1 172.16.1.254")
	b.rib.Withdraw(rib.Static, "config", pfx("192.0.2.0/24"))
	b.heard("2 < - 192.0.2.0/24")
	b.want("192.0.2.0/24", "20 10.10.10.2")
}

func TestABetterRouteInTheRIBIsShownAsRIBFailure(t *testing.T) {
	b := newBench(t, nil)
	b.up(2, 65002)
	b.path(2, "10.10.10.0/24", []uint32{65002})
	e, _ := b.Prefix(pfx("10.10.10.0/24"))
	if e.Paths[0].Flags() != "r> " {
		t.Errorf("the flags are %q", e.Paths[0].Flags())
	}
}

func TestASessionThatGoesTakesItsPathsAlong(t *testing.T) {
	b := newBench(t, nil)
	b.up(2, 65002)
	b.up(3, 65003)
	b.path(2, "192.0.2.0/24", []uint32{65002})
	b.path(3, "192.0.2.0/24", []uint32{65003})
	b.down(2)
	b.want("192.0.2.0/24", "20 10.10.10.3")
	b.path(2, "198.51.100.0/24", []uint32{65002}) // late
	b.want("198.51.100.0/24", "none")
	b.Close()
	b.want("192.0.2.0/24", "none")
	if got := strings.Count(b.log.String(), "ADJCHANGE"); got != 3 {
		t.Errorf("the log has %d lines", got)
	}
}

func TestPeersAtOneHopMustBeConnected(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Neighbors = []Neighbor{
			{Address: ip("10.10.10.2"), RemoteAS: 65002}, {Address: ip("8.8.8.8"), RemoteAS: 65003},
			{Address: ip("9.9.9.9"), RemoteAS: 65003, EBGPMultihop: 5}, {Address: ip("7.7.7.7"), RemoteAS: 65010}}
	})
	b.sp.told = nil
	b.rib.SetInterface("Tunnel0", 2, false, nil)
	b.heard("connected 10.10.10.2 false")
	b.rib.SetInterface("Tunnel0", 2, true, []netip.Prefix{pfx("10.10.10.1/24")})
	b.heard("connected 10.10.10.2 true")
}

func TestAConfigurationIsCheckedAtOnce(t *testing.T) {
	good := Config{AS: 65010, RouterID: ip("1.1.1.1")}
	for name, change := range map[string]func(*Config){
		"the AS number is missing": func(c *Config) { c.AS = 0 },
		"the router ID":            func(c *Config) { c.RouterID = ip("::1") },
		"remote-as is missing":     func(c *Config) { c.Neighbors = []Neighbor{{Address: ip("10.0.0.1")}} },
		"is there twice":           func(c *Config) { c.Neighbors = slices.Repeat([]Neighbor{{Address: ip("10.0.0.1"), RemoteAS: 1}}, 2) },
		"exclude each other": func(c *Config) {
			c.Neighbors = []Neighbor{{Address: ip("10.0.0.1"), RemoteAS: 1, TTLSecurity: 1, EBGPMultihop: 3}}
		},
		"is for internal": func(c *Config) {
			c.Neighbors = []Neighbor{{Address: ip("10.0.0.1"), RemoteAS: 1, RouteReflectorClient: true}}
		},
		"is for external": func(c *Config) {
			c.Neighbors = []Neighbor{{Address: ip("10.0.0.1"), RemoteAS: 65010, ASOverride: true}}
		},
		"is not 3s to 65535s": func(c *Config) {
			c.Neighbors = []Neighbor{{Address: ip("10.0.0.1"), RemoteAS: 1, Timers: Timers{Hold: time.Second}}}
		},
		"has bits behind its mask":       func(c *Config) { c.Networks = []netip.Prefix{pfx("10.0.0.1/8")} },
		"as-override needs a remote-as":  func(c *Config) { c.Listen = []Listen{{Range: pfx("10.0.0.0/8"), Template: Neighbor{ASOverride: true}}} },
		"link-local peers are not suppo": func(c *Config) { c.Neighbors = []Neighbor{{Address: ip("fe80::1"), RemoteAS: 1}} },
	} {
		c := good
		change(&c)
		if err := c.Validate(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

func TestASpeakersRefusalIsNotApplied(t *testing.T) {
	b := newBench(t, nil)
	b.sp.fails = errors.New("no")
	cfg := b.Config()
	cfg.AS = 65099
	if err := b.Apply(cfg); err == nil || b.Config().AS != 65010 {
		t.Errorf("got %v, AS %d", err, b.Config().AS)
	}
}

func TestSocketOptionsFollowTheNeighbour(t *testing.T) {
	for _, c := range []struct {
		n       Neighbor
		ttl, in uint8
	}{
		{Neighbor{RemoteAS: 65010}, 255, 0},
		{Neighbor{RemoteAS: 1}, 1, 0},
		{Neighbor{RemoteAS: 1, EBGPMultihop: 4}, 4, 0},
		{Neighbor{RemoteAS: 1, TTLSecurity: 1}, 255, 254},
		{Neighbor{RemoteAS: 65010, TTLSecurity: 3}, 255, 252},
	} {
		if o := SocketOptionsOf(&c.n, 65010); o.TTL != c.ttl || o.MinTTL != c.in {
			t.Errorf("%+v gives %+v", c.n, o)
		}
	}
}

func TestPathsAreWrittenAsIOSDoes(t *testing.T) {
	a := Attributes{ASPath: []Segment{{ASSequence, []uint32{65010, 65011}}, {ASSet, []uint32{1, 2}}}}
	if s := a.PathString(); s != "65010 65011 {1,2}" || a.PathLength() != 3 || a.FirstAS() != 65010 {
		t.Errorf("got %q, %d, %d", s, a.PathLength(), a.FirstAS())
	}
}
