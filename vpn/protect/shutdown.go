package protect

import (
	"encoding/binary"
	"time"

	"felloe/netstack/clock"
)

// shutdown is an orderly end under way.
type shutdown struct {
	done  func(clean bool)
	timer clock.Timer
}

// DeleteAll deletes all SAs and tells the peers. done is called on the loop, once: with true when every peer has
// acknowledged, with false when that took longer than timeout by the clock. From then on nothing is opened any more.
func (m *Manager) DeleteAll(reason string, timeout time.Duration, done func(clean bool)) {
	if m.closing != nil {
		// The first call's end is this one's too.
		first := m.closing.done
		m.closing.done = func(clean bool) {
			first(clean)
			done(clean)
		}
		return
	}
	m.closing = &shutdown{done: done}
	m.closing.timer = m.loop.After("end of the orderly shutdown", timeout, func() { m.finish(false) })
	for t := range m.tunnels {
		for s := range t.sessions {
			s.stopRetry()
			m.trying(s, 0)
			s.wanted, s.downWhy = false, reason
		}
	}
	m.run(m.o.Engine.DeleteAll(m.now(), reason))
}

// Shutdown is DeleteAll for the end of the router: done is called after ShutdownTime at the latest.
func (m *Manager) Shutdown(done func()) {
	m.DeleteAll("router is shutting down", ShutdownTime, func(bool) { done() })
}

// ShutdownTime is how long Shutdown waits for peers that do not answer.
const ShutdownTime = 5 * time.Second

func (m *Manager) watchShutdown() {
	if m.closing != nil && m.closing.done != nil && len(m.ikes) == 0 && m.asked.pending(m.now()) == 0 {
		m.finish(true)
	}
}

// asked remembers the INFORMATIONAL requests that nobody has answered yet, by the SPIs of their IKE SA. The engine
// forgets a deleted SA at once for all to see and goes on asking behind the scenes; an orderly end wants to know when
// the last peer has acknowledged. That an answer may be forged only ends the wait sooner.
type asked struct {
	open  map[[16]byte]question
	swept time.Time
}

type question struct {
	id uint32
	at time.Time
}

const (
	informational = 37
	flagResponse  = 0x20
	// unansweredFor is longer than the engine's pause between two tries.
	unansweredFor = 20 * time.Second
)

func (q *asked) sent(data []byte, now time.Time) {
	if len(data) < 28 || data[18] != informational || data[19]&flagResponse != 0 {
		return
	}
	if len(q.open) >= 1024 {
		q.pending(now)
	}
	q.open[[16]byte(data)] = question{binary.BigEndian.Uint32(data[20:]), now}
}

// received takes an answer off. At an orderly end a question of the peer's does too: it is ending the same SA, and may not
// be there any more to answer ours.
func (q *asked) received(data []byte, ending bool) {
	if len(data) < 28 || data[18] != informational {
		return
	}
	if data[19]&flagResponse == 0 {
		if ending {
			delete(q.open, [16]byte(data))
		}
		return
	}
	if x, ok := q.open[[16]byte(data)]; ok && x.id == binary.BigEndian.Uint32(data[20:]) {
		delete(q.open, [16]byte(data))
	}
}

// pending counts the open ones and forgets those that are asked no more.
func (q *asked) pending(now time.Time) int {
	if now.Sub(q.swept) >= time.Second {
		q.swept = now
		for k, x := range q.open {
			if now.Sub(x.at) > unansweredFor {
				delete(q.open, k)
			}
		}
	}
	return len(q.open)
}

func (m *Manager) finish(clean bool) {
	done := m.closing.done
	if done == nil {
		return
	}
	m.closing.done = nil
	m.closing.timer.Stop()
	done(clean)
}
