package flexvpn

import (
	"maps"
	"net/netip"
	"slices"

	"felloe/netstack"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/protect"
)

// Why says where a route comes from.
type Why string

const (
	BySelectors Why = "selectors"
	ByAddress   Why = "assigned"
	ByPeer      Why = "told"
)

// Route is a route to a peer.
type Route struct {
	Prefix   netip.Prefix
	Distance uint8
	Tag      uint32
	Why      Why
}

// maxRoutes bounds what one peer may have installed.
const maxRoutes = 4096

// sa is what an IKE SA's configuration exchange has come to.
type sa struct {
	assigned []netip.Prefix // to the peer, by us
	received []netip.Prefix // what is behind the peer, as it says
	accept   ikev2.RouteAccept
	users    map[*live]struct{}
}

// live is a session that is up, with its routes.
type live struct {
	session *netstack.Session
	tun     *netstack.Tunnel
	access  *access // nil for a static tunnel
	ike     ikev2.SAID
	outer   netip.Addr
	routes  map[netip.Prefix]Route
}

func (l *live) list() []Route {
	out := slices.Collect(maps.Values(l.routes))
	slices.SortFunc(out, func(a, b Route) int {
		if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
			return c
		}
		return a.Prefix.Bits() - b.Prefix.Bits()
	})
	return out
}

// RoutesOf are the routes that a static tunnel's peer has told, for show commands.
func (m *Manager) RoutesOf(s *netstack.Session) []Route {
	if l := m.live[s]; l != nil {
		return l.list()
	}
	return nil
}

// Exchanged takes what protect.Options.Exchanged tells.
func (m *Manager) Exchanged(a ikev2.Action) {
	switch a := a.(type) {
	case ikev2.IKEUp:
		s := m.sa(a.SA)
		s.accept = a.Assigned.Accept
		if !a.Initiator {
			s.assigned = a.Assigned.Addresses
		}
		m.refresh(s)
	case ikev2.ConfigReceived:
		if a.Kind != message.CFG_SET && a.Kind != message.CFG_REPLY {
			return
		}
		s := m.sa(a.SA)
		s.received, s.accept = a.Configuration.Subnets, a.Accept
		m.refresh(s)
	case ikev2.IKEDown:
		if s := m.sas[a.SA]; s != nil {
			delete(m.sas, a.SA)
			s.assigned, s.received = nil, nil
			m.refresh(s)
		}
	}
}

func (m *Manager) sa(id ikev2.SAID) *sa {
	s := m.sas[id]
	if s == nil {
		s = &sa{users: map[*live]struct{}{}}
		m.sas[id] = s
	}
	return s
}

func (m *Manager) refresh(s *sa) {
	for l := range s.users {
		m.install(l)
	}
}

// HandleEvent takes the events of tunnel protection.
func (m *Manager) HandleEvent(e protect.Event) {
	if e.Session == nil || e.Tunnel == nil || e.Tunnel.Config().Mode == netstack.GREMultipoint {
		return
	}
	l := m.live[e.Session]
	switch e.Kind {
	case protect.Up, protect.Replaced, protect.Moved, protect.Changed:
		if l == nil {
			if e.Kind != protect.Up {
				return
			}
			l = &live{session: e.Session, tun: e.Tunnel, access: m.byTunnel[e.Tunnel], routes: map[netip.Prefix]Route{}}
			m.live[e.Session] = l
			if l.access != nil {
				l.access.live = l
				m.lineProtocol(l.access)
			}
		}
		m.belong(l, e.IKE)
		l.outer = e.Remote.Addr()
		if l.access != nil && e.Remote.IsValid() {
			l.access.req.Remote = e.Remote
		}
		m.install(l)
	case protect.Down:
		if l != nil {
			m.ended(l)
		}
	}
}

// belong says which IKE SA a session hangs on.
func (m *Manager) belong(l *live, id ikev2.SAID) {
	if l.ike == id {
		return
	}
	m.leave(l)
	l.ike = id
	if id != 0 {
		m.sa(id).users[l] = struct{}{}
	}
}

func (m *Manager) leave(l *live) {
	if s := m.sas[l.ike]; s != nil {
		delete(s.users, l)
	}
	l.ike = 0
}

func (m *Manager) ended(l *live) {
	delete(m.live, l.session)
	if l.access != nil && l.access.live == l {
		l.access.live = nil
	}
	m.leave(l)
	m.set(l, nil)
}

// install brings the session's routes up to what the peer's selectors, address and configuration say.
func (m *Manager) install(l *live) {
	want := map[netip.Prefix]Route{}
	var accept ikev2.RouteAccept
	s := m.sas[l.ike]
	if s != nil {
		accept = s.accept
	}
	add := func(p netip.Prefix, why Why) {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked()
		if _, there := want[p]; there || !p.IsValid() {
			return
		}
		if len(want) >= maxRoutes || !m.leads(l, p, why) {
			m.counters.RoutesLeftOut++
			return
		}
		want[p] = Route{Prefix: p, Distance: max(accept.Distance, 1), Tag: accept.Tag, Why: why}
	}
	if s != nil {
		for _, p := range s.assigned {
			add(netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), ByAddress)
		}
	}
	if l.access != nil && l.tun.Config().Mode == netstack.VTI {
		if info, ok := m.o.Protection.SessionInfo(l.session); ok {
			for _, p := range info.Pairs {
				if !p.Sending {
					continue
				}
				for _, t := range p.TSRemote {
					for _, prefix := range Prefixes(t.Start.Unmap(), t.End.Unmap()) {
						if prefix.Bits() > 0 {
							add(prefix, BySelectors)
						}
					}
				}
			}
		}
	}
	if s != nil && accept.Accept {
		for _, p := range s.received {
			add(p, ByPeer)
		}
	}
	m.set(l, want)
}

// leads tells whether a prefix may lead to a peer: a route to itself outside would have the tunnel carry its own packets.
func (m *Manager) leads(l *live, p netip.Prefix, why Why) bool {
	a := p.Addr()
	if a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsLoopback() || a.IsUnspecified() && p.Bits() > 0 {
		return false
	}
	c := l.tun.Config()
	if c.VRF == c.Underlay && p.Bits() > 0 && p.Contains(l.outer) {
		m.o.Log.Warn().Str("event", "route-left-out").Str("interface", l.tun.Interface().Name()).Stringer("prefix", p).Stringer("peer", l.outer).Str("why", string(why)).
			Msg("a peer's route was left out: its own address outside lies in it, so the tunnel would lead through itself")
		return false
	}
	return true
}

// set makes the session's routes be those.
func (m *Manager) set(l *live, want map[netip.Prefix]Route) {
	r := m.o.Routes(l.tun.Config().VRF.Name())
	name := l.tun.Interface().Name()
	if r != nil {
		for p := range l.routes {
			if _, keep := want[p]; !keep {
				r.DeleteIKE(p, name)
			}
		}
		for p, x := range want {
			if l.routes[p] != x {
				r.SetIKE(p, name, x.Distance, x.Tag)
			}
		}
	}
	l.routes = want
}

// Prefixes are the fewest prefixes that make up a range of addresses; none when it is not one.
func Prefixes(start, end netip.Addr) (out []netip.Prefix) {
	if !start.IsValid() || !end.IsValid() || start.BitLen() != end.BitLen() || end.Less(start) {
		return nil
	}
	for start.IsValid() && !end.Less(start) && len(out) < maxRoutes {
		bits := start.BitLen()
		for bits > 0 {
			p := netip.PrefixFrom(start, bits-1)
			if p.Masked().Addr() != start || end.Less(last(p)) {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(start, bits)
		out = append(out, p)
		start = last(p).Next()
	}
	return out
}

// last is a prefix's last address.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
