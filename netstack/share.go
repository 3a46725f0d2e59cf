package netstack

import (
	"slices"

	"felloe/netstack/gre"
	"felloe/netstack/packet"
)

// SetSharers says which sessions of other tunnels the peer may send to on this session's SAs ("tunnel protection …
// shared"): traffic selectors cannot tell such tunnels apart, their GRE keys do. A packet that one of the SAs opened and
// whose key is not the session's goes to the first of them that has it. What came in without an SA is never theirs.
func (s *Session) SetSharers(list []*Session) {
	list = slices.DeleteFunc(slices.Clone(list), func(x *Session) bool {
		return x == nil || x == s || x.tunnel.d != s.tunnel.d || x.tunnel.cfg.Mode == VTI || x.tunnel.cfg.Underlay != s.tunnel.cfg.Underlay
	})
	if len(list) == 0 || s.closed.Load() {
		s.sharers.Store(nil)
		return
	}
	s.sharers.Store(&list)
}

// shared are the sessions that send on the session's SA, but for itself.
func (s *Session) shared() []*Session {
	if list := s.sharers.Load(); list != nil {
		return *list
	}
	return nil
}

// runShared cuts a vector into stretches for one session each.
func (s *Session) runShared(w *worker, v []*packet.Packet, list []*Session) {
	for start := 0; start < len(v); {
		to := s.sharer(v[start], list)
		end := start + 1
		for end < len(v) && s.sharer(v[end], list) == to {
			end++
		}
		if to.tunnel.iface.up.Load() {
			to.decapsulate(w, v[start:end])
		} else {
			w.d.dropAll(v[start:end], dropInterfaceDown)
		}
		start = end
	}
}

// sharer is whose packet this is by its GRE key; one that nobody has is the session's own, to drop.
func (s *Session) sharer(p *packet.Packet, list []*Session) *Session {
	if p.SA == nil {
		return s
	}
	g, _, err := gre.Parse(p.Bytes())
	if err != nil || s.hasKey(g) {
		return s
	}
	for _, x := range list {
		if x.hasKey(g) && !x.closed.Load() {
			return x
		}
	}
	return s
}

// hasKey tells whether a packet has the key of the session's tunnel.
func (s *Session) hasKey(g gre.Header) bool {
	return g.HasKey == s.tunnel.cfg.HasKey && g.Key == s.tunnel.cfg.Key
}
