package bgp

import (
	"net/netip"
	"slices"

	"felloe/routing/rib"
)

// way is how a neighbour is reached. It is looked at when a route that covers its address changes: a new way is tried at
// once, and a session through a tunnel ends with it.
type way struct {
	addr    netip.Addr
	ifname  string
	ok      bool
	follows bool // whoever is reached by it is gone when it is
}

// watchWays follows the ways to configured neighbours, sessions and what is left of sessions, and to no others.
func (b *BGP) watchWays() {
	want := make(map[netip.Addr]bool)
	for i := range b.cfg.Neighbors {
		want[b.cfg.Neighbors[i].Address] = true
	}
	for a := range b.peers {
		want[a] = true
	}
	for a := range b.stale {
		want[a] = true
	}
	for a := range b.barred {
		want[a] = true
	}
	var gone []netip.Addr
	for _, w := range b.ways.All() {
		if !want[w.addr] {
			gone = append(gone, w.addr)
		}
	}
	for _, a := range gone {
		b.ways.Delete(host(a))
	}
	for a := range want {
		b.way(a)
	}
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// way is the way to an address, which is followed from now on.
func (b *BGP) way(a netip.Addr) *way {
	if w, ok := b.ways.Get(host(a)); ok {
		return w
	}
	w := &way{addr: a}
	b.find(w)
	b.ways.Insert(host(a), w)
	return w
}

// unfollow forgets a way that nobody needs any more.
func (b *BGP) unfollow(a netip.Addr) {
	if n, ok := b.cfg.Settings(a); ok && n.Address == a || b.peers[a] != nil || b.stale[a] != nil || b.barred[a] != nil {
		return
	}
	b.ways.Delete(host(a))
}

// find looks a way up. Of several that share the traffic it is the one that it was.
func (b *BGP) find(w *way) {
	prefix, _, ifname, local, discard, ok := b.o.RIB.Lookup("", w.addr)
	if !ok || local || discard || ifname == "" {
		w.ifname, w.ok, w.follows = "", false, false
		return
	}
	if !slices.Contains(b.o.RIB.Ways(w.addr), w.ifname) {
		w.ifname = ifname
	}
	w.ok = true
	if w.follows = b.o.Follows != nil && b.o.Follows(w.ifname); !w.follows {
		r, found := b.o.RIB.Get(prefix)
		w.follows = found && r.Source == rib.IKE
	}
}

// followWay takes up by which way a session came up.
func (b *BGP) followWay(p *peer) {
	w := b.way(p.address)
	b.find(w)
	if w.follows {
		p.by, p.through = w.ifname, w.ifname
	} else if w.ok && b.o.Tunnel != nil && b.o.Tunnel(w.ifname) {
		p.through = w.ifname
	}
}

// routed takes up that routes have changed.
func (b *BGP) routed(changes []rib.Change) {
	if b.closed || b.ways.Size() == 0 {
		return
	}
	for _, c := range changes {
		var list []*way
		for _, w := range b.ways.Subnets(c.Prefix) {
			list = append(list, w)
		}
		for _, w := range list {
			b.lookAgain(w)
		}
		if c.Old != nil && (c.Old.Source == rib.Local || c.Old.Source == rib.Connected) && c.Prefix.IsSingleIP() {
			b.moved(c.Prefix.Addr())
		}
	}
	if len(b.dirty) > 0 {
		b.flush()
	}
}

// moved ends the sessions whose address of ours went with a tunnel.
func (b *BGP) moved(local netip.Addr) {
	for _, p := range b.peers {
		if p.local != local || p.by == "" || p.lost {
			continue
		}
		if _, _, _, ours, _, ok := b.o.RIB.Lookup("", local); !ok || !ours {
			w := b.way(p.address)
			b.lose(p, "our address is gone", !w.ok || !w.follows)
		}
	}
}

// lookAgain takes up that the way to a neighbour may be another one.
func (b *BGP) lookAgain(w *way) {
	old := *w
	if b.find(w); *w == old {
		return
	}
	p := b.peers[w.addr]
	switch {
	case p != nil && !p.away && p.by != "" && p.by != w.ifname:
		if w.follows { // another tunnel to the same address
			p.by, p.through = w.ifname, w.ifname
			b.lose(p, "the route to it changed", false)
		} else {
			b.lose(p, "the route to it is gone", true)
		}
	case p == nil && b.stale[w.addr] != nil:
		b.leadBack(b.stale[w.addr], w)
	case p == nil && !w.ok:
		b.unbar(w.addr)
	}
	if w.ok && (p == nil || p.lost) {
		b.speaker.Nudge(w.addr)
	}
}

// leadBack takes up that there is a way again, or none any more, to a peer whose session was lost.
func (b *BGP) leadBack(s *stale, w *way) {
	if s.of.by == "" {
		return
	}
	if s.of.dynamic && !w.follows {
		b.dropStale(w.addr)
		return
	}
	if s.of.away = !w.follows; w.follows {
		s.of.by, s.of.through = w.ifname, w.ifname
	}
	b.markStale(s)
}

func (b *BGP) markStale(s *stale) {
	for prefix := range s.paths {
		b.mark(b.table[prefix])
	}
}

// Moved says that a tunnel leads to another router now, which knows nothing of the sessions through it: they begin anew at
// once. What was learned through it holds until the other one has said what it has, if both do graceful restart.
func (b *BGP) Moved(ifname, reason string) {
	for _, p := range b.sortedPeers() {
		if p.by == ifname && !p.lost {
			b.lose(p, reason, false)
		}
	}
	for _, s := range b.stale {
		if s.of.by == ifname && s.of.away {
			s.of.away = false
			b.markStale(s)
		}
	}
	for _, w := range b.ways.All() {
		if w.ifname == ifname && w.ok {
			b.speaker.Nudge(w.addr)
		}
	}
	b.flush()
}

// lose ends a session that leads nowhere. away says that there is no way to the peer: its paths are not used until there
// is one.
func (b *BGP) lose(p *peer, reason string, away bool) {
	if away {
		p.away = true
		for prefix := range p.paths {
			b.mark(b.table[prefix])
		}
	}
	if p.lost {
		return
	}
	p.lost = true
	b.o.Log.Info().Str("event", "bgp-lost").Str("peer", p.address.String()).Str("state", "lost").Str("reason", reason).
		Str("interface", p.by).Int("paths", len(p.paths)).Msgf("BGP neighbor %v is lost: %s", p.address, reason)
	b.speaker.Lost(p.address, p.session, reason)
}

// stopWatching ends all that follows routes and peers.
func (b *BGP) stopWatching() {
	if b.unroute != nil {
		b.unroute()
	}
	if b.unwait != nil {
		b.unwait()
	}
	for _, p := range b.peers {
		if p.unwatch != nil {
			p.unwatch()
		}
	}
	for _, s := range b.stale {
		s.stop()
	}
	for _, stop := range b.barred {
		stop()
	}
}
