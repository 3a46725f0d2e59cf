package dmvpn

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/netstack/loop"
	"felloe/vpn/nhrp"
	"felloe/vpn/protect"

	"github.com/rs/zerolog"
)

// Routes is the routing table of a VRF. *rib.RIB is one.
type Routes interface {
	SetNHRP(prefix netip.Prefix, tunnel string, nextHop netip.Addr, override bool, parents ...string)
	DeleteNHRP(prefix netip.Prefix, tunnel string)
	// Lookup is the routed path, NHRP's own routes left out.
	Lookup(vrf string, dst netip.Addr) (prefix netip.Prefix, via netip.Addr, ifname string, local, discard, ok bool)
	// Ways are the interfaces that it leaves by.
	Ways(dst netip.Addr) []string
	// OnChange has f called, on the control loop, after changes.
	OnChange(f func())
}

// Protection makes the sessions of protected tunnels. *protect.Manager is one.
type Protection interface {
	Open(t *netstack.Tunnel, nbma netip.Addr) *netstack.Session
	// OpenTemplate is Open for a shortcut of a point-to-point tunnel: on a tunnel that is made of a virtual template.
	OpenTemplate(template string, nbma netip.Addr, parent *netstack.Tunnel) (*netstack.Session, error)
	Close(s *netstack.Session, reason string)
	Probe(s *netstack.Session)
	SessionInfo(s *netstack.Session) (protect.Info, bool)
}

// Config is the NHRP configuration of a tunnel. What the tunnel knows itself (name, VRF, source, addresses) is taken
// from it when Apply or Refresh is called.
type Config struct {
	NetworkID           uint32
	Authentication      string
	Holdtime            time.Duration // 600 s
	RegistrationTimeout time.Duration // a third of Holdtime
	NHS                 []nhrp.NHS
	MaxConnections      map[uint8]int // per cluster; 0: all
	Maps                []nhrp.Map
	Multicast           []netip.Addr // NBMA addresses that always get multicast
	MulticastDynamic    bool         // registered clients get multicast
	Shortcut            bool
	Redirect            bool
	RedirectInterval    time.Duration // least time between redirects for one flow; 0: the data plane's own
	Unique              bool
	ServerOnly          bool         // answer, but never ask
	MaxSend             nhrp.MaxSend // zero: no limit
	MTU                 uint16       // told to peers; 0: nothing
	// ShortcutTemplate is the number of the virtual template that shortcuts of a point-to-point tunnel are made of; 0: none.
	ShortcutTemplate int
	// Clone says that the tunnel is made of a virtual template itself.
	Clone bool
}

// Options are what a Manager is made of. Loop and Rand are needed; without Protection only unprotected tunnels work.
type Options struct {
	Loop       *loop.Loop
	Protection Protection
	Log        zerolog.Logger
	Rand       io.Reader
	// Events hears everything, single packets included, on the control loop: for debugging with conditions. It must not
	// call the Manager.
	Events func(nhrp.Event)
	Limits nhrp.Limits
	Timers nhrp.Timers
}

// Manager is the DMVPN of one router. All methods but HandlePunt run on the control loop.
type Manager struct {
	o      Options
	loop   *loop.Loop
	engine *nhrp.Engine
	plain  unprotected

	tunnels  map[string]*tunnel
	vrfs     map[string]Routes
	sessions map[nhrp.SessionID]*known
	sweepAt  int

	busy    bool
	queue   []func()
	timer   clock.Timer
	timerAt time.Time
	routes  clock.Timer // pending look at changed routes

	panics uint64
}

type tunnel struct {
	net      *netstack.Tunnel
	cfg      Config
	sessions map[nhrp.SessionID]struct{} // of Manager.sessions
}

// known is a session that the machine may name, with who is behind it.
type known struct {
	net      *netstack.Session
	t        *tunnel
	identity string
	ike      uint64
	asked    bool // identity and ike are filled in
}

// routeDelay gathers changes of the routing table into one look at them.
const routeDelay = 50 * time.Millisecond

// New makes a Manager without tunnels.
func New(o Options) (*Manager, error) {
	if o.Loop == nil || o.Rand == nil {
		return nil, errors.New("dmvpn: Options need Loop and Rand")
	}
	m := &Manager{o: o, loop: o.Loop, plain: unprotected{}, tunnels: map[string]*tunnel{}, vrfs: map[string]Routes{},
		sessions: map[nhrp.SessionID]*known{}, sweepAt: 1024}
	m.engine = nhrp.New(nhrp.Options{Host: host{m}, Rand: o.Rand, Limits: o.Limits, Timers: o.Timers})
	return m, nil
}

// AddVRF says where the routes of a VRF are.
func (m *Manager) AddVRF(name string, r Routes) {
	m.vrfs[name] = r
	r.OnChange(func() {
		if m.vrfs[name] == r {
			m.routesChanged()
		}
	})
}

// RemoveVRF forgets a VRF; its tunnels must have been removed before.
func (m *Manager) RemoveVRF(name string) { delete(m.vrfs, name) }

// Apply gives a tunnel its NHRP configuration, or changes it. What did not change is not touched.
func (m *Manager) Apply(t *netstack.Tunnel, cfg Config) error {
	name := t.Interface().Name()
	c := t.Config()
	if c.Protected && m.o.Protection == nil {
		return fmt.Errorf("tunnel %s: it is protected, but there is no tunnel protection to open its sessions", name)
	}
	if cfg.NetworkID == 0 {
		return fmt.Errorf("tunnel %s: nhrp needs a network-id that is not 0", name)
	}
	if old := m.tunnels[name]; old != nil && old.net != t {
		m.Remove(name)
	}
	if m.tunnels[name] == nil {
		m.tunnels[name] = &tunnel{net: t, sessions: map[nhrp.SessionID]struct{}{}}
	}
	m.tunnels[name].cfg = clone(cfg)
	t.SetNetworkID(cfg.NetworkID)
	t.SetRedirect(cfg.Redirect)
	if cfg.RedirectInterval > 0 {
		t.SetRedirectInterval(cfg.RedirectInterval)
	}
	m.refresh(name)
	return nil
}

// Refresh looks again at what a tunnel knows itself: call it when its addresses or its source have changed. Tunnels that
// borrow its addresses are looked at too.
func (m *Manager) Refresh(name string) {
	m.refresh(name)
	for other, t := range m.tunnels {
		if of := t.net.Interface().Unnumbered(); of != nil && of.Name() == name {
			m.refresh(other)
		}
	}
}

func (m *Manager) refresh(name string) {
	t := m.tunnels[name]
	if t == nil {
		return
	}
	m.step("apply", 0, func(now time.Time) {
		if m.tunnels[name] != t {
			return // another one has taken its place
		}
		cfg := t.config()
		if !cfg.PointToPoint && (!cfg.NBMA.IsValid() || len(cfg.Addresses) == 0) {
			// Nothing to speak from: as if it were not there, until it has both.
			m.engine.Remove(now, name)
			return
		}
		m.engine.Apply(now, cfg)
	})
}

// config is what the machine is told of a tunnel.
func (t *tunnel) config() nhrp.Config {
	c, i := t.net.Config(), t.net.Interface()
	prefixes := i.Addresses()
	if of := i.Unnumbered(); of != nil && len(prefixes) == 0 {
		prefixes = of.Addresses()
	}
	var addrs []netip.Addr
	for _, p := range prefixes {
		if a := p.Addr(); !a.IsLinkLocalUnicast() {
			addrs = append(addrs, a)
		}
	}
	return nhrp.Config{
		Tunnel: i.Name(), VRF: c.VRF.Name(), NetworkID: t.cfg.NetworkID, Authentication: t.cfg.Authentication, Holdtime: t.cfg.Holdtime,
		RegistrationTimeout: t.cfg.RegistrationTimeout, Addresses: addrs, NBMA: c.Source, NHS: t.cfg.NHS,
		MaxConnections: t.cfg.MaxConnections, Maps: t.cfg.Maps, Multicast: t.cfg.Multicast, MulticastDynamic: t.cfg.MulticastDynamic,
		Shortcut: t.cfg.Shortcut, Redirect: t.cfg.Redirect, Unique: t.cfg.Unique, MTU: t.cfg.MTU, ServerOnly: t.cfg.ServerOnly, MaxSend: t.cfg.MaxSend,
		PointToPoint: c.Mode != netstack.GREMultipoint, ShortcutTemplate: t.cfg.ShortcutTemplate, Clone: t.cfg.Clone, Instance: i.Index(),
	}
}

func clone(c Config) Config {
	c.NHS, c.Maps, c.Multicast = slices.Clone(c.NHS), slices.Clone(c.Maps), slices.Clone(c.Multicast)
	c.MaxConnections = maps.Clone(c.MaxConnections)
	return c
}

// Remove takes a tunnel's NHRP away: its servers and those who cached its answers are told, its sessions are closed.
func (m *Manager) Remove(name string) {
	t := m.tunnels[name]
	if t == nil {
		return
	}
	m.step("remove", 0, func(now time.Time) {
		if cur := m.tunnels[name]; cur == nil || cur == t {
			m.engine.Remove(now, name)
		}
	})
	delete(m.tunnels, name)
	t.net.SetRedirect(false)
	t.net.SetNetworkID(0)
	t.net.SetGleanVia(nil)
	t.net.SetMulticast(nil)
	for id := range t.sessions {
		m.forget(id)
	}
	m.plain.forget(t.net)
}

// RemoveAll takes every tunnel's NHRP away.
func (m *Manager) RemoveAll() {
	for _, name := range slices.Sorted(maps.Keys(m.tunnels)) {
		m.Remove(name)
	}
}

// HandleEvent takes what protection tells of a session.
func (m *Manager) HandleEvent(ev protect.Event) {
	if ev.Session == nil || ev.Tunnel == nil {
		return
	}
	name := ev.Tunnel.Interface().Name()
	t := m.tunnels[name]
	if t == nil || t.net != ev.Tunnel {
		return
	}
	id := nhrp.SessionID(ev.Session.SessionID())
	switch ev.Kind {
	case protect.Up, protect.Moved, protect.Replaced:
		k := m.know(t, ev.Session)
		k.asked, k.identity, k.ike = true, identity(ev), uint64(ev.IKE)
		m.step("session "+ev.Kind.String(), id, func(now time.Time) {
			s, ok := host{m}.Session(id)
			switch {
			case !ok:
			case ev.Kind == protect.Up:
				m.engine.SessionUp(now, s)
			default:
				m.engine.SessionMoved(now, s)
			}
		})
	case protect.Down:
		reason := ev.Reason
		if reason == "" {
			reason = "session down"
		}
		m.step("session down", id, func(now time.Time) {
			m.engine.SessionDown(now, name, id, reason)
			if ev.Session.Closed() {
				m.forget(id)
			}
		})
	}
}

func identity(ev protect.Event) string {
	if ev.Peer.IsZero() {
		return ""
	}
	return ev.Peer.String()
}

// know remembers a session of a tunnel under its ID.
func (m *Manager) know(t *tunnel, s *netstack.Session) *known {
	id := nhrp.SessionID(s.SessionID())
	k := m.sessions[id]
	if k == nil {
		if len(m.sessions) >= m.sweepAt {
			for id, k := range m.sessions {
				if k.net.Closed() {
					m.forget(id)
				}
			}
			m.sweepAt = max(1024, 2*len(m.sessions))
		}
		k = &known{net: s, t: t}
		m.sessions[id] = k
		t.sessions[id] = struct{}{}
	}
	return k
}

func (m *Manager) forget(id nhrp.SessionID) {
	if k := m.sessions[id]; k != nil {
		delete(m.sessions, id)
		delete(k.t.sessions, id)
	}
}

// routesChanged has shortcuts and answers looked at soon.
func (m *Manager) routesChanged() {
	if m.routes != nil || len(m.tunnels) == 0 {
		return
	}
	m.routes = m.loop.After("nhrp routes", routeDelay, func() {
		m.routes = nil
		m.step("routes", 0, m.engine.RoutesChanged)
	})
}

// step runs the machine and arms its timer anew. Calls that come while it runs (protection tells of a session that was
// just opened) wait until it has finished. A panic costs the entries of the session to blame.
func (m *Manager) step(work string, blame nhrp.SessionID, f func(now time.Time)) {
	m.queue = append(m.queue, func() { m.contained(work, blame, f) })
	if m.busy {
		return
	}
	m.busy = true
	for len(m.queue) > 0 {
		next := m.queue[0]
		m.queue = m.queue[1:]
		next()
	}
	m.queue = nil
	m.busy = false
	m.rearm()
}

func (m *Manager) contained(work string, blame nhrp.SessionID, f func(now time.Time)) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		m.panics++
		m.o.Log.Error().Str("event", "panic").Str("work", "nhrp "+work).Uint64("session", uint64(blame)).Interface("cause", cause).
			Bytes("stack", debug.Stack()).Msg("contained a panic; the session to blame loses its entries")
		k := m.sessions[blame]
		if k == nil {
			return
		}
		defer func() {
			if again := recover(); again != nil {
				m.o.Log.Error().Str("event", "panic").Str("work", "nhrp containment").Interface("cause", again).Msg("contained a panic while containing one")
			}
		}()
		m.engine.SessionDown(m.loop.Now(), k.net.Tunnel().Interface().Name(), blame, "a panic was contained")
	}()
	f(m.loop.Now())
}

func (m *Manager) rearm() {
	at, ok := m.engine.Deadline()
	if !ok {
		if m.timer != nil {
			m.timer.Stop()
			m.timer, m.timerAt = nil, time.Time{}
		}
		return
	}
	if m.timer != nil {
		if at.Equal(m.timerAt) {
			return
		}
		m.timer.Stop()
	}
	m.timerAt = at
	m.timer = m.loop.After("nhrp timer", max(0, at.Sub(m.loop.Now())), func() {
		if m.timerAt.After(m.loop.Now()) {
			return // an older one, stopped too late
		}
		m.timer, m.timerAt = nil, time.Time{}
		m.step("timer", 0, m.engine.Tick)
	})
}

// Snapshot is the state of all tunnels, by name, for the shows.
func (m *Manager) Snapshot() []nhrp.TunnelInfo { return m.engine.Snapshot() }

// Clear removes the learned entries of one family, or those that an address belongs to, and has servers asked anew. It
// returns how many went.
func (m *Manager) Clear(v6 bool, addr netip.Addr) (n int) {
	within := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if v6 {
		within = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	m.step("clear", 0, func(now time.Time) {
		if addr.IsValid() {
			n = m.engine.ClearAddress(now, addr)
			return
		}
		n = m.engine.Clear(now, "", within)
	})
	return n
}

// ClearTraffic sets the packet counters to zero.
func (m *Manager) ClearTraffic() { m.engine.ClearTraffic("") }

// Counters of the Manager itself.
type Counters struct {
	Panics  uint64 // contained
	Refused uint64 // punts that the loop had no room for
}

// Counters are the counts since the beginning.
func (m *Manager) Counters() Counters { return Counters{m.panics, m.loop.Refused()} }
