package loop

import (
	"errors"
	"testing"
	"time"

	"felloe/netstack/clock"

	"github.com/rs/zerolog"
)

func TestAPanicCostsOneFunction(t *testing.T) {
	l := New(clock.Real, zerolog.Nop())
	defer l.Close()
	var blamed string
	l.OnPanic(func(name string, _ any) { blamed = name })
	if err := l.Call("bad peer", func() { panic("boom") }); !errors.Is(err, ErrPanicked) {
		t.Fatalf("got %v", err)
	}
	ran := false
	if err := l.Call("good peer", func() { ran = true }); err != nil || !ran {
		t.Fatalf("the loop did not go on: %v", err)
	}
	if blamed != "bad peer" || l.Panics() != 1 {
		t.Fatalf("blamed %q, counted %d", blamed, l.Panics())
	}
}

func TestTimersRunOnTheLoop(t *testing.T) {
	v := clock.NewVirtual(time.Unix(0, 0))
	l := New(v, zerolog.Nop())
	defer l.Close()
	ran := make(chan struct{})
	l.After("timer", time.Hour, func() { close(ran) })
	v.Advance(time.Hour)
	<-ran
}

func TestAClosedLoopRunsWhatIsQueuedAndRefusesTheRest(t *testing.T) {
	l := New(clock.Real, zerolog.Nop())
	n := 0
	for range 100 {
		l.Post("work", func() { n++ })
	}
	l.Close()
	if n != 100 {
		t.Fatalf("ran %d of 100", n)
	}
	if err := l.Call("late", func() {}); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
}

func TestHostileWorkIsBounded(t *testing.T) {
	l := New(clock.Real, zerolog.Nop())
	t.Cleanup(l.Close)
	block, started := make(chan struct{}), make(chan struct{})
	defer close(block)
	l.Post("block", func() { close(started); <-block })
	<-started
	refused := false
	for range punts + 2 {
		refused = !l.TryPost("punt", func() {}) || refused
	}
	if !refused || l.Refused() == 0 {
		t.Fatal("nothing was refused")
	}
}
