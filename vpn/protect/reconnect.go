package protect

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"felloe/netstack"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
)

// A tunnel's far end can be chosen while the tunnel runs, by who has a list of gateways (package flexvpn/client):
//
//	Reconnect: what there is ends, the new one is called at once       break before make, the old one is dead anyway
//	Prepare:   another session beside the one in use                   make before break
//	           … Prepared …
//	Commit:    the tunnel's packets go there; the old one receives for a moment yet, for what is on its way, and is deleted
//
// From Reconnect or Commit on nothing is sent on the SAs of the old session, whatever becomes of it: its outbound SAs are
// gone from the data plane before the function returns.

// ErrNotPrepared says that there is nothing to move to.
var ErrNotPrepared = errors.New("protect: no session is prepared")

// Call says whom to call.
type Call struct {
	// Source is the address to call from; invalid: the tunnel's, or the VRF's choice.
	Source netip.Addr
	// Destination is the far end; invalid: nobody.
	Destination netip.Addr
	// RedirectedFrom is the gateway that has sent us there (RFC 5685).
	RedirectedFrom netip.Addr
}

// Reconnect moves a point-to-point tunnel to another far end: what it has is deleted, and the new one is called at once.
// Without a destination the tunnel idles. It returns the new session, whose Up or, for a Dynamic tunnel, Failed follows.
func (m *Manager) Reconnect(t *netstack.Tunnel, c Call, reason string) *netstack.Session {
	rec := m.byTunnel[t]
	if rec == nil || rec.template != nil || rec.removed || m.closing != nil {
		return nil
	}
	rec.standby = nil
	for _, s := range rec.ordered() {
		m.shut(s, reason)
	}
	rec.cfg.Local = c.Source
	c.Destination = c.Destination.Unmap()
	t.SetDestination(c.Destination)
	if c.Source.IsValid() {
		if err := t.SetSource(c.Source); err != nil {
			m.o.Log.Error().Str("event", "tunnel-source").Str("tunnel", rec.name).Err(err).Msg("the tunnel cannot send from there")
		}
	}
	if !c.Destination.IsValid() {
		t.SetDefault(nil)
		m.run(nil)
		return nil
	}
	s := m.newSession(rec, c.Destination)
	s.wanted, s.permanent, s.redirect = true, !rec.cfg.Dynamic, c.RedirectedFrom
	t.SetDefault(s.net)
	m.connect(s)
	m.mark(s)
	m.run(nil)
	return s.net
}

// Prepare calls another far end beside the one that the tunnel is using. Prepared or Failed follows. An earlier one that
// was not committed is given up.
func (m *Manager) Prepare(t *netstack.Tunnel, c Call) *netstack.Session {
	rec := m.byTunnel[t]
	if rec == nil || !rec.cfg.Dynamic || rec.removed || m.closing != nil || !c.Destination.IsValid() {
		return nil
	}
	m.Abandon(t, "another gateway is tried")
	s := m.newSession(rec, c.Destination.Unmap())
	s.wanted, s.standby, s.local, s.redirect = true, true, c.Source, c.RedirectedFrom
	rec.standby = s
	m.connect(s)
	m.mark(s)
	m.run(nil)
	return s.net
}

// Abandon gives up what Prepare has begun.
func (m *Manager) Abandon(t *netstack.Tunnel, reason string) {
	if rec := m.byTunnel[t]; rec != nil && rec.standby != nil {
		s := rec.standby
		rec.standby = nil
		m.shut(s, reason)
	}
}

// Commit moves the tunnel to the session that is prepared. The one before it sends nothing any more, receives for linger,
// and is deleted then. Down, which names its successor, and the new one's Up are told at once.
func (m *Manager) Commit(t *netstack.Tunnel, linger time.Duration, reason string) error {
	rec := m.byTunnel[t]
	if rec == nil || rec.standby == nil || !rec.standby.ready || rec.standby.live() == nil {
		return ErrNotPrepared
	}
	next := rec.standby
	local := next.live().up.Local.Addr()
	if err := t.SetSource(local); err != nil {
		return fmt.Errorf("protect: tunnel %s: %w", rec.name, err)
	}
	rec.standby, next.standby = nil, false
	rec.cfg.Local = local
	t.SetDestination(next.nbma)
	t.SetDefault(next.net)
	for _, s := range rec.ordered() {
		if s != next && !s.closed && !s.retired {
			m.retire(s, next, linger, reason)
		}
	}
	m.mark(next)
	m.run(nil)
	return nil
}

// retire has a session send nothing any more, and end after a while.
func (m *Manager) retire(s, successor *session, linger time.Duration, reason string) {
	s.retired, s.wanted, s.permanent, s.downWhy = true, false, false, reason
	s.stopRetry()
	m.setOutbound(s)
	if s.told {
		s.told = false
		s.total.Downs++
		s.since = m.now()
		m.event(s, Event{Kind: Down, IKE: s.toldIKE, Reason: reason, Successor: successor.net})
	}
	if len(s.pairs) == 0 || linger <= 0 {
		m.shut(s, reason)
		return
	}
	m.loop.After("a tunnel's former session", linger, func() {
		// Deleted, it receives for a moment yet: the peer goes on sending until it hears of that.
		if !s.closed {
			m.disconnect(s, reason)
		}
	})
}

// settleDynamic is settle for what is special about a Dynamic tunnel's session; true when there is nothing else to do.
func (m *Manager) settleDynamic(s *session, up bool) bool {
	idle := s.attempt == 0 && len(s.pairs) == 0
	switch {
	case s.retired:
		s.gap = false
		if idle && len(s.lingering) == 0 {
			m.remove(s)
		}
		return true
	case s.standby && up && !s.ready && s.readyIn == nil:
		m.readyIn(s, untold)
	case idle && s.wanted:
		s.wanted = false
		if s.total.Ups == 0 {
			m.event(s, Event{Kind: Failed, Reason: s.why(), Err: s.lastErr})
		}
	}
	if idle && s.t.standby == s {
		s.t.standby = nil
	}
	if s.standby && !idle {
		s.gap = false
		return true
	}
	return false
}

// redirected passes on that a peer sends us to another gateway. Whoever chose that peer chooses again: an attempt fails right
// after this, a session that is up stays until then.
func (m *Manager) redirected(a ikev2.Redirected) {
	s, ok := a.Tag.(*session)
	if ike := m.ikes[a.SA]; !ok && ike != nil {
		for _, p := range ike.pairs {
			s = p.s
		}
	}
	if s == nil || s.closed || s.retired || !s.t.cfg.Dynamic {
		return
	}
	m.o.Log.Info().Str("event", "redirected").Str("tunnel", s.t.name).Stringer("peer", a.From).Str("vrf", a.VRF).Stringer("to", a.To).Stringer("stage", a.Stage).
		Msg("the gateway sends us to another one")
	m.event(s, Event{Kind: Redirected, IKE: a.SA, To: a.To})
}

// What a gateway knows of us by its routes decides whether our packets' answers find back. It is told by CFG_SET once the
// session is up, so a session is prepared when that is acknowledged and has had time to become routes, or when nothing is
// heard of it.
const (
	untold = time.Second
	heeded = 250 * time.Millisecond
)

// readyIn says when a standby session will be prepared.
func (m *Manager) readyIn(s *session, d time.Duration) {
	if s.readyIn != nil {
		s.readyIn.Stop()
	}
	s.readyIn = m.loop.After("a session beside another", d, func() {
		if s.standby && !s.ready && !s.closed && s.live() != nil {
			s.ready = true
			m.event(s, Event{Kind: Prepared, IKE: s.ike})
			m.run(nil)
		}
	})
}

// acknowledged is called when a gateway has taken our configuration.
func (m *Manager) acknowledged(a ikev2.ConfigAcknowledged) {
	ike := m.ikes[a.SA]
	if ike == nil {
		return
	}
	for _, p := range ike.pairs {
		if s := p.s; s.standby && s.readyIn != nil && !s.ready {
			m.readyIn(s, heeded)
		}
	}
}

// why says why a session did not come up.
func (s *session) why() string {
	if s.lastWhy != "" {
		return s.lastWhy
	}
	return s.downWhy
}

// localOf is the address that a session is called from.
func (m *Manager) localOf(s *session) (netip.Addr, error) {
	if s.local.IsValid() {
		return s.local, nil
	}
	return m.local(s.t, s.nbma)
}

// asks are the addresses that the peer is asked for: those that it has given us before, or any.
func (s *session) asks() []netip.Addr {
	var out []netip.Addr
	for _, any := range s.t.cfg.Ask {
		want := any
		for _, a := range s.t.had[s.nbma] {
			if a.Is4() == any.Is4() {
				want = a
			}
		}
		out = append(out, want)
	}
	return out
}

// given remembers which addresses a peer has given us.
func (m *Manager) given(a ikev2.ConfigReceived) {
	s, ok := a.Tag.(*session)
	if !ok || a.Kind != message.CFG_REPLY || len(a.Configuration.Addresses) == 0 {
		return
	}
	var list []netip.Addr
	for _, p := range a.Configuration.Addresses {
		list = append(list, p.Addr().Unmap())
	}
	if len(s.t.had) >= 64 {
		clear(s.t.had)
	}
	s.t.had[s.nbma] = list
}
