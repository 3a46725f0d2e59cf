package rib

import (
	"net/netip"
	"slices"
	"time"

	"felloe/netstack/fib"
)

// nhrpRoute is what NHRP knows of a prefix on one tunnel.
type nhrpRoute struct {
	tunnel   string
	via      netip.Addr
	override bool
	parents  []string // see SetNHRP
	since    time.Time
}

// takes says whether the shortcut takes over what leaves by an interface.
func (n *nhrpRoute) takes(ifname string) bool {
	return n.tunnel == ifname || slices.Contains(n.parents, ifname)
}

// SetNHRP installs a shortcut: what goes to prefix may go to nextHop on the tunnel. When the prefix itself is routed
// over the tunnel, the next hop of that route is replaced (IOS's %). When it is not routed and override is false, the
// shortcut is a route of its own (H); with override it waits for the route to come. It never touches connected, local
// and discard routes, nor routes that leave another way.
//
// A shortcut may be a tunnel of its own (FlexVPN): then parents are the tunnels whose traffic it takes over. Such a one is
// a route of its own until it is taken back, also when what it took over has gone: a hub is being changed.
func (r *RIB) SetNHRP(prefix netip.Prefix, tunnel string, nextHop netip.Addr, override bool, parents ...string) {
	if !valid(prefix) {
		return
	}
	e := r.entry(prefix.Masked())
	n := nhrpRoute{tunnel, nextHop, override, parents, r.o.Now()}
	if i := slices.IndexFunc(e.nhrp, func(n nhrpRoute) bool { return n.tunnel == tunnel }); i < 0 {
		e.nhrp = append(e.nhrp, n)
		slices.SortFunc(e.nhrp, func(a, b nhrpRoute) int {
			if a.tunnel < b.tunnel {
				return -1
			}
			return 1
		})
	} else {
		if e.nhrp[i].via == nextHop {
			n.since = e.nhrp[i].since
		}
		e.nhrp[i] = n
	}
	r.nhrp.Insert(e.prefix, e)
	r.touch(e)
	r.schedule()
}

// DeleteNHRP takes a shortcut back.
func (r *RIB) DeleteNHRP(prefix netip.Prefix, tunnel string) {
	e := r.entries[prefix.Masked()]
	if e == nil {
		return
	}
	i := slices.IndexFunc(e.nhrp, func(n nhrpRoute) bool { return n.tunnel == tunnel })
	if i < 0 {
		return
	}
	if e.nhrp = slices.Delete(e.nhrp, i, i+1); len(e.nhrp) == 0 {
		r.nhrp.Delete(e.prefix)
	}
	r.touch(e)
	r.schedule()
}

// shortcut is the next hops of an entry with NHRP's part in them; nil when NHRP has no part in it.
func (r *RIB) shortcut(e *entry) []Hop {
	if len(e.nhrp) == 0 {
		return nil
	}
	if e.best != nil {
		return r.override(e)
	}
	var hops []Hop
	for i := range e.nhrp {
		n := &e.nhrp[i]
		if f := r.ifaces[n.tunnel]; f != nil && f.up && (len(n.parents) > 0 || !n.override && r.leavesBy(e.prefix, n.tunnel)) {
			hops = append(hops, Hop{f.name, f.index, n.via})
		}
	}
	return hops
}

// routedHops is the way without the shortcut, for our routing protocols.
func (r *RIB) routedHops(e *entry) []Hop {
	best := e.best
	if best == nil {
		if cover, found := r.routed.LookupPrefix(e.prefix); found {
			best = cover.best
		}
	}
	if best == nil || best.kind != fib.Forward {
		return nil
	}
	return best.hops
}

// override is the next hops of a routed entry with those on NHRP's tunnels replaced.
func (r *RIB) override(e *entry) []Hop {
	if e.best.kind != fib.Forward || e.best.source == Connected || e.best.source == Local {
		return nil
	}
	var hops []Hop
	replaced := false
	for _, h := range e.best.hops {
		for i := range e.nhrp {
			n := &e.nhrp[i]
			if f := r.ifaces[n.tunnel]; n.takes(h.Interface) && f != nil && f.up {
				h, replaced = Hop{f.name, f.index, n.via}, true
				break
			}
		}
		if !slices.Contains(hops, h) {
			hops = append(hops, h)
		}
	}
	if !replaced {
		return nil
	}
	return hops
}

// leavesBy says whether the routed path to an unrouted prefix goes over the tunnel. No route at all is no objection.
func (r *RIB) leavesBy(p netip.Prefix, tunnel string) bool {
	cover, found := r.routed.LookupPrefix(p)
	if !found {
		return true
	}
	return cover.best.kind == fib.Forward && slices.ContainsFunc(cover.best.hops, func(h Hop) bool { return h.Interface == tunnel })
}

// touchNHRPUnder looks again at the shortcuts that a changed route covers.
func (r *RIB) touchNHRPUnder(p netip.Prefix) {
	if r.nhrp.Size() == 0 {
		return
	}
	for _, e := range r.nhrp.Subnets(p) {
		r.touch(e)
	}
}

// touchNHRP looks again at the shortcuts of a tunnel.
func (r *RIB) touchNHRP(tunnel string) {
	touched := false
	for _, e := range r.nhrp.AllSorted() {
		if slices.ContainsFunc(e.nhrp, func(n nhrpRoute) bool { return n.tunnel == tunnel }) {
			r.touch(e)
			touched = true
		}
	}
	if touched {
		r.schedule()
	}
}
