package nhrp

import (
	"container/heap"
	"time"
)

// timer is one deadline of the machine. The zero value is unset.
type timer struct {
	at  time.Time
	seq uint64
	pos int // in the heap, plus one
	f   func(now time.Time)
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.pos = len(*h)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.pos = 0
	return t
}

// set arms a timer, or moves it.
func (e *Engine) set(t *timer, at time.Time, f func(now time.Time)) {
	e.unset(t)
	e.seq++
	t.at, t.seq, t.f = at, e.seq, f
	heap.Push(&e.queue, t)
}

func (e *Engine) unset(t *timer) {
	if t.pos > 0 {
		heap.Remove(&e.queue, t.pos-1)
	}
}

// Deadline is when Tick is wanted next.
func (e *Engine) Deadline() (time.Time, bool) {
	if len(e.queue) == 0 {
		return time.Time{}, false
	}
	return e.queue[0].at, true
}

// Tick runs what is due.
func (e *Engine) Tick(now time.Time) {
	e.now = now
	for len(e.queue) > 0 && !e.queue[0].at.After(now) {
		t := heap.Pop(&e.queue).(*timer)
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
