package ikeload

import (
	"context"
	"fmt"
	"time"

	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
)

// phase is what sessions go through now.
type phase struct {
	name string
	busy map[*session]bool
	out  *Phase
}

// run has these sessions begin something, some at a time, and waits until they are through.
func (l *Load) run(ctx context.Context, name string, todo []*session, begin func(*session)) {
	if len(todo) == 0 || ctx.Err() != nil {
		return
	}
	p := &phase{name: name, busy: map[*session]bool{}, out: &Phase{Name: name, Sessions: len(todo), Failures: map[string]int{}}}
	l.phase = p
	defer func() { l.phase = nil }()
	began := time.Now()
	for len(todo) > 0 || len(p.busy) > 0 {
		for len(todo) > 0 && len(p.busy) < l.o.Parallel {
			s := todo[0]
			todo = todo[1:]
			if s.state != up && s.state != idle { // lost meanwhile
				p.out.fail("lost before")
				continue
			}
			s.began, s.warning, s.tries = time.Now(), "", 0
			p.busy[s] = true
			begin(s)
			l.settle()
		}
		if len(p.busy) == 0 {
			continue
		}
		until := began.Add(time.Hour)
		for s := range p.busy {
			if at := s.began.Add(l.o.Timeout); at.Before(until) {
				until = at
			}
			if s.tries > 0 && s.again.Before(until) {
				until = s.again
			}
		}
		if !l.wait(ctx, until, nil) {
			break
		}
		l.settle()
	}
	left := len(todo) + len(p.busy)
	if left > 0 {
		p.out.Failures["stopped"] += left
		p.out.Failed += left
	}
	p.out.close(time.Since(began))
	l.report.Phases = append(l.report.Phases, *p.out)
	l.o.Progress(p.out.String())
}

// settle looks at the sessions in the phase: for probes to repeat, and time that is over.
func (l *Load) settle() {
	now := time.Now()
	for s := range l.phase.busy {
		switch {
		case now.Sub(s.began) >= l.o.Timeout:
			why := fmt.Sprintf("not within %v", l.o.Timeout)
			if s.warning != "" {
				why += ": " + s.warning
			}
			l.fail(s, why)
			if l.phase.name == "set-up" {
				l.do(l.e.DeleteIKE(now, s.id, why))
			}
		case s.tries > 0 && !now.Before(s.again):
			l.probe(s)
		}
	}
}

// exchange is a request: its answer has the same.
type exchange struct {
	spiI, spiR uint64
	id         uint32
}

func exchangeOf(b []byte, response bool) (exchange, bool) {
	h, err := message.DecodeHeader(b)
	return exchange{h.SPIi, h.SPIr, h.MessageID}, err == nil && h.Exchange == message.INFORMATIONAL && h.Response() == response
}

// remove deletes a session's IKE SA. The engine forgets it at once and repeats the request by itself; here it is through
// when the peer has answered.
func (l *Load) remove(s *session) {
	acts := l.e.DeleteIKE(time.Now(), s.id, "the measurement is over")
	l.do(acts)
	for _, a := range acts {
		if a, ok := a.(ikev2.Send); ok {
			if x, ok := exchangeOf(a.Data, false); ok {
				l.deletes[x] = s
				return
			}
		}
	}
	l.done(s, "delete") // something else of its is under way, and the request comes after it
}

// done ends a session's part in a phase of this name.
func (l *Load) done(s *session, name string) {
	p := l.phase
	if p == nil || p.name != name || !p.busy[s] {
		return
	}
	delete(p.busy, s)
	p.out.took = append(p.out.took, time.Since(s.began))
}

// fail ends a session's part in the phase.
func (l *Load) fail(s *session, why string) {
	if s.state == negotiating {
		s.state = failed
	}
	if p := l.phase; p != nil && p.busy[s] {
		delete(p.busy, s)
		p.out.fail(why)
	}
}
