package netstack

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// TunnelMode is what a tunnel puts around its packets.
type TunnelMode uint8

const (
	GREPointToPoint TunnelMode = iota + 1
	GREMultipoint
	// VTI: IP directly in ESP tunnel mode.
	VTI
)

func (m TunnelMode) String() string {
	switch m {
	case GREPointToPoint:
		return "gre"
	case GREMultipoint:
		return "gre multipoint"
	case VTI:
		return "ipsec"
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

const (
	defaultTTL = 255
	// autoSessions bounds the sessions that a clear multipoint tunnel makes of sources that it does not know.
	autoSessions = 1024
	punts        = time.Second     // between two punts about the same thing
	redirects    = 8 * time.Second // between two redirects for a pair of addresses, unless set otherwise
)

// TunnelConfig is what a tunnel is made of.
type TunnelConfig struct {
	Name     string
	VRF      *VRF // of the packets inside; nil means the default
	Underlay *VRF // of the packets outside; nil means the default
	Mode     TunnelMode
	// Source is the outer source address. When it is the zero Addr the tunnel follows the first address of
	// SourceInterface that fits Destination's family (IPv4 when there is none), and its state.
	Source          netip.Addr
	SourceInterface string
	// Destination is the far end of a point-to-point tunnel; it may come later, with a session.
	Destination netip.Addr
	Key         uint32
	HasKey      bool
	// Protected tunnels send and receive nothing but what goes through an SA.
	Protected bool
	TTL       uint8 // outer TTL, 0 means 255
	NetworkID uint32
	Redirect  bool
	// Hold keeps the line protocol down until Tunnel.SetHold(false).
	Hold bool
}

// Tunnel is a tunnel interface with its sessions.
type Tunnel struct {
	d     *Dataplane
	iface *Interface
	cfg   TunnelConfig // Source, Destination, NetworkID and Redirect live below

	source           atomic.Pointer[netip.Addr]
	destination      atomic.Pointer[netip.Addr]
	held             atomic.Bool
	networkID        atomic.Uint32
	redirect         atomic.Bool
	redirectInterval atomic.Int64
	neigh            cow[netip.Addr, *adjacency]
	byNBMA           cow[netip.Addr, *Session]
	def, glean       atomic.Pointer[Session]
	multicast        atomic.Pointer[[]*Session]
	mtuCache         atomic.Uint64
	mtuGen           atomic.Uint64 // changes when the MTU of a session may have changed

	mu       sync.Mutex
	sessions map[uint64]*Session
	auto     []*Session // made for unknown sources, the oldest first
	clear    clearKey   // what d.clear has for us
}

// AddTunnel makes a tunnel interface. An unprotected point-to-point tunnel with a destination has its session and
// default at once; others get theirs from whoever negotiates them.
func (d *Dataplane) AddTunnel(c TunnelConfig) (*Tunnel, error) {
	if c.VRF == nil {
		c.VRF = d.Default()
	}
	if c.Underlay == nil {
		c.Underlay = d.Default()
	}
	if c.TTL == 0 {
		c.TTL = defaultTTL
	}
	if c.Mode < GREPointToPoint || c.Mode > VTI {
		return nil, fmt.Errorf("tunnel %s: mode %d: %w", c.Name, c.Mode, ErrNotFound)
	}
	if c.Mode == VTI {
		c.Protected = true
	}
	if !c.HasKey {
		c.Key = 0
	}
	if c.Mode == GREMultipoint && c.Destination.IsValid() {
		return nil, fmt.Errorf("tunnel %s: a multipoint tunnel has no destination: %w", c.Name, ErrMalformed)
	}
	if c.Source.IsValid() && c.Destination.IsValid() && c.Source.Is4() != c.Destination.Is4() {
		return nil, fmt.Errorf("tunnel %s: source %v and destination %v are of different families: %w", c.Name, c.Source, c.Destination, ErrMalformed)
	}
	t := &Tunnel{d: d, cfg: c, sessions: map[uint64]*Session{}}
	t.neigh.hash, t.byNBMA.hash = hashAddr, hashAddr
	t.networkID.Store(c.NetworkID)
	t.redirect.Store(c.Redirect)
	t.redirectInterval.Store(int64(redirects))
	t.multicast.Store(&[]*Session{})
	t.source.Store(&netip.Addr{})
	t.destination.Store(&c.Destination)
	t.held.Store(c.Hold)
	i := d.newInterface(c.Name, c.VRF, TunnelKind)
	i.tunnel, t.iface = t, i
	if err := d.register(i); err != nil {
		return nil, err
	}
	src := c.Source
	if !src.IsValid() {
		src = t.followed()
	}
	if err := t.setSource(src); err != nil {
		_ = d.RemoveInterface(i)
		return nil, err
	}
	if c.Destination.IsValid() && !c.Protected {
		t.SetDefault(t.NewSession(c.Destination))
	}
	i.SetAdminUp(true)
	return t, nil
}

// Interface of the tunnel.
func (t *Tunnel) Interface() *Interface { return t.iface }

// Config is what the tunnel was made of, with what was changed since.
func (t *Tunnel) Config() TunnelConfig {
	c := t.cfg
	c.Source, c.NetworkID, c.Redirect = t.Source(), t.networkID.Load(), t.redirect.Load()
	c.Destination, c.Hold = *t.destination.Load(), t.held.Load()
	return c
}

// Source is the outer source address, the zero Addr while there is none.
func (t *Tunnel) Source() netip.Addr { return *t.source.Load() }

// SetSource changes the outer source address; the zero Addr takes the tunnel down.
func (t *Tunnel) SetSource(a netip.Addr) error { return t.setSource(a) }

// SetDestination says where a point-to-point tunnel whose far end is chosen while it runs leads now; the zero Addr: nowhere.
// Packets follow the default session; this is for who asks.
func (t *Tunnel) SetDestination(a netip.Addr) { t.destination.Store(&a) }

// SetHold keeps the line protocol down, or no longer does: a tunnel that is given its address by its peer is of no use
// before.
func (t *Tunnel) SetHold(on bool) {
	if t.held.Swap(on) != on {
		t.state()
	}
}

// SetRedirect says whether packets that leave the NHRP network they came from are punted.
func (t *Tunnel) SetRedirect(on bool) { t.redirect.Store(on) }

// SetRedirectInterval is the least time between two redirects for a pair of addresses.
func (t *Tunnel) SetRedirectInterval(d time.Duration) { t.redirectInterval.Store(int64(d)) }

// SetNetworkID changes the NHRP network that the tunnel belongs to; 0 is none.
func (t *Tunnel) SetNetworkID(id uint32) { t.networkID.Store(id) }

func (t *Tunnel) setSource(a netip.Addr) error {
	d := t.d
	d.mu.Lock()
	if t.Source() == a && t.clear.local == a {
		d.mu.Unlock()
		return nil
	}
	key := clearKey{vrf: t.cfg.Underlay.id, local: a, remote: t.cfg.Destination, key: t.cfg.Key, hasKey: t.cfg.HasKey}
	if t.cfg.Mode != VTI && a.IsValid() {
		if other, ok := d.clear.get(key); ok && other != t && !(other.cfg.Protected && t.cfg.Protected) {
			d.mu.Unlock()
			return fmt.Errorf("tunnel %s: same source, destination and key as %s: %w (give one of them a tunnel key)", t.iface.name, other.iface.name, ErrExists)
		}
	}
	t.unclear()
	t.source.Store(&a)
	if a.IsValid() {
		t.claim(key)
	}
	d.mu.Unlock()
	t.iface.measureAnew()
	t.state()
	return nil
}

// claim wants packets of clear GRE with a key for the tunnel; the first that does gets them. d.mu is held.
func (t *Tunnel) claim(key clearKey) {
	t.clear = key
	if t.cfg.Mode == VTI {
		return
	}
	t.d.claims[key] = append(t.d.claims[key], t)
	if len(t.d.claims[key]) == 1 {
		t.d.clear.set(key, t)
	}
}

// unclear takes the tunnel out of the table of clear GRE, and lets a protected one with the same key take its place.
// d.mu is held.
func (t *Tunnel) unclear() {
	key := t.clear
	t.clear = clearKey{}
	list := slices.DeleteFunc(t.d.claims[key], func(x *Tunnel) bool { return x == t })
	if len(list) > 0 {
		t.d.claims[key] = list
		t.d.clear.set(key, list[0])
		return
	}
	delete(t.d.claims, key)
	t.d.clear.remove(key, func(x *Tunnel) bool { return x == t })
}

// followed is the address of the source interface.
func (t *Tunnel) followed() netip.Addr {
	i, ok := t.d.Interface(t.cfg.SourceInterface)
	if !ok {
		return netip.Addr{}
	}
	return i.addrs.Load().primary(!t.cfg.Destination.IsValid() || t.cfg.Destination.Is4())
}

// follow brings tunnels up to date whose source interface has changed.
func (d *Dataplane) follow(changed *Interface) {
	if changed.tunnel != nil && changed.tunnel.cfg.SourceInterface == changed.name {
		return
	}
	d.mu.Lock()
	list := slices.SortedFunc(maps.Keys(d.followers[changed.name]), func(a, b *Tunnel) int { return int(a.iface.index) - int(b.iface.index) })
	d.mu.Unlock()
	for _, t := range list {
		i := t.iface
		if i == changed {
			continue
		}
		if !t.cfg.Source.IsValid() {
			if err := t.setSource(t.followed()); err != nil {
				d.log.Error().Str("event", "tunnel-source").Str("tunnel", i.name).Err(err).Msg("the tunnel cannot follow its source interface")
			}
		}
		t.state()
	}
}

// state computes the tunnel's carrier: a source, its interface up, and for a VTI an SA.
func (t *Tunnel) state() {
	up := t.Source().IsValid() && !t.held.Load()
	if name := t.cfg.SourceInterface; name != "" && name != t.iface.name {
		src, ok := t.d.Interface(name)
		up = up && ok && src.Up()
	}
	if t.cfg.Mode == VTI {
		s := t.def.Load()
		up = up && s != nil && s.Outbound() != nil
	}
	t.iface.setCarrier(up)
}

// NewSession makes a far end of the tunnel.
func (t *Tunnel) NewSession(nbma netip.Addr) *Session {
	s := newSession(t, nbma)
	t.mu.Lock()
	t.sessions[s.id] = s
	t.mu.Unlock()
	t.byNBMA.set(nbma, s)
	return s
}

// Sessions lists the far ends by age.
func (t *Tunnel) Sessions() []*Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*Session, 0, len(t.sessions))
	for _, s := range t.sessions {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Session) int { return cmp.Compare(a.id, b.id) })
	return out
}

// SetNeighbour says which session leads to an overlay next hop; nil says that none does.
func (t *Tunnel) SetNeighbour(a netip.Addr, s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.neigh.get(a)
	if s == nil || s.closed.Load() {
		if ok {
			old.dead.Store(true)
			t.neigh.remove(a, nil)
			t.unpin(old.session.Load())
		}
		return
	}
	s.pins.Add(1)
	if ok {
		t.unpin(old.session.Swap(s))
		return
	}
	adj := &adjacency{iface: t.iface, addr: a, state: Reachable}
	adj.session.Store(s)
	t.neigh.set(a, adj)
}

func (t *Tunnel) unpin(s *Session) {
	if s != nil {
		s.pins.Add(-1)
	}
}

// Neighbour tells which session leads to an overlay next hop.
func (t *Tunnel) Neighbour(a netip.Addr) (*Session, bool) {
	if adj, ok := t.neigh.get(a); ok {
		if s := adj.session.Load(); s != nil {
			return s, true
		}
	}
	return nil, false
}

// SetMulticast replaces the list of sessions that multicast and broadcast is sent to.
func (t *Tunnel) SetMulticast(list []*Session) {
	list = slices.Clone(list)
	for _, s := range list {
		s.pins.Add(1)
	}
	for _, s := range *t.multicast.Swap(&list) {
		t.unpin(s)
	}
	t.iface.measureAnew()
}

// SetDefault says where everything goes on a point-to-point tunnel; nil: nowhere.
func (t *Tunnel) SetDefault(s *Session) {
	if s != nil {
		s.pins.Add(1)
	}
	t.unpin(t.def.Swap(s))
	t.iface.measureAnew()
	t.state()
}

// Default is the session of a point-to-point tunnel.
func (t *Tunnel) Default() *Session { return t.def.Load() }

// SetGleanVia says which session takes packets to next hops that have none (yet): the NHS; nil: they are dropped.
func (t *Tunnel) SetGleanVia(s *Session) {
	if s != nil {
		s.pins.Add(1)
	}
	t.unpin(t.glean.Swap(s))
}

// sessionFor is the session to a next hop, without side effects.
func (t *Tunnel) sessionFor(next netip.Addr) *Session {
	if s := t.def.Load(); s != nil {
		return s
	}
	if s, ok := t.Neighbour(next); ok {
		return s
	}
	return t.glean.Load()
}

// adjacency finds the way to a next hop inside the tunnel; when there is none the packet is gone.
func (t *Tunnel) adjacency(w *worker, nextHop netip.Addr, p *packet.Packet) *adjacency {
	if s := t.def.Load(); s != nil {
		return s.adj
	}
	if nextHop.IsMulticast() || nextHop == ip.Broadcast || nextHop.Is4() && t.iface.addrs.Load().broadcast(nextHop) {
		return t.iface.out
	}
	if a, ok := t.neigh.get(nextHop); ok {
		if a.session.Load() != nil {
			return a
		}
	}
	if t.cfg.Mode != GREMultipoint {
		w.unreachable(p, dropNoSession, ip.CodeHost, ip.V6AddrUnreach)
		return nil
	}
	glean := t.glean.Load()
	if p.Flags&(packet.FlagControl|packet.FlagNoTrigger) == 0 {
		if t.d.noNeigh.allow(w.time(), nextHop, nextHop, t.iface.index, punts) {
			t.d.punt(Punt{Reason: PuntNoNeighbour, Packet: p.Clone(), Interface: t.iface, Session: sessionOf(p), NextHop: nextHop})
		} else {
			t.d.stats.PuntsLimited.Add(1)
		}
	}
	if glean != nil && sessionOf(p) != glean {
		return glean.adj
	}
	w.unreachable(p, dropNoNeighbour, ip.CodeHost, ip.V6AddrUnreach)
	return nil
}

// output is the stage of packets that leave by the tunnel.
func (t *Tunnel) output(w *worker, a *adjacency, v []*packet.Packet) {
	if s := a.session.Load(); s != nil {
		s.output(w, v)
		return
	}
	t.replicate(w, v)
}

// replicate sends a copy of each packet to every session of the multicast list.
func (t *Tunnel) replicate(w *worker, v []*packet.Packet) {
	list := *t.multicast.Load()
	if len(list) == 0 {
		w.d.dropAll(v, dropNoSession)
		return
	}
	for _, s := range list[1:] {
		for _, p := range v {
			one := [1]*packet.Packet{p.Clone()}
			s.output(w, one[:])
		}
	}
	list[0].output(w, v)
}

// clearSession finds the session of an unprotected tunnel by the outer source of a packet. A multipoint tunnel makes
// one for a source that it does not know, and forgets the oldest such source that nothing points at.
func (t *Tunnel) clearSession(src netip.Addr) *Session {
	if s, ok := t.byNBMA.get(src); ok {
		return s
	}
	if t.cfg.Mode != GREMultipoint {
		return nil
	}
	t.mu.Lock()
	for n := len(t.auto); n >= autoSessions && n > 0; n-- {
		old := t.auto[0]
		t.auto = t.auto[1:]
		if old.closed.Load() || old.pins.Load() > 0 {
			continue // gone, or no longer a stranger
		}
		t.mu.Unlock()
		old.Close()
		t.mu.Lock()
		break
	}
	t.mu.Unlock()
	s := t.NewSession(src)
	t.mu.Lock()
	t.auto = append(t.auto, s)
	t.mu.Unlock()
	return s
}

func (t *Tunnel) close() {
	t.d.mu.Lock()
	t.unclear()
	t.d.mu.Unlock()
	for _, s := range t.Sessions() {
		s.Close()
	}
}

// transportMTU is the largest packet that every session carries.
func (t *Tunnel) transportMTU() int {
	if s := t.def.Load(); s != nil {
		return s.mtu()
	}
	gen := t.generation()
	if c := t.mtuCache.Load(); c>>16 == gen+1 {
		return int(c & 0xffff)
	}
	m := 0
	for _, s := range t.Sessions() {
		if x := s.mtu(); m == 0 || x < m {
			m = x
		}
	}
	if m == 0 {
		m = t.guessMTU()
	}
	t.mtuCache.Store((gen+1)<<16 | uint64(min(m, 0xffff)))
	return m
}

// generation changes when the MTU of a session of the tunnel may have changed: all that goes into it only counts up.
func (t *Tunnel) generation() uint64 {
	return t.d.mtuGen.Load() + t.cfg.Underlay.mtuGen.Load() + t.mtuGen.Load()
}

// guessMTU is the MTU before there is a session: that of the interface with the source address, without our headers.
func (t *Tunnel) guessMTU() int {
	path := 1500
	src := t.Source()
	for _, i := range *t.d.ethers.Load() {
		if i.vrf == t.cfg.Underlay && i.addrs.Load().has(src) {
			path = int(i.mtu.Load())
		}
	}
	m := path - outerSize(src) - t.greSize()
	if t.cfg.Protected {
		m -= 76 // the dearest suite in tunnel mode over IPv4
	}
	return m
}

// groupMTU is the largest packet that every session of the multicast list carries.
func (t *Tunnel) groupMTU() int {
	m := 65535
	for _, s := range *t.multicast.Load() {
		m = min(m, s.mtu())
	}
	return m
}

func (t *Tunnel) greSize() int {
	switch {
	case t.cfg.Mode == VTI:
		return 0
	case t.cfg.HasKey:
		return 8
	}
	return 4
}

func outerSize(a netip.Addr) int {
	if a.Is6() {
		return ip.SizeV6
	}
	return ip.MinV4
}
