package protect

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"felloe/vpn/ikev2"
)

// What is looked up once a session or message is indexed here, so that it costs the same however many sessions there
// are. Lists in the order of their beginning are for show commands.

// addSession, dropSession and setNBMA keep a tunnel's sessions, by the far end's address too.
func (t *tunnel) addSession(s *session) {
	t.sessions[s] = struct{}{}
	t.index(s)
}

func (t *tunnel) dropSession(s *session) {
	delete(t.sessions, s)
	t.unindex(s)
	s.answered()
}

// answered takes a session off those of its template that are being called: it is up, or given up.
func (s *session) answered() {
	t := s.t.template
	if t == nil || s.beside == nil {
		return
	}
	calls := slices.DeleteFunc(t.calling[s.beside], func(x *session) bool { return x == s })
	if len(calls) == 0 {
		delete(t.calling, s.beside)
	} else {
		t.calling[s.beside] = calls
	}
}

func (t *tunnel) index(s *session) {
	if t.byNBMA == nil {
		t.byNBMA = map[netip.Addr][]*session{}
	}
	t.byNBMA[s.nbma] = append(t.byNBMA[s.nbma], s)
	if t.template != nil {
		t.template.byNBMA[s.nbma] = append(t.template.byNBMA[s.nbma], s)
	}
}

func (t *tunnel) unindex(s *session) {
	without(t.byNBMA, s)
	if t.template != nil {
		without(t.template.byNBMA, s)
	}
}

func without(index map[netip.Addr][]*session, s *session) {
	list := slices.DeleteFunc(index[s.nbma], func(x *session) bool { return x == s })
	if len(list) == 0 {
		delete(index, s.nbma)
	} else {
		index[s.nbma] = list
	}
}

// ordered are a tunnel's sessions in the order of their beginning.
func (t *tunnel) ordered() []*session {
	return slices.SortedFunc(maps.Keys(t.sessions), func(a, b *session) int { return cmp.Compare(a.seq, b.seq) })
}

// setNBMA follows a far end to another address.
func (s *session) setNBMA(a netip.Addr) {
	if s.nbma == a {
		return
	}
	_, known := s.t.sessions[s]
	if known {
		s.t.unindex(s)
	}
	s.nbma = a
	if known {
		s.t.index(s)
	}
	s.net.SetNBMA(a)
}

// trying says under which IKE SA a child is being negotiated for the session, 0: none.
func (m *Manager) trying(s *session, id ikev2.SAID) {
	if s.attempt == id {
		return
	}
	if old := s.attempt; old != 0 {
		delete(m.attempts[old], s)
		if len(m.attempts[old]) == 0 {
			delete(m.attempts, old)
		}
	}
	s.attempt = id
	if id != 0 {
		if m.attempts[id] == nil {
			m.attempts[id] = map[*session]struct{}{}
		}
		m.attempts[id][s] = struct{}{}
	}
}

// sessionsOf are the sessions that wait for an IKE SA.
func (m *Manager) sessionsOf(id ikev2.SAID) []*session {
	return slices.SortedFunc(maps.Keys(m.attempts[id]), func(a, b *session) int { return cmp.Compare(a.seq, b.seq) })
}

// addIKE and dropIKE keep the IKE SAs, by the peer's address too.
func (m *Manager) addIKE(ike *ikeSA) {
	m.ikes[ike.id] = ike
	m.ikesIn[ike.vrf]++
	m.indexIKE(ike, ike.remote)
}

func (m *Manager) dropIKE(ike *ikeSA) {
	delete(m.ikes, ike.id)
	m.countIKE(ike.vrf, -1)
	m.indexIKE(ike, netip.AddrPort{})
}

// ikeVRF says in which VRF an IKE SA is, and countIKE counts them.
func (m *Manager) ikeVRF(ike *ikeSA, vrf string) {
	m.countIKE(ike.vrf, -1)
	ike.vrf = vrf
	m.countIKE(vrf, 1)
}

func (m *Manager) countIKE(vrf string, n int) {
	if m.ikesIn[vrf] += n; m.ikesIn[vrf] == 0 {
		delete(m.ikesIn, vrf)
	}
}

// indexIKE says where an IKE SA's peer is from now on; nowhere when it is gone.
func (m *Manager) indexIKE(ike *ikeSA, remote netip.AddrPort) {
	if old := ike.indexed; old != remote.Addr() {
		if old.IsValid() {
			delete(m.ikesAt[old], ike)
			if len(m.ikesAt[old]) == 0 {
				delete(m.ikesAt, old)
			}
		}
		if a := remote.Addr(); a.IsValid() {
			if m.ikesAt[a] == nil {
				m.ikesAt[a] = map[*ikeSA]struct{}{}
			}
			m.ikesAt[a][ike] = struct{}{}
		}
		ike.indexed = remote.Addr()
	}
	ike.remote = remote
}

// keepTunnel and dropTunnel keep the tunnels, the configured ones by their policy too.
func (m *Manager) keepTunnel(t *tunnel) {
	m.seq++
	t.seq = m.seq
	t.sessions, t.had = map[*session]struct{}{}, map[netip.Addr][]netip.Addr{}
	m.tunnels[t] = struct{}{}
	m.byTunnel[t.net] = t
	if t.template == nil {
		m.byPolicy[t.cfg.ChildPolicy] = append(m.byPolicy[t.cfg.ChildPolicy], t)
	}
}

func (m *Manager) dropTunnel(t *tunnel) {
	delete(m.tunnels, t)
	delete(m.byTunnel, t.net)
	if t.template != nil {
		return
	}
	list := slices.DeleteFunc(m.byPolicy[t.cfg.ChildPolicy], func(x *tunnel) bool { return x == t })
	if len(list) == 0 {
		delete(m.byPolicy, t.cfg.ChildPolicy)
	} else {
		m.byPolicy[t.cfg.ChildPolicy] = list
	}
}

// ordered are the tunnels in the order of their beginning.
func (m *Manager) ordered() []*tunnel {
	return slices.SortedFunc(maps.Keys(m.tunnels), func(a, b *tunnel) int { return cmp.Compare(a.seq, b.seq) })
}

// wanting are the sessions of configured tunnels with a far end that are wanted and have nothing to send on.
func (m *Manager) wanting(vrf string, remote netip.Addr) (out []*session) {
	for _, list := range m.byPolicy {
		for _, t := range list {
			if t.cfg.VRF != vrf {
				continue
			}
			for _, s := range t.byNBMA[remote] {
				if s.wanted && s.live() == nil {
					out = append(out, s)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b *session) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

// siblings are the tunnels that share a tunnel's SAs.
func (m *Manager) siblings(t *tunnel) (out []*tunnel) {
	if t.template != nil {
		return nil
	}
	for _, x := range m.byPolicy[t.cfg.ChildPolicy] {
		if x != t && x.cfg.VRF == t.cfg.VRF {
			out = append(out, x)
		}
	}
	return out
}

// setShared makes a session use, or cease to use (nil), the SAs of another one.
func (s *session) setShared(owner *session) {
	if s.shared != nil {
		delete(s.shared.following, s)
	}
	s.shared = owner
	if owner != nil {
		if owner.following == nil {
			owner.following = map[*session]struct{}{}
		}
		owner.following[s] = struct{}{}
	}
}

// followers are the sessions that use a session's SAs.
func (m *Manager) followers(s *session) []*session {
	if len(s.following) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Keys(s.following), func(a, b *session) int { return cmp.Compare(a.seq, b.seq) })
}
