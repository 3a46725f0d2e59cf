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
		p := rib.Path{Source: rib.IBGP, Metric: x.attrs.MED, NextHops: []rib.NextHop{{Via: x.attrs.NextHop}}, Origin: x.attrs,
			DefaultBy: x.peer.through}
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

// usable says whether the path can be used: it is ours, or its next hop is reachable and there is a way to its peer.
func (x *path) usable() bool { return x.peer == nil || x.nh.reachable && !x.peer.away }

// rank sorts paths, the best first. MED compares only paths of one neighbouring AS, so no order of pairs does: the
// paths of one AS are compared among themselves first, and the winners next (IOS's deterministic MED).
func (b *BGP) rank(paths []*path) {
	switch {
	case len(paths) < 2:
	case b.cfg.BestPath.AlwaysCompareMED || sameMED(paths) || sameAS(paths):
		slices.SortStableFunc(paths, func(x, y *path) int { return b.compare(x, y, true) })
	case b.cfg.BestPath.NoDeterministicMED:
		b.rankByAge(paths)
	default:
		b.rankByAS(paths)
	}
}

func sameMED(paths []*path) bool {
	return !slices.ContainsFunc(paths, func(x *path) bool { return x.attrs.MED != paths[0].attrs.MED })
}

func sameAS(paths []*path) bool {
	return !slices.ContainsFunc(paths, func(x *path) bool { return x.attrs.FirstAS() != paths[0].attrs.FirstAS() })
}

// rankByAge takes the newest path first, and compares each with the best one of those before it.
func (b *BGP) rankByAge(paths []*path) {
	slices.SortStableFunc(paths, func(x, y *path) int { return y.received.Compare(x.received) })
	as := make([]uint32, len(paths))
	for i, x := range paths {
		as[i] = x.attrs.FirstAS()
	}
	for i := range paths[:len(paths)-1] {
		best := i
		for k := i + 1; k < len(paths); k++ {
			if b.compare(paths[k], paths[best], as[k] == as[best]) < 0 {
				best = k
			}
		}
		x, a := paths[best], as[best]
		copy(paths[i+1:best+1], paths[i:best])
		copy(as[i+1:best+1], as[i:best])
		paths[i], as[i] = x, a
	}
}

// rankByAS ranks the paths of each neighbouring AS, and takes the best one of those in front until there are none.
func (b *BGP) rankByAS(paths []*path) {
	groups := make(map[uint32][]*path)
	for _, x := range paths {
		as := x.attrs.FirstAS()
		groups[as] = append(groups[as], x)
	}
	heads := make([][]*path, 0, len(groups))
	for _, g := range groups {
		slices.SortStableFunc(g, func(x, y *path) int { return b.compare(x, y, true) })
		heads = append(heads, g)
	}
	order := func(x, y []*path) int { return b.compare(x[0], y[0], false) }
	slices.SortFunc(heads, order)
	for i := range paths {
		g := heads[0]
		paths[i] = g[0]
		if g, heads = g[1:], heads[1:]; len(g) > 0 {
			at, _ := slices.BinarySearchFunc(heads, g, order)
			heads = slices.Insert(heads, at, g)
		}
	}
}

// compare orders two paths: less than zero says that x is better.
func (b *BGP) compare(x, y *path, med bool) int {
	if c := b.compareCost(x, y, med); c != 0 {
		return c
	}
	if x.peer == nil || y.peer == nil {
		return 0
	}
	// Who is still there is more likely to forward than who may come back.
	if c := first(!x.stale, !y.stale); c != 0 {
		return c
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

// equal brings the paths that share the traffic with the best one behind it, and counts them: as IOS has it, with the same
// AS path, and another next hop.
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
	for i := 1; i < len(paths) && n < limit; i++ {
		x := paths[i]
		if !x.usable() || b.compareCost(best, x, true) != 0 || !best.attrs.samePath(x.attrs) ||
			slices.Contains(hops, x.attrs.NextHop) {
			continue
		}
		copy(paths[n+1:i+1], paths[n:i])
		paths[n] = x
		hops = append(hops, x.attrs.NextHop)
		n++
	}
	return n
}
