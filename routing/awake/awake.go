package awake

import "time"

const (
	// slack is how late a call may be and still be on time.
	slack = 10 * time.Millisecond
	// grace is the time in which what has arrived meanwhile is read.
	grace = 25 * time.Millisecond
)

// Looks is how many times being late is an excuse.
const Looks = 5

// Clock turns wall time into awake time.
type Clock struct {
	lost time.Duration
	late uint64
	due  time.Time
}

// Sleep says when the machine wants to be called; the zero time is never.
func (c *Clock) Sleep(until time.Time) { c.due = until }

// Wake says that the machine is called.
func (c *Clock) Wake(now time.Time) {
	if late := now.Sub(c.due); !c.due.IsZero() && late > slack {
		c.lost += late + grace
		c.late++
	}
	c.due = time.Time{}
}

// Time is the awake time at a wall time.
func (c *Clock) Time(wall time.Time) time.Time { return wall.Add(-c.lost) }

// Wall is when an awake time will be, if nothing is late from now on.
func (c *Clock) Wall(awake time.Time) time.Time { return awake.Add(c.lost) }

// Lost is the time that did not count.
func (c *Clock) Lost() time.Duration { return c.lost }

// Late is how many times the machine was called late.
func (c *Clock) Late() uint64 { return c.late }
