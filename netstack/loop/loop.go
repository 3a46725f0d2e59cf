package loop

import (
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"felloe/netstack/clock"

	"github.com/rs/zerolog"
)

// ErrClosed says that the loop has ended and the function was not run.
var ErrClosed = errors.New("loop is closed")

// ErrPanicked says that the function panicked; the log has the stack.
var ErrPanicked = errors.New("function panicked")

// punts is the room for functions that may be refused (TryPost).
const punts = 4096

// Loop runs functions one after the other on one goroutine. All methods are safe for concurrent use.
type Loop struct {
	clock clock.Clock
	log   zerolog.Logger

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []job
	spare  []job
	closed bool
	done   chan struct{}

	panics  atomic.Uint64
	refused atomic.Uint64
	onPanic func(name string, cause any)
}

type job struct {
	name string
	f    func()
}

// New starts a loop.
func New(c clock.Clock, log zerolog.Logger) *Loop {
	l := &Loop{clock: c, log: log, done: make(chan struct{})}
	l.wake = sync.NewCond(&l.mu)
	go l.run()
	return l
}

// OnPanic sets what is called, on the loop, after a function panicked. Call it before the first Post.
func (l *Loop) OnPanic(f func(name string, cause any)) { l.onPanic = f }

// Clock is the loop's clock.
func (l *Loop) Clock() clock.Clock { return l.clock }

// Now is the clock's time.
func (l *Loop) Now() time.Time { return l.clock.Now() }

// Post queues f; name says in the log whose work it was. After Close it does nothing.
func (l *Loop) Post(name string, f func()) { l.post(name, f, 0) }

// TryPost is Post for work that hostile traffic can cause: it refuses, and counts, when too much is waiting.
func (l *Loop) TryPost(name string, f func()) bool {
	if l.post(name, f, punts) {
		return true
	}
	l.refused.Add(1)
	return false
}

func (l *Loop) post(name string, f func(), limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || limit > 0 && len(l.queue) >= limit {
		return false
	}
	l.queue = append(l.queue, job{name, f})
	l.wake.Signal()
	return true
}

// Call runs f on the loop and waits until it has run. It must not be called from the loop itself.
func (l *Loop) Call(name string, f func()) error {
	done := make(chan error, 1)
	ok := l.post(name, func() {
		err := ErrPanicked
		defer func() { done <- err }()
		f()
		err = nil
	}, 0)
	if !ok {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-l.done:
		select {
		case err := <-done:
			return err
		default:
			return ErrClosed
		}
	}
}

// After runs f on the loop, d from now.
func (l *Loop) After(name string, d time.Duration, f func()) clock.Timer {
	return l.clock.AfterFunc(d, func() { l.Post(name, f) })
}

// Panics counts the functions that panicked.
func (l *Loop) Panics() uint64 { return l.panics.Load() }

// Refused counts the functions that TryPost refused.
func (l *Loop) Refused() uint64 { return l.refused.Load() }

// Close ends the loop after the functions that are already queued, and waits for its end.
func (l *Loop) Close() {
	l.mu.Lock()
	l.closed = true
	l.wake.Signal()
	l.mu.Unlock()
	<-l.done
}

func (l *Loop) run() {
	defer close(l.done)
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && !l.closed {
			l.wake.Wait()
		}
		batch := l.queue
		l.queue, l.spare = l.spare[:0], nil
		l.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for i := range batch {
			l.do(batch[i])
			batch[i] = job{}
		}
		l.spare = batch
	}
}

func (l *Loop) do(j job) {
	defer func() {
		if cause := recover(); cause != nil {
			l.panics.Add(1)
			l.log.Error().Str("event", "panic").Str("work", j.name).Interface("cause", cause).
				Bytes("stack", debug.Stack()).Msg("contained a panic")
			if l.onPanic != nil {
				defer func() {
					if again := recover(); again != nil {
						l.log.Error().Str("event", "panic").Str("work", j.name).Interface("cause", again).
							Msg("contained a panic while containing one")
					}
				}()
				l.onPanic(j.name, cause)
			}
		}
	}()
	j.f()
}
