package clock

import (
	"slices"
	"testing"
	"time"
)

func TestVirtualTimeRunsWhatFallsDueInOrder(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	var got []string
	v.AfterFunc(2*time.Second, func() { got = append(got, "two") })
	v.AfterFunc(time.Second, func() {
		got = append(got, "one")
		v.AfterFunc(500*time.Millisecond, func() { got = append(got, "one and a half") })
	})
	late := v.AfterFunc(5*time.Second, func() { got = append(got, "late") })
	stopped := v.AfterFunc(time.Second, func() { got = append(got, "stopped") })
	if !stopped.Stop() || stopped.Stop() {
		t.Fatal("Stop must report whether it prevented the run")
	}
	v.Advance(3 * time.Second)
	if want := []string{"one", "one and a half", "two"}; !slices.Equal(got, want) {
		t.Fatalf("ran %v, want %v", got, want)
	}
	if now := v.Now(); !now.Equal(time.Unix(3, 0)) {
		t.Fatalf("the clock stands at %v", now)
	}
	if !late.Reset(time.Second) {
		t.Fatal("Reset must report that the timer was pending")
	}
	v.Advance(time.Second)
	if got[len(got)-1] != "late" {
		t.Fatal("a timer that was reset did not run")
	}
	if _, pending := v.Next(); pending {
		t.Fatal("a timer is left")
	}
}
