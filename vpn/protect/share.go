package protect

import "felloe/netstack/esp"

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
		for _, x := range t.sessions {
			if x.tx != nil && x.nbma == s.nbma && !x.closed {
				s.shared = x
				s.ike, s.remote, s.peer, s.self, s.nat = x.ike, x.remote, x.peer, x.self, x.nat
				s.net.SetOutbound(x.tx.out)
				m.mark(s)
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
		s.shared = nil
		s.net.SetOutbound(nil)
		m.mark(s)
	}
	for _, f := range m.followers(s) {
		f.shared, f.downWhy = nil, why
		f.net.SetOutbound(nil)
		m.mark(f)
	}
}

func (m *Manager) followers(s *session) (out []*session) {
	for _, t := range m.siblings(s.t) {
		for _, x := range t.sessions {
			if x.shared == s {
				out = append(out, x)
			}
		}
	}
	return out
}

// setOutbound sets what a session, and those that share its SAs, send on.
func (m *Manager) setOutbound(s *session, out *esp.Outbound) {
	s.net.SetOutbound(out)
	for _, f := range m.followers(s) {
		if out == nil {
			f.shared, f.downWhy = nil, s.downWhy
		} else {
			f.ike, f.remote, f.peer, f.self, f.nat = s.ike, s.remote, s.peer, s.self, s.nat
		}
		f.net.SetOutbound(out)
		m.mark(f)
	}
}
