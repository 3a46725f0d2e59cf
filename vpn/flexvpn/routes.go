package flexvpn

import (
	"fmt"
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

// place is an address in a VRF.
type place struct {
	vrf  string
	addr netip.Addr
}

// who is a set of sessions.
type who map[*live]struct{}

// places are sessions by an address.
type places map[place]who

func (x places) add(p place, l *live) {
	if x[p] == nil {
		x[p] = who{}
	}
	x[p][l] = struct{}{}
}

func (x places) remove(p place, l *live) {
	delete(x[p], l)
	if len(x[p]) == 0 {
		delete(x, p)
	}
}

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
	leftOut string // what was said of routes that could not be
}

func (l *live) place(p netip.Prefix) place { return place{l.tun.Config().VRF.Name(), p.Addr()} }

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
	case protect.Up, protect.Answering, protect.Replaced, protect.Moved, protect.Changed:
		if l == nil {
			if e.Kind != protect.Up && e.Kind != protect.Answering {
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
		if a := l.access; a != nil {
			far, known := a.req.Remote, !a.req.Peer.IsZero()
			if e.Remote.IsValid() {
				a.req.Remote = e.Remote
			}
			a.req.IKE, a.req.Peer = e.IKE, e.Peer // when it was we who called, they are known only now
			if a.req.Remote != far || known == e.Peer.IsZero() {
				m.outside(a)
			}
		}
		m.install(l)
	case protect.Down, protect.Lapsed:
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
	left := leftOut{}
	add := func(p netip.Prefix, why Why) {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked()
		if _, there := want[p]; there || !p.IsValid() {
			return
		}
		reason := m.leads(l, p, why)
		if reason == "" && why != ByAddress && accept.Only != nil && !accept.Only.Permit(p) {
			reason = "the authorization policy's prefix list does not permit it"
		}
		if reason == "" && len(want) >= maxRoutes {
			reason = fmt.Sprintf("a peer may have %d", maxRoutes)
		}
		if reason != "" {
			m.counters.RoutesLeftOut++
			left.add(reason, p, why)
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
	m.complain(l, left)
}

// leads says why a prefix may not lead to a peer; empty: it may.
//
//   - A route to the peer itself outside would have the tunnel carry its own packets. A wider one is let through on a
//     configured tunnel, whose far end is pinned (rib.Pins); a peer that calls does not get to give us one.
//   - An address that we assigned is the peer's that has it, whatever others say.
func (m *Manager) leads(l *live, p netip.Prefix, why Why) string {
	a := p.Addr()
	if a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsLoopback() || a.IsUnspecified() && p.Bits() > 0 {
		return "no unicast addresses"
	}
	c := l.tun.Config()
	if c.VRF == c.Underlay && (p.IsSingleIP() || l.access != nil) && p.Contains(l.outer) {
		return "the peer's own address outside lies in it, so the tunnel would lead through itself"
	}
	if why != ByAddress && p.IsSingleIP() {
		if owners := m.owners[l.place(p)]; len(owners) > 0 {
			if _, mine := owners[l]; !mine {
				return "that address is assigned to another peer"
			}
		}
	}
	return ""
}

// leftOut counts the routes that could not be, by reason.
type leftOut map[string]*leftOutOf

type leftOutOf struct {
	n     int
	first netip.Prefix
	why   Why
}

func (x leftOut) add(reason string, p netip.Prefix, why Why) {
	if x[reason] == nil {
		x[reason] = &leftOutOf{first: p, why: why}
	}
	x[reason].n++
}

// complain says it once, however often the peer repeats itself.
func (m *Manager) complain(l *live, left leftOut) {
	said := ""
	for _, reason := range slices.Sorted(maps.Keys(left)) {
		said += fmt.Sprintf("%s: %d from %s;", reason, left[reason].n, left[reason].first)
	}
	if said == l.leftOut {
		return
	}
	l.leftOut = said
	for _, reason := range slices.Sorted(maps.Keys(left)) {
		x := left[reason]
		m.o.Log.Warn().Str("event", "route-left-out").Str("interface", l.tun.Interface().Name()).Stringer("peer", l.outer).Stringer("prefix", x.first).
			Str("why", string(x.why)).Int("count", x.n).Str("reason", reason).Msg("routes of a peer were left out")
	}
}

// claim keeps who has which assigned address, and has others give up what they had said of it.
func (m *Manager) claim(l *live, want map[netip.Prefix]Route) {
	for p, x := range l.routes {
		if !p.IsSingleIP() {
			continue
		}
		if now, stays := want[p]; stays && now.Why == x.Why {
			continue
		}
		m.hosts.remove(l.place(p), l)
		m.owners.remove(l.place(p), l)
	}
	var robbed []*live
	for p, x := range want {
		if !p.IsSingleIP() {
			continue
		}
		if x.Why != ByAddress {
			m.hosts.add(l.place(p), l)
			continue
		}
		if _, mine := m.owners[l.place(p)][l]; mine {
			continue
		}
		m.owners.add(l.place(p), l)
		robbed = slices.AppendSeq(robbed, maps.Keys(m.hosts[l.place(p)]))
	}
	for _, o := range robbed {
		if o != l {
			m.install(o)
		}
	}
}

// set makes the session's routes be those.
func (m *Manager) set(l *live, want map[netip.Prefix]Route) {
	m.claim(l, want)
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
			if p.Masked().Addr() != start || end.Less(message.Last(p)) {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(start, bits)
		out = append(out, p)
		start = message.Last(p).Next()
	}
	return out
}
