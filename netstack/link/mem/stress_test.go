package mem

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/packet"
)

// count waits until n has reached want, or says who is behind.
func count(t *testing.T, what string, n *atomic.Int64, want int64) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for n.Load() != want {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d of %d", what, n.Load(), want)
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// answering makes a port's input send each frame with a tag above 0 back with one less.
func answering(p *Port, got *atomic.Int64) {
	_ = p.Start(func(v []*packet.Packet) {
		for _, f := range v {
			got.Add(1)
			b := f.Bytes()
			if b[14] == 0 {
				f.Release()
				continue
			}
			b[14]--
			p.Send([]*packet.Packet{f})
		}
	})
}

func TestInRealTimeNoFrameIsForgottenWhateverSendersAndTheTimerDo(t *testing.T) {
	// The scheduler rests and wakes all the time: bursts of a few frames, then nothing, on links with and without delay.
	for _, imp := range []Impairment{{}, {Delay: 50 * time.Microsecond}, {Delay: 20 * time.Microsecond, Jitter: 100 * time.Microsecond, Reorder: .3}} {
		n := NewNetwork(clock.Real)
		const pairs, bursts, answers = 4, 40, 3
		var all sync.WaitGroup
		for range pairs {
			a, b := n.Pair("a", "b", imp)
			var got atomic.Int64
			answering(a, &got)
			answering(b, &got)
			all.Go(func() {
				for burst := range int64(bursts) {
					a.Send([]*packet.Packet{frame(answers, 1, 60)})
					b.Send([]*packet.Packet{frame(answers, 1, 60), frame(answers, 1, 60)})
					deadline := time.Now().Add(60 * time.Second)
					for got.Load() != (burst+1)*3*(answers+1) { // all of a burst, before the next begins
						if time.Now().After(deadline) {
							t.Errorf("%+v: %d frames of burst %d arrived", imp, got.Load(), burst)
							return
						}
						time.Sleep(20 * time.Microsecond)
					}
				}
			})
		}
		all.Wait()
		n.mu.Lock()
		if len(n.events) != 0 || n.running {
			t.Errorf("%+v: %d events are left, running is %v", imp, len(n.events), n.running)
		}
		n.mu.Unlock()
	}
}

func TestInRealTimeALinkWithoutDelayDoesNotWaitForOneThatHasALongOne(t *testing.T) {
	// The timer is set for a day from now; what comes earlier must set it anew, each time.
	n := NewNetwork(clock.Real)
	slow, far := n.Pair("slow", "far", Impairment{Delay: 24 * time.Hour})
	_ = far.Start(func(v []*packet.Packet) { packet.ReleaseAll(v) })
	a, b := n.Pair("a", "b", Impairment{})
	var got atomic.Int64
	answering(b, &got)
	for k := range int64(100) {
		if k%10 == 0 {
			slow.Send([]*packet.Packet{frame(0, 1, 60)})
		}
		a.Send([]*packet.Packet{frame(0, 1, 60)})
		count(t, "frames", &got, k+1)
	}
}

func TestPortsComeAndGoWhileFramesFly(t *testing.T) {
	n := NewNetwork(clock.Real)
	sw := n.Switch("lan", Impairment{})
	steady, other := sw.Port("steady"), sw.Port("other")
	var got, sink atomic.Int64
	answering(steady, &got)
	answering(other, &sink)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p := sw.Port("guest")
				answering(p, &sink)
				p.Send([]*packet.Packet{frame(0, 1, 60)})
				p.SetCarrier(false)
				p.SetCarrier(true)
				sw.SetCapture(func(time.Time, *Port, []byte) {})
				sw.SetCapture(nil)
				_ = p.Close()
				n.mu.Lock() // a guest leaves no trace, or the flood grows
				sw.ports = slices.DeleteFunc(sw.ports, func(x *Port) bool { return x == p })
				n.mu.Unlock()
			}
		})
	}
	for range 50 {
		before := got.Load()
		deadline := time.Now().Add(60 * time.Second)
		other.Send([]*packet.Packet{frame(0, 1, 60)})
		for got.Load() == before {
			if time.Now().After(deadline) {
				t.Fatal("the network stands still")
			}
			time.Sleep(20 * time.Microsecond)
		}
	}
	close(stop)
	all.Wait()
}

func TestAnInputThatNeverReturnsDoesNotTakeTheNetworkWithIt(t *testing.T) {
	// A test that fails inside an input ends the scheduler's goroutine there.
	n := NewNetwork(clock.Real)
	a, b := n.Pair("a", "b", Impairment{})
	var got atomic.Int64
	_ = b.Start(func(v []*packet.Packet) {
		if got.Add(int64(len(v))) == 1 {
			runtime.Goexit()
		}
		packet.ReleaseAll(v)
	})
	for k := range int64(3) {
		a.Send([]*packet.Packet{frame(0, 1, 60)})
		count(t, "frames", &got, k+1)
	}
	_ = b.Close() // and nothing waits for it
}

func TestAPortThatWasClosedCanBeStartedAgain(t *testing.T) {
	c, a, s := lab(t, Impairment{})
	b := a.Link().Ports()[1]
	_ = b.Close()
	a.Send([]*packet.Packet{frame(1, 1, 60)})
	c.Advance(time.Second)
	_ = b.Start(s.input) // an interface was removed and made again
	a.Send([]*packet.Packet{frame(2, 1, 60)})
	c.Advance(time.Second)
	if !slices.Equal(s.tags, []byte{2}) {
		t.Fatalf("arrived %v", s.tags)
	}
}

func TestHandlersOfAClosedPortHearNoMore(t *testing.T) {
	_, a, _ := lab(t, Impairment{})
	old, young := 0, 0
	a.OnState(func(bool) { old++ })
	_ = a.Close()
	_ = a.Start(func([]*packet.Packet) {})
	a.OnState(func(bool) { young++ })
	a.SetCarrier(false)
	if old != 1 || young != 2 {
		t.Fatalf("the closed one heard %d times, the new one %d", old, young)
	}
}
