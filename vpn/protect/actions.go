package protect

import (
	"cmp"
	"errors"
	"slices"

	"felloe/netstack"
	"felloe/netstack/esp"
	"felloe/vpn/ikev2"
)

// apply carries out one action of the engine's.
func (m *Manager) apply(a ikev2.Action) {
	switch a := a.(type) {
	case ikev2.Send:
		m.send(a.Datagram)
	case ikev2.Keepalive:
		m.sendUDP(a.VRF, a.Local, a.Remote, []byte{0xff})
	case ikev2.IKEUp:
		m.ikeUp(a)
	case ikev2.IKERekeyed:
		m.counters.IKERekeys++
		m.logIKERekeyed(a)
	case ikev2.IKEDown:
		m.ikeDown(a)
	case ikev2.IKESuperseded:
		m.superseded(a)
	case ikev2.ChildUp:
		m.childUp(a)
	case ikev2.ChildRekeyed:
		m.childRekeyed(a)
	case ikev2.ChildDown:
		m.childDown(a)
	case ikev2.ChildFailed:
		m.childFailed(a)
	case ikev2.PeerMoved:
		m.moved(a)
		m.exchanged(a)
	case ikev2.Redirected:
		m.redirected(a)
	case ikev2.ConfigReceived:
		m.given(a)
		m.exchanged(a)
	case ikev2.ConfigAcknowledged:
		m.acknowledged(a)
		m.exchanged(a)
	case ikev2.Log:
		m.logEngine(a)
	case ikev2.KeyLog:
		m.keyLog(a)
	}
}

// saOf is the IKE SA that an action is about, for containment.
func saOf(a ikev2.Action) ikev2.SAID {
	switch a := a.(type) {
	case ikev2.IKEUp:
		return a.SA
	case ikev2.IKERekeyed:
		return a.SA
	case ikev2.IKEDown:
		return a.SA
	case ikev2.ChildUp:
		return a.SA
	case ikev2.ChildDown:
		return a.SA
	case ikev2.ChildFailed:
		return a.SA
	case ikev2.PeerMoved:
		return a.SA
	case ikev2.ConfigReceived:
		return a.SA
	case ikev2.ConfigAcknowledged:
		return a.SA
	case ikev2.Redirected:
		return a.SA
	}
	return 0
}

func (m *Manager) ikeUp(a ikev2.IKEUp) {
	ike := m.ikes[a.SA]
	if ike == nil {
		ike = &ikeSA{id: a.SA, pairs: map[ikev2.ChildID]*pair{}}
		m.addIKE(ike)
	}
	m.ikeVRF(ike, cmp.Or(a.VRF, "default"))
	ike.profile, ike.initiator = a.Profile, a.Initiator
	ike.local, ike.peer, ike.self, ike.established = a.Local, a.PeerID, a.LocalID, true
	m.indexIKE(ike, a.Remote)
	m.exchanged(a)
	m.counters.IKEUps++
	m.quiet.forget(a.Remote.Addr())
	m.logIKEUp(a)
	// Sessions that waited for this SA; the one it was begun for gets its child by itself.
	now := m.now()
	for _, s := range m.sessionsOf(a.SA) {
		if a.Tag != any(s) {
			m.run(m.o.Engine.CreateChild(now, a.SA, s.t.cfg.ChildPolicy, s))
		}
	}
}

func (m *Manager) ikeDown(a ikev2.IKEDown) {
	ike := m.ikes[a.SA]
	waiting := m.sessionsOf(a.SA)
	if s, ok := a.Tag.(*session); ok && s.attempt == 0 && a.SA == 0 && !s.closed {
		// It could not even begin.
		waiting = append(waiting, s)
	}
	for _, s := range waiting {
		if errors.Is(a.Err, ikev2.ErrSuperseded) || s.tx != nil {
			m.trying(s, 0)
			m.mark(s)
			continue
		}
		m.failed(s, a.Err, a.Reason)
	}
	if ike != nil {
		m.account(a)
		for _, p := range ike.pairs {
			p.s.downErr = a.Err
			m.dropPair(p, a.Reason)
		}
		m.dropIKE(ike)
		m.afterSettling(a)
	}
	switch {
	case a.Established:
		m.counters.IKEDowns++
	default:
		m.counters.IKEFailures++
	}
	m.logIKEDown(a)
}

func (m *Manager) superseded(a ikev2.IKESuperseded) {
	m.counters.Superseded++
	ike := m.ikes[a.New]
	if ike == nil {
		return
	}
	for _, p := range ike.pairs {
		if cur := p.slot.tx; cur == nil || cur.up.SA == a.Old {
			p.ready = true
			m.sendOn(p.s, p.slot, p)
			m.markAll(p.s)
		}
	}
}

func (m *Manager) childUp(up ikev2.ChildUp) {
	var s *session
	if old := m.pairs[up.Replaces]; up.Replaces != 0 && old != nil {
		s = old.s
	} else if tagged, ok := up.Tag.(*session); ok && !tagged.closed {
		s = tagged
	} else if up.Tag == nil && m.closing == nil {
		s = m.adopt(up)
	}
	if s == nil {
		m.counters.Homeless++
		m.logHomeless(up)
		m.run(m.o.Engine.DeleteChild(m.now(), up.Child, "no tunnel for it"))
		return
	}
	if s.attempt == up.SA {
		m.trying(s, 0)
	}
	if m.ikes[up.SA] == nil {
		m.addIKE(&ikeSA{id: up.SA, vrf: cmp.Or(up.VRF, "default"), profile: up.Profile, local: up.Local, remote: up.Remote,
			peer: up.Peer, self: up.LocalID, established: true, pairs: map[ikev2.ChildID]*pair{}})
	}
	p, err := m.install(s, up)
	if err != nil {
		m.logInstall(s, up, err)
		m.failed(s, err, err.Error())
		m.run(m.o.Engine.DeleteChild(m.now(), up.Child, "could not be installed"))
		return
	}
	s.failures = 0
	m.counters.ChildUps++
	m.logChildUp(p)
	if !p.ready && (p.slot.tx == nil || up.Replaces == 0) {
		wait := patience
		if p.slot.tx == nil {
			wait = headStart
		}
		m.loop.After("wait for the peer's sa", wait, func() {
			if !p.ready {
				m.used(p)
			}
		})
	}
	m.choose(p)
	m.mark(s)
}

// adopt finds, or makes, the session that a peer's child is for: one session a far end, which is an identity at an
// address and port. So two spokes behind one NAT are two sessions.
func (m *Manager) adopt(up ikev2.ChildUp) *session {
	t := m.tunnelFor(up)
	if t == nil {
		return m.cloneFor(up)
	}
	addr := up.Remote.Addr()
	var here, same, open *session
	if ike := m.ikes[up.SA]; ike != nil {
		for _, p := range ike.pairs {
			if p.s.t == t && !p.s.closed {
				return p.s
			}
		}
	}
	for _, s := range t.byNBMA[addr] {
		switch {
		case s.closed:
		case s.permanent:
			// The configured destination of a point-to-point tunnel: there is but one.
			same = s
		case s.peer == up.Peer && s.remote.Port() == up.Remote.Port():
			here = s
		case s.peer == up.Peer && len(s.pairs) == 0:
			same = s
		case s.peer.IsZero() && (up.Remote.Port() == portIKE || up.Remote.Port() == portNATT):
			// We are calling there, and cannot know yet who will answer.
			open = s
		}
	}
	for _, s := range []*session{here, same, open} {
		if s != nil {
			return s
		}
	}
	c := t.net.Config()
	if c.Mode != netstack.GREMultipoint && len(t.sessions) > 0 && !m.stale(t) {
		// A point-to-point tunnel without a destination takes one peer at a time.
		return nil
	}
	s := m.newSession(t, addr)
	if c.Mode != netstack.GREMultipoint {
		t.net.SetDefault(s.net)
	}
	return s
}

// stale tells whether no session of a tunnel has an SA.
func (m *Manager) stale(t *tunnel) bool {
	for s := range t.sessions {
		if s.tx != nil {
			return false
		}
	}
	return true
}

func (m *Manager) childRekeyed(a ikev2.ChildRekeyed) {
	m.counters.ChildRekeys++
	p := m.pairs[a.New]
	if p == nil {
		return
	}
	p.s.total.Rekeys++
	p.ready = true
	if old := p.slot.tx; old == nil || old.up.Child == a.Old || m.replaced(old) {
		m.sendOn(p.s, p.slot, p)
	}
	m.markAll(p.s)
	m.logRekeyed(p, a)
}

func (m *Manager) childDown(a ikev2.ChildDown) {
	p := m.pairs[a.Child]
	if p == nil {
		return
	}
	m.counters.ChildDowns++
	if a.Reason != "" {
		p.s.downWhy = a.Reason
	}
	m.logChildDown(p, a)
	m.uninstall(p, a.Linger)
	if ike := m.ikes[a.SA]; ike != nil && ike.alone && !ike.going && len(ike.pairs) == 0 && !m.needed(a.SA, p.s) {
		// The next attempt has an IKE SA of its own: nobody would ever use this one, whose peer keeps an address for it.
		ike.going = true
		m.run(m.o.Engine.DeleteIKE(m.now(), a.SA, a.Reason))
	}
}

func (m *Manager) childFailed(a ikev2.ChildFailed) {
	m.counters.ChildFailures++
	s, ok := a.Tag.(*session)
	if !ok || s.closed {
		return
	}
	if s.attempt == a.SA {
		m.failed(s, a.Err, a.Reason)
		m.beginAnew(s, a)
	}
	m.logChildFailed(s, a)
}

// beginAnew deletes an IKE SA under which a session that was up gets no child any more: the two sides' groups differ, which
// shows only in CREATE_CHILD_SA. The next attempt is an IKE_AUTH, where no group is negotiated. And it deletes the IKE SA of
// a tunnel that shares none: every attempt has its own, so nobody would ever use this one.
func (m *Manager) beginAnew(s *session, a ikev2.ChildFailed) {
	ike := m.ikes[a.SA]
	differ := s.total.Ups > 0 && errors.Is(a.Err, ikev2.ErrNoProposal)
	if ike == nil || len(ike.pairs) > 0 || !differ && !s.t.alone() || m.needed(a.SA, s) {
		return
	}
	ike.going = true
	m.run(m.o.Engine.DeleteIKE(m.now(), a.SA, "peer accepts no child SA under it"))
}

// moved follows a peer to its new address, or into and out of UDP: behind a NAT, or by MOBIKE.
func (m *Manager) moved(a ikev2.PeerMoved) {
	ike := m.ikes[a.SA]
	if ike == nil {
		return
	}
	m.indexIKE(ike, a.New)
	if a.Local.IsValid() {
		ike.local = a.Local
	}
	var sessions []*session
	for _, p := range ike.pairs {
		p.up.Remote, p.up.UDPEncap, p.up.NAT = a.New, a.UDPEncap, a.NAT
		if a.Local.IsValid() {
			p.up.Local = a.Local
		}
		ends := esp.Ends{Local: p.up.Local, Remote: p.up.Remote, UDPEncap: p.up.UDPEncap}
		p.in.SetEnds(ends)
		p.out.SetEnds(ends)
		if s := p.s; p.slot.tx == p && s.tx.up.SA == a.SA && !slices.Contains(sessions, s) {
			sessions = append(sessions, s)
		}
	}
	for _, s := range sessions {
		s.total.Moves++
		m.counters.Moves++
		for _, x := range append(m.followers(s), s) {
			m.follow(x, a)
		}
		// The data plane finds sessions by the outer address too, for path MTU: have it look again.
		m.setOutbound(s)
	}
}

func (m *Manager) follow(s *session, a ikev2.PeerMoved) {
	s.remote, s.nat = a.New, a.NAT
	s.setNBMA(a.New.Addr())
	s.setInner(s.live())
	m.event(s, Event{Kind: Moved, IKE: a.SA, From: a.Old})
}

// exchanged tells of an IKE SA as a whole, in the order of events.
func (m *Manager) exchanged(a ikev2.Action) {
	m.events = append(m.events, Event{exchanged: a})
}

// afterSettling tells it behind what the sessions of this moment come to.
func (m *Manager) afterSettling(a ikev2.Action) { m.late = append(m.late, Event{exchanged: a}) }
