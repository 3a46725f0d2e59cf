package track

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// target answers after a while, or does not.
type target struct {
	t       *testing.T
	p       *Prober
	now     time.Time
	after   time.Duration // 0: never
	fail    error
	open    map[uint32]time.Time
	asked   []time.Time
	reports []string
}

func newTarget(t *testing.T, c Probe) *target {
	x := &target{t: t, now: start, open: map[uint32]time.Time{}}
	x.p = NewProber(x)
	x.p.Set(x.now, 1, c)
	return x
}

func (x *target) Ask(_ int, seq uint32) error {
	x.asked = append(x.asked, x.now)
	if x.fail != nil {
		return x.fail
	}
	x.open[seq] = time.Time{}
	if x.after > 0 {
		x.open[seq] = x.now.Add(x.after)
	}
	return nil
}
func (x *target) Forget(_ int, seq uint32) { delete(x.open, seq) }
func (x *target) Report(_ int, up bool, reason string) {
	x.reports = append(x.reports, fmt.Sprint(up, " ", x.now.Sub(start), " ", reason))
}

func (x *target) run(d time.Duration) {
	end := x.now.Add(d)
	for {
		next, ok := x.p.Deadline()
		if !ok || next.After(end) {
			next = end
		}
		var seq uint32
		for s, at := range x.open {
			if !at.IsZero() && (at.Before(next) || at.Equal(next)) {
				next, seq = at, s
			}
		}
		if next.After(x.now) {
			x.now = next
		}
		if seq != 0 {
			delete(x.open, seq)
			x.p.Answer(x.now, 1, seq, "")
		}
		x.p.Tick(x.now)
		if seq == 0 && !x.now.Before(end) {
			return
		}
	}
}

var fast = Probe{Interval: 100 * time.Millisecond, Timeout: 100 * time.Millisecond, Failures: 3, Successes: 2}

func TestSoManyInARowAreDownAndUp(t *testing.T) {
	x := newTarget(t, fast)
	x.after = 20 * time.Millisecond
	x.run(time.Second)
	x.after = 0
	x.run(250 * time.Millisecond)
	x.after = 20 * time.Millisecond // two lost ones are not three
	x.run(time.Second)
	x.after = 0
	x.run(time.Second)
	if len(x.reports) != 2 || x.reports[0] != "true 120ms " {
		t.Fatal(x.reports)
	}
	if want := "false 2.6s timeout"; x.reports[1] != want { // asked at 2.3, 2.4, 2.5 s
		t.Fatal(x.reports)
	}
	if i, _ := x.p.Info(1); i.Sent != uint64(len(x.asked)) || i.RTT != 20*time.Millisecond || i.Failure != "timeout" || i.Answered+i.Failed+1 < i.Sent {
		t.Fatalf("%+v", i)
	}
}

func TestQuestionsDoNotWaitForAnswers(t *testing.T) {
	c := fast
	c.Timeout = time.Second
	x := newTarget(t, c)
	x.after = 450 * time.Millisecond
	x.run(5 * time.Second)
	if len(x.asked) != 51 || x.reports[0] != "true 550ms " {
		t.Fatal(len(x.asked), x.reports)
	}
	x.after = 0
	x.run(time.Second + 500*time.Millisecond)
	if len(x.reports) != 2 {
		t.Fatal(x.reports)
	}
}

func TestAProberThatWasLateDoesNotBlameTheTarget(t *testing.T) {
	x := newTarget(t, fast)
	x.after = 20 * time.Millisecond
	x.run(time.Second)
	// It asks, and then nothing runs for two seconds.
	x.p.Deadline()
	x.now = x.now.Add(2 * time.Second)
	x.p.Tick(x.now)
	for seq := range x.open {
		delete(x.open, seq)
		x.p.Answer(x.now.Add(time.Millisecond), 1, seq, "")
	}
	x.run(time.Second)
	if len(x.reports) != 1 {
		t.Fatal(x.reports)
	}
	if i, _ := x.p.Info(1); i.Failed != 0 || i.Sent > 22 {
		t.Fatalf("%+v: it made up for what it had not asked", i)
	}
}

func TestWhatCannotBeAskedHasFailed(t *testing.T) {
	x := newTarget(t, fast)
	x.fail = errors.New("no route to 10.0.0.1")
	x.run(time.Second)
	if len(x.reports) != 1 || x.reports[0] != "false 200ms no route to 10.0.0.1" {
		t.Fatal(x.reports)
	}
}

func TestAChangedProbeGoesOnFromWhatItKnows(t *testing.T) {
	c := fast
	c.Interval = time.Hour
	x := newTarget(t, c)
	x.after = 20 * time.Millisecond
	x.run(time.Second)
	x.p.Set(x.now, 1, fast)
	x.run(time.Second)
	if len(x.reports) != 1 || len(x.asked) < 10 {
		t.Fatal(x.reports, len(x.asked))
	}
	x.p.Remove(1)
	x.p.Remove(1)
	x.p.Answer(x.now, 1, 3, "")
	if _, ok := x.p.Deadline(); ok || len(x.open) != 0 {
		t.Fatalf("something is left: %v", x.open)
	}
}

// FuzzProber takes answers, changes and waits in any order.
func FuzzProber(f *testing.F) {
	f.Add([]byte{0, 10, 1, 0, 2, 20, 3, 1, 4, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		x := newTarget(t, fast)
		for steps := 0; len(b) >= 2 && steps < 300; b, steps = b[2:], steps+1 {
			switch b[0] % 5 {
			case 0:
				x.p.Set(x.now, int(b[1]%3), Probe{Interval: time.Duration(b[1]) * time.Millisecond, Timeout: time.Duration(b[0]) * 3 * time.Millisecond,
					Failures: int(b[1] % 5), Successes: int(b[0] % 3)})
			case 1:
				x.p.Remove(int(b[1] % 3))
			case 2:
				x.now = x.now.Add(time.Duration(b[1]) * 10 * time.Millisecond)
				x.p.Tick(x.now)
				if at, ok := x.p.Deadline(); ok && !at.After(x.now) {
					t.Fatalf("a deadline that Tick did not meet")
				}
			case 3:
				x.p.Answer(x.now, int(b[1]%3), uint32(b[0]), "")
			case 4:
				x.fail = nil
				if b[1]&1 != 0 {
					x.fail = errors.New("refused")
				}
			}
		}
	})
}

func TestAnAnswerToAProbeThatHasEndedIsNoneToItsSuccessor(t *testing.T) {
	x := newTarget(t, Probe{Interval: time.Second, Timeout: time.Second, Failures: 1, Successes: 1})
	x.run(1500 * time.Millisecond)
	x.p.Remove(1)
	x.p.Set(x.now, 1, Probe{Interval: time.Second, Timeout: time.Second, Failures: 1, Successes: 1})
	x.p.Tick(x.now)
	if len(x.open) != 1 {
		t.Fatalf("%v", x.open)
	}
	for seq := uint32(1); seq <= 2; seq++ { // what became of the questions of the one before
		x.p.Answer(x.now, 1, seq, "context canceled")
	}
	if i, _ := x.p.Info(1); i.Failed != 0 {
		t.Errorf("%+v", i)
	}
}
