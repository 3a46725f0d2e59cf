package bgp

import "net/netip"

// BFD finds out that a peer is gone (RFC 5880).
type BFD interface {
	// Watch keeps a session with a peer and says when it comes up and goes down, until it is stopped.
	Watch(vrf string, local, remote netip.Addr, multihop bool, f func(up bool)) (stop func())
}

// BFDMode says whether BFD watches a session, and how.
type BFDMode uint8

// The modes. BFDAuto is single-hop for a peer on a connected subnet or at the other end of a Virtual-Access interface, multihop
// for others.
const (
	BFDOff BFDMode = iota
	BFDAuto
	BFDSingleHop
	BFDMultihop
)

func (m BFDMode) String() string {
	return [...]string{"off", "auto", "single-hop", "multihop"}[min(m, BFDMultihop)]
}

// watchBFD begins or ends watching a peer whose session is up. That BFD does not come up at all is no news: the peer may
// not do it.
func (b *BGP) watchBFD(p *peer) {
	if p.unwatch != nil {
		p.unwatch()
		p.unwatch = nil
	}
	if b.o.BFD == nil || p.n.BFD == BFDOff || !p.local.IsValid() {
		return
	}
	session, was := p.session, false
	p.unwatch = b.o.BFD.Watch(b.o.VRF, p.local, p.address, b.multihop(p), func(up bool) {
		if now := b.peers[p.address]; was && !up && now != nil && now.session == session {
			now.failed = true
			b.lose(now, "BFD adjacency down", true)
			b.flush()
		}
		was = up
	})
}

func (b *BGP) multihop(p *peer) bool {
	if p.n.BFD != BFDAuto {
		return p.n.BFD == BFDMultihop
	}
	if p.external && p.n.EBGPMultihop > 1 {
		return true
	}
	_, near := b.o.RIB.Adjacent(p.address)
	return !near
}
