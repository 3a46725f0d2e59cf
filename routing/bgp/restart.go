package bgp

import (
	"net/netip"
	"slices"
	"time"
)

// stale are the paths of a session that was lost, of which either side may have restarted, or its peer's place been taken
// by another router (RFC 4724 §4.2). They are used as before until the peer has said what holds now.
type stale struct {
	of    *peer
	paths map[netip.Prefix]*path
	until time.Time // whatever the peer says
	stop  func()
}

// retire drops a session. When it was lost, its paths are kept for as long as the peer said it may take to come back, and
// never for longer than we keep any.
func (b *BGP) retire(p *peer, lost bool) (kept int) {
	b.dropStale(p.address) // what is still there from before the session: of two restarts, only the last one's are kept
	g := p.graceful
	if !lost || g == nil || !b.cfg.GracefulRestart.Enabled || p.tooMany || p.cut || p.dynamic && p.away {
		b.forget(p)
		return 0
	}
	most := b.cfg.GracefulRestart.WithDefaults().StalePathTime
	s := &stale{of: p, paths: p.paths, until: b.o.Now().Add(most)}
	p.paths = nil
	b.forget(p)
	for prefix, x := range s.paths {
		if !slices.Contains(g.Families, FamilyOf(prefix.Addr())) {
			delete(s.paths, prefix)
			b.remove(x)
			continue
		}
		x.stale = true
		b.mark(b.table[prefix])
	}
	if len(s.paths) == 0 {
		return 0
	}
	b.stale[p.address] = s
	s.stop = b.o.After(min(g.Time, most), func() { b.expire(s, "it did not come back in time") })
	if !p.failed {
		b.leadBack(s, b.way(p.address))
	}
	if b.stale[p.address] != s {
		return 0
	}
	return len(s.paths)
}

// takeBack goes on with what is stale of a peer that is back: what it cannot say that it has kept is dropped, and the rest
// waits for its End-of-RIB.
func (b *BGP) takeBack(p *peer) {
	s := b.stale[p.address]
	if s == nil {
		return
	}
	s.stop()
	s.of.away, s.of.by, s.of.through = false, p.by, p.through
	for prefix, x := range s.paths {
		f := FamilyOf(prefix.Addr())
		if s.of.as != p.as || p.graceful == nil || !slices.Contains(p.graceful.Kept, f) || !p.carries(prefix) {
			delete(s.paths, prefix)
			b.remove(x)
			continue
		}
		b.mark(b.table[prefix])
	}
	if len(s.paths) == 0 {
		delete(b.stale, p.address)
		return
	}
	s.stop = b.o.After(max(s.until.Sub(b.o.Now()), 0), func() { b.expire(s, "it did not say all that it has in time") })
}

// freshen drops what is stale of a prefix about which the peer says something.
func (b *BGP) freshen(p *peer, prefix netip.Prefix) {
	s := b.stale[p.address]
	if s == nil {
		return
	}
	if x := s.paths[prefix]; x != nil {
		delete(s.paths, prefix)
		b.remove(x)
	}
	if len(s.paths) == 0 {
		b.dropStale(p.address)
	}
}

// endOfRIB drops what a peer that has said everything did not say again.
func (b *BGP) endOfRIB(e *EndOfRIBEvent) {
	p := b.peers[e.Peer]
	if p == nil || p.session != e.Session || p.ended[atFamily(e.Family)] {
		return
	}
	p.ended[atFamily(e.Family)] = true
	n := 0
	if s := b.stale[e.Peer]; s != nil {
		for prefix, x := range s.paths {
			if FamilyOf(prefix.Addr()) == e.Family {
				delete(s.paths, prefix)
				b.remove(x)
				n++
			}
		}
		if len(s.paths) == 0 {
			b.dropStale(e.Peer)
		}
	}
	b.o.Log.Debug().Str("event", "bgp-eor").Str("peer", e.Peer.String()).Stringer("family", e.Family).Int("dropped", n).
		Msgf("BGP neighbor %v has announced all that it has", e.Peer)
	b.checkWaiting()
}

// expire drops what is stale of a peer after too long a time.
func (b *BGP) expire(s *stale, why string) {
	a := s.of.address
	if b.closed || b.stale[a] != s {
		return
	}
	b.o.Log.Info().Str("event", "bgp-stale").Str("peer", a.String()).Str("state", "dropped").Str("reason", why).Int("dropped", len(s.paths)).
		Msgf("BGP dropped the old paths of neighbor %v: %s", a, why)
	b.dropStale(a)
	b.flush()
}

func (b *BGP) dropStale(a netip.Addr) {
	s := b.stale[a]
	if s == nil {
		return
	}
	delete(b.stale, a)
	s.stop()
	for _, x := range s.paths {
		b.remove(x)
	}
	b.unfollow(a)
}

// pruneStale drops what is stale and no session of the configuration would bring back, or all when there is no graceful
// restart any more. What stays goes through policies that have changed.
func (b *BGP) pruneStale(all bool) {
	for a, s := range b.stale {
		n, ok := b.cfg.Settings(a)
		if all || !ok || !b.cfg.GracefulRestart.Enabled || n.Shutdown || n.RemoteAS != s.of.n.RemoteAS {
			b.dropStale(a)
			continue
		}
		old := s.of.n
		s.of.n = n
		families := n.FamiliesOf(a)
		for prefix, x := range s.paths {
			if !slices.Contains(families, FamilyOf(prefix.Addr())) {
				delete(s.paths, prefix)
				b.remove(x)
			}
		}
		if old.In != n.In || old.Weight != n.Weight {
			b.staleAgain(s)
		}
		if len(s.paths) == 0 {
			b.dropStale(a)
		}
	}
}

// staleAgain puts what is stale of a peer through its policies once more.
func (b *BGP) staleAgain(s *stale) {
	s.of.memoIn = nil
	for prefix, x := range s.paths {
		attrs, ok := b.accept(s.of, prefix, x.raw)
		if ok && attrs.Equal(x.attrs) {
			continue
		}
		if !ok {
			delete(s.paths, prefix)
			b.remove(x)
			continue
		}
		now := *x
		now.attrs = attrs
		now.nh = b.track(attrs.NextHop, b.table[prefix])
		s.paths[prefix] = &now
		b.add(b.table[prefix], &now)
		b.remove(x)
	}
}

func atFamily(f Family) int {
	if f == IPv4 {
		return 0
	}
	return 1
}

// deferral is how long a router that has just started waits at most for what its peers have to say before it tells them
// what it has chosen (RFC 4724 §4.1).
const deferral = 30 * time.Second

// restarted begins that wait.
func (b *BGP) restarted() {
	if g := b.cfg.GracefulRestart; g.Enabled {
		b.waiting = true
		b.unwait = b.o.After(min(deferral, g.WithDefaults().RestartTime), b.speak)
		return
	}
	b.speaker.Recovered()
}

// checkWaiting ends the wait when every peer that is up has said everything. Those that know no graceful restart, or have
// just restarted themselves, are not waited for.
func (b *BGP) checkWaiting() {
	if !b.waiting || len(b.peers) == 0 {
		return
	}
	for _, p := range b.peers {
		if p.graceful != nil && !p.graceful.Restarting && (p.ipv4 && !p.ended[0] || p.ipv6 && !p.ended[1]) {
			return
		}
	}
	b.speak()
}

// speak ends the wait.
func (b *BGP) speak() {
	if !b.waiting || b.closed {
		return
	}
	b.waiting = false
	b.unwait()
	b.speaker.Recovered()
	for _, p := range b.sortedPeers() {
		b.sweep(p, false, 0)
	}
}
