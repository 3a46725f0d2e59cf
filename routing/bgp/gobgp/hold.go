//go:build !js

package gobgp

import (
	"sync/atomic"
	"time"

	"felloe/routing/awake"
	"felloe/routing/bgp/guard"
)

// times are those that both OPENs come to: how long the peer may be silent, and how often we say something; 0 is for ever,
// and never. The speaker's lock is held.
func (p *peer) times(o *guard.PeerOpen) (hold, every time.Duration) {
	t := p.n.Timers.WithDefaults()
	hold = min(time.Duration(o.Hold)*time.Second, t.Hold)
	return hold, min(t.Keepalive, hold/3)
}

// ear is how a relay hears its peer.
type ear struct {
	begun time.Time
	heard atomic.Int64 // nanoseconds after begun: when the last message had been dealt with
	deaf  atomic.Bool  // what comes waits until others have done with what came before
}

func (e *ear) hears()          { e.heard.Store(int64(time.Since(e.begun))) }
func (e *ear) last() time.Time { return e.begun.Add(time.Duration(e.heard.Load())) }

// upWithin is how long the engine may take to say that a session is up, when the hold time is no longer. While it does not,
// what the peer says waits, and the peer is not silent.
const upWithin = time.Minute

// keep sends KEEPALIVEs and watches the hold time (RFC 4271 §4.4, §8.2.2), from the peer's OPEN on until the relay ends.
//
// A peer is not silent while what it has said waits to be read, nor does the time count in which we could not look
// (felloe/routing/awake): on a busy machine the timer of a session runs before whoever reads from it.
func (r *relay) keep(hold, every time.Duration) {
	var c awake.Clock
	begun := time.Now()
	last := r.ear.last()
	until, late := last.Add(hold), uint64(0) // awake
	next := last.Add(every)
	t := time.NewTimer(time.Until(next))
	defer t.Stop()
	for {
		at := next
		if end := c.Wall(until); end.Before(at) {
			at = end
		}
		c.Sleep(at)
		t.Reset(time.Until(at))
		select {
		case <-r.over:
			return
		case <-t.C:
		}
		if x := r.ear.last(); x.After(last) {
			last, until, late = x, c.Time(x).Add(hold), c.Late()
		}
		now := time.Now()
		c.Wake(now)
		if r.unread() {
			last, until, late = now, c.Time(now).Add(hold), c.Late()
		}
		if !c.Wall(until).After(now) || now.Sub(last) >= hold && c.Late()-late >= awake.Looks {
			n := &guard.Notification{Code: guard.HoldTimerExpired}
			r.note("sent to", *n)
			r.end(n, "")
			return
		}
		if now.Sub(begun) > max(hold, upWithin) && !r.isUp() {
			r.end(&guard.Notification{Code: guard.Cease, Subcode: guard.ConnectionRejected}, "the session did not come up")
			return
		}
		if !next.After(now) {
			r.keepalive()
			next = now.Add(every)
		}
	}
}

// isUp says that bgp knows of the session.
func (r *relay) isUp() bool {
	select {
	case <-r.up:
		return true
	default:
		return false
	}
}

// unread says that the peer has said something that was not read yet.
func (r *relay) unread() bool {
	if r.ear.deaf.Load() {
		return true
	}
	r.mu.Lock()
	conn := r.conn
	r.mu.Unlock()
	c, ok := conn.(interface{ Unread() bool })
	return ok && c.Unread()
}

// keepalive sends a KEEPALIVE. What is being written already does as well, and a peer that does not read holds nobody up.
func (r *relay) keepalive() {
	r.mu.Lock()
	conn, g, begun := r.conn, r.guard, r.sentAlive
	r.mu.Unlock()
	if !begun || !r.writeMu.TryLock() {
		return
	}
	go func() {
		defer r.writeMu.Unlock()
		if m, err := g.ToPeer(guard.KeepaliveMessage()); err == nil {
			_ = r.put(conn, m) // who reads hears of it when the connection is gone
		}
	}()
}
