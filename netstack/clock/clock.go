package clock

import (
	"sync"
	"time"

	"felloe/netstack/deadline"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// Clock tells the time and runs functions later.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f once, d from now, on a goroutine of the clock's; f must not block.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending AfterFunc. *time.Timer is one.
type Timer interface {
	// Stop prevents the run; it reports whether it did.
	Stop() bool
	// Reset makes it run d from now; it reports whether the timer had been pending.
	Reset(d time.Duration) bool
}

// Real is the system's clock.
var Real Clock = real{}

type real struct{}

func (real) Now() time.Time                            { return time.Now() }
func (real) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// Virtual is a clock that only Advance moves. The zero value is not usable; call NewVirtual.
type Virtual struct {
	mu     sync.Mutex
	now    time.Time
	timers deadline.Heap[*virtualTimer]
}

// NewVirtual returns a clock that stands at start.
func NewVirtual(start time.Time) *Virtual { return &Virtual{now: start} }

// Now is the virtual time.
func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// AfterFunc implements Clock. f runs inside Advance.
func (v *Virtual) AfterFunc(d time.Duration, f func()) Timer {
	t := &virtualTimer{clock: v, f: f}
	t.Reset(d)
	return t
}

// Next is the time of the earliest pending timer.
func (v *Virtual) Next() (time.Time, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.timers.First()
}

// Advance moves the time forward by d and runs, in order of their times, the functions that fall due, those that they
// set included.
func (v *Virtual) Advance(d time.Duration) {
	v.mu.Lock()
	end := v.now.Add(d)
	for {
		t, due := v.timers.Due(end)
		if !due {
			break
		}
		v.timers.Remove(t)
		if at := t.At(); at.After(v.now) {
			v.now = at
		}
		v.mu.Unlock()
		t.f()
		v.mu.Lock()
	}
	if end.After(v.now) {
		v.now = end
	}
	v.mu.Unlock()
}

type virtualTimer struct {
	deadline.Item
	clock *Virtual
	f     func()
}

func (t *virtualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.clock.timers.Remove(t)
}

func (t *virtualTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := t.Pending()
	t.clock.timers.Set(t, t.clock.now.Add(max(d, 0)))
	return was
}

// TCPIP shows a Clock to gVisor as its own.
func TCPIP(c Clock) tcpip.Clock { return tcpipClock{c, c.Now()} }

type tcpipClock struct {
	c     Clock
	start time.Time
}

func (t tcpipClock) Now() time.Time { return t.c.Now() }
func (t tcpipClock) NowMonotonic() tcpip.MonotonicTime {
	return tcpip.MonotonicTime{}.Add(t.c.Now().Sub(t.start))
}
func (t tcpipClock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	return tcpipTimer{t.c.AfterFunc(d, f)}
}

type tcpipTimer struct{ t Timer }

func (t tcpipTimer) Stop() bool            { return t.t.Stop() }
func (t tcpipTimer) Reset(d time.Duration) { t.t.Reset(d) }
