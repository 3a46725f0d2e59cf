package awake

import (
	"testing"
	"time"
)

func TestTimeStandsStillWhileTheMachineIsLate(t *testing.T) {
	var c Clock
	start := time.Unix(1000, 0)
	c.Wake(start)
	c.Sleep(start.Add(100 * time.Millisecond))
	c.Wake(start.Add(105 * time.Millisecond)) // on time, as timers go
	if got := c.Time(start.Add(105 * time.Millisecond)); c.Lost() != 0 || !got.Equal(start.Add(105*time.Millisecond)) {
		t.Fatalf("lost %v, awake %v", c.Lost(), got)
	}
	c.Sleep(start.Add(200 * time.Millisecond))
	late := start.Add(700 * time.Millisecond)
	c.Wake(late)
	if c.Lost() != 525*time.Millisecond || !c.Time(late).Equal(start.Add(175*time.Millisecond)) || !c.Wall(c.Time(late)).Equal(late) {
		t.Fatalf("lost %v, awake %v", c.Lost(), c.Time(late))
	}
}

func TestAnEarlyCallLosesNothing(t *testing.T) {
	var c Clock
	start := time.Unix(1000, 0)
	c.Sleep(start.Add(time.Second))
	c.Wake(start)
	c.Wake(start.Add(10 * time.Second)) // nobody had asked for a time
	if c.Lost() != 0 {
		t.Fatalf("lost %v", c.Lost())
	}
}
