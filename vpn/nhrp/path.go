package nhrp

import (
	"net/netip"
	"slices"
)

// way is what the routed path to an address says.
type way uint8

const (
	wayNone    way = iota // no route
	wayDiscard            // a discard route
	wayLocal              // one of our own addresses
	wayOut                // leaves the NHRP network here: we are its egress
	wayHop                // over a session to the next hop
	wayUnknown            // into the network, but its next hop is not resolved and there is no server to ask
)

// path follows the routed path to an address (NHRP's own routes left out) to the session that comes next. not is a
// session that must not be used; asking says that we ask for dst ourselves, so that what we learned of it before
// is not taken for the way.
func (t *tunnel) path(dst netip.Addr, not SessionID, asking bool) (w way, out *tunnel, id SessionID, r Route) {
	r, ok := t.e.host.Lookup(t.cfg.VRF, dst)
	switch {
	case t.ours(dst):
		return wayLocal, nil, 0, r
	case !ok:
		return wayNone, nil, 0, r
	case r.Discard:
		return wayDiscard, nil, 0, r
	case r.Local:
		return wayLocal, nil, 0, r
	}
	out = t.network(r.Interface)
	if out == nil {
		return wayOut, nil, 0, r
	}
	if out.cfg.PointToPoint {
		return t.pathOver(out, not, r)
	}
	hop := r.Via
	if !hop.IsValid() {
		hop = dst
	}
	if en := out.cache[hostPrefix(hop)]; en != nil && en.host() && en.session != 0 && en.session != not && t.e.up(en.session) {
		learned := en.kind == KindResolved || en.kind == KindImplicit
		if !(asking && learned && hop == dst) {
			return wayHop, out, en.session, r
		}
	}
	if n := out.server(not); n != nil {
		return wayHop, out, n.session, r
	}
	if en := out.cache[hostPrefix(hop)]; asking && en != nil && en.host() && en.session != not && t.e.up(en.session) {
		// No server left to ask: whom we know already can confirm itself.
		return wayHop, out, en.session, r
	}
	return wayUnknown, out, 0, r
}

// pathOver is path over point-to-point tunnels: the first of those that share the traffic whose far end is there.
func (t *tunnel) pathOver(out *tunnel, not SessionID, r Route) (way, *tunnel, SessionID, Route) {
	for _, name := range append([]string{r.Interface}, r.Others...) {
		o := t.network(name)
		if o == nil || !o.cfg.PointToPoint {
			continue
		}
		if s, ok := t.e.host.Peer(name); ok && s.Up && s.ID != not {
			return wayHop, o, s.ID, r
		}
	}
	return wayUnknown, out, 0, r
}

// leads reports whether the routed path to an address leaves by a tunnel, alone or with others.
func (t *tunnel) leads(r Route) bool {
	return r.Interface == t.cfg.Tunnel || slices.Contains(r.Others, t.cfg.Tunnel)
}

// fit makes an answered prefix fit our routing table: the prefix to use, whether it needs a route, and whether that is an
// override of a route with exactly this prefix. ok is false when the routed path does not lead into the network.
func (t *tunnel) fit(answered netip.Prefix, target, nextHop netip.Addr) (p netip.Prefix, need, override, ok bool) {
	r, found := t.e.host.Lookup(t.cfg.VRF, target)
	if t.cfg.PointToPoint {
		return t.fitOver(answered, r, found)
	}
	if !found || r.Local || r.Discard || t.network(r.Interface) == nil {
		return answered, false, false, false
	}
	p = answered
	if r.Prefix.Bits() > answered.Bits() && answered.Contains(r.Prefix.Addr()) {
		// A shorter route would lose against the one that is there.
		p = r.Prefix
	}
	return p, r.Via != nextHop, p == r.Prefix, true
}

// fitOver is fit for a shortcut that is a tunnel of its own. It lives through the loss of a hub: it stays where there is no
// way any more but out of the network by a default route, and, while no configured tunnel leads into the network, beside any
// shorter prefix.
func (t *tunnel) fitOver(answered netip.Prefix, r Route, found bool) (p netip.Prefix, need, override, ok bool) {
	if !found || r.Local || r.Discard || t.network(r.Interface) == nil {
		lost := !found || r.Discard && r.Prefix != answered || !r.Local && (r.Prefix.Bits() == 0 || r.Prefix.Bits() < answered.Bits() && t.net.severed())
		return answered, true, false, lost
	}
	p = answered
	if r.Prefix.Bits() > answered.Bits() && answered.Contains(r.Prefix.Addr()) {
		p = r.Prefix
	}
	return p, r.Interface != t.cfg.Tunnel || len(r.Others) > 0, p == r.Prefix, true
}

// route installs, changes or removes the route of an active shortcut.
func (t *tunnel) route(en *entry) {
	_, need, override, ok := t.fit(en.answered, en.target, en.nextHop)
	if !ok || !need {
		if en.routed {
			en.routed = false
			t.e.host.DeleteShortcut(t.cfg.VRF, en.prefix, t.cfg.Tunnel)
		}
		return
	}
	var parents []string
	if t.cfg.PointToPoint {
		parents = t.net.parentNames()
	}
	if en.routed && en.override == override && slices.Equal(en.parents, parents) {
		return
	}
	en.routed, en.override, en.parents = true, override, parents
	t.e.host.SetShortcut(t.cfg.VRF, en.prefix, t.cfg.Tunnel, en.nextHop, override, parents)
}

// narrow shortens what an answer speaks for until it covers none of the addresses that keep the network together: an
// NBMA address sent into its own tunnel, or a server behind a shortcut, would take the tunnels down. ok is false when
// the target itself is one.
func narrow(p netip.Prefix, target netip.Addr, keep []netip.Addr) (netip.Prefix, bool) {
	for bits := p.Bits(); bits <= target.BitLen(); bits++ {
		q, err := target.Prefix(bits)
		if err != nil {
			return p, false
		}
		if !slices.ContainsFunc(keep, q.Contains) {
			return q, true
		}
	}
	return p, false
}

// keepers are the addresses that no shortcut may cover: NBMA and tunnel addresses of ours and of our servers, but for
// except.
func (t *tunnel) keepers(except netip.Addr) (list []netip.Addr) {
	add := func(a netip.Addr) {
		if a.IsValid() && !a.IsUnspecified() && a != except {
			list = append(list, a)
		}
	}
	for a := range t.net.nbma {
		add(a)
	}
	for a := range t.net.own {
		add(a)
	}
	for _, o := range t.net.parents {
		if s, ok := t.e.host.Peer(o.cfg.Tunnel); ok {
			add(s.NBMA)
		}
		add(o.far[0])
		add(o.far[1])
	}
	for o := range t.net.serving {
		for _, n := range o.nhs {
			add(n.address)
			add(n.NBMA)
			add(n.nat)
		}
		for _, m := range o.maps {
			add(m.NBMA)
		}
	}
	return list
}
