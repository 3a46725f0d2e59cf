package rib

import (
	"net/netip"
	"slices"

	"felloe/netstack/fib"
)

// nexthop is an address that routes or watchers want resolved.
type nexthop struct {
	addr     netip.Addr
	users    map[*entry]struct{}
	watchers []*watcher

	via     *entry // the route that resolves it
	hops    []Hop
	discard bool
	ok      bool
	metric  uint32
	direct  bool // its neighbour is on a connected subnet

	queued bool
}

// resolution is how a path forwards.
type resolution struct {
	hops    []Hop
	through []*entry
	discard bool
}

// usable says whether a path of an entry can be used, and what it comes to. It adds to hops and ifs what the answer
// depends on.
func (r *RIB) usable(e *entry, p *Path, hops *[]*nexthop, ifs *[]*iface) (resolution, bool) {
	var u resolution
	if p.Discard {
		u.discard = true
		return u, true
	}
	for _, n := range p.NextHops {
		if n.Interface != "" {
			f := r.iface(n.Interface)
			if !slices.Contains(*ifs, f) {
				*ifs = append(*ifs, f)
			}
			if f.up {
				u.hops = append(u.hops, Hop{f.name, f.index, n.Via})
			}
			continue
		}
		if !n.Via.IsValid() || n.Via.Is4() != e.prefix.Addr().Is4() {
			continue
		}
		h := r.nexthop(n.Via)
		if !slices.Contains(*hops, h) {
			*hops = append(*hops, h)
		}
		if !h.ok || h.throughItself(e) {
			continue
		}
		found := h.hops
		if p.DefaultBy != "" && h.via.prefix.Bits() == 0 {
			if found = leaving(h.hops, p.DefaultBy); len(found) == 0 {
				continue
			}
		}
		u.through = append(u.through, h.via)
		if h.discard {
			u.discard = true // a next hop in Null0: what is sent there is dropped (remotely triggered)
			return u, true
		}
		u.hops = append(u.hops, found...)
	}
	return u, len(u.hops) > 0
}

// leaving are the hops that leave by an interface.
func leaving(hops []Hop, ifname string) []Hop {
	return slices.DeleteFunc(slices.Clone(hops), func(h Hop) bool { return h.Interface != ifname })
}

// throughItself says that the next hop would resolve through the route that needs it. A route that covers its own next
// hop needs a more specific route to it; looking at which route resolves it now would let the answer depend on whether
// the route itself is installed.
func (n *nexthop) throughItself(e *entry) bool {
	if e.prefix.Contains(n.addr) && n.via.prefix.Bits() <= e.prefix.Bits() {
		return true
	}
	return chainHas(n.via, e, 8)
}

func chainHas(via, e *entry, depth int) bool {
	if via == e {
		return true
	}
	if via == nil || via.best == nil {
		return false
	}
	if depth == 0 {
		return true // deeper than any sane recursion
	}
	for _, t := range via.best.through {
		if chainHas(t, e, depth-1) {
			return true
		}
	}
	return false
}

func (r *RIB) nexthop(a netip.Addr) *nexthop {
	n := r.nexthops[a]
	if n == nil {
		n = &nexthop{addr: a, users: make(map[*entry]struct{})}
		r.nexthops[a] = n
		r.nhIndex.Insert(netip.PrefixFrom(a, a.BitLen()), n)
		r.resolve(n)
	}
	return n
}

func (r *RIB) dropNextHop(n *nexthop) {
	if len(n.users) == 0 && len(n.watchers) == 0 {
		delete(r.nexthops, n.addr)
		r.nhIndex.Delete(netip.PrefixFrom(n.addr, n.addr.BitLen()))
	}
}

// resolve looks a next hop up and says whether the answer differs from the one before.
func (r *RIB) resolve(n *nexthop) (changed bool) {
	old := *n
	n.via, n.hops, n.discard, n.ok, n.metric, n.direct = nil, nil, false, false, 0, false
	e, found := r.routed.Lookup(n.addr)
	if found && !(r.o.NoResolveViaDefault && e.prefix.Bits() == 0) {
		b := e.best
		n.via, n.metric = e, b.metric
		switch b.kind {
		case fib.Local: // an address of ours is nobody's next hop
		case fib.Discard, fib.Unreachable:
			n.ok, n.discard = true, true
		default:
			n.ok, n.direct = true, b.source == Connected
			n.hops = make([]Hop, len(b.hops))
			for i, h := range b.hops {
				if !h.Via.IsValid() {
					h.Via = n.addr
				}
				n.hops[i] = h
			}
		}
	}
	return old.via != n.via || old.ok != n.ok || old.discard != n.discard || old.metric != n.metric ||
		old.direct != n.direct || !slices.Equal(old.hops, n.hops)
}

// resolveUnder resolves anew the next hops that a changed prefix covers.
func (r *RIB) resolveUnder(p netip.Prefix) {
	for _, n := range r.nhIndex.Subnets(p) {
		if !r.resolve(n) {
			// The same route with another way to get there: those who look for rings must look again.
			continue
		}
		if len(n.watchers) > 0 && !n.queued {
			n.queued = true
			r.tracked = append(r.tracked, n)
		}
		users := make([]*entry, 0, len(n.users))
		for e := range n.users {
			users = append(users, e)
		}
		sortEntries(users)
		for _, e := range users {
			r.mark(e)
		}
	}
}

// watcher is one TrackNextHop.
type watcher struct {
	f      func(reachable bool, metric uint32)
	ok     bool
	metric uint32
	told   bool
}

func (n *nexthop) tell() {
	n.queued = false
	for _, w := range slices.Clone(n.watchers) {
		if w.f != nil && (!w.told || w.ok != n.ok || w.metric != n.metric) {
			w.told, w.ok, w.metric = true, n.ok, n.metric
			w.f(n.ok, n.metric)
		}
	}
}

// TrackNextHop calls f with the reachability of an address and the metric of the route to it, now and whenever they
// change. The function returned ends that.
func (r *RIB) TrackNextHop(a netip.Addr, f func(reachable bool, metric uint32)) (stop func()) {
	a = a.Unmap()
	n := r.nexthop(a)
	w := &watcher{f: f, told: true, ok: n.ok, metric: n.metric}
	n.watchers = append(n.watchers, w)
	f(n.ok, n.metric)
	return func() {
		w.f = nil
		if i := slices.Index(n.watchers, w); i >= 0 {
			n.watchers = slices.Delete(n.watchers, i, i+1)
			r.dropNextHop(n)
		}
	}
}

// OnChange calls f after each flush that changed the FIB.
func (r *RIB) OnChange(f func()) { r.Heed(f) }

// Heed is OnChange until the function returned is called.
func (r *RIB) Heed(f func()) (stop func()) {
	x := &f
	r.onChange = append(slices.Clip(r.onChange), x)
	return func() {
		r.onChange = slices.DeleteFunc(slices.Clone(r.onChange), func(o *func()) bool { return o == x })
	}
}

// subscriber is one Subscribe.
type subscriber struct {
	f       func([]Change)
	sources [sources]bool
}

func (s *subscriber) tell(changes []Change) {
	if s.f == nil {
		return
	}
	var mine []Change
	for _, c := range changes {
		if c.Old != nil && !s.sources[c.Old.Source] {
			c.Old = nil
		}
		if c.New != nil && !s.sources[c.New.Source] {
			c.New = nil
		}
		if c.Old != nil || c.New != nil {
			mine = append(mine, c)
		}
	}
	if len(mine) > 0 {
		s.f(mine)
	}
}

// Subscribe calls f with the routes that the given sources (none means all) have in the table: those that are there
// now, then each batch of changes. It is the hook of redistribution and of `network` statements. A route that another
// source takes over is a change to nil. The function returned ends that.
func (r *RIB) Subscribe(f func([]Change), from ...Source) (stop func()) {
	s := &subscriber{f: f}
	for i := range s.sources {
		s.sources[i] = len(from) == 0
	}
	for _, x := range from {
		s.sources[x] = true
	}
	var now []Change
	for _, e := range r.sorted() {
		if best := e.best; best != nil && !e.inTouched {
			now = append(now, Change{Prefix: e.prefix, New: e.route(best)})
		} else if e.inTouched && e.old != nil {
			now = append(now, Change{Prefix: e.prefix, New: e.route(e.old)})
		}
	}
	s.tell(now)
	r.subscribers = append(r.subscribers, s)
	return func() {
		s.f = nil
		if i := slices.Index(r.subscribers, s); i >= 0 {
			r.subscribers = slices.Delete(r.subscribers, i, i+1)
		}
	}
}
