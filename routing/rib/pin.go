package rib

import (
	"net/netip"
	"slices"

	"felloe/netstack/fib"
)

// A tunnel's own packets must never be sent into the tunnel, whatever routes its far end, or a protocol that runs through
// it, has told: 0.0.0.0/0 for instance. So the far ends of tunnels are pinned: the way to them is looked up as if the
// routes that leave by the tunnel, or by another tunnel that itself leads through it, were not there. Where that makes a
// difference, a host route of its own (T) leads along the best way that is left; when there is none, nowhere. Everything
// else of such a route is as usual: the default route that the far end has told is installed and used.
//
//	S*  0.0.0.0/0 [1/0] via Tunnel1                     what the hub has told
//	T   172.25.1.1/32 [10/0] via 172.16.2.254, …        the hub, along the default route that has lost

// Pins are the far ends of a router's tunnels, of all its VRFs. The zero value is ready.
type Pins struct {
	tunnels map[string]*pinned
	asked   map[string]map[*pinned]struct{} // by tunnel, those whose ways its own decided about
}

// pinned is a tunnel with what it must reach outside.
type pinned struct {
	pins   *Pins
	tunnel string
	PinOptions
	moved bool // the way may be another one
}

// PinOptions say what is pinned and how.
type PinOptions struct {
	// RIB is the routing table of the outer packets.
	RIB *RIB
	// Far are the addresses: the far end in use first, then others that may be called.
	Far []netip.Addr
	// Avoid are further interfaces that the way must not leave by.
	Avoid []string
	// Prefer is the interface that it shall leave by where a route does.
	Prefer string
}

// Set pins what a tunnel must reach; no addresses unpin it.
func (p *Pins) Set(tunnel string, o PinOptions) {
	var far []netip.Addr
	for _, a := range o.Far {
		if a = a.Unmap(); a.IsValid() && !slices.Contains(far, a) {
			far = append(far, a)
		}
	}
	o.Far = far
	old := p.tunnels[tunnel]
	if old != nil && o.RIB == old.RIB && o.Prefer == old.Prefer && slices.Equal(o.Far, old.Far) && slices.Equal(o.Avoid, old.Avoid) {
		return
	}
	if old != nil {
		delete(p.tunnels, tunnel)
		for by, who := range p.asked {
			if delete(who, old); len(who) == 0 {
				delete(p.asked, by)
			}
		}
		old.RIB.unpin(old)
	}
	if len(far) > 0 && o.RIB != nil {
		if p.tunnels == nil {
			p.tunnels = map[string]*pinned{}
		}
		x := &pinned{pins: p, tunnel: tunnel, PinOptions: o}
		p.tunnels[tunnel] = x
		o.RIB.pin(x)
	}
	p.changed(tunnel)
}

// Remove unpins what a tunnel must reach.
func (p *Pins) Remove(tunnel string) { p.Set(tunnel, PinOptions{}) }

// changed has those looked at again whose ways a tunnel's own way decided about.
func (p *Pins) changed(tunnel string) {
	for x := range p.asked[tunnel] {
		for _, a := range x.Far {
			x.RIB.mark(x.RIB.entry(host(a)))
		}
	}
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func (r *RIB) pin(x *pinned) {
	for _, a := range x.Far {
		e := r.entry(host(a))
		e.pins = append(e.pins, x)
		r.pins.Insert(e.prefix, e)
		r.mark(e)
	}
}

func (r *RIB) unpin(x *pinned) {
	for _, a := range x.Far {
		e := r.entry(host(a))
		if e.pins = slices.DeleteFunc(e.pins, func(y *pinned) bool { return y == x }); len(e.pins) == 0 {
			r.pins.Delete(e.prefix)
		}
		r.mark(e)
	}
}

// touchPins has what is pinned below a prefix looked at again: what is known of the prefix has changed.
func (r *RIB) touchPins(e *entry) {
	if r.pins.Size() == 0 {
		return
	}
	for _, x := range r.pins.Subnets(e.prefix) {
		if x != e {
			r.mark(x)
		}
	}
}

// movedPins notes that the way to what is pinned below a prefix has changed.
func (r *RIB) movedPins(p netip.Prefix) {
	if r.pins.Size() == 0 {
		return
	}
	for _, e := range r.pins.Subnets(p) {
		for _, x := range e.pins {
			if !x.moved {
				x.moved = true
				r.moved = append(r.moved, x)
			}
		}
	}
}

// tellPins tells those whose ways depend on it, when all of this table's have been looked at.
func (r *RIB) tellPins() {
	moved := r.moved
	r.moved = nil
	for _, x := range moved {
		x.moved = false
		x.pins.changed(x.tunnel)
	}
}

// allowed takes the hops away that lead into one of the tunnels whose far end the entry is.
func (e *entry) allowed(hops []Hop) []Hop {
	if len(e.pins) == 0 {
		return hops
	}
	return slices.DeleteFunc(slices.Clone(hops), func(h Hop) bool {
		return slices.ContainsFunc(e.pins, func(x *pinned) bool { return x.leads(h.Interface, 0) })
	})
}

// leads says whether what leaves by an interface ends up in the tunnel.
func (x *pinned) leads(ifname string, depth int) bool {
	if ifname == x.tunnel || slices.Contains(x.Avoid, ifname) {
		return true
	}
	other := x.pins.tunnels[ifname]
	if other == nil {
		return false
	}
	if x.pins.asked == nil {
		x.pins.asked = map[string]map[*pinned]struct{}{}
	}
	if x.pins.asked[ifname] == nil {
		x.pins.asked[ifname] = map[*pinned]struct{}{}
	}
	x.pins.asked[ifname][x] = struct{}{}
	if depth > 8 {
		return true // deeper than any sane nesting
	}
	e, found := other.RIB.routed.Lookup(other.Far[0])
	return found && slices.ContainsFunc(e.best.hops, func(h Hop) bool { return x.leads(h.Interface, depth+1) })
}

// detour is the host route of what is pinned, nil when none is needed: the longest prefix leads there as it should.
func (r *RIB) detour(e *entry, hops *[]*nexthop, ifs *[]*iface) *selection {
	prefer := ""
	for _, x := range e.pins {
		prefer = x.Prefer
	}
	plain := r.way(e, hops, ifs, nil)
	if plain == nil || len(plain.hops) == 0 {
		return nil // no route, or dropped on purpose
	}
	good := len(e.allowed(plain.hops)) == len(plain.hops)
	if prefer != "" {
		other := func(h Hop) bool { return h.Interface != prefer }
		if good && !slices.ContainsFunc(plain.hops, other) {
			return nil
		}
		if s := r.way(e, hops, ifs, func(h []Hop) []Hop { return slices.DeleteFunc(e.allowed(h), other) }); s != nil {
			return e.pinnedTo(s)
		}
	}
	if good {
		return nil
	}
	if s := r.way(e, hops, ifs, e.allowed); s != nil {
		return e.pinnedTo(s)
	}
	return &selection{source: Pinned, owner: e.pins[0].tunnel, kind: fib.Unreachable}
}

// way is the route to an entry's prefix by the shorter prefixes, with only those next hops that are let through.
func (r *RIB) way(e *entry, hops *[]*nexthop, ifs *[]*iface, let func([]Hop) []Hop) *selection {
	for bits := e.prefix.Bits() - 1; bits >= 0; bits-- {
		cover := r.entries[netip.PrefixFrom(e.prefix.Addr(), bits).Masked()]
		if cover == nil || cover.best == nil {
			continue
		}
		if let == nil || len(cover.best.hops) == 0 {
			return cover.best
		}
		var best *selection
		for i := range cover.cands {
			s := r.chooseOf(cover, &cover.cands[i], hops, ifs, let)
			if s != nil && len(s.hops) > 0 && (best == nil || s.distance < best.distance) {
				best = s
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// pinnedTo is the host route along a way.
func (e *entry) pinnedTo(s *selection) *selection {
	return &selection{source: Pinned, owner: e.pins[0].tunnel, distance: s.distance, metric: s.metric, tag: s.tag, kind: s.kind,
		paths: s.paths, hops: s.hops, through: s.through}
}
