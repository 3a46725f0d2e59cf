package bgp

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"felloe/routing/rib"
)

// flush decides anew for the prefixes that have changed, and tells the RIB and the peers.
func (b *BGP) flush() {
	if b.flushing || b.closed {
		return
	}
	b.flushing = true
	defer func() { b.flushing = false }()
	for len(b.dirty) > 0 {
		for len(b.dirty) > 0 {
			list := b.dirty
			b.dirty = nil
			for _, d := range list {
				d.dirty = false
				b.decide(d)
				b.contribute(d)
				for _, p := range b.peers {
					b.offer(p, d.prefix, d, false)
				}
			}
			b.defaults = true
		}
		b.summarise()
	}
	b.checkDefaults()
	b.table = compact(b.table, &b.high)
	for _, p := range b.peers {
		b.tell(p)
		p.paths, p.sent = compact(p.paths, &p.highIn), compact(p.sent, &p.highOut)
	}
}

// compact gives back the room of a map that has lost most of what was in it, which a map keeps otherwise.
func compact[K comparable, V any](m map[K]V, high *int) map[K]V {
	if n := len(m); n >= *high {
		*high = n
	} else if *high > 4096 && n < *high/8 {
		small := make(map[K]V, n)
		maps.Copy(small, m)
		*high = n
		return small
	}
	return m
}

// decide ranks the paths of a prefix (RFC 4271 §9.1.2) and gives the reachable ones to the RIB. A prefix of ours that is
// best is none of the RIB's business, as it came from there; a summary is, as what it promises and nothing has must be
// dropped here.
func (b *BGP) decide(d *dest) {
	old := d.best
	d.best, d.multipath = nil, 0
	if len(d.paths) == 0 {
		delete(b.table, d.prefix)
	} else {
		b.rank(d.paths)
		if d.paths[0].usable() {
			d.best, d.multipath = d.paths[0], b.equal(d.paths)
		}
	}
	if old != d.best {
		b.version++
	}
	if d.best != nil && d.best.peer == nil && d.best.rank == rankAggregate {
		d.given = true
		b.o.RIB.Update(rib.EBGP, b.owner, d.prefix, []rib.Path{{Source: rib.IBGP, Distance: 200, Discard: true, Origin: d.best.attrs}})
		return
	}
	if d.best == nil || d.best.peer == nil {
		if d.given {
			d.given = false
			b.o.RIB.Withdraw(rib.EBGP, b.owner, d.prefix)
		}
		return
	}
	paths := make([]rib.Path, 0, len(d.paths))
	for i, x := range d.paths {
		if !x.usable() || x.peer == nil {
			break
		}
		p := rib.Path{Source: rib.IBGP, Metric: x.attrs.MED, NextHops: []rib.NextHop{{Via: x.attrs.NextHop}}, Origin: x.attrs}
		if x.peer.external {
			p.Source = rib.EBGP
		}
		if p.Tag = x.attrs.Tag; p.Tag == 0 {
			p.Tag = x.attrs.FirstAS()
		}
		if i >= d.multipath {
			p.Rank = uint32(i)
		} else {
			p.Metric = d.best.attrs.MED // the group is one route
		}
		paths = append(paths, p)
	}
	d.given = true
	b.o.RIB.Update(rib.EBGP, b.owner, d.prefix, paths)
}

// usable says whether the path can be used: it is ours, or its next hop is reachable.
func (x *path) usable() bool { return x.peer == nil || x.nh.reachable }

// rank sorts paths, the best first. MED compares only paths of one neighbouring AS, so no order of pairs does: the
// paths of one AS are compared among themselves first, and the winners next (IOS's deterministic MED).
func (b *BGP) rank(paths []*path) {
	if len(paths) < 2 {
		return
	}
	if b.cfg.BestPath.AlwaysCompareMED || !slices.ContainsFunc(paths, func(x *path) bool { return x.attrs.MED != 0 }) {
		slices.SortStableFunc(paths, func(x, y *path) int { return b.compare(x, y, true) })
		return
	}
	if b.cfg.BestPath.NoDeterministicMED {
		// The newest first; each is compared with the best one of those before it.
		slices.SortStableFunc(paths, func(x, y *path) int { return y.received.Compare(x.received) })
	}
	for i := range paths[:len(paths)-1] {
		best := b.bestOf(paths[i:])
		x := paths[i+best]
		copy(paths[i+1:i+best+1], paths[i:i+best])
		paths[i] = x
	}
}

func (b *BGP) bestOf(paths []*path) int {
	if b.cfg.BestPath.NoDeterministicMED {
		best := 0
		for i := range paths {
			if b.compare(paths[i], paths[best], paths[i].attrs.FirstAS() == paths[best].attrs.FirstAS()) < 0 {
				best = i
			}
		}
		return best
	}
	best := -1
	for i, x := range paths {
		if !b.winsItsAS(paths, x) {
			continue
		}
		if best < 0 || b.compare(x, paths[best], b.cfg.BestPath.AlwaysCompareMED) < 0 {
			best = i
		}
	}
	return max(best, 0)
}

// winsItsAS says whether no path of the same neighbouring AS is better, MED included.
func (b *BGP) winsItsAS(paths []*path, x *path) bool {
	for _, y := range paths {
		if y != x && x.peer != nil && y.peer != nil && y.attrs.FirstAS() == x.attrs.FirstAS() && b.compare(y, x, true) < 0 {
			return false
		}
	}
	return true
}

// compare orders two paths: less than zero says that x is better.
func (b *BGP) compare(x, y *path, med bool) int {
	if c := b.compareCost(x, y, med); c != 0 {
		return c
	}
	if x.peer == nil || y.peer == nil {
		return 0
	}
	// An external path that has been there longer is more stable (RFC 5004).
	if !b.cfg.BestPath.CompareRouterID && x.peer.external && y.peer.external {
		if c := x.received.Compare(y.received); c != 0 {
			return c
		}
	}
	return cmp.Or(
		x.id().Compare(y.id()),
		cmp.Compare(len(x.attrs.ClusterList), len(y.attrs.ClusterList)),
		x.peer.address.Compare(y.peer.address))
}

// compareCost is the part of compare that equal paths share (multipath).
func (b *BGP) compareCost(x, y *path, med bool) int {
	if c := first(x.usable(), y.usable()); c != 0 {
		return c
	}
	if c := cmp.Compare(y.attrs.Weight, x.attrs.Weight); c != 0 {
		return c
	}
	if c := cmp.Compare(y.attrs.localPref(), x.attrs.localPref()); c != 0 {
		return c
	}
	if c := first(x.peer == nil, y.peer == nil); c != 0 {
		return c
	}
	if x.peer == nil {
		return cmp.Compare(x.rank, y.rank)
	}
	if !b.cfg.BestPath.IgnoreASPathLength {
		if c := cmp.Compare(x.attrs.PathLength(), y.attrs.PathLength()); c != 0 {
			return c
		}
	}
	if c := cmp.Compare(x.attrs.Origin, y.attrs.Origin); c != 0 {
		return c
	}
	if med {
		if c := cmp.Compare(x.attrs.MED, y.attrs.MED); c != 0 {
			return c
		}
	}
	if c := first(x.peer.external, y.peer.external); c != 0 {
		return c
	}
	return cmp.Compare(x.nh.metric, y.nh.metric)
}

func first(x, y bool) int {
	switch {
	case x && !y:
		return -1
	case y && !x:
		return 1
	}
	return 0
}

// id is the identifier of who brought the path into the AS (RFC 4456 §9).
func (x *path) id() netip.Addr {
	if x.attrs.OriginatorID.IsValid() {
		return x.attrs.OriginatorID
	}
	return x.peer.routerID
}

// equal counts the paths from the front that share the traffic with the best one: as IOS has it, with the same AS path,
// and another next hop.
func (b *BGP) equal(paths []*path) int {
	best := paths[0]
	if best.peer == nil {
		return 1
	}
	limit := b.cfg.MaximumPathsIBGP
	if best.peer.external {
		limit = b.cfg.MaximumPaths
	}
	n := 1
	hops := []netip.Addr{best.attrs.NextHop}
	for n < len(paths) && n < limit {
		x := paths[n]
		if !x.usable() || b.compareCost(best, x, true) != 0 || !best.attrs.samePath(x.attrs) ||
			slices.Contains(hops, x.attrs.NextHop) {
			break
		}
		hops = append(hops, x.attrs.NextHop)
		n++
	}
	return n
}
