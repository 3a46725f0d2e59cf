package bgp

import (
	"slices"

	"felloe/routing/policy"
)

// ObjectsChanged says that tracked objects went up or down: what passes by route maps that look at them is decided anew.
func (b *BGP) ObjectsChanged() {
	if b.closed {
		return
	}
	tracks := func(m ...*policy.RouteMap) bool { return slices.ContainsFunc(m, (*policy.RouteMap).Tracks) }
	if slices.ContainsFunc(b.cfg.Redistribute, func(r Redistribution) bool { return tracks(r.RouteMap) }) {
		b.watchOrigins()
	}
	for _, g := range b.summaries {
		g.dirty = g.dirty || tracks(g.cfg.AttributeMap)
	}
	for _, p := range b.sortedPeers() {
		if tracks(p.n.In.RouteMap) {
			b.again(p)
			if !p.n.SoftReconfiguration && p.refresh {
				b.speaker.Clear(p.address, ClearSoftIn) // for what did not pass before
			}
		}
		if tracks(p.n.Out.RouteMap, p.n.UnsuppressMap, p.n.DefaultMap) {
			b.sweep(p, false, 0)
		}
	}
	for a, s := range b.stale {
		if tracks(s.of.n.In.RouteMap) {
			if b.staleAgain(s); len(s.paths) == 0 {
				b.dropStale(a)
			}
		}
	}
	b.flush()
}
