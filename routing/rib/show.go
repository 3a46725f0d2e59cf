package rib

import (
	"net/netip"
	"slices"

	"felloe/netstack/fib"
)

func (e *entry) route(s *selection) *Route {
	if s == nil {
		return nil
	}
	return &Route{Prefix: e.prefix, Source: s.source, Owner: s.owner, Distance: s.distance, Metric: s.metric, Tag: s.tag,
		Kind: s.kind, Paths: slices.Clone(s.paths), Hops: slices.Clone(s.hops), Since: s.since, Origin: s.origin}
}

// full is a route with NHRP's part in it.
func (r *RIB) full(e *entry) *Route {
	route := e.route(e.best)
	hops := r.shortcut(e)
	if hops == nil {
		return route
	}
	n := e.nhrp[0]
	for _, x := range e.nhrp {
		if slices.ContainsFunc(hops, func(h Hop) bool { return h.Interface == x.tunnel && h.Via == x.via }) {
			n = x
			break
		}
	}
	if route != nil {
		route.Override, route.OverrideSince = hops, n.since
		return route
	}
	route = &Route{Prefix: e.prefix, Source: NHRP, Distance: NHRP.Distance(), Metric: 255, Hops: hops, Since: n.since}
	for _, h := range hops {
		route.Paths = append(route.Paths, NextHop{h.Via, h.Interface})
	}
	return route
}

// Routes is the whole table in the order of prefixes, NHRP's part included: what `show ip route` prints.
func (r *RIB) Routes() []Route {
	r.settle()
	var routes []Route
	for _, e := range r.sorted() {
		if x := r.full(e); x != nil {
			routes = append(routes, *x)
		}
	}
	return routes
}

// Get is the route of exactly this prefix, NHRP's part included.
func (r *RIB) Get(p netip.Prefix) (Route, bool) {
	r.settle()
	if e := r.entries[p.Masked()]; e != nil {
		if x := r.full(e); x != nil {
			return *x, true
		}
	}
	return Route{}, false
}

// Match is the route that a packet to dst takes, NHRP's part included.
func (r *RIB) Match(dst netip.Addr) (Route, bool) {
	r.settle()
	dst = dst.Unmap()
	var best *entry
	if e, found := r.routed.Lookup(dst); found {
		best = e
	}
	if dst.IsValid() {
		for _, e := range r.nhrp.Supernets(netip.PrefixFrom(dst, dst.BitLen())) {
			if (best == nil || e.prefix.Bits() > best.prefix.Bits()) && r.shortcut(e) != nil {
				best = e
			}
		}
	}
	if best == nil {
		return Route{}, false
	}
	return *r.full(best), true
}

// Lookup is the routed path to dst: NHRP's routes and overrides are left out. It gives the prefix that matches, the
// neighbour (not valid when dst is directly connected) and the interface, and says whether dst is ours or discarded. A
// vrf other than this RIB's has no route.
func (r *RIB) Lookup(vrf string, dst netip.Addr) (prefix netip.Prefix, via netip.Addr, ifname string, local, discard, ok bool) {
	if vrf != "" && vrf != r.o.VRF {
		return
	}
	r.settle()
	e, found := r.routed.Lookup(dst.Unmap())
	if !found {
		return
	}
	prefix, ok = e.prefix, true
	local = e.best.kind == fib.Local
	discard = e.best.kind == fib.Discard || e.best.kind == fib.Unreachable
	if len(e.best.hops) > 0 {
		via, ifname = e.best.hops[0].Via, e.best.hops[0].Interface
	}
	return
}

// Ways are the interfaces that the routed path to dst leaves by, NHRP's part left out.
func (r *RIB) Ways(dst netip.Addr) (names []string) {
	r.settle()
	if e, found := r.routed.Lookup(dst.Unmap()); found {
		for _, h := range e.best.hops {
			if !slices.Contains(names, h.Interface) {
				names = append(names, h.Interface)
			}
		}
	}
	return names
}

// Around is the best way to dst by an interface that need not be avoided: by its route, or by a shorter prefix's.
func (r *RIB) Around(dst netip.Addr, avoid func(ifname string) bool) (Hop, bool) {
	r.settle()
	dst = dst.Unmap()
	if !dst.IsValid() {
		return Hop{}, false
	}
	var asked []*nexthop
	var ifs []*iface
	defer func() {
		for _, n := range asked {
			r.dropNextHop(n) // those that no route waits for
		}
	}()
	let := func(hops []Hop) []Hop {
		return slices.DeleteFunc(slices.Clone(hops), func(h Hop) bool { return avoid(h.Interface) })
	}
	longest := &entry{prefix: netip.PrefixFrom(dst, dst.BitLen())}
	if e := r.entries[longest.prefix]; e != nil && e.best != nil {
		if hops := let(e.best.hops); len(hops) > 0 {
			return hops[0], true
		}
	}
	if s := r.way(longest, &asked, &ifs, let); s != nil && len(s.hops) > 0 {
		return s.hops[0], true
	}
	return Hop{}, false
}

// DirectlyConnected says whether dst is on the subnet of one of our interfaces, and which.
func (r *RIB) DirectlyConnected(dst netip.Addr) (ifname string, ok bool) {
	r.settle()
	e, found := r.routed.Lookup(dst.Unmap())
	if !found || e.best.source != Connected || e.best.kind != fib.Forward {
		return "", false
	}
	return e.best.hops[0].Interface, true
}

// Len is the number of prefixes that are routed.
func (r *RIB) Len() int { return r.routed.Size() }

// Companions maps each address of an interface that is up to an address of the other family on the same interface.
func (r *RIB) Companions() map[netip.Addr]netip.Addr {
	m := make(map[netip.Addr]netip.Addr)
	for _, f := range r.ifaces {
		var four, six netip.Addr
		for _, p := range f.addrs {
			switch a := p.Addr(); {
			case !f.up || a.Is6() && a.IsLinkLocalUnicast():
			case a.Is4() && !four.IsValid():
				four = a
			case a.Is6() && !six.IsValid():
				six = a
			}
		}
		if !four.IsValid() || !six.IsValid() {
			continue
		}
		for _, p := range f.addrs {
			if p.Addr().Is4() {
				m[p.Addr()] = six
			} else {
				m[p.Addr()] = four
			}
		}
	}
	return m
}
