// Package awake is a clock that stands still while nobody could look at it.
//
// A machine that declares a peer dead after 300 ms of silence must not count the time in which it was not running itself
// (a busy machine, a suspended VM): the packets that arrived meanwhile wait below it, and timers that fell due run before
// anybody has read them. So silence is measured in awake time: when a machine is called later than it asked for, the time
// that it was late does not count, nor does a moment after it, in which what waits can be read.
//
//	wall    ──┬────────┬───── late ─────┬─ grace ─┬──────►
//	awake   ──┴────────┘                          └──────►
//
// A machine that is late again and again would wait for ever. Whoever has had Looks moments of that kind since it last heard
// something, and nothing came, need not wait any longer.
//
// The zero value is ready. A Clock belongs to one machine and has no lock.
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
