package ikev2

import (
	"fmt"
	"time"

	"felloe/vpn/ikev2/message"

	"github.com/rs/zerolog"
)

// Dead peer detection as IOS has it: `dpd INTERVAL RETRY {periodic | on-demand}`.
//
//	periodic   a probe when nothing was heard for INTERVAL, whether there is traffic or not
//	on-demand  a probe when there is something to send, and nothing was heard for INTERVAL; without traffic never
//
//	heard ────── INTERVAL ──────┬─ probe ─ RETRY ─ probe ─ … 5 in all … ─ RETRY ─► dead
//	                            └─ on-demand: at the first packet after it
//
// Heard is every authentic message of IKE and, from the driver by NoteTraffic, every ESP packet that could be opened: while
// packets come in nothing is asked. So `30 5 on-demand` finds a peer that died under traffic 55 seconds after its last packet,
// and one that died while nobody had anything to say 25 seconds after the first packet for it.
//
// The window is one request: where one is under way (new keys, say) it is the probe. It is repeated every RETRY from then on.

// quietFor says whether nothing was heard for so long that DPD asks.
func (s *session) quietFor() bool {
	d := s.profile.DPD
	return d.Interval > 0 && s.e.now.Sub(s.lastHeard) >= d.Interval
}

// probeAt is when dead peer detection asks by the clock; zero when it does not. On demand traffic says when.
func (s *session) probeAt() time.Time {
	d := s.profile.DPD
	if d.Interval <= 0 || d.OnDemand || !s.cur.askable() {
		return time.Time{}
	}
	return s.lastHeard.Add(d.Interval)
}

// askable says whether asking changes anything: no request is under way that asks already.
func (sa *ikeSA) askable() bool {
	if q := sa.pending; q != nil {
		return !q.asks
	}
	return sa.state == stReady && len(sa.tasks) == 0
}

// ask is what dead peer detection does when a peer has been quiet for too long.
func (sa *ikeSA) ask() {
	switch q := sa.pending; {
	case sa.state != stReady || !sa.askable():
	case q == nil:
		sa.queue(&probe{})
	default:
		dpd := sa.s.profile.DPD
		q.asks = true
		if dpd.Retry > 0 {
			q.interval, q.most = dpd.Retry, dpd.Retry
		}
		q.tries = min(q.tries, q.sent+DPDTries)
		if q.sent < q.tries {
			sa.transmit()
		}
	}
}

// NoteTraffic tells of packets of the SA's children since the last note: received ones prove that the peer lives, sent
// ones are what on-demand DPD waits for, whether or not they got anywhere. Once a second while there is traffic is enough;
// without traffic nothing need be told. Of a note that says both the packets that came in count.
func (e *Engine) NoteTraffic(now time.Time, id SAID, received, sent bool) []Action {
	return e.with(now, id, func(s *session) {
		if sent {
			s.lastSent = now
		}
		switch {
		case received:
			s.heard()
		case sent && s.profile.DPD.OnDemand && s.quietFor() && !s.established.IsZero() && !s.ended:
			s.cur.ask()
		}
	})
}

// suspect says once that a peer has left a probe unanswered.
func (sa *ikeSA) suspect() {
	q, s := sa.pending, sa.s
	if !q.asks || q.told || s.established.IsZero() || s.ended {
		return
	}
	q.told = true
	s.log(zerolog.InfoLevel, "peer does not answer", Field{"event", "dpd"}, Field{"state", "suspect"}, Field{"identity", s.remoteID.String()},
		Field{"silent", s.silence()})
}

// dead is why an established SA ends whose peer answers nothing.
func (sa *ikeSA) dead() string {
	q, s := sa.pending, sa.s
	reason := fmt.Sprintf("dead peer: %d times %v unanswered, nothing heard for %s", q.sent, q.exchange, s.silence())
	event := "dpd"
	if !q.asks {
		event = "timeout" // of a request that nobody had to hurry
	}
	s.log(zerolog.WarnLevel, "peer is dead", Field{"event", event}, Field{"state", "dead"}, Field{"identity", s.remoteID.String()},
		Field{"probes", q.sent}, Field{"silent", s.silence()}, Field{"reason", reason})
	return reason
}

// silence is how long nothing was heard.
func (s *session) silence() string { return s.e.now.Sub(s.lastHeard).Round(time.Millisecond).String() }

// asksAlready says of a request that is being made whether it is one of dead peer detection's from the beginning.
func asksAlready(t task, x message.ExchangeType) bool {
	_, is := t.(*probe)
	return is && x == message.INFORMATIONAL
}
