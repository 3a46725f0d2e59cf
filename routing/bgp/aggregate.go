package bgp

import (
	"maps"
	"net/netip"
	"slices"

	"felloe/routing/policy"

	"github.com/gaissmai/bart"
)

// aggregate is a summary. What it covers is counted as it comes and goes, so that a change costs the same however much
// there is.
type aggregate struct {
	cfg     Aggregate
	members map[netip.Prefix]*Attributes // the best paths that it covers
	as      map[uint32]int               // of an AS set: how many members have it
	origins [3]int
	path    *path // while it is announced
	dirty   bool
	high    int
}

// applyAggregates takes up the configured summaries.
func (b *BGP) applyAggregates() {
	var covered []netip.Prefix
	for _, g := range b.summaries {
		if g.path != nil {
			b.remove(g.path)
		}
		if g.cfg.SummaryOnly {
			covered = slices.AppendSeq(covered, maps.Keys(g.members))
		}
	}
	b.aggregates, b.summaries = bart.Table[*aggregate]{}, nil
	for _, c := range b.cfg.Aggregates {
		g := &aggregate{cfg: c, members: make(map[netip.Prefix]*Attributes), as: make(map[uint32]int)}
		b.aggregates.Insert(c.Prefix, g)
		b.summaries = append(b.summaries, g)
	}
	for _, d := range b.table {
		if _, ok := b.aggregates.LookupPrefix(d.prefix); ok {
			b.mark(d)
		}
	}
	for _, p := range covered {
		if d := b.table[p]; d != nil {
			b.mark(d)
		}
	}
}

// covering are the summaries that a prefix lies within.
func (b *BGP) covering(p netip.Prefix, f func(*aggregate) bool) {
	if len(b.summaries) == 0 {
		return
	}
	for q, g := range b.aggregates.Supernets(p) {
		if q.Bits() < p.Bits() && !f(g) {
			return
		}
	}
}

// suppressed says whether a summary stands for a prefix.
func (b *BGP) suppressed(p netip.Prefix) (yes bool) {
	b.covering(p, func(g *aggregate) bool {
		yes = g.cfg.SummaryOnly && g.path != nil
		return !yes
	})
	return yes
}

// contribute takes up that the best path of a prefix has changed.
func (b *BGP) contribute(d *dest) {
	b.covering(d.prefix, func(g *aggregate) bool {
		var now *Attributes
		if d.best != nil {
			now = d.best.attrs
		}
		old := g.members[d.prefix]
		if old == now {
			return true
		}
		g.count(old, -1)
		g.count(now, 1)
		if now == nil {
			delete(g.members, d.prefix)
		} else {
			g.members[d.prefix] = now
		}
		g.dirty = true
		return true
	})
}

func (g *aggregate) count(a *Attributes, n int) {
	if a == nil {
		return
	}
	g.origins[min(a.Origin, OriginIncomplete)] += n
	if !g.cfg.ASSet {
		return
	}
	for _, s := range a.ASPath {
		for _, as := range s.AS {
			if g.as[as] += n; g.as[as] == 0 {
				delete(g.as, as)
			}
		}
	}
}

// summarise announces the summaries that have something to summarise, and takes the others back.
func (b *BGP) summarise() {
	for _, g := range b.summaries {
		if !g.dirty {
			continue
		}
		g.dirty = false
		g.members = compact(g.members, &g.high)
		var want *Attributes
		if len(g.members) > 0 {
			want = b.attributesOf(g)
		}
		old := g.path
		if old == nil && want == nil || old != nil && old.attrs.Equal(want) {
			continue
		}
		if old != nil {
			b.remove(old)
			g.path = nil
		}
		if want != nil {
			g.path = &path{prefix: g.cfg.Prefix, rank: rankAggregate, attrs: want, received: b.o.Now()}
			b.add(b.dest(g.cfg.Prefix), g.path)
		}
		if g.cfg.SummaryOnly && (old == nil) != (want == nil) {
			for p := range g.members {
				if d := b.table[p]; d != nil {
					b.mark(d)
				}
			}
		}
	}
}

// attributesOf are the attributes of a summary (RFC 4271 §9.2.2.2): without an AS set it begins here, and says that it
// does not tell everything.
func (b *BGP) attributesOf(g *aggregate) *Attributes {
	a := &Attributes{NextHop: unspecified(g.cfg.Prefix.Addr()), HasMED: true, Weight: ourWeight, AtomicAggregate: !g.cfg.ASSet,
		Aggregator: Aggregator{b.cfg.AS, b.cfg.RouterID}}
	if g.cfg.ASSet {
		for o, n := range g.origins {
			if n > 0 {
				a.Origin = Origin(o)
			}
		}
		list := slices.Sorted(maps.Keys(g.as))
		for len(list) > 0 {
			n := min(len(list), 255)
			a.ASPath = append(a.ASPath, Segment{ASSet, list[:n]})
			list = list[n:]
		}
	}
	if g.cfg.AttributeMap != nil {
		set, _ := g.cfg.AttributeMap.Permit(&policy.Route{Prefix: g.cfg.Prefix, Path: a.PathString})
		a = a.with(set)
	}
	return a
}
