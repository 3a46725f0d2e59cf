package bgp

import (
	"net/netip"

	"felloe/routing/policy"
	"felloe/routing/rib"
)

// ourWeight is the weight of what begins here.
const ourWeight = 32768

// local is a prefix that we announce.
type local struct {
	path *path
}

// watchOrigins subscribes to the routes that are announced: those of `network` by their prefix, those of
// `redistribute` by their source.
func (b *BGP) watchOrigins() {
	if b.unwatch != nil {
		b.unwatch()
	}
	b.networks = make(map[netip.Prefix]bool, len(b.cfg.Networks))
	for _, p := range b.cfg.Networks {
		b.networks[p] = true
	}
	keep, first := make(map[netip.Prefix]bool), true
	b.unwatch = b.o.RIB.Subscribe(func(changes []rib.Change) {
		for _, c := range changes {
			if first && c.New != nil {
				keep[c.Prefix] = true
			}
			b.origins(c)
		}
		b.flush()
	}, rib.Connected, rib.Local, rib.Static, rib.IKE, rib.EIGRP)
	for p := range b.origin {
		if !keep[p] {
			b.origins(rib.Change{Prefix: p})
		}
	}
	first = false
}

// origins takes up that a route that we may announce has changed.
func (b *BGP) origins(c rib.Change) {
	want, rank := b.announcement(c)
	old := b.origin[c.Prefix]
	switch {
	case want == nil && old == nil, want != nil && old != nil && old.path.rank == rank && old.path.attrs.Equal(want):
		return
	case want == nil:
		delete(b.origin, c.Prefix)
		b.remove(old.path)
		return
	case old != nil:
		b.remove(old.path)
	}
	x := &path{prefix: c.Prefix, rank: rank, received: b.o.Now(), attrs: want}
	b.origin[c.Prefix] = &local{x}
	b.add(b.dest(c.Prefix), x)
}

// announcement is what we announce of a route; nil is nothing.
func (b *BGP) announcement(c rib.Change) (*Attributes, uint8) {
	if c.New == nil {
		return nil, 0
	}
	a := &Attributes{MED: c.New.Metric, HasMED: true, NextHop: unspecified(c.Prefix.Addr()), Weight: ourWeight, Tag: c.New.Tag}
	if b.networks[c.Prefix] {
		return a, rankNetwork
	}
	if c.Prefix.Bits() == 0 && !b.cfg.DefaultInformation {
		return nil, 0
	}
	for _, r := range b.cfg.Redistribute {
		if r.Source != c.New.Source {
			continue
		}
		a.Origin = OriginIncomplete
		if r.Metric != nil {
			a.MED = *r.Metric
		}
		x := &policy.Route{Prefix: c.Prefix, Metric: c.New.Metric, Tag: c.New.Tag}
		x.NextHop, x.Interface = hop(c.New)
		set, ok := r.RouteMap.Permit(x)
		if !ok {
			return nil, 0
		}
		return a.with(set), rankRedistributed
	}
	return nil, 0
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
