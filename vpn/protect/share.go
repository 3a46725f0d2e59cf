package protect

import (
	"slices"

	"felloe/netstack"
)

// Tunnels with the same ChildPolicy share SAs, as IOS's "tunnel protection … shared" does: the SA is made for one of
// them, the owner, and the sessions of the others towards the same far end send on it too. A GRE key cannot be seen in
// traffic selectors, so nothing else can tell such tunnels apart; what comes in is told apart by its GRE key.

// live is the pair that the session sends on, its own or the one it shares.
func (s *session) live() *pair {
	if s.shared != nil {
		return s.shared.tx
	}
	return s.tx
}

// share has s use the SAs of a session that another tunnel has with the same far end.
func (m *Manager) share(s *session) bool {
	for _, t := range m.siblings(s.t) {
		for _, x := range t.byNBMA[s.nbma] {
			if x.tx != nil && !x.closed {
				s.setShared(x)
				s.ike, s.remote, s.peer, s.self, s.nat = x.ike, x.remote, x.peer, x.self, x.nat
				s.setInner(x.tx)
				s.net.SetOutbound(x.tx.out)
				m.mark(s)
				m.tellSharers(x)
				m.run(nil)
				return true
			}
		}
	}
	return false
}

// unshare ends the sharing by others of what s has, and s's own.
func (m *Manager) unshare(s *session, why string) {
	if s.shared != nil {
		owner := s.shared
		s.setShared(nil)
		s.gap = true
		s.net.SetOutbound(nil)
		m.tellSharers(owner)
		m.mark(s)
	}
	for _, f := range m.followers(s) {
		f.setShared(nil)
		f.gap, f.downWhy, f.atOnce = true, why, true
		f.net.SetOutbound(nil)
		m.mark(f)
	}
	m.tellSharers(s)
}

// join gives a new session's SAs to the tunnels that share them, so that what the peer sends for those finds a session.
// A configured destination finds its own session by itself.
func (m *Manager) join(s *session) {
	for _, t := range m.siblings(s.t) {
		known := false
		for _, x := range slices.Clone(t.byNBMA[s.nbma]) {
			known = known || !x.closed
			if x.live() == nil && x.wanted && !x.closed {
				x.stopRetry()
				m.share(x)
			}
		}
		if !known && !t.removed && t.net.Config().Mode == netstack.GREMultipoint {
			m.share(m.newSession(t, s.nbma))
		}
	}
}

// sharer is a data plane's session whose SA may carry other tunnels' packets, told apart by their GRE key.
type sharer interface{ SetSharers([]*netstack.Session) }

func (m *Manager) tellSharers(s *session) {
	n, ok := any(s.net).(sharer)
	if !ok {
		return
	}
	var list []*netstack.Session
	for _, f := range m.followers(s) {
		list = append(list, f.net)
	}
	n.SetSharers(list)
}

// setOutbound tells the data plane what a session, and those that share its SAs, send on.
func (m *Manager) setOutbound(s *session) {
	s.net.SetOutbounds(s.outbounds())
	out := s.net.Outbound()
	for _, f := range m.followers(s) {
		if out == nil {
			f.setShared(nil)
			f.gap, f.downWhy = true, s.downWhy
		} else {
			f.ike, f.remote, f.peer, f.self, f.nat = s.ike, s.remote, s.peer, s.self, s.nat
		}
		if p := f.live(); p != nil {
			f.setInner(p)
		}
		f.net.SetOutbound(out)
		m.mark(f)
	}
}
