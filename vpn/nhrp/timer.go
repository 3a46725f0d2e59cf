package nhrp

import (
	"time"

	"felloe/netstack/deadline"
)

// timer is one deadline of the machine. The zero value is unset.
type timer struct {
	deadline.Item
	f func(now time.Time)
}

// set arms a timer, or moves it.
func (e *Engine) set(t *timer, at time.Time, f func(now time.Time)) {
	t.f = f
	e.queue.Set(t, at)
}

func (e *Engine) unset(t *timer) { e.queue.Remove(t) }

// Deadline is when Tick is wanted next.
func (e *Engine) Deadline() (time.Time, bool) { return e.queue.First() }

// Tick runs what is due.
func (e *Engine) Tick(now time.Time) {
	e.now = now
	for {
		t, ok := e.queue.Due(now)
		if !ok {
			return
		}
		e.queue.Remove(t)
		t.f(now)
	}
}

// bucket limits a rate: n a second, and a burst of n.
type bucket struct {
	tokens float64
	last   time.Time
}

func (b *bucket) take(now time.Time, n int) bool { return b.takeOf(now, n, time.Second) }

// takeOf takes one of n in every span.
func (b *bucket) takeOf(now time.Time, n int, every time.Duration) bool {
	if b.last.IsZero() {
		b.tokens = float64(n)
	} else if d := now.Sub(b.last); d > 0 {
		b.tokens = min(float64(n), b.tokens+float64(n)*d.Seconds()/every.Seconds())
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
