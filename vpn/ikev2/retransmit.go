package ikev2

import (
	"time"

	"felloe/vpn/ikev2/message"
)

// A task is an exchange of ours that waits for its turn: the window is one (RFC 7296 §2.3).
type task interface {
	exchange() message.ExchangeType
	// begin makes the request. False: there is nothing to do any more.
	begin(sa *ikeSA) ([]message.Payload, bool)
	// done takes the response.
	done(sa *ikeSA, p *parts)
	// movable tasks may go out under other keys of the same session.
	movable() bool
}

type delayedTask struct {
	at   time.Time
	task task
}

// request is the one that waits for its response.
type request struct {
	id        uint32
	exchange  message.ExchangeType
	task      task
	datagrams [][]byte
	sent      int
	interval  time.Duration
	most      time.Duration
	tries     int
	next      time.Time
	asks      bool // dead peer detection waits for its answer
	told      bool // and has said so
}

func (sa *ikeSA) queue(t task) {
	sa.tasks = append(sa.tasks, t)
	sa.pump()
}

// later queues a task after a while.
func (sa *ikeSA) later(d time.Duration, t task) {
	sa.delayed = append(sa.delayed, delayedTask{sa.e.now.Add(d), t})
	sa.e.touch(sa)
}

// pump sends the next request if it may.
func (sa *ikeSA) pump() {
	if sa.state != stReady && sa.state != stReplaced && sa.state != stDeleting {
		return
	}
	sa.e.touch(sa)
	for sa.pending == nil && len(sa.tasks) > 0 && !sa.hold.After(sa.e.now) {
		t := sa.tasks[0]
		sa.tasks = sa.tasks[1:]
		payloads, ok := t.begin(sa)
		if !ok {
			continue
		}
		sa.request(t, t.exchange(), sa.seal(t.exchange(), sa.sendID, false, payloads))
	}
}

// request sends a request and remembers it.
func (sa *ikeSA) request(t task, x message.ExchangeType, datagrams [][]byte) {
	r := sa.e.cfg.Retransmit
	q := &request{id: sa.sendID, exchange: x, task: t, datagrams: datagrams, interval: r.Base, most: r.Max, tries: r.Tries, asks: asksAlready(t, x)}
	if p, ok := t.(*probe); ok {
		// IOS: a probe is repeated every RETRY seconds.
		if dpd := sa.s.profile.DPD; dpd.Interval > 0 && dpd.Retry > 0 {
			q.interval, q.most, q.tries = dpd.Retry, dpd.Retry, DPDTries
		}
		if p.quick {
			q.interval, q.most, q.tries = min(q.interval, r.Base), min(q.most, 4*time.Second), min(q.tries, DPDTries)
		}
	}
	sa.sendID++
	sa.pending = q
	sa.transmit()
}

func (sa *ikeSA) transmit() {
	q := sa.pending
	if q.sent > 0 {
		sa.e.counters.Retransmitted++
	}
	q.sent++
	for _, b := range q.datagrams {
		sa.e.send(sa.s.vrf, sa.s.local, sa.s.remote, b)
	}
	sa.s.lastSent = sa.e.now
	q.next = sa.e.now.Add(q.interval)
	q.interval = min(2*q.interval, max(q.most, q.interval))
	sa.e.touch(sa)
}

// unanswered is called when a request's time is over.
func (sa *ikeSA) unanswered() {
	q := sa.pending
	if q.sent < q.tries {
		sa.suspect()
		sa.transmit()
		return
	}
	s := sa.s
	switch {
	case s.ended, sa.state == stReplaced, sa.state == stDeleting:
		sa.e.remove(sa)
	case s.established.IsZero():
		s.fail("peer does not answer "+q.exchange.String(), ErrTimeout)
	default:
		s.fail(sa.dead(), ErrDead)
	}
}

// respond seals and sends a response, and keeps it for retransmissions.
func (sa *ikeSA) respond(d Datagram, h message.Header, payloads []message.Payload) {
	sa.cache = sa.seal(h.Exchange, h.MessageID, true, payloads)
	sa.resend(d)
}

// resend sends the kept response to where the request came from (RFC 7296 §2.11).
func (sa *ikeSA) resend(d Datagram) {
	for _, b := range sa.cache {
		sa.e.send(d.VRF, d.Local, d.Remote, b)
	}
	sa.s.lastSent = sa.e.now
}
