package protect

import (
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
	for _, t := range m.tunnels {
		for _, s := range t.sessions {
			s.stopRetry()
			s.wanted, s.attempt, s.downWhy = false, 0, reason
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
	if m.closing != nil && m.closing.done != nil && len(m.o.Engine.Snapshot(m.now())) == 0 {
		m.finish(true)
	}
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
