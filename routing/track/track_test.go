package track

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

var start = time.Unix(1_700_000_000, 0)

type stage struct {
	*Manager
	t    *testing.T
	now  time.Time
	logs bytes.Buffer
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, now: start}
	s.Manager = New(func() time.Time { return s.now }, zerolog.New(&s.logs))
	return s
}

func (s *stage) set(objects ...Object) {
	s.t.Helper()
	if err := s.Set(objects); err != nil {
		s.t.Fatal(err)
	}
}

// wait lets time pass; timers run when they are due.
func (s *stage) wait(d time.Duration) {
	end := s.now.Add(d)
	for {
		at, ok := s.Deadline()
		if !ok || at.After(end) {
			break
		}
		s.now = at
		s.Tick()
	}
	s.now = end
}

func (s *stage) want(id int, want string) {
	s.t.Helper()
	up, known := s.State(id)
	got := map[[2]bool]string{{true, true}: "up", {false, true}: "down", {false, false}: "unknown"}[[2]bool{up, known}]
	if got != want {
		s.t.Fatalf("object %d is %s, want %s\n%s", id, got, want, s.logs.String())
	}
}

func leaf(id int) Object {
	return Object{ID: id, Kind: "icmp-echo", What: fmt.Sprintf("icmp-echo 172.25.%d.1", id), Leaf: id}
}

func TestAChangeIsOneLineInIOSsWordsAndWatchersHearIt(t *testing.T) {
	s := newStage(t)
	var heard []bool
	stop := s.Watch(1, func(up bool) { heard = append(heard, up) })
	s.set(leaf(1))
	s.want(1, "unknown")
	s.Report(1, true, "")
	s.Report(1, true, "")
	s.Report(1, false, "timeout")
	lines := strings.Split(strings.TrimSpace(s.logs.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"message":"1 icmp-echo 172.25.1.1 Down -> Up"`) ||
		!strings.Contains(lines[1], `"message":"1 icmp-echo 172.25.1.1 Up -> Down"`) || !strings.Contains(lines[1], `"mnemonic":"TRACK-6-STATE"`) ||
		!strings.Contains(lines[1], `"event":"track"`) || !strings.Contains(lines[1], `"track":1`) || !strings.Contains(lines[1], `"reason":"timeout"`) {
		t.Fatal(s.logs.String())
	}
	stop()
	s.Report(1, true, "")
	if fmt.Sprint(heard) != "[true false]" {
		t.Fatal(heard)
	}
	late := ""
	s.Watch(1, func(up bool) { late += fmt.Sprint(up) })
	if late != "true" {
		t.Fatalf("one who comes late hears %q", late)
	}
}

func TestAChangeCountsAfterItsDelay(t *testing.T) {
	s := newStage(t)
	o := leaf(1)
	o.Delay = Delay{Up: 10 * time.Second, Down: 2 * time.Second}
	s.set(o)
	s.Report(1, true, "")
	s.wait(9 * time.Second)
	s.want(1, "unknown")
	s.wait(time.Second)
	s.want(1, "up")
	s.Report(1, false, "")
	s.wait(time.Second)
	s.Report(1, true, "") // it did not last
	s.wait(10 * time.Second)
	s.want(1, "up")
	s.Report(1, false, "")
	s.wait(2 * time.Second)
	s.want(1, "down")
	if i := s.Snapshot()[0]; i.Changes != 2 || !i.Since.Equal(s.now) {
		t.Fatalf("%+v", i)
	}
}

func TestListsFollowTheirMembers(t *testing.T) {
	s := newStage(t)
	s.set(leaf(1), leaf(2), leaf(3),
		Object{ID: 10, Kind: "boolean", What: "list boolean and", Boolean: &Boolean{Terms: []Term{{ID: 1}, {ID: 2, Not: true}}}},
		Object{ID: 11, Kind: "boolean", What: "list boolean or", Boolean: &Boolean{Or: true, Terms: []Term{{ID: 1}, {ID: 2}}}},
		Object{ID: 12, Kind: "threshold-percentage", What: "list threshold percentage", Percentage: &Percentage{[]int{1, 2, 3}, 60, 40}},
		Object{ID: 13, Kind: "threshold-weight", What: "list threshold weight", Weight: &Weight{[]Weighed{{1, 10}, {2, 20}, {3, 5}}, 30, 10}},
		Object{ID: 9, Kind: "boolean", What: "list boolean and", Boolean: &Boolean{Terms: []Term{{ID: 10}, {ID: 13, Not: true}}}})
	for _, id := range []int{9, 10, 11, 12, 13} {
		s.want(id, "unknown")
	}
	s.Report(1, true, "")
	s.want(10, "unknown") // whether 2 is down is not known
	s.want(11, "up")
	s.Report(2, false, "")
	s.want(10, "up")
	s.want(12, "unknown")
	s.Report(3, false, "")
	s.want(12, "down") // 33 %
	s.want(13, "down") // 10
	s.want(9, "up")
	s.Report(2, true, "")
	s.want(10, "down")
	s.want(12, "up") // 67 %
	s.want(13, "up") // 30
	s.want(9, "down")
	s.Report(1, false, "")
	s.want(11, "up")
	s.want(12, "down") // 33 %
	s.want(13, "up")   // 20 is between the thresholds
	s.Report(2, false, "")
	s.want(11, "down")
	s.want(13, "down")
	i := s.Snapshot()
	if i[len(i)-1].Threshold.Is != 0 || len(i[len(i)-1].Members) != 3 || i[len(i)-1].Members[1].Weight != 20 {
		t.Fatalf("%+v", i[len(i)-1])
	}
}

func TestAnObjectThatDependsOnItselfIsRefused(t *testing.T) {
	s := newStage(t)
	list := func(id int, of ...int) Object {
		b := &Boolean{}
		for _, x := range of {
			b.Terms = append(b.Terms, Term{ID: x})
		}
		return Object{ID: id, Kind: "boolean", Boolean: b}
	}
	err := s.Set([]Object{leaf(1), list(2, 1, 3), list(3, 4), list(4, 2), list(5, 5), list(6, 1)})
	if !errors.Is(err, ErrCycle) || !strings.Contains(err.Error(), "[track.5]") {
		t.Fatal(err)
	}
	s.Report(1, true, "")
	s.want(6, "up")
	s.want(5, "unknown")
	s.want(2, "unknown")
}

func TestAnObjectThatIsDefinedAnewKeepsItsStateUntilMoreIsKnown(t *testing.T) {
	s := newStage(t)
	s.set(leaf(1))
	var heard []bool
	s.Watch(1, func(up bool) { heard = append(heard, up) })
	s.Report(1, true, "")
	o := leaf(1)
	o.Leaf = "another host"
	s.set(o)
	s.want(1, "up")
	s.Report(1, false, "")
	s.want(1, "down")
	s.set(o)
	if fmt.Sprint(heard) != "[true false]" {
		t.Fatal(heard)
	}
	s.set()
	s.want(1, "unknown")
	s.set(leaf(1))
	s.Report(1, true, "")
	if fmt.Sprint(heard) != "[true false true]" {
		t.Fatalf("whoever watched before it went watches again: %v", heard)
	}
}

func TestWhatWatchersCauseIsDoneInOrder(t *testing.T) {
	s := newStage(t)
	s.set(leaf(1), leaf(2), Object{ID: 3, Kind: "boolean", Boolean: &Boolean{Terms: []Term{{ID: 1}, {ID: 2}}}})
	var heard []string
	s.Watch(1, func(up bool) { s.Report(2, up, "") })
	s.Watch(2, func(up bool) { heard = append(heard, fmt.Sprint("2 ", up)) })
	s.Watch(3, func(up bool) { heard = append(heard, fmt.Sprint("3 ", up)) })
	s.Report(1, true, "")
	s.Report(1, false, "")
	if got := strings.Join(heard, ", "); got != "2 true, 3 true, 2 false, 3 false" && got != "2 true, 3 true, 3 false, 2 false" {
		t.Fatal(got)
	}
}

// FuzzManager takes definitions and reports in any order: members never disagree with their lists.
func FuzzManager(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 1, 1, 1, 2, 2, 1, 0, 30})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &stage{t: t, now: start}
		s.Manager = New(func() time.Time { return s.now }, zerolog.Nop())
		told := map[int]bool{}
		for id := range 6 {
			s.Watch(id, func(up bool) {
				if was, ok := told[id]; ok && was == up {
					t.Fatalf("%d was told %v twice", id, up)
				}
				told[id] = up
			})
		}
		for steps := 0; len(b) >= 3 && steps < 300; b, steps = b[3:], steps+1 {
			switch b[0] % 4 {
			case 0:
				var objects []Object
				for id := range 6 {
					o := leaf(id)
					o.Delay = Delay{Up: time.Duration(b[2]%3) * time.Second}
					if b[1]>>id&1 != 0 {
						o.Leaf = nil
						terms := []Term{{ID: int(b[2]+byte(id)) % 7, Not: b[2]&8 != 0}, {ID: int(b[2]>>4) % 6}}
						switch b[0] >> 6 {
						case 0:
							o.Boolean = &Boolean{Or: b[0]&16 != 0, Terms: terms}
						case 1:
							o.Percentage = &Percentage{[]int{terms[0].ID, terms[1].ID}, 60, 40}
						default:
							o.Weight = &Weight{[]Weighed{{terms[0].ID, 1}, {terms[1].ID, 2}}, 2, 0}
						}
					}
					objects = append(objects, o)
				}
				_ = s.Set(objects)
			case 1, 2:
				s.Report(int(b[1]%6), b[2]&1 != 0, "")
			case 3:
				s.wait(time.Duration(b[1]) * 100 * time.Millisecond)
			}
			for _, i := range s.Snapshot() {
				o := s.objects[i.ID]
				if b := o.Boolean; b != nil && o.known && i.Pending.IsZero() {
					if known, up := s.evaluate(o); known && up != o.up {
						t.Fatalf("%+v is not what its members say", i)
					}
				}
			}
		}
	})
}

func TestAnObjectThatFollowsItsOwnAbsenceLeavesTimeForOthers(t *testing.T) {
	s := newStage(t)
	s.set(leaf(1), Object{ID: 2, Kind: "boolean", What: "list boolean and", Boolean: &Boolean{Terms: []Term{{ID: 1, Not: true}}}}, leaf(3))
	// A static route is there while 2 is up, and 1 looks whether it is there.
	heard := 0
	s.Watch(2, func(up bool) {
		if heard++; heard > 1000 {
			t.Fatal("it never ends")
		}
		s.Report(1, up, "")
	})
	s.Report(1, false, "")
	s.wait(time.Minute)
	for _, i := range s.Snapshot()[:2] {
		if i.Changes < 30 || i.Changes > 2*hasty+60 {
			t.Errorf("%d changed %d times in a minute", i.ID, i.Changes)
		}
	}
	if n := strings.Count(s.logs.String(), "changes too often"); n != 2 {
		t.Errorf("it is said %d times", n)
	}
	// Others are told at once, and so is one that has been calm.
	s.Report(3, true, "")
	s.want(3, "up")
	s.set(leaf(1), leaf(2), leaf(3))
	s.wait(calm)
	was := s.Snapshot()[0].Up
	s.Report(1, !was, "")
	s.want(1, map[bool]string{true: "down", false: "up"}[was])
}

func TestWhatNeedNotWaitDoesNotWaitForWhatHadTo(t *testing.T) {
	s := newStage(t)
	slow := leaf(1)
	slow.Delay.Up = time.Minute
	s.set(slow)
	s.Report(1, true, "")
	s.wait(time.Second)
	s.Report(1, false, "no answer")
	s.want(1, "down")

	s.Report(1, true, "")
	s.wait(time.Second)
	s.set(leaf(1)) // without a delay
	s.want(1, "up")
}
