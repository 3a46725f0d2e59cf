package bgp

import (
	"net/netip"
	"slices"

	"felloe/routing/rib"
)

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
	want := Announcement{Prefix: c.Prefix}
	network := b.networks[c.Prefix]
	ok := c.New != nil && (network || slices.Contains(b.cfg.Redistribute, c.New.Source))
	if ok {
		want.MED = c.New.Metric
		if !network {
			want.Origin = OriginIncomplete
		}
	}
	old := b.origin[c.Prefix]
	switch {
	case !ok && old == nil, ok && old != nil && old.announcement == want:
		return
	case !ok:
		delete(b.origin, c.Prefix)
		b.remove(old.path)
		b.speaker.Retract(c.Prefix)
		return
	case old != nil:
		b.remove(old.path)
	}
	l := &local{announcement: want, network: network}
	l.path = &path{prefix: c.Prefix, received: b.o.Now(), attrs: &Attributes{
		Origin: want.Origin, MED: want.MED, HasMED: true, NextHop: unspecified(c.Prefix.Addr()),
	}}
	b.origin[c.Prefix] = l
	d := b.dest(c.Prefix)
	d.paths = append(d.paths, l.path)
	b.mark(d)
	b.speaker.Originate(want)
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
