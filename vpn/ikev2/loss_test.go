package ikev2

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// every is how far apart the tries of a long row are: all of them, or some where the race detector makes each ten times as
// dear and has nothing to find, since an Engine has no goroutines.
func every(n int) int {
	if raced {
		return n
	}
	return 1
}

// aLife is a session from the first message on, with rekeying from both sides, under traffic. Every step has time enough
// for retransmissions.
func aLife(w *world, a, b *node) {
	a.initiate(addrB)
	w.watch(30 * time.Second)
	steps := []func(){
		func() { a.do(a.e.RekeyChild(w.now, a.anyChild())) },
		func() { b.do(b.e.RekeyIKE(w.now, b.anySA())) },
		func() { b.do(b.e.RekeyChild(w.now, b.anyChild())) },
		func() { a.do(a.e.RekeyIKE(w.now, a.anySA())) },
		func() { a.do(a.e.Probe(w.now, a.anySA())) },
		func() { b.do(b.e.Probe(w.now, b.anySA())) },
	}
	for _, f := range steps {
		f()
		w.watch(30 * time.Second)
	}
}

// bothAtOnce is everything done by both sides at the same moment.
func bothAtOnce(w *world, a, b *node) {
	a.initiate(addrB)
	b.initiate(addrA)
	w.watch(40 * time.Second)
	a.do(a.e.RekeyChild(w.now, a.anyChild()))
	b.do(b.e.RekeyChild(w.now, b.anyChild()))
	w.watch(40 * time.Second)
	a.do(a.e.RekeyIKE(w.now, a.anySA()))
	b.do(b.e.RekeyIKE(w.now, b.anySA()))
	w.watch(40 * time.Second)
	a.do(a.e.RekeyChild(w.now, a.anyChild()))
	b.do(b.e.RekeyIKE(w.now, b.anySA()))
	w.watch(40 * time.Second)
	a.do(a.e.RekeyIKE(w.now, a.anySA()))
	b.do(b.e.Probe(w.now, b.anySA()))
	w.watch(80 * time.Second)
}

// watch lets time pass under traffic, which is dense at first, when things happen.
func (w *world) watch(d time.Duration) {
	w.t.Helper()
	w.traffic, w.nextPkt = 20*time.Millisecond, w.now
	w.run(5 * time.Second)
	w.traffic = 200 * time.Millisecond
	w.run(d - 5*time.Second)
}

func (n *node) anySA() SAID {
	for _, id := range sortedKeys(n.ikes) {
		return id
	}
	return 0
}

// anyChild is the pair that data goes out on, or any.
func (n *node) anyChild() ChildID {
	if n.out != 0 {
		return n.out
	}
	for _, id := range sortedKeys(n.ups) {
		return id
	}
	return 0
}

func lives() map[string]func(*world, *node, *node) {
	return map[string]func(*world, *node, *node){"a life": aLife, "both at once": bothAtOnce}
}

// settled checks that one session is left, that nothing lingers beside it and that no data was lost.
func (w *world) settled(a, b *node, name string) {
	w.t.Helper()
	w.oneSession(a, b)
	if len(w.lost) > 0 {
		w.fatalf("%s: %d of %d packets were lost, the first: %s", name, len(w.lost), w.packets, w.lost[0])
	}
	w.traffic = 0
	w.run(2 * time.Minute) // replaced SAs have their time
	for _, n := range []*node{a, b} {
		if len(n.e.sas) != 1 || len(n.e.spis) != 1 || len(n.e.children) != 1 || len(n.e.inits) != 0 || n.e.halfOpen != 0 || len(n.e.timers) != 1 {
			w.fatalf("%s: %s still has %d sas, %d spis, %d children, %d inits, %d half-open, %d timers", name, n.name, len(n.e.sas), len(n.e.spis),
				len(n.e.children), len(n.e.inits), n.e.halfOpen, len(n.e.timers))
		}
	}
	// And what is left is alive.
	w.wire = nil
	a.do(a.e.Probe(w.now, a.sa()))
	b.do(b.e.Probe(w.now, b.sa()))
	w.run(time.Second)
	if a.e.sessions[a.sa()].cur.pending != nil || b.e.sessions[b.sa()].cur.pending != nil {
		w.fatalf("%s: the session is not alive", name)
	}
}

func TestALifeWithoutLossKeepsOneSession(t *testing.T) {
	for name, life := range lives() {
		for seed := byte(0); seed < 8; seed += byte(every(4)) {
			w, a, b := pair(t, seed)
			life(w, a, b)
			if w.packets < 2000 {
				t.Fatalf("%s: only %d packets", name, w.packets)
			}
			w.settled(a, b, name)
		}
	}
}

func TestTheLossOfAnySingleMessageStillEndsInOneSession(t *testing.T) {
	for name, life := range lives() {
		total := 1
		for drop := 0; drop < total; drop += every(5) {
			w, a, b := pair(t, 3)
			w.wire = func(n int, d Datagram) []time.Duration {
				if n == drop {
					return nil
				}
				return []time.Duration{w.delay}
			}
			life(w, a, b)
			total = max(total, w.sent)
			w.settled(a, b, fmt.Sprintf("%s, message %d lost", name, drop))
		}
		if total < 20 {
			t.Fatalf("%s took %d messages only", name, total)
		}
	}
}

func TestTheLossOfAnyTwoMessagesInARowStillEndsInOneSession(t *testing.T) {
	for name, life := range lives() {
		total := 1
		for drop := 0; drop < total; drop += every(5) {
			w, a, b := pair(t, 5)
			w.wire = func(n int, d Datagram) []time.Duration {
				if n == drop || n == drop+1 {
					return nil
				}
				return []time.Duration{w.delay}
			}
			life(w, a, b)
			total = max(total, w.sent)
			w.settled(a, b, fmt.Sprintf("%s, messages %d and %d lost", name, drop, drop+1))
		}
	}
}

func TestDuplicationOfEveryMessageChangesNothing(t *testing.T) {
	for name, life := range lives() {
		for seed := range byte(4) {
			w, a, b := pair(t, seed)
			w.wire = func(n int, d Datagram) []time.Duration {
				return []time.Duration{w.delay, w.delay, 3 * w.delay, 700 * time.Millisecond}
			}
			life(w, a, b)
			w.settled(a, b, name)
		}
	}
}

func TestABadWireStillEndsInOneSession(t *testing.T) {
	for name, life := range lives() {
		for seed := byte(0); seed < 15; seed += byte(every(5)) {
			w, a, b := pair(t, seed)
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			w.wire = func(n int, d Datagram) []time.Duration {
				var out []time.Duration
				for r.IntN(100) < 75 && len(out) < 3 {
					out = append(out, time.Duration(r.IntN(800))*time.Millisecond)
				}
				return out
			}
			life(w, a, b)
			w.settled(a, b, fmt.Sprintf("%s, seed %d", name, seed))
		}
	}
}
