package rib

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"felloe/netstack/fib"
)

// maxTries is how often one flush looks at one prefix before it takes it for part of a ring of routes that resolve
// through each other.
const maxTries = 16

// mark queues an entry for evaluation.
func (r *RIB) mark(e *entry) {
	r.touch(e)
	if !e.dirty {
		e.dirty = true
		r.queue = append(r.queue, e)
	}
	r.schedule()
}

// touch queues an entry for comparison with what is installed.
func (r *RIB) touch(e *entry) {
	if !e.inTouched {
		e.inTouched, e.old, e.tries, e.looped = true, e.best, 0, false
		r.touched = append(r.touched, e)
	}
}

func (r *RIB) schedule() {
	switch {
	case r.deferred || r.flushing:
	case r.o.Defer == nil:
		r.Flush()
	default:
		r.deferred = true
		r.o.Defer(func() {
			r.deferred = false
			r.Flush()
		})
	}
}

// Batch runs f and flushes once after it.
func (r *RIB) Batch(f func()) {
	if r.deferred || r.flushing {
		f()
		return
	}
	r.deferred = true
	func() {
		defer func() { r.deferred = false }()
		f()
	}()
	r.Flush()
}

// Flush evaluates what has changed and hands the difference to Output and to those that listen. It is called by itself
// (Options.Defer); calling it earlier does no harm. Listeners may change the RIB: a further round takes that up.
func (r *RIB) Flush() {
	if r.flushing {
		return
	}
	r.flushing = true
	defer func() { r.flushing = false }()
	for round := 0; len(r.touched) > 0 || len(r.tracked) > 0; round++ {
		if round == 64 { // listeners that answer each change with another: leave the rest to the next turn
			r.flushing = false
			if r.o.Defer != nil {
				r.schedule()
			}
			return
		}
		r.round()
	}
}

// settle evaluates what is marked, so that the routed table is current, and tells nobody yet.
func (r *RIB) settle() {
	for i := 0; i < len(r.queue); i++ {
		e := r.queue[i]
		e.dirty = false
		r.evaluate(e)
		if i == len(r.queue)-1 && len(r.moved) > 0 {
			r.tellPins()
		}
	}
	r.queue = recycle(r.queue)
}

func (r *RIB) round() {
	r.settle()
	touched, tracked := r.touched, r.tracked
	r.touched, r.tracked = nil, nil
	var out []fib.Change
	var changes []Change
	for _, e := range touched {
		if c, changed := r.install(e); changed {
			out = append(out, c)
		}
		if len(r.subscribers) > 0 && e.old != e.best {
			changes = append(changes, Change{e.prefix, e.route(e.old), e.route(e.best)})
		}
		e.inTouched, e.old = false, nil
		r.drop(e)
	}
	r.shrink()
	if len(out) > 0 && r.o.Output != nil {
		r.o.Output(out)
	}
	if len(changes) > 0 {
		for _, s := range slices.Clone(r.subscribers) {
			s.tell(changes)
		}
	}
	for _, n := range tracked {
		n.tell()
	}
	if len(out) > 0 {
		for _, f := range r.onChange {
			(*f)()
		}
	}
}

// shrink gives back the room of the map of entries when most of what was in it is gone; a map keeps it otherwise.
func (r *RIB) shrink() {
	switch n := len(r.entries); {
	case n >= r.high:
		r.high = n
	case r.high > 4096 && n < r.high/8:
		small := make(map[netip.Prefix]*entry, n)
		maps.Copy(small, r.entries)
		r.entries, r.high = small, n
	}
}

func recycle(q []*entry) []*entry {
	if cap(q) > 4096 {
		return nil
	}
	clear(q)
	return q[:0]
}

// drop forgets an entry that nobody has anything to say about.
func (r *RIB) drop(e *entry) {
	if len(e.cands) == 0 && len(e.nhrp) == 0 && len(e.pins) == 0 && e.best == nil && !e.installed && !e.inTouched {
		r.depend(e, nil, nil)
		if r.entries[e.prefix] == e {
			delete(r.entries, e.prefix)
		}
	}
}

// evaluate chooses the best route of an entry anew and carries the outcome on to what depends on it.
func (r *RIB) evaluate(e *entry) {
	if e.tries++; e.tries > maxTries {
		if e.looped {
			return
		}
		// The prefix keeps changing its mind: without it the others settle. The next change of its paths or of its
		// next hops is another chance.
		e.looped = true
		r.o.Log.Warn().Str("vrf", r.o.VRF).Stringer("prefix", e.prefix).
			Msg("a route was left out: its next hop resolves through itself")
	}
	var best *selection
	if !e.looped {
		best = r.choose(e)
	}
	r.touchPins(e)
	old := e.best
	if best.equal(old) {
		if best != nil && (best.origin != old.origin || !slices.Equal(best.through, old.through)) {
			best.since = old.since
			e.best = best
		}
		return
	}
	if best != nil {
		if best.since = r.o.Now(); old != nil && best.source == old.source && best.owner == old.owner &&
			best.distance == old.distance && best.metric == old.metric && slices.Equal(best.paths, old.paths) {
			best.since = old.since // the same route, which gets there another way
		}
	}
	e.best = best
	switch {
	case best == nil:
		r.routed.Delete(e.prefix)
	case old == nil:
		r.routed.Insert(e.prefix, e)
	}
	r.resolveUnder(e.prefix)
	r.touchNHRPUnder(e.prefix)
	r.movedPins(e.prefix)
}

// equal says whether two selections forward alike and look alike; their ages aside.
func (s *selection) equal(o *selection) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.source == o.source && s.owner == o.owner && s.distance == o.distance && s.metric == o.metric &&
		s.tag == o.tag && s.kind == o.kind && slices.Equal(s.paths, o.paths) && slices.Equal(s.hops, o.hops)
}

// choose picks the best usable paths of an entry and notes what the choice depends on.
func (r *RIB) choose(e *entry) *selection {
	var best *selection
	var hops []*nexthop
	var ifs []*iface
	local := false
	for i := range e.cands {
		c := &e.cands[i]
		s := r.chooseOf(e, c, &hops, &ifs, e.allowed)
		if s == nil {
			continue
		}
		local = local || s.source == Local
		if best == nil || s.distance < best.distance ||
			s.distance == best.distance && s.source == best.source && s.metric < best.metric {
			best = s
		}
	}
	// A loopback's /32 is its subnet and its address at once: IOS shows it as connected, and it is ours.
	if best != nil && local && (best.source == Connected || best.source == Local) {
		best.kind = fib.Local
	}
	if best == nil && len(e.pins) > 0 {
		best = r.detour(e, &hops, &ifs)
	}
	r.depend(e, hops, ifs)
	return best
}

// chooseOf picks among one owner's paths, which are in the order of preference; equal ones share the traffic. What is
// worse than the chosen ones is not looked at: it counts only when they go, and that evaluates the entry again.
func (r *RIB) chooseOf(e *entry, c *candidate, hops *[]*nexthop, ifs *[]*iface, let func([]Hop) []Hop) *selection {
	var s *selection
	var first *Path
	for i := range c.paths {
		p := &c.paths[i]
		if p.distance() == NeverUsed {
			continue
		}
		if s != nil && comparePaths(*first, *p) != 0 {
			break
		}
		u, ok := r.usable(e, p, hops, ifs)
		if !ok {
			continue
		}
		if u.hops = let(u.hops); len(u.hops) == 0 && !u.discard {
			continue
		}
		if s == nil {
			first = p
			s = &selection{source: p.Source, owner: c.owner, distance: p.distance(), metric: p.Metric, tag: p.Tag,
				origin: p.Origin}
			if p.Discard || u.discard {
				s.kind = fib.Discard
				s.paths, s.through = p.NextHops, u.through
				break
			}
		} else if u.discard || p.Discard {
			continue
		}
		s.paths = append(s.paths, p.NextHops...)
		for _, h := range u.hops {
			if len(s.hops) < r.o.MaximumPaths && !slices.Contains(s.hops, h) {
				s.hops = append(s.hops, h)
			}
		}
		for _, t := range u.through {
			if !slices.Contains(s.through, t) {
				s.through = append(s.through, t)
			}
		}
	}
	return s
}

// comparePaths orders the paths of one owner.
func comparePaths(a, b Path) int {
	return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.distance(), b.distance()), cmp.Compare(a.Metric, b.Metric))
}

// install compares what an entry should be in the FIB with what it is there.
func (r *RIB) install(e *entry) (fib.Change, bool) {
	want, ok := r.forwarding(e)
	switch {
	case !ok && !e.installed:
		return fib.Change{}, false
	case !ok:
		e.installed = false
		e.fib = fib.Route{}
		return fib.Change{Route: fib.Route{Prefix: e.prefix}, Delete: true}, true
	case e.installed && want.Kind == e.fib.Kind && slices.Equal(want.NextHops, e.fib.NextHops) && slices.Equal(want.Routed, e.fib.Routed):
		return fib.Change{}, false
	}
	e.installed, e.fib = true, want
	return fib.Change{Route: want}, true
}

// forwarding is what the FIB should hold for an entry: its best route, NHRP's part included.
func (r *RIB) forwarding(e *entry) (fib.Route, bool) {
	hops, kind, ok := []Hop(nil), fib.Forward, false
	if e.best != nil {
		hops, kind, ok = e.best.hops, e.best.kind, true
	}
	var routed []Hop
	if shortcut := r.shortcut(e); shortcut != nil {
		hops, kind, ok = shortcut, fib.Forward, true
		routed = r.routedHops(e)
	}
	if !ok {
		return fib.Route{}, false
	}
	f := fib.Route{Prefix: e.prefix, Kind: kind}
	if kind == fib.Forward || kind == fib.Local {
		for _, h := range hops {
			f.NextHops = append(f.NextHops, fib.NextHop{Interface: h.Index, Via: h.Via})
		}
		for _, h := range routed {
			f.Routed = append(f.Routed, fib.NextHop{Interface: h.Index, Via: h.Via})
		}
	}
	return f, true
}

// depend notes the next hops and interfaces that an entry's choice looked at.
func (r *RIB) depend(e *entry, hops []*nexthop, ifs []*iface) {
	for _, n := range e.hops {
		if !slices.Contains(hops, n) {
			delete(n.users, e)
			r.dropNextHop(n)
		}
	}
	for _, n := range hops {
		n.users[e] = struct{}{}
	}
	for _, f := range e.ifs {
		if !slices.Contains(ifs, f) {
			delete(f.users, e)
		}
	}
	for _, f := range ifs {
		f.users[e] = struct{}{}
	}
	e.hops, e.ifs = hops, ifs
}
