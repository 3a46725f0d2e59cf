package bfd

import (
	"net/netip"
	"time"

	"felloe/netstack/deadline"
	"felloe/routing/awake"
)

// Key is what a session is between. Interface is empty for multihop sessions.
type Key struct {
	VRF           string
	Local, Remote netip.Addr
	Interface     string
	Multihop      bool
}

// Timers are what we ask for: how often we want to send, how often we are ready to receive, and how many packets the peer
// may miss before it says that we are gone.
type Timers struct {
	Interval, MinRx time.Duration
	Multiplier      uint8
}

// sane replaces what no session can have.
func (t Timers) sane() Timers {
	const least, most = 10 * time.Millisecond, time.Hour
	t.Interval, t.MinRx, t.Multiplier = min(max(t.Interval, least), most), min(max(t.MinRx, least), most), max(t.Multiplier, 1)
	return t
}

// slow is the least interval of a session that is not up (RFC 5880 §6.8.3).
const slow = time.Second

// Change is what a client hears.
type Change struct {
	Up         bool
	Diagnostic Diagnostic
	// Remote: the peer has taken its session down on purpose. That is no failure (RFC 5882 §4.2).
	Remote bool
}

// Client is one who wants to know of a session.
type Client struct {
	e    *Engine
	s    *session
	name string
	f    func(Change)
}

// session is the state of RFC 5880 §6.8.1, and what our timers need.
type session struct {
	deadline.Item
	key     Key
	port    uint16 // of our packets' source
	clients []*Client
	// answering: the peer began it, and nobody here has asked for it. It ends when the peer goes.
	answering bool

	state, peerState     State
	diag, peerDiag       Diagnostic
	mine, yours          uint32
	timers               Timers
	wantTx, wantRx       time.Duration // what our packets say
	tx, rx               time.Duration // what is in force until the peer has seen the above
	peerTx, peerRx       time.Duration
	peerMultiplier       uint8
	peerDemand, polling  bool
	linger               time.Time // the end of a session that we have ended
	expire               time.Time // the end of an answering session that does not come up
	nextTx, lastTx       time.Time
	detect               time.Time // awake time
	late                 uint64    // how often the engine had been late when the last packet came
	since, lastRx        time.Time
	ups, downs, rxs, txs uint64
	lastDown             Diagnostic
}

func (s *session) setTimers(t Timers) {
	s.timers = t.sane()
	t = s.timers
	s.wantTx, s.wantRx = max(t.Interval, slow), t.MinRx
	if s.state == Up {
		// RFC 5880 §6.8.3: what would be too early for the peer waits until it has answered a poll.
		s.wantTx = t.Interval
		s.tx, s.rx = min(s.tx, s.wantTx), max(s.rx, s.wantRx)
		s.polling = true
		return
	}
	s.tx, s.rx = s.wantTx, s.wantRx
}

// detection is the time of silence after which the peer is gone (RFC 5880 §6.8.4).
func (s *session) detection() time.Duration {
	return time.Duration(s.peerMultiplier) * max(s.rx, s.peerTx)
}

// interval is the one between our packets, before jitter.
func (s *session) interval() time.Duration { return max(s.tx, s.peerRx) }

// gone says that the detection time is over.
func (s *session) gone(e *Engine, now time.Time) bool {
	if s.detect.IsZero() {
		return false
	}
	return !e.awake.Wall(s.detect).After(now) || now.Sub(s.lastRx) >= s.detection() && e.awake.Late()-s.late >= awake.Looks
}

// silent says that no packet is sent by itself (RFC 5880 §6.8.7).
func (s *session) silent() bool {
	switch {
	case s.answering && s.yours == 0:
		return true
	case s.peerRx == 0:
		return true
	}
	return s.peerDemand && s.state == Up && s.peerState == Up && !s.polling
}

// packet is what we have to say.
func (s *session) packet(final bool) Control {
	return Control{Diagnostic: s.diag, State: s.state, Poll: s.polling && !final, Final: final, Multiplier: s.timers.Multiplier,
		Mine: s.mine, Yours: s.yours, DesiredMinTx: s.wantTx, RequiredMinRx: s.wantRx}
}

// due is when something is to be done about the session.
func (s *session) due(e *Engine) (at time.Time) {
	earliest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if !s.silent() {
		earliest(s.nextTx)
	}
	if !s.detect.IsZero() {
		earliest(e.awake.Wall(s.detect))
	}
	earliest(s.linger)
	earliest(s.expire)
	if at.IsZero() {
		at = never
	}
	return at
}

var never = time.Unix(1<<40, 0)
