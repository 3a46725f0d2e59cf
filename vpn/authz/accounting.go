package authz

import (
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/ikev2"
)

// Traffic is what a session has carried.
type Traffic struct{ PacketsIn, BytesIn, PacketsOut, BytesOut uint64 }

// Session is a session as accounting sees it (IOS: `aaa accounting`): who was here, from where, with which address, for how long
// and how much of it, and why it ended.
type Session struct {
	SA        ikev2.SAID
	Initiator bool // we began it
	Profile   string
	Policy    string
	VRF       string
	Peer      ikev2.Identity
	Remote    netip.AddrPort
	Addresses []netip.Prefix // that the peer was given
	Began     time.Time
	// Of a session that has ended.
	Ended   time.Time
	Traffic Traffic
	Cause   string
}

// Duration is how long it lasted, or lasts.
func (s Session) Duration(now time.Time) time.Duration {
	if !s.Ended.IsZero() {
		now = s.Ended
	}
	return now.Sub(s.Began)
}

// keepEnded is how many ended sessions are remembered.
const keepEnded = 256

// Accounting keeps the books of sessions, for the log and `show crypto session accounting`. It runs on the control loop. The zero
// value is ready.
type Accounting struct {
	live    map[ikev2.SAID]*Session
	ended   []Session // the oldest first
	total   Traffic   // of all that have ended
	counted uint64
}

// Start opens a session's account.
func (a *Accounting) Start(now time.Time, s Session) Session {
	if a.live == nil {
		a.live = map[ikev2.SAID]*Session{}
	}
	s.Began, s.Ended = now, time.Time{}
	s.Addresses = slices.Clone(s.Addresses)
	a.live[s.SA] = &s
	return s
}

// Moved follows a peer to another address.
func (a *Accounting) Moved(sa ikev2.SAID, remote netip.AddrPort) {
	if s := a.live[sa]; s != nil {
		s.Remote = remote
	}
}

// Carried says what a session has carried in all.
func (a *Accounting) Carried(sa ikev2.SAID, t Traffic) {
	if s := a.live[sa]; s != nil {
		s.Traffic = t
	}
}

// Stop closes an account. False: there is none.
func (a *Accounting) Stop(now time.Time, sa ikev2.SAID, cause string) (Session, bool) {
	s := a.live[sa]
	if s == nil {
		return Session{}, false
	}
	delete(a.live, sa)
	s.Ended, s.Cause = now, cause
	a.counted++
	a.total.PacketsIn += s.Traffic.PacketsIn
	a.total.BytesIn += s.Traffic.BytesIn
	a.total.PacketsOut += s.Traffic.PacketsOut
	a.total.BytesOut += s.Traffic.BytesOut
	if len(a.ended) == keepEnded {
		a.ended = slices.Delete(a.ended, 0, 1)
	}
	a.ended = append(a.ended, *s)
	return *s, true
}

// Live lists the open accounts by SA.
func (a *Accounting) Live() []Session {
	out := make([]Session, 0, len(a.live))
	for _, s := range a.live {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(x, y Session) int { return int(x.SA) - int(y.SA) })
	return out
}

// Ended lists the last sessions that have ended, the oldest first.
func (a *Accounting) Ended() []Session { return slices.Clone(a.ended) }

// Total is how many sessions have ended, and what all of them have carried.
func (a *Accounting) Total() (uint64, Traffic) { return a.counted, a.total }
