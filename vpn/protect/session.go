package protect

import (
	"errors"
	"net/netip"
	"time"

	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/vpn/ikev2"
)

// session is the far end of one tunnel: who is there, by what SAs packets go and come, and what is being done to have
// some. Its state follows from its fields:
//
//	                    ┌── attempt fails ◄─────────────┐
//	                    ▼                               │
//	idle ── wanted ─► retrying ── time is up ─► negotiating ── ChildUp ─► up ── last ChildDown ─┐
//	  ▲                                                                                        │
//	  └───────────────── not wanted: forgotten ◄── wanted: begins anew ◄────────────────────────┘
type session struct {
	seq  uint64
	t    *tunnel
	net  *netstack.Session
	nbma netip.Addr

	wanted    bool // opened from here: negotiated again until closed
	permanent bool // of a configured destination: the netstack session stays
	dormant   bool // wanted, but only when there is something to send
	closed    bool
	dirty     bool
	gap       bool // there was a moment without anything to send on
	atOnce    bool // begin anew without back-off: it was ended from here
	standby   bool // of Prepare, until Commit
	ready     bool // Prepared was told
	readyIn   clock.Timer
	retired   bool // another one has taken its place: it only receives, and not for long

	beside   *netstack.Tunnel // by OpenTemplate: the tunnel that it is a shortcut of
	local    netip.Addr       // where it is called from, when not from where the tunnel is
	redirect netip.Addr       // the gateway that has sent us here

	peer, self ikev2.Identity // once authenticated
	remote     netip.AddrPort // of IKE, once known
	ike        ikev2.SAID     // the SA that tx hangs on
	nat        ikev2.NAT

	pairs     []*pair  // installed, oldest first
	slots     []*slot  // the pairs by what they are for
	tx        *pair    // what we send on: the first slot's
	shared    *session // another tunnel's session whose SAs this one sends on
	following map[*session]struct{}
	lingering map[uint32]struct{} // SPIs of inbound SAs that are no pair's any more

	attempt ikev2.SAID // the IKE SA that a child is being negotiated under, 0 when none
	retry   clock.Timer
	retryAt time.Time

	since    time.Time // of the state as it was told last
	told     bool      // Up was told
	answers  bool      // Answering was told, and Up not yet
	toldIKE  ikev2.SAID
	toldSel  string
	upSince  time.Time
	failures int // in a row
	total    Totals
	lastErr  error
	lastWhy  string
	lastAt   time.Time
	downWhy  string // why the last pair went, for the event
	downErr  error

	lastData time.Time // data packets were seen moving
	data     uint64
}

// Totals count what happened to a session since its beginning.
type Totals struct {
	Attempts, Failures, Ups, Downs, Rekeys, Moves uint64
}

func (m *Manager) newSession(t *tunnel, nbma netip.Addr) *session {
	m.seq++
	s := &session{seq: m.seq, t: t, nbma: nbma, net: t.net.NewSession(nbma), since: m.now(), lastData: m.now()}
	t.addSession(s)
	m.byNet[s.net] = s
	return s
}

// Open returns the tunnel's session with the far end at nbma, the existing one or a new one, and has IKE negotiate SAs
// for it when it has none. While it is wanted, that is until Close, failures are repeated with back-off; an Open during
// a back-off changes nothing. It returns nil for a tunnel that is not protected here.
func (m *Manager) Open(t *netstack.Tunnel, nbma netip.Addr) *netstack.Session {
	rec := m.byTunnel[t]
	if rec == nil || m.closing != nil {
		return nil
	}
	nbma = nbma.Unmap()
	var s *session
	for _, x := range rec.byNBMA[nbma] {
		// Behind one NAT there may be several: the one that is up is the better guess.
		if !x.closed && (s == nil || s.tx == nil && x.tx != nil) {
			s = x
		}
	}
	if s == nil {
		s = m.newSession(rec, nbma)
	}
	s.wanted, s.dormant = true, false
	s.lastData = m.now()
	m.connect(s)
	return s.net
}

// Close ends a session: its Child SAs are deleted, and the IKE SA too when nothing else needs it. The netstack session
// is closed unless the tunnel's configuration names its far end.
func (m *Manager) Close(n *netstack.Session, reason string) {
	if s := m.byNet[n]; s != nil {
		m.shut(s, reason)
	}
}

// Probe asks the session's peer whether it lives.
func (m *Manager) Probe(n *netstack.Session) {
	if s := m.byNet[n]; s != nil && s.live() != nil {
		m.run(m.o.Engine.Probe(m.now(), s.live().up.SA))
	}
}

// Rekey replaces the session's Child SAs now.
func (m *Manager) Rekey(n *netstack.Session) {
	if s := m.byNet[n]; s != nil && s.live() != nil {
		m.run(m.o.Engine.RekeyChild(m.now(), s.live().up.Child))
	}
}

// connect begins a negotiation when the session wants one and none is under way.
func (m *Manager) connect(s *session) {
	if !s.wanted || s.dormant || s.closed || len(s.pairs) > 0 || s.attempt != 0 || s.retry != nil || s.shared != nil || m.closing != nil || s.t.cfg.Passive {
		return
	}
	if m.share(s) {
		return
	}
	local, err := m.localOf(s)
	if err != nil {
		m.failed(s, ikev2.ErrConfig, err.Error())
		return
	}
	s.total.Attempts++
	// Two tunnels to one peer need one IKE SA.
	if ike := m.ikeFor(s, local); ike != nil {
		m.trying(s, ike.id)
		if ike.established {
			m.run(m.o.Engine.CreateChild(m.now(), ike.id, s.t.cfg.ChildPolicy, s))
		}
		return
	}
	var acts []ikev2.Action
	req := ikev2.InitiateRequest{VRF: s.t.cfg.VRF, Local: local, Remote: s.nbma, Profile: s.t.cfg.IKEProfile, Child: s.t.cfg.ChildPolicy, Tag: s,
		Addresses: s.asks(), RedirectedFrom: s.redirect, NoRedirect: !s.t.cfg.Dynamic}
	var id ikev2.SAID
	id, acts = m.o.Engine.Initiate(m.now(), req)
	m.trying(s, id)
	if id != 0 {
		m.addIKE(&ikeSA{
			id: id, vrf: s.t.cfg.VRF, profile: s.t.cfg.IKEProfile, initiator: true, alone: s.t.alone(),
			local: netip.AddrPortFrom(local, portIKE), remote: netip.AddrPortFrom(s.nbma, portIKE), pairs: map[ikev2.ChildID]*pair{},
		})
	}
	m.run(acts)
}

// ikeFor finds an IKE SA, established or on its way, that the session's child can hang on.
func (m *Manager) ikeFor(s *session, local netip.Addr) *ikeSA {
	if s.t.alone() {
		return nil
	}
	var found *ikeSA
	for ike := range m.ikesAt[s.nbma] {
		if ike.profile != s.t.cfg.IKEProfile || ike.vrf != s.t.cfg.VRF || ike.local.Addr() != local || ike.going || ike.alone {
			continue
		}
		if !s.peer.IsZero() && ike.established && ike.peer != s.peer {
			continue
		}
		if found != nil {
			// Several peers behind one NAT, and this one has not said yet who it is: call by itself.
			return nil
		}
		found = ike
	}
	return found
}

// failed notes that an attempt failed and sets the time of the next.
func (m *Manager) failed(s *session, err error, why string) {
	m.trying(s, 0)
	if s.closed {
		return
	}
	s.failures++
	s.total.Failures++
	s.lastErr, s.lastWhy, s.lastAt = err, why, m.now()
	m.counters.Failures++
	if s.wanted && !s.dormant && s.tx == nil && !s.t.cfg.Dynamic {
		m.backOff(s)
	}
	m.mark(s)
}

// backOff sets the time of the next attempt.
func (m *Manager) backOff(s *session) {
	if s.retry != nil || m.closing != nil {
		return
	}
	base := m.o.Retry.Base
	if needsAHand(s.lastErr) {
		base *= 5
	}
	d := base
	for i := 1; i < s.failures && d < m.o.Retry.Max; i++ {
		d *= 2
	}
	d = min(d, m.o.Retry.Max)
	d += time.Duration(m.random() * float64(d) / 5)
	s.retryAt = m.now().Add(d)
	s.retry = m.loop.After("ike retry", d, func() {
		s.retry, s.retryAt = nil, time.Time{}
		m.connect(s)
		m.run(nil)
	})
}

// needsAHand tells failures that time alone does not mend.
func needsAHand(err error) bool {
	for _, e := range []error{ikev2.ErrAuthentication, ikev2.ErrNoProposal, ikev2.ErrSelectors, ikev2.ErrNoProfile, ikev2.ErrNoKey, ikev2.ErrConfig, ikev2.ErrTransport, ikev2.ErrRefused} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *session) stopRetry() {
	if s.retry != nil {
		s.retry.Stop()
		s.retry, s.retryAt = nil, time.Time{}
	}
}

// shut closes a session for good.
func (m *Manager) shut(s *session, reason string) {
	if s.closed {
		return
	}
	s.wanted = false
	s.closed = true
	s.answered()
	m.disconnect(s, reason)
}

// disconnect deletes what the session has or is getting.
func (m *Manager) disconnect(s *session, reason string) {
	s.stopRetry()
	s.downWhy = reason
	m.unshare(s, reason)
	// All of it is asked of the engine before any of it is carried out: in between the session could begin anew.
	var acts []ikev2.Action
	now := m.now()
	seen := map[ikev2.SAID]bool{}
	end := func(id ikev2.SAID) {
		if ike := m.ikes[id]; ike != nil {
			ike.going = true
		}
		if !seen[id] {
			acts = append(acts, m.o.Engine.DeleteIKE(now, id, reason)...)
		}
		seen[id] = true
	}
	for _, p := range s.pairs {
		if m.needed(p.up.SA, s) {
			acts = append(acts, m.o.Engine.DeleteChild(now, p.up.Child, reason)...)
		} else {
			end(p.up.SA)
		}
	}
	if id := s.attempt; id != 0 {
		m.trying(s, 0)
		if !m.needed(id, s) {
			end(id)
		}
	}
	m.mark(s)
	m.run(acts)
}

// needed tells whether an IKE SA serves or will serve another session than s.
func (m *Manager) needed(id ikev2.SAID, s *session) bool {
	if ike := m.ikes[id]; ike != nil {
		for _, p := range ike.pairs {
			if p.s != s {
				return true
			}
		}
	}
	for x := range m.attempts[id] {
		if x != s {
			return true
		}
	}
	return false
}

// settle looks at what the actions of this moment made of a session, tells it, and decides what comes next.
func (m *Manager) settle(s *session) {
	p := s.live()
	up := p != nil && (p.ready || s.told && !s.gap)
	if s.t.cfg.Dynamic && m.settleDynamic(s, up) {
		return
	}
	switch {
	case s.told && (!up || s.gap):
		s.told = false
		s.total.Downs++
		s.since = m.now()
		m.event(s, Event{Kind: Down, IKE: s.toldIKE, Reason: s.downWhy, Err: s.downErr})
		s.downErr = nil
	case s.told && s.ike != s.toldIKE:
		m.event(s, Event{Kind: Replaced, IKE: s.ike, OldIKE: s.toldIKE})
		s.toldIKE, s.toldSel = s.ike, s.selectors()
	case s.told && s.toldSel != s.selectors():
		m.event(s, Event{Kind: Changed, IKE: s.ike})
		s.toldSel = s.selectors()
	}
	s.gap = false
	switch {
	case p != nil && !up && !s.told && !s.answers:
		s.answers = true
		m.event(s, Event{Kind: Answering, IKE: s.ike})
	case p == nil && s.answers:
		s.answers = false
		m.event(s, Event{Kind: Lapsed, Reason: s.downWhy})
	}
	if up && !s.told {
		s.answers = false
		s.told, s.toldIKE, s.toldSel = true, s.ike, s.selectors()
		s.total.Ups++
		s.answered()
		s.since, s.upSince, s.lastData = m.now(), m.now(), m.now()
		s.lastErr, s.lastWhy = nil, ""
		s.stopRetry()
		m.event(s, Event{Kind: Up, IKE: s.ike})
		if s.shared == nil {
			m.join(s)
		}
	}
	if p != nil {
		m.armPoll()
		return
	}
	if s.beside != nil && s.total.Ups > 0 && s.attempt == 0 {
		s.wanted = false // it is opened anew when there is need
	}
	switch {
	case s.closed && len(s.pairs) == 0, !s.wanted && !s.permanent && len(s.pairs) == 0:
		m.remove(s)
	case s.wanted && !s.dormant && s.attempt == 0 && s.retry == nil && len(s.pairs) == 0 && s.shared == nil:
		// It was up: at once, unless it did not last.
		if s.lastErr == nil && m.now().Sub(s.upSince) < stable && !s.atOnce {
			s.failures++
		} else if s.lastErr == nil {
			s.failures, s.atOnce = 0, false
			m.connect(s)
			return
		}
		m.backOff(s)
	}
}

// stable is how long a session must have been up to be negotiated again without back-off.
const stable = 30 * time.Second

// remove takes a session off the books. The netstack session is closed when its event has been told.
func (m *Manager) remove(s *session) {
	s.closed = true
	s.stopRetry()
	m.trying(s, 0)
	s.setShared(nil)
	s.t.dropSession(s)
	delete(m.byNet, s.net)
	m.purgeSession(s)
	s.net.SetOutbound(nil)
	e := Event{Kind: gone, Session: s.net}
	if s.t.template != nil && len(s.t.sessions) == 0 {
		e.released = s.t
	}
	m.events = append(m.events, e)
}

// gone is an event of our own: the netstack session can be closed.
const gone EventKind = 0xff

func (m *Manager) event(s *session, e Event) {
	e.Session, e.Tunnel, e.Peer, e.Remote = s.net, s.t.net, s.peer, s.remote
	m.events = append(m.events, e)
	m.logSession(s, e)
}
