package nhrp

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"felloe/vpn/nhrp/message"
)

// flex is a router's point-to-point tunnels: whom they lead to, and what virtual template 1 makes.
type flex struct {
	far      map[string]SessionID
	template *Config
	clones   map[string]bool
	instance uint32
}

func newFlex() flex { return flex{far: map[string]SessionID{}, clones: map[string]bool{}} }

func (r *router) Peer(tunnel string) (Session, bool) { return r.Session(r.far[tunnel]) }

// clone makes a tunnel of the template with a session to somebody.
func (r *router) clone(nbma netip.Addr) (*session, Config) {
	n := 1
	for r.clones[fmt.Sprint("Virtual-Access", n)] {
		n++
	}
	name := fmt.Sprint("Virtual-Access", n)
	r.clones[name] = true
	r.instance++
	s := r.make(name, nbma)
	r.far[name], r.neighbours[name] = s.ID, map[netip.Addr]SessionID{}
	cfg := *r.template
	cfg.Tunnel, cfg.Clone, cfg.PointToPoint, cfg.Instance = name, true, true, r.instance
	return s, cfg
}

func (r *router) OpenTemplate(_ string, template int, nbma netip.Addr) (Session, Config, error) {
	if template != 1 || r.template == nil {
		return Session{}, Config{}, errors.New("no such template")
	}
	for _, id := range slices.Sorted(maps.Keys(r.sessions)) {
		if s := r.sessions[id]; r.clones[s.Tunnel] && s.NBMA == nbma && !s.gone {
			return s.Session, r.engine.tunnels[s.Tunnel].cfg, nil
		}
	}
	s, cfg := r.clone(nbma)
	r.c.dial(s)
	return s.Session, cfg, nil
}

// dial brings the session of a clone up: the far end makes a clone too, unless it is dialling us.
func (c *cloud) dial(s *session) {
	c.in(c.setup, func() {
		if s.gone || s.Up || s.r.dead {
			return
		}
		o, _ := c.target(s.r, s.NBMA, "Tunnel0")
		if o == nil || o.template == nil {
			c.in(2*time.Second, func() { c.dial(s) })
			return
		}
		from := s.r.outside("Tunnel0")
		if s.r.public.IsValid() && o.public == s.r.public {
			from = s.r.nbma["Tunnel0"]
		}
		var p *session
		for _, id := range slices.Sorted(maps.Keys(o.sessions)) {
			if x := o.sessions[id]; o.clones[x.Tunnel] && x.NBMA == from && !x.gone && !x.Up && x.peer == nil {
				p = x
			}
		}
		if p == nil {
			var cfg Config
			p, cfg = o.clone(from)
			o.engine.Apply(c.now, cfg)
		}
		c.up(s, p)
	})
}

func (c *cloud) up(s, p *session) {
	s.peer, p.peer = p, s
	for _, x := range []*session{s, p} {
		x.Up, x.State, x.Identity, x.SA = true, "UP", x.peer.r.identity(), uint64(c.seq)
	}
	for _, x := range []*session{s, p} {
		x.r.engine.SessionUp(c.now, x.Session)
	}
}

// released takes the tunnel of a session that has ended away.
func (r *router) released(s *session) {
	if !r.clones[s.Tunnel] || r.far[s.Tunnel] != s.ID {
		return
	}
	delete(r.far, s.Tunnel)
	delete(r.clones, s.Tunnel)
	t := r.engine.tunnels[s.Tunnel]
	r.c.in(0, func() {
		if t != nil && r.engine.tunnels[s.Tunnel] == t {
			r.engine.Remove(r.c.now, s.Tunnel)
		}
	})
}

// flexHubNBMA and flexNBMA are the outside addresses of hub and spoke n.
func (c *cloud) flexHubNBMA(n int) netip.Addr {
	if c.wan6 {
		return ip(fmt.Sprintf("2001:db8:ff:%d::1", n))
	}
	return ip(fmt.Sprintf("172.16.%d.1", n))
}

func (c *cloud) flexNBMA(n int) netip.Addr {
	if c.wan6 {
		return ip(fmt.Sprintf("2001:db8:fe::%d", n))
	}
	return ip(fmt.Sprintf("10.0.0.%d", n))
}

// flexHub is a hub whose spokes have tunnels of a template each.
func (c *cloud) flexHub(n int) *router {
	h := c.add(fmt.Sprint("hub", n))
	self := ip(fmt.Sprintf("172.20.%d.1", n))
	h.template = &Config{NetworkID: 1, Holdtime: time.Minute, Addresses: []netip.Addr{self}, NBMA: c.flexHubNBMA(n), Redirect: true}
	h.routes = []route{{prefix: hostPrefix(self), local: true}}
	return h
}

func flexAddr(n int) netip.Addr { return ip(fmt.Sprintf("172.20.0.%d", n)) }

// flexSpoke is spoke n on a hub, which has its address and network; everything else leads over the hub.
func (c *cloud) flexSpoke(n int, hub *router) *router {
	r := c.add(fmt.Sprint("spoke", n))
	cfg := Config{Tunnel: "Tunnel0", NetworkID: 1, Holdtime: time.Minute, Addresses: []netip.Addr{flexAddr(n)},
		NBMA: c.flexNBMA(n), Shortcut: true, Redirect: true, PointToPoint: true, ShortcutTemplate: 1}
	r.nbma["Tunnel0"] = cfg.NBMA
	tmpl := cfg
	r.template = &tmpl
	r.routes = []route{{prefix: hostPrefix(flexAddr(n)), local: true}, {prefix: lan(n), ifname: "Loopback10"}, {prefix: net("0.0.0.0/0"), ifname: "Tunnel0"}}
	c.attach(r, hub, cfg, n)
	return r
}

// attach connects a spoke's Tunnel0 to a hub.
func (c *cloud) attach(r, hub *router, cfg Config, n int) {
	far, va := hub.clone(r.outside("Tunnel0"))
	near := r.make("Tunnel0", va.NBMA)
	r.far["Tunnel0"], r.neighbours["Tunnel0"] = near.ID, map[netip.Addr]SessionID{}
	r.engine.Apply(c.now, cfg)
	hub.engine.Apply(c.now, va)
	hub.routes = append(hub.routes, route{prefix: hostPrefix(cfg.Addresses[0]), ifname: va.Tunnel}, route{prefix: lan(n), ifname: va.Tunnel})
	c.up(near, far)
}

func flexScenario(t testing.TB) (c *cloud, hub, s2, s3 *router) {
	c = newCloud(t)
	hub = c.flexHub(1)
	return c, hub, c.flexSpoke(2, hub), c.flexSpoke(3, hub)
}

// shown are the entries of a router's tunnels in words.
func (r *router) shown() (out []string) {
	for _, t := range r.engine.Snapshot() {
		for _, e := range t.Cache {
			out = append(out, fmt.Sprint(t.Name, " ", e.Prefix, " ", e.NextHop, " ", e.Flags))
		}
	}
	return out
}

func TestARedirectBetweenTwoVirtualAccessesMakesAShortcutOnATunnelOfItsOwn(t *testing.T) {
	c, hub, s2, s3 := flexScenario(t)
	var requests, replies []string
	c.trace = func(from, to *router, p *message.Packet) {
		switch p.Type {
		case message.ResolutionRequest:
			requests = append(requests, from.name+">"+to.name)
		case message.ResolutionReply:
			replies = append(replies, from.name+">"+to.name)
		}
	}
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub1", "spoke2")
	c.run(15 * time.Millisecond)
	wantPath(t, s3.shown(), "Tunnel0 192.168.22.2/32 172.20.1.1 [temporary]")
	c.run(time.Second)
	wantPath(t, requests, "spoke3>hub1", "hub1>spoke2")
	wantPath(t, replies, "spoke2>spoke3")
	wantPath(t, s3.shown(), "Virtual-Access1 172.20.0.2/32 172.20.0.2 [router nhop rib]", "Virtual-Access1 192.168.22.0/24 172.20.0.2 [router rib]")
	wantPath(t, s2.shown(), "Tunnel0 192.168.22.0/24 172.20.0.2 [router unique local]", "Virtual-Access1 172.20.0.3/32 172.20.0.3 [router implicit rib]")
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
	// The way back is asked for by itself, and answered over the tunnel that is there.
	wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "hub1", "spoke3")
	c.run(time.Second)
	wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
	wantPath(t, replies, "spoke2>spoke3", "spoke3>spoke2")
	want(t, "tunnels", len(s2.clones)+len(s3.clones), 2)
	want(t, "what a hub has learned", len(hub.shown()), 0)
	// In use it stays, and is confirmed without the hub; idle it goes, and its tunnel with it.
	requests = nil
	for range 300 {
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
		c.run(time.Second)
	}
	if slices.Contains(requests, "spoke3>hub1") || !slices.Contains(requests, "spoke3>spoke2") {
		t.Fatal(requests)
	}
	c.run(3 * time.Minute)
	want(t, "tunnels", len(s2.clones)+len(s3.clones), 0)
	want(t, "shortcuts", len(s2.shortcuts)+len(s3.shortcuts), 0)
	want(t, "tunnels of the machine", len(s3.engine.tunnels), 1)
	want(t, "entries in the network", len(s3.engine.tunnels["Tunnel0"].net.entries), 0)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub1", "spoke2")
	want(t, "the hub's tunnels", len(hub.clones), 2)
}

func TestAHubAndSpokesThatAreReachedOverIPv6(t *testing.T) {
	c := newCloud(t)
	c.wan6 = true
	c.publics = map[string]netip.Addr{"spoke4": ip("2001:db8:cafe::1")} // NPTv6 is between
	hub := c.flexHub(1)
	s2, s3, s4 := c.flexSpoke(2, hub), c.flexSpoke(3, hub), c.flexSpoke(4, hub)
	c.trace = func(from, to *router, p *message.Packet) {
		if p.AFN != message.AFNIPv6 || p.Protocol != message.ProtocolIPv4 || p.SrcNBMA.IsValid() && !p.SrcNBMA.Is6() {
			t.Errorf("%s to %s: %s of family %d, protocol %#x, from %s", from.name, to.name, p.Type, p.AFN, p.Protocol, p.SrcNBMA)
		}
		for _, x := range append(p.Extensions, message.Extension{CIEs: p.CIEs}) {
			for _, cie := range x.CIEs {
				if cie.NBMA.IsValid() && !cie.NBMA.Is6() {
					t.Errorf("%s to %s: %s names %s", from.name, to.name, p.Type, cie.NBMA)
				}
			}
		}
	}
	// Until the answer is there the hub has the packets.
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(15 * time.Millisecond)
	want(t, "who has the packets", s3.engine.Snapshot()[0].Cache[0].NBMA, c.flexHubNBMA(1))
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
	want(t, "where it leads", s3.engine.Snapshot()[1].Cache[0].NBMA, c.flexNBMA(2))
	// No tunnel leads to the hub or to ourselves, no shortcut over their addresses.
	t0 := s3.engine.tunnels["Tunnel0"]
	for _, nbma := range []netip.Addr{c.flexHubNBMA(1), c.flexNBMA(3)} {
		if _, _, err := t0.open(c.now, nbma); err == nil {
			t.Errorf("a tunnel to %s", nbma)
		}
		if !slices.Contains(t0.keepers(netip.Addr{}), nbma) {
			t.Errorf("%s may be covered by a shortcut", nbma)
		}
	}
	// The hub knows how the one whose address is translated looks.
	for _, x := range []struct{ a, b int }{{4, 2}, {3, 4}} {
		from := c.routers[fmt.Sprint("spoke", x.a)]
		c.ping(from, hostOf(x.a), hostOf(x.b))
		c.run(2 * time.Second)
		wantPath(t, c.ping(from, hostOf(x.a), hostOf(x.b)), from.name, fmt.Sprint("spoke", x.b))
	}
	c.run(3 * time.Minute)
	want(t, "tunnels", len(s2.clones)+len(s3.clones)+len(s4.clones), 0)
}

func TestBothSpokesAskingAtOnceEndInOneTunnelEach(t *testing.T) {
	c, _, s2, s3 := flexScenario(t)
	c.ping(s3, hostOf(3), hostOf(2))
	c.ping(s2, hostOf(2), hostOf(3))
	c.run(2 * time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
	wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
	want(t, "tunnels", len(s2.clones)+len(s3.clones), 2)
	want(t, "lost", s2.lost+s3.lost, 0)
}

// join connects two hubs by a plain point-to-point tunnel of the same network; neither makes shortcuts of its own.
func (c *cloud) join(h1, h2 *router) {
	a, b := h1.make("Tunnel9", h2.template.NBMA), h2.make("Tunnel9", h1.template.NBMA)
	for _, x := range []*session{a, b} {
		x.r.far["Tunnel9"], x.r.neighbours["Tunnel9"] = x.ID, map[netip.Addr]SessionID{}
		cfg := *x.r.template
		cfg.Tunnel, cfg.PointToPoint = "Tunnel9", true
		x.r.engine.Apply(c.now, cfg)
		x.r.routes = append(x.r.routes, route{prefix: net("192.168.0.0/16"), ifname: "Tunnel9"}, route{prefix: net("172.20.0.0/16"), ifname: "Tunnel9"})
	}
	c.up(a, b)
}

func TestSpokesOfTwoHubsMeetDirectly(t *testing.T) {
	c := newCloud(t)
	h1, h2 := c.flexHub(1), c.flexHub(2)
	s2, s3 := c.flexSpoke(2, h1), c.flexSpoke(3, h2)
	c.join(h1, h2)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub2", "hub1", "spoke2")
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
	want(t, "redirects that a hub acts on", h1.saw(EventRedirectReceived)+h2.saw(EventRedirectReceived), 0)
	c.ping(s2, hostOf(2), hostOf(3))
	c.run(time.Second)
	wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
	want(t, "tunnels", len(s2.clones)+len(s3.clones), 2)
}

// A spoke has one address inside and two outside, one for each hub. What it asks over one hub is answered where it asks from,
// although the other hub, which the question comes over too, knows it elsewhere.
func TestASpokeWithAnotherAddressOutsideForEachHubIsCalledWhereItAsksFrom(t *testing.T) {
	c := newCloud(t)
	c.publics = map[string]netip.Addr{"spoke3": ip("203.0.113.1")} // it must call
	h1, h2 := c.flexHub(1), c.flexHub(2)
	s2, s3 := c.flexSpoke(2, h1), c.flexSpoke(3, h2)
	far, va := h2.clone(ip("10.0.9.2"))
	h2.engine.Apply(c.now, va)
	near := s2.make("Tunnel1", va.NBMA)
	s2.far["Tunnel1"], s2.neighbours["Tunnel1"] = near.ID, map[netip.Addr]SessionID{}
	cfg := s2.engine.tunnels["Tunnel0"].cfg
	cfg.Tunnel, cfg.NBMA = "Tunnel1", ip("10.0.9.2")
	s2.apply(cfg)
	c.up(near, far)
	h2.routes = append(h2.routes, route{prefix: hostPrefix(flexAddr(2)), ifname: va.Tunnel}, route{prefix: lan(2), ifname: va.Tunnel})
	c.join(h1, h2)
	wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "hub1", "hub2", "spoke3")
	c.run(time.Second)
	wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
	want(t, "tunnels", len(s2.clones)+len(s3.clones), 2)
}

func TestClearingEndsTheTunnelsOfASpokeAndNothingOnAHub(t *testing.T) {
	c, hub, s2, s3 := flexScenario(t)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	want(t, "cleared", hub.engine.Clear(c.now, "", netip.Prefix{}), 0)
	c.run(time.Second)
	want(t, "tunnels", len(s2.clones)+len(s3.clones)+len(hub.clones), 4)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
	// The other side goes on sending: that does not keep it.
	want(t, "cleared", s2.engine.Clear(c.now, "", netip.Prefix{}), 1)
	c.run(50 * time.Millisecond)
	want(t, "tunnels", len(s2.clones)+len(s3.clones), 0)
	want(t, "the hub's tunnels", len(hub.clones), 2)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub1", "spoke2")
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
}

func TestATunnelWithoutATemplateNeitherAsksNorAnswers(t *testing.T) {
	c, _, s2, s3 := flexScenario(t)
	cfg := s2.engine.tunnels["Tunnel0"].cfg
	cfg.ShortcutTemplate = 0
	s2.engine.Apply(c.now, cfg)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	want(t, "refused", s3.saw(EventResolutionRefused), 1)
	c.ping(s2, hostOf(2), hostOf(3))
	c.run(time.Second)
	want(t, "asked", s2.saw(EventResolutionSent), 0)
	want(t, "tunnels", len(s2.clones)+len(s3.clones), 0)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub1", "spoke2")
}

func TestANetworkThatMovesFromOneSpokeToAnotherIsFollowed(t *testing.T) {
	c, hub, s2, s3 := flexScenario(t)
	s4 := c.flexSpoke(4, hub)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
	// It is behind spoke 4 from now on.
	s2.routes = slices.DeleteFunc(s2.routes, func(r route) bool { return r.prefix == lan(2) })
	s4.routes = append(s4.routes, route{prefix: lan(2), ifname: "Loopback10"})
	for i, r := range hub.routes {
		if r.prefix == lan(2) {
			hub.routes[i].ifname = hub.routes[len(hub.routes)-1].ifname
		}
	}
	// Before anybody has told anything: who had it redirects.
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2", "hub1", "spoke4")
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke4")
	for range 60 {
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke4")
		c.run(time.Second)
	}
	c.run(2 * time.Minute)
	want(t, "tunnels", len(s2.clones)+len(s3.clones)+len(s4.clones), 0)
}

func TestAnAnswerThatIsNotTrueAnyMoreIsWithdrawnDirectly(t *testing.T) {
	c, _, s2, s3 := flexScenario(t)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	s2.routes = slices.DeleteFunc(s2.routes, func(r route) bool { return r.prefix == lan(2) })
	s2.engine.RoutesChanged(c.now)
	c.run(time.Second)
	want(t, "purged", s3.saw(EventPurged), 1)
	want(t, "shortcuts to it", s3.shortcuts[shortcutKey{lan(2), "Virtual-Access1"}].tunnel, "")
}

func TestAShortcutOutlivesTheHubsOfBothSides(t *testing.T) {
	c, hub, s2, s3 := flexScenario(t)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	c.ping(s2, hostOf(2), hostOf(3))
	c.run(time.Second)
	// The hub dies: what it had told goes, and a default route out of the network shows.
	hub.dead = true
	for _, s := range []*router{s2, s3} {
		for _, id := range slices.Collect(maps.Keys(s.sessions)) {
			if x := s.sessions[id]; x.Tunnel == "Tunnel0" {
				x.down("dead peer")
			}
		}
		s.routes[len(s.routes)-1].ifname = "GigabitEthernet1"
		s.engine.RoutesChanged(c.now)
	}
	for n := range 200 {
		if n == 100 { // what keeps packets from the default route
			for _, s := range []*router{s2, s3} {
				s.routes = append(s.routes[:len(s.routes)-1], route{prefix: net("192.168.0.0/16"), drop: true}, s.routes[len(s.routes)-1])
				s.engine.RoutesChanged(c.now)
			}
		}
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
		wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
		c.run(time.Second)
	}
	for _, s := range []*router{s2, s3} {
		s.routes = slices.DeleteFunc(s.routes, func(r route) bool { return r.drop })
	}
	// Each finds another hub, with another address for itself; the shortcut is still the same.
	other := c.flexHub(2)
	for i, s := range []*router{s2, s3} {
		cfg := s.engine.tunnels["Tunnel0"].cfg
		cfg.Addresses = nil
		s.engine.Apply(c.now, cfg)
		va := s.engine.tunnels["Virtual-Access1"].cfg
		va.Addresses = nil
		s.engine.Apply(c.now, va)
		c.run(time.Second)
		cfg.Addresses = []netip.Addr{flexAddr(102 + i)}
		va.Addresses = cfg.Addresses
		s.template.Addresses = cfg.Addresses
		s.routes[len(s.routes)-1].ifname = "Tunnel0"
		c.attach(s, other, cfg, 2+i)
		s.engine.Apply(c.now, va)
		s.engine.RoutesChanged(c.now)
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
		wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
	}
	for range 200 {
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
		wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
		c.run(time.Second)
	}
	for _, s := range []*router{s2, s3} {
		want(t, "tunnels", len(s.clones), 1)
		for _, line := range s.shown() {
			if slices.Contains([]string{"172.20.0.2/32", "172.20.0.3/32"}, line) {
				t.Fatal(s.shown())
			}
		}
	}
}

func TestRoutesThatThePeerTellsOverIKEWorkTogetherWithTheShortcut(t *testing.T) {
	c, _, s2, s3 := flexScenario(t)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	s3.routes = append(s3.routes, route{prefix: lan(2), ifname: "Virtual-Access1"}, route{prefix: hostPrefix(flexAddr(2)), ifname: "Virtual-Access1"})
	s2.routes = append(s2.routes, route{prefix: lan(3), ifname: "Virtual-Access1"}, route{prefix: hostPrefix(flexAddr(3)), ifname: "Virtual-Access1"})
	s3.engine.RoutesChanged(c.now)
	s2.engine.RoutesChanged(c.now)
	for range 200 {
		wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "spoke2")
		wantPath(t, c.ping(s2, hostOf(2), hostOf(3)), "spoke2", "spoke3")
		c.run(time.Second)
	}
	want(t, "routes of ours beside theirs", len(s3.shortcuts)+len(s2.shortcuts), 0)
	for _, s := range []*router{s2, s3} {
		want(t, "tunnels", len(s.clones), 1)
	}
	c.run(3 * time.Minute)
	want(t, "tunnels when idle", len(s2.clones)+len(s3.clones), 0)
}

func TestSpokesBehindNATsMeetWhereTheyCan(t *testing.T) {
	c := newCloud(t)
	hub := c.flexHub(1)
	c.publics = map[string]netip.Addr{}
	var s []*router
	for n := 2; n <= 5; n++ {
		if n >= 4 { // behind one NAT
			c.publics[fmt.Sprint("spoke", n)] = ip("203.0.113.1")
		}
		s = append(s, c.flexSpoke(n, hub))
	}
	for _, x := range []struct {
		name     string
		from, to *router
		a, b     int
	}{{"from inside", s[2], s[0], 4, 2}, {"from outside", s[1], s[2], 3, 4}, {"another one behind the same NAT", s[1], s[3], 3, 5}, {"both behind the same", s[2], s[3], 4, 5}} {
		wantPath(t, c.ping(x.from, hostOf(x.a), hostOf(x.b)), x.from.name, "hub1", x.to.name)
		c.run(2 * time.Second)
		wantPath(t, c.ping(x.from, hostOf(x.a), hostOf(x.b)), x.from.name, x.to.name)
		c.ping(x.to, hostOf(x.b), hostOf(x.a))
		c.run(2 * time.Second)
		wantPath(t, c.ping(x.to, hostOf(x.b), hostOf(x.a)), x.to.name, x.from.name)
	}
	for range 200 {
		wantPath(t, c.ping(s[2], hostOf(4), hostOf(5)), "spoke4", "spoke5")
		wantPath(t, c.ping(s[1], hostOf(3), hostOf(4)), "spoke3", "spoke4")
		wantPath(t, c.ping(s[1], hostOf(3), hostOf(5)), "spoke3", "spoke5")
		wantPath(t, c.ping(s[0], hostOf(2), hostOf(4)), "spoke2", "spoke4")
		c.run(time.Second)
	}
	want(t, "tunnels", len(s[0].clones)+len(s[1].clones)+len(s[2].clones)+len(s[3].clones), 8)
}

func TestAnAnswerNeverMakesATunnelToOurselvesOrToTheHub(t *testing.T) {
	c, _, s2, s3 := flexScenario(t)
	t0 := s3.engine.tunnels["Tunnel0"]
	for _, nbma := range []string{"10.0.0.3", "172.16.1.1"} {
		if _, _, err := t0.open(c.now, ip(nbma)); err == nil {
			t.Fatalf("a tunnel to %s", nbma)
		}
	}
	// The hub itself has a network: it is asked once, and left alone.
	hub := c.routers["hub1"]
	hub.routes = append(hub.routes, route{prefix: lan(9), ifname: "Loopback10"})
	t0.resolve(c.now, ip(hostOf(9)), "test", nil)
	c.run(time.Second)
	want(t, "tunnels", len(s3.clones)+len(s2.clones), 0)
	want(t, "negative", t0.covering(ip(hostOf(9))).kind, KindNegative)
}

func TestARouteOutOfTheNetworkEndsAShortcut(t *testing.T) {
	for _, x := range []struct {
		what string
		r    route
		ends bool
	}{
		{"the same prefix out of another interface", route{prefix: lan(2), ifname: "GigabitEthernet9"}, true},
		{"a shorter one, while the hub is there", route{prefix: net("192.168.0.0/16"), ifname: "GigabitEthernet9"}, true},
		{"its prefix discarded", route{prefix: lan(2), drop: true}, true},
		{"a shorter one discarded", route{prefix: net("192.168.0.0/16"), drop: true}, false},
	} {
		c, _, _, s3 := flexScenario(t)
		c.ping(s3, hostOf(3), hostOf(2))
		c.run(time.Second)
		s3.routes = append(s3.routes, x.r)
		s3.engine.RoutesChanged(c.now)
		_, there := s3.shortcuts[shortcutKey{lan(2), "Virtual-Access1"}]
		want(t, x.what, there, !x.ends)
	}
}
