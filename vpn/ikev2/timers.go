package ikev2

import (
	"time"
)

// timers is a heap of SAs by their next deadline.
type timers []*ikeSA

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	return t[i].at.Before(t[j].at) || t[i].at.Equal(t[j].at) && t[i].s.id < t[j].s.id
}
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}
func (t *timers) Push(x any) {
	sa := x.(*ikeSA)
	sa.index = len(*t)
	*t = append(*t, sa)
}
func (t *timers) Pop() any {
	old := *t
	sa := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	return sa
}

// earliest collects the first of several times; zero is never.
type earliest struct{ time.Time }

func (e *earliest) add(t time.Time) {
	if !t.IsZero() && (e.IsZero() || t.Before(e.Time)) {
		e.Time = t
	}
}

// current says whether the session's own clocks hang on this SA.
func (sa *ikeSA) current() bool {
	return sa.s.cur == sa && !sa.s.ended && !sa.s.established.IsZero()
}

// deadline is when due has something to do, zero for never. Both look at the same things in the same way.
func (sa *ikeSA) deadline() time.Time {
	var d earliest
	if sa.state == stGone {
		return sa.until
	}
	if sa.pending != nil {
		d.add(sa.pending.next)
	} else if len(sa.tasks) > 0 {
		d.add(sa.hold)
	}
	d.add(sa.until)
	for _, t := range sa.delayed {
		d.add(t.at)
	}
	if !sa.current() {
		return d.Time
	}
	s := sa.s
	if sa.state == stReady {
		if sa.rekey == nil && sa.peerRekey == nil {
			d.add(sa.rekeyAt)
		}
		d.add(s.probeAt())
		for _, c := range s.kids {
			d.add(c.due())
		}
	}
	d.add(sa.expires)
	d.add(s.keepaliveAt())
	d.add(s.childlessEnd())
	d.add(s.graceEnd)
	d.add(s.redirectEnd)
	return d.Time
}

// due does what the time has come for.
func (sa *ikeSA) due() {
	e, s := sa.e, sa.s
	late := func(t time.Time) bool { return !t.IsZero() && !t.After(e.now) }
	if late(sa.until) {
		if sa.state == stHalf && !s.ended {
			s.fail("peer did not go on with IKE_AUTH", ErrTimeout)
			return
		}
		e.remove(sa)
		return
	}
	if sa.state == stGone {
		return
	}
	if sa.pending != nil && late(sa.pending.next) {
		if sa.unanswered(); sa.state == stGone {
			return
		}
	}
	for i := 0; i < len(sa.delayed); {
		if t := sa.delayed[i]; late(t.at) {
			sa.delayed = append(sa.delayed[:i], sa.delayed[i+1:]...)
			sa.tasks = append(sa.tasks, t.task)
			continue
		}
		i++
	}
	if late(sa.hold) {
		sa.hold = time.Time{}
	}
	if sa.current() {
		switch {
		case late(sa.expires):
			s.close("lifetime is over", ErrExpired)
			return
		case late(s.graceEnd):
			s.graceEnd = time.Time{}
			s.close("superseded by another SA with the same peer", ErrSuperseded)
			return
		case late(s.redirectEnd):
			s.redirectEnd = time.Time{}
			s.close("peer is redirected to "+s.redirectedTo.String(), ErrRedirected)
			return
		case late(s.childlessEnd()):
			s.close("no child SA", ErrChildless)
			return
		}
		if sa.state == stReady {
			sa.dueSession(late)
		}
		if late(s.keepaliveAt()) {
			s.lastSent = e.now
			e.emit(Keepalive{s.vrf, s.local, s.remote})
		}
	}
	sa.pump()
}

func (sa *ikeSA) dueSession(late func(time.Time) bool) {
	s := sa.s
	if sa.rekey == nil && sa.peerRekey == nil && late(sa.rekeyAt) {
		sa.rekeyAt = time.Time{}
		sa.startRekey()
	}
	for i := len(s.kids) - 1; i >= 0; i-- {
		if i < len(s.kids) && late(s.kids[i].due()) {
			s.kids[i].timeOver(late)
		}
	}
	if late(s.probeAt()) {
		sa.ask()
	}
}

// due is when a pair must be rekeyed or ended.
func (c *child) due() time.Time {
	var d earliest
	d.add(c.expires)
	switch c.state {
	case childReady:
		if c.rekey == nil && c.peerRekey == nil {
			d.add(c.rekeyAt)
		}
	case childReplaced:
		d.add(c.until)
	}
	return d.Time
}

func (c *child) timeOver(late func(time.Time) bool) {
	switch {
	case late(c.expires):
		c.close("lifetime is over")
	case c.state == childReplaced && late(c.until):
		// Who should have deleted it did not.
		c.switchOver()
		c.close("replaced, and the peer did not delete it")
	default:
		c.rekeyAt = time.Time{}
		c.startRekey()
	}
}

func (s *session) keepaliveAt() time.Time {
	every := s.profile.NATKeepalive
	if every == 0 {
		every = s.e.cfg.NATKeepalive
	}
	if !s.nat.Local || every < 0 || s.local.Port() != portNATT {
		return time.Time{}
	}
	return s.lastSent.Add(every)
}

func (s *session) childlessEnd() time.Time {
	if len(s.kids) > 0 || s.childless.IsZero() || s.e.cfg.ChildlessTimeout < 0 {
		return time.Time{}
	}
	return s.childless.Add(s.e.cfg.ChildlessTimeout)
}
