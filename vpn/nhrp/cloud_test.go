package nhrp

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"felloe/vpn/nhrp/message"
)

// cloud is an internet of routers in virtual time: sessions come up after a handshake, packets take their time, a NAT lets
// nobody in who was not called.
type cloud struct {
	t       testing.TB
	now     time.Time
	seq     int
	agenda  []job
	routers map[string]*router
	trace   func(from, to *router, p *message.Packet)
	publics map[string]netip.Addr // of routers to come that are behind a NAT
	wan6    bool                  // point-to-point tunnels go over IPv6
	setup   time.Duration         // of a session
	probe   time.Duration         // until a dead peer is found dead
}

type job struct {
	at  time.Time
	seq int
	f   func()
}

var epoch = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func newCloud(t testing.TB) *cloud {
	return &cloud{t: t, now: epoch, routers: map[string]*router{}, setup: 100 * time.Millisecond, probe: 4 * time.Second}
}

func (c *cloud) in(d time.Duration, f func()) {
	c.seq++
	c.agenda = append(c.agenda, job{c.now.Add(d), c.seq, f})
}

// run lets time pass.
func (c *cloud) run(d time.Duration) {
	end := c.now.Add(d)
	for {
		at, which := end, -1
		for i, j := range c.agenda {
			if j.at.Before(at) || which >= 0 && j.at.Equal(at) && j.seq < c.agenda[which].seq || which < 0 && j.at.Equal(at) {
				at, which = j.at, i
			}
		}
		var engine *router
		for _, name := range slices.Sorted(maps.Keys(c.routers)) {
			r := c.routers[name]
			if r.dead {
				continue
			}
			if d, ok := r.engine.Deadline(); ok && d.Before(at) {
				at, which, engine = d, -1, r
			}
		}
		switch {
		case engine != nil:
			if at.After(c.now) {
				c.now = at
			}
			engine.engine.Tick(c.now)
		case which >= 0:
			c.now = at
			f := c.agenda[which].f
			c.agenda = slices.Delete(c.agenda, which, which+1)
			f()
		default:
			c.now = end
			return
		}
	}
}

type route struct {
	prefix netip.Prefix
	via    netip.Addr
	ifname string
	local  bool
	drop   bool
}

type shortcut struct {
	tunnel   string
	hop      netip.Addr
	override bool
	parents  []string
}

// shortcutKey is a prefix on a tunnel.
type shortcutKey struct {
	netip.Prefix
	tunnel string
}

// router is a Host with a little data plane.
type router struct {
	c      *cloud
	name   string
	engine *Engine
	dead   bool
	// protected sessions have the router's name as identity.
	protected bool
	public    netip.Addr // behind a NAT: how the world sees it

	nbma       map[string]netip.Addr // tunnel: source address
	sessions   map[SessionID]*session
	nextID     SessionID
	routes     []route
	neighbours map[string]map[netip.Addr]SessionID
	multicast  map[string][]SessionID
	glean      map[string]SessionID
	shortcuts  map[shortcutKey]shortcut
	events     []Event
	lost       int // data packets that found no way
	claims     string
	flex
}

type session struct {
	Session
	r    *router
	peer *session
	gone bool
}

func (c *cloud) add(name string) *router {
	r := &router{c: c, name: name, protected: true, nbma: map[string]netip.Addr{}, sessions: map[SessionID]*session{},
		neighbours: map[string]map[netip.Addr]SessionID{}, multicast: map[string][]SessionID{}, glean: map[string]SessionID{},
		shortcuts: map[shortcutKey]shortcut{}, flex: newFlex()}
	r.public = c.publics[name]
	seed := uint64(len(c.routers)) + 1
	r.engine = New(Options{Host: r, Rand: source{rand.NewPCG(seed, seed)}})
	c.routers[name] = r
	return r
}

type source struct{ *rand.PCG }

func (s source) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s.Uint64())
	}
	return len(b), nil
}

func (r *router) apply(cfg Config) {
	r.nbma[cfg.Tunnel] = cfg.NBMA
	if r.neighbours[cfg.Tunnel] == nil {
		r.neighbours[cfg.Tunnel] = map[netip.Addr]SessionID{}
	}
	r.engine.Apply(r.c.now, cfg)
}

func (r *router) identity() string {
	if !r.protected {
		return ""
	}
	if r.claims != "" {
		return r.claims
	}
	return r.name
}

// outside is how the world sees a router's tunnel source.
func (r *router) outside(tunnel string) netip.Addr {
	if r.public.IsValid() {
		return r.public
	}
	return r.nbma[tunnel]
}

func (r *router) make(tunnel string, nbma netip.Addr) *session {
	r.nextID++
	s := &session{Session: Session{ID: r.nextID, Tunnel: tunnel, NBMA: nbma, Protected: r.protected, State: "IKE"}, r: r}
	r.sessions[s.ID] = s
	return s
}

// pair is the session of another router's that answers an opening one.
func (c *cloud) target(from *router, nbma netip.Addr, tunnel string) (*router, string) {
	for _, name := range slices.Sorted(maps.Keys(c.routers)) {
		o := c.routers[name]
		if o == from || o.dead {
			continue
		}
		sameNAT := from.public.IsValid() && o.public == from.public
		for _, tn := range slices.Sorted(maps.Keys(o.nbma)) {
			if o.nbma[tn] == nbma && (!o.public.IsValid() || sameNAT) && len(tn) == len(tunnel) && (tn == tunnel || len(o.nbma) == 1) {
				return o, tn
			}
		}
	}
	return nil, ""
}

func (r *router) Open(tunnel string, nbma netip.Addr) (Session, error) {
	for _, id := range slices.Sorted(maps.Keys(r.sessions)) {
		if s := r.sessions[id]; s.Tunnel == tunnel && s.NBMA == nbma && !s.gone {
			return s.Session, nil
		}
	}
	s := r.make(tunnel, nbma)
	r.c.connect(s)
	return s.Session, nil
}

// connect tries to bring a session up, again and again while it is wanted.
func (c *cloud) connect(s *session) {
	c.in(c.setup, func() {
		if s.gone || s.Up || s.r.dead {
			return
		}
		o, tn := c.target(s.r, s.NBMA, s.Tunnel)
		if o == nil {
			c.in(2*time.Second, func() { c.connect(s) })
			return
		}
		from := s.r.outside(s.Tunnel)
		if s.r.public.IsValid() && o.public == s.r.public {
			from = s.r.nbma[s.Tunnel]
		}
		// The far end may be opening one to us at the same time: then it is the same session.
		var p *session
		for _, id := range slices.Sorted(maps.Keys(o.sessions)) {
			if x := o.sessions[id]; x.Tunnel == tn && x.NBMA == from && !x.gone && !x.Up && x.peer == nil && !s.r.public.IsValid() {
				p = x
			}
		}
		if p == nil {
			p = o.make(tn, from)
		}
		s.peer, p.peer = p, s
		for _, x := range []*session{s, p} {
			x.Up, x.State, x.Identity, x.SA = true, "UP", x.peer.r.identity(), uint64(c.seq)
		}
		s.r.engine.SessionUp(c.now, s.Session)
		o.engine.SessionUp(c.now, p.Session)
	})
}

func (s *session) down(reason string) {
	if s.gone {
		return
	}
	wanted := s.Up
	s.Up, s.gone = false, true
	delete(s.r.sessions, s.ID)
	if wanted && !s.r.dead {
		s.r.engine.SessionDown(s.r.c.now, s.Tunnel, s.ID, reason)
	}
	s.r.released(s)
}

func (r *router) Session(id SessionID) (Session, bool) {
	s := r.sessions[id]
	if s == nil {
		return Session{}, false
	}
	return s.Session, true
}

func (r *router) Close(id SessionID, reason string) {
	s := r.sessions[id]
	if s == nil {
		r.c.t.Fatalf("%s closes session %d, which is not there (%s)", r.name, id, reason)
	}
	s.gone, s.Up = true, false
	delete(r.sessions, id)
	r.c.in(0, func() { r.engine.SessionDown(r.c.now, s.Tunnel, id, "closed: "+reason) })
	r.released(s)
	if p := s.peer; p != nil {
		r.c.in(10*time.Millisecond, func() {
			if !p.r.dead {
				p.down("deleted by the peer")
			}
		})
	}
}

func (r *router) Probe(id SessionID) {
	s := r.sessions[id]
	if s == nil || s.peer == nil {
		return
	}
	r.c.in(r.c.probe, func() {
		if s.peer.r.dead || s.peer.gone {
			s.down("dead peer")
		}
	})
}

func (r *router) Send(id SessionID, b []byte) {
	s := r.sessions[id]
	if s == nil || !s.Up {
		r.c.t.Errorf("%s sends over session %d that is not up", r.name, id)
		return
	}
	p := s.peer
	msg, err := message.Decode(b)
	if err != nil {
		r.c.t.Errorf("%s sends what cannot be read: %v", r.name, err)
		return
	}
	if r.c.trace != nil {
		r.c.trace(r, p.r, msg)
	}
	r.c.in(10*time.Millisecond, func() {
		if !p.r.dead && p.Up {
			p.r.engine.Receive(r.c.now, From{Tunnel: p.Tunnel, Session: p.ID, NBMA: p.NBMA}, b)
		}
	})
}

func (r *router) SetNeighbour(tunnel string, a netip.Addr, id SessionID) {
	if id == 0 {
		delete(r.neighbours[tunnel], a)
	} else {
		r.neighbours[tunnel][a] = id
	}
}
func (r *router) SetMulticast(tunnel string, ids []SessionID) { r.multicast[tunnel] = ids }
func (r *router) SetGlean(tunnel string, id SessionID)        { r.glean[tunnel] = id }
func (r *router) SetShortcut(_ string, p netip.Prefix, tunnel string, hop netip.Addr, override bool, parents []string) {
	r.shortcuts[shortcutKey{p, tunnel}] = shortcut{tunnel, hop, override, parents}
}
func (r *router) DeleteShortcut(_ string, p netip.Prefix, tunnel string) {
	if _, ok := r.shortcuts[shortcutKey{p, tunnel}]; !ok {
		r.c.t.Errorf("%s deletes shortcut %s that is not there", r.name, p)
	}
	delete(r.shortcuts, shortcutKey{p, tunnel})
}
func (r *router) Event(e Event) {
	if e.Kind != EventPacket {
		r.events = append(r.events, e)
	}
}

func (r *router) Lookup(_ string, dst netip.Addr) (Route, bool) {
	var best *route
	for i := range r.routes {
		x := &r.routes[i]
		if x.prefix.Contains(dst) && (best == nil || x.prefix.Bits() > best.prefix.Bits()) {
			best = x
		}
	}
	if best == nil {
		return Route{}, false
	}
	return Route{Prefix: best.prefix, Via: best.via, Interface: best.ifname, Local: best.local, Discard: best.drop}, true
}

// ping sends one data packet and returns the routers that it passed; the last one has the destination. A path that ends
// with "lost" says where it was lost.
func (c *cloud) ping(from *router, src, dst string) (path []string) {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	r, in := from, (*session)(nil)
	for hops := 0; ; hops++ {
		path = append(path, r.name)
		if hops > 8 {
			return append(path, "loop")
		}
		rt, ok := r.Lookup("", d)
		hop, tunnel := rt.Via, rt.Interface
		best, drop := rt.Prefix.Bits(), !ok || rt.Drop()
		for p, sc := range r.shortcuts {
			if p.Contains(d) && (p.Bits() > best || sc.override && p.Prefix == rt.Prefix) {
				best, hop, tunnel, drop = p.Bits(), sc.hop, sc.tunnel, false
			}
		}
		if drop {
			r.lost++
			return append(path, "lost")
		}
		if rt.Local || r.neighbours[tunnel] == nil {
			return path
		}
		if !hop.IsValid() {
			hop = d
		}
		id, ok := r.neighbours[tunnel][hop]
		if far := r.far[tunnel]; far != 0 {
			id, ok = far, true
		}
		if !ok {
			r.engine.ResolveNextHop(c.now, tunnel, hop)
			id = r.glean[tunnel]
		}
		out := r.sessions[id]
		if out == nil || !out.Up || out.peer.r.dead {
			r.lost++
			return append(path, "lost")
		}
		if in != nil {
			r.engine.Redirect(c.now, From{Tunnel: in.Tunnel, Session: in.ID, NBMA: in.NBMA}, tunnel, header(s, d))
		}
		out.Data++
		out.peer.Data++
		out.peer.Received++
		r, in = out.peer.r, out.peer
	}
}

// Drop says that the route discards.
func (r Route) Drop() bool { return r.Discard }

func header(src, dst netip.Addr) []byte {
	if src.Is4() {
		b := make([]byte, 28)
		b[0], b[3], b[8], b[9] = 0x45, 28, 62, 17
		s, d := src.As4(), dst.As4()
		copy(b[12:], s[:])
		copy(b[16:], d[:])
		return b
	}
	b := make([]byte, 48)
	b[0], b[5], b[6], b[7] = 0x60, 8, 17, 62
	s, d := src.As16(), dst.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return b
}

// saw counts the events of a kind, and forgets all before.
func (r *router) saw(kind EventKind) (n int) {
	for _, e := range r.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (r *router) reset() { r.events = nil }

func (r *router) eventWords() (w []string) {
	for _, e := range r.events {
		w = append(w, fmt.Sprintf("%s peer=%s nbma=%s prefix=%s %q", e.Kind, e.Peer, e.NBMA, e.Prefix, e.Reason))
	}
	return w
}

var (
	ip  = netip.MustParseAddr
	net = netip.MustParsePrefix
)

const auth = "DMVPN"

// hubConfig and spokeConfig are the scenario's: hub 172.16.1.1, spokes 172.16.N.N, tunnel 10.10.10.0/24.
func hubConfig() Config {
	return Config{Tunnel: "Tunnel0", NetworkID: 1, Authentication: auth, Holdtime: time.Minute, Addresses: []netip.Addr{ip("10.10.10.1")},
		NBMA: ip("172.16.1.1"), MulticastDynamic: true, Redirect: true}
}

func spokeConfig(n int) Config {
	return Config{Tunnel: "Tunnel0", NetworkID: 1, Authentication: auth, Holdtime: time.Minute, Shortcut: true,
		Addresses: []netip.Addr{ip(fmt.Sprintf("10.10.10.%d", n))}, NBMA: ip(fmt.Sprintf("172.16.%d.%d", n, n)),
		NHS: []NHS{{Address: ip("10.10.10.1"), NBMA: ip("172.16.1.1"), Multicast: true}}}
}

func lan(n int) netip.Prefix { return net(fmt.Sprintf("192.168.%d%d.0/24", n, n)) }
func hostOf(n int) string    { return fmt.Sprintf("192.168.%d%d.%d", n, n, n) }

// scenario is the hub and spokes 2 and 3; routes lead over the hub, as eBGP with a rewriting hub makes them.
func scenario(t testing.TB) (c *cloud, hub, s2, s3 *router) {
	c = newCloud(t)
	hub = c.add("hub")
	hub.routes = []route{{prefix: net("10.10.10.0/24"), ifname: "Tunnel0"}, {prefix: net("10.10.10.1/32"), local: true},
		{prefix: lan(2), via: ip("10.10.10.2"), ifname: "Tunnel0"}, {prefix: lan(3), via: ip("10.10.10.3"), ifname: "Tunnel0"},
		{prefix: lan(1), ifname: "Loopback10"}, {prefix: net("0.0.0.0/0"), via: ip("172.16.1.254"), ifname: "GigabitEthernet1"}}
	hub.apply(hubConfig())
	s2, s3 = c.spoke(2, 3), c.spoke(3, 2)
	return c, hub, s2, s3
}

// spoke adds spoke n, which knows the networks of others over the hub.
func (c *cloud) spoke(n int, others ...int) *router {
	r := c.add(fmt.Sprintf("spoke%d", n))
	self := ip(fmt.Sprintf("10.10.10.%d", n))
	r.routes = []route{{prefix: net("10.10.10.0/24"), ifname: "Tunnel0"}, {prefix: hostPrefix(self), local: true},
		{prefix: lan(n), ifname: "Loopback10"}, {prefix: lan(1), via: ip("10.10.10.1"), ifname: "Tunnel0"},
		{prefix: net("0.0.0.0/0"), via: ip(fmt.Sprintf("172.16.%d.254", n)), ifname: "GigabitEthernet1"}}
	for _, o := range others {
		r.routes = append(r.routes, route{prefix: lan(o), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	}
	r.apply(spokeConfig(n))
	return r
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func wantPath(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("path: got %v, want %v", got, want)
	}
}
