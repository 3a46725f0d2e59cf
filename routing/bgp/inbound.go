package bgp

import (
	"net/netip"
	"time"

	"github.com/rs/zerolog"
)

// received takes a path event into the table.
func (b *BGP) received(e *PathEvent) {
	p := b.peers[e.Peer]
	if p == nil || p.session != e.Session || p.tooMany {
		return // of a session that is gone
	}
	when := e.Received
	if when.IsZero() {
		when = b.o.Now()
	}
	for _, prefix := range e.Prefixes {
		b.receive(p, prefix, e.Attributes, when)
		if p.tooMany {
			return
		}
	}
}

// at is where things are of a prefix's family: IPv4, IPv6.
func at(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

// receive takes one path of a peer; no attributes withdraw it.
func (b *BGP) receive(p *peer, prefix netip.Prefix, raw *Attributes, when time.Time) {
	had := p.paths[prefix] != nil || p.refused[prefix] != nil
	b.freshen(p, prefix)
	b.place(p, prefix, raw, when)
	switch has := p.paths[prefix] != nil || p.refused[prefix] != nil; {
	case has && !had:
		p.held[at(prefix)]++
		b.checkMaximum(p, at(prefix))
	case had && !has:
		p.held[at(prefix)]--
	}
}

func (b *BGP) place(p *peer, prefix netip.Prefix, raw *Attributes, when time.Time) {
	old := p.paths[prefix]
	var attrs *Attributes
	if raw != nil {
		var ok bool
		if attrs, ok = b.accept(p, prefix, raw); !ok {
			attrs = nil
		}
	}
	if raw != nil && attrs == nil && p.n.SoftReconfiguration {
		if p.refused == nil {
			p.refused = make(map[netip.Prefix]*Attributes)
		}
		p.refused[prefix] = raw
	} else {
		delete(p.refused, prefix)
	}
	if attrs == nil {
		if old != nil {
			delete(p.paths, prefix)
			b.remove(old)
		}
	} else if old != nil && old.attrs.Equal(attrs) {
		old.raw = raw // nothing new
		return
	} else {
		x := &path{prefix: prefix, peer: p, raw: raw, attrs: attrs, received: when}
		p.paths[prefix] = x
		d := b.dest(prefix)
		x.nh = b.track(attrs.NextHop, d)
		if old != nil {
			b.remove(old)
		}
		b.add(d, x)
	}
}

// accept puts a path through the policies for what a peer says.
func (b *BGP) accept(p *peer, prefix netip.Prefix, raw *Attributes) (*Attributes, bool) {
	if !p.n.In.PrefixList.Permit(prefix) {
		return nil, false
	}
	set, ok := p.n.In.RouteMap.Permit(raw.route(prefix))
	if !ok {
		return nil, false
	}
	if set == nil && p.n.Weight == 0 {
		return raw, true
	}
	key := memo{attrs: raw, set: set}
	if a := p.memoIn[key]; a != nil {
		return a, true
	}
	weighted := *raw
	weighted.Weight = p.n.Weight
	a := weighted.with(set)
	remember(&p.memoIn, key, a)
	return a, true
}

// remember keeps the outcome of a policy: prefixes with the same attributes share the new ones, too. The memory is
// short: what it holds is not freed.
func remember(m *map[memo]*Attributes, key memo, a *Attributes) {
	if *m == nil || len(*m) >= 1024 {
		*m = make(map[memo]*Attributes)
	}
	(*m)[key] = a
}

// again puts what a peer has announced through the policies once more.
func (b *BGP) again(p *peer) {
	type pair struct {
		prefix netip.Prefix
		raw    *Attributes
	}
	var list []pair
	for prefix, x := range p.paths {
		list = append(list, pair{prefix, x.raw})
	}
	for prefix, raw := range p.refused {
		list = append(list, pair{prefix, raw})
	}
	now := b.o.Now()
	for _, x := range list {
		b.receive(p, x.prefix, x.raw, now)
	}
}

// checkMaximum looks at the number of prefixes of a family that a peer announces.
func (b *BGP) checkMaximum(p *peer, family int) {
	m := p.n.MaximumPrefix
	if m.Limit == 0 || p.tooMany {
		return
	}
	n := p.held[family]
	threshold := m.Threshold
	if threshold == 0 {
		threshold = 75
	}
	if warnAt := uint32(uint64(m.Limit) * uint64(threshold) / 100); n > warnAt && !p.warned[family] && n <= m.Limit {
		p.warned[family] = true
		b.o.Log.WithLevel(zerolog.WarnLevel).Str("event", "bgp-maxpfx").Str("peer", p.address.String()).
			Msgf("%%BGP-4-MAXPFX: Number of prefixes received from %v %sreaches %d, max %d", p.address, b.inVRF(), n, m.Limit)
	}
	if n <= m.Limit || m.WarningOnly && n != m.Limit+1 {
		return
	}
	b.o.Log.WithLevel(zerolog.ErrorLevel).Str("event", "bgp-maxpfxexceed").Str("peer", p.address.String()).
		Msgf("%%BGP-3-MAXPFXEXCEED: Number of prefixes received from %v %s: %d exceeds limit %d", p.address, b.inVRF(), n, m.Limit)
	if !m.WarningOnly {
		p.tooMany = true
		if p.dynamic {
			b.bar(p.address, m.Restart)
		}
		b.speaker.TooMany(p.address, p.session, tooManyText(n, m.Limit), m.Restart)
	}
}

// maxBarred is how many dynamic peers are remembered that are to stay away.
const maxBarred = 4096

// bar has a dynamic peer stay away for a while, or (0) until it is cleared or there is no way to it any more: who comes by
// the next one may be somebody else.
func (b *BGP) bar(a netip.Addr, d time.Duration) {
	if len(b.barred) >= maxBarred {
		for other := range b.barred {
			b.unbar(other)
			break
		}
	}
	b.barred[a] = func() {}
	if d > 0 {
		b.barred[a] = b.o.After(d, func() { b.unbar(a) })
	}
}

// unbar lets a dynamic peer come again.
func (b *BGP) unbar(a netip.Addr) {
	stop := b.barred[a]
	if stop == nil || b.closed {
		return
	}
	stop()
	delete(b.barred, a)
	b.speaker.Forget(a)
	b.unfollow(a)
}
