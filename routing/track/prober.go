package track

import (
	"slices"
	"time"

	"felloe/netstack/deadline"
	"felloe/routing/awake"
)

// Probe says how something is asked.
type Probe struct {
	Interval, Timeout   time.Duration
	Failures, Successes int // in a row
}

// maxOpen bounds the unanswered questions of one probe.
const maxOpen = 256

// Host asks.
type Host interface {
	// Ask asks once; the answer comes by Answer. An error is an answer as well.
	Ask(id int, seq uint32) error
	// Forget says that an answer to seq is of no use any more.
	Forget(id int, seq uint32)
	// Report says what has come of it: a change, or the first finding.
	Report(id int, up bool, reason string)
}

// Prober asks at its times and judges. It belongs to one loop.
type Prober struct {
	host   Host
	probes map[int]*probe
	timers deadline.Heap[*probe]
	awake  awake.Clock
	// asked are the last numbers of questions of probes that have ended: an answer to one of theirs is none to one that has
	// the place now.
	asked map[int]uint32
}

type probe struct {
	deadline.Item
	Probe
	id        int
	next      time.Time
	seq       uint32
	open      []question // the oldest first
	known, up bool
	streak    int // of results that are not what is known, or that agree before anything is known
	streakOK  bool
	info      ProbeInfo
}

type question struct {
	seq      uint32
	sent     time.Time // wall
	deadline time.Time // awake
	late     uint64    // how often the prober had been late
}

// over says that no answer will come in time.
func (q *question) over(p *Prober, x *probe, now time.Time) bool {
	return !p.awake.Wall(q.deadline).After(now) || now.Sub(q.sent) >= x.Timeout && p.awake.Late()-q.late >= awake.Looks
}

// ProbeInfo is the account of a probe.
type ProbeInfo struct {
	Sent     uint64        `json:"sent"`
	Answered uint64        `json:"answered"`
	Failed   uint64        `json:"failed"`
	RTT      time.Duration `json:"rtt-ns"` // of the last answer
	// Failure is why the last one failed that did.
	Failure string `json:"last-failure,omitempty"`
}

// NewProber makes one without probes.
func NewProber(h Host) *Prober {
	return &Prober{host: h, probes: map[int]*probe{}, asked: map[int]uint32{}}
}

// Set begins to ask, or changes how. What was found before stays until it is found to be otherwise.
func (p *Prober) Set(now time.Time, id int, c Probe) {
	x := p.probes[id]
	if x == nil {
		x = &probe{id: id, next: now, seq: p.asked[id]}
		p.probes[id] = x
		x.Probe = c.sane()
		p.timers.Set(x, x.due(p))
		return
	}
	x.Probe = c.sane()
	if soon := now.Add(x.Interval); soon.Before(x.next) {
		x.next = soon
	}
	p.fix(x)
}

func (c Probe) sane() Probe {
	c.Interval, c.Timeout = max(c.Interval, 10*time.Millisecond), max(c.Timeout, time.Millisecond)
	c.Failures, c.Successes = max(c.Failures, 1), max(c.Successes, 1)
	return c
}

// Remove ends a probe.
func (p *Prober) Remove(id int) {
	x := p.probes[id]
	if x == nil {
		return
	}
	delete(p.probes, id)
	p.asked[id] = x.seq
	p.timers.Remove(x)
	for _, q := range x.open {
		p.host.Forget(id, q.seq)
	}
}

// Answer is what came of a question, at the time now; failure is empty when it is good.
func (p *Prober) Answer(now time.Time, id int, seq uint32, failure string) {
	x := p.probes[id]
	if x == nil {
		return
	}
	i := slices.IndexFunc(x.open, func(q question) bool { return q.seq == seq })
	if i < 0 {
		return // late, or twice
	}
	q := x.open[i]
	x.open = slices.Delete(x.open, i, i+1)
	switch {
	case failure != "":
	case p.awake.Time(now).After(q.deadline):
		failure = "timeout"
	default:
		x.info.RTT = now.Sub(q.sent)
	}
	p.result(x, failure)
	p.fix(x)
}

func (p *Prober) result(x *probe, failure string) {
	ok := failure == ""
	if ok {
		x.info.Answered++
	} else {
		x.info.Failed++
		x.info.Failure = failure
	}
	if x.known && ok == x.up {
		x.streak = 0
		return
	}
	if x.streak == 0 || ok != x.streakOK {
		x.streak, x.streakOK = 0, ok
	}
	x.streak++
	need := x.Failures
	if ok {
		need = x.Successes
	}
	if x.streak >= need {
		x.known, x.up, x.streak = true, ok, 0
		p.host.Report(x.id, ok, failure)
	}
}

// Tick does what has become due. Answers that have come must have been given to Answer before.
func (p *Prober) Tick(now time.Time) {
	p.awake.Wake(now)
	for {
		x, due := p.timers.Due(now)
		if !due {
			return
		}
		p.tick(now, x)
		p.fix(x)
	}
}

func (p *Prober) tick(now time.Time, x *probe) {
	for len(x.open) > 0 && x.open[0].over(p, x, now) {
		seq := x.open[0].seq
		x.open = slices.Delete(x.open, 0, 1)
		p.host.Forget(x.id, seq)
		p.result(x, "timeout")
	}
	if x.next.After(now) {
		return
	}
	// A late prober does not make up for what it has not asked.
	if x.next = x.next.Add(x.Interval); !x.next.After(now) {
		x.next = now.Add(x.Interval)
	}
	if len(x.open) >= maxOpen {
		return
	}
	x.seq++
	seq := x.seq
	x.open = append(x.open, question{seq, now, p.awake.Time(now).Add(x.Timeout), p.awake.Late()})
	x.info.Sent++
	if err := p.host.Ask(x.id, seq); err != nil {
		p.Answer(now, x.id, seq, err.Error())
	}
}

func (x *probe) due(p *Prober) time.Time {
	if len(x.open) > 0 {
		if d := p.awake.Wall(x.open[0].deadline); d.Before(x.next) {
			return d
		}
	}
	return x.next
}

// Deadline is when Tick is to be called, at the latest; it must be asked after every call.
func (p *Prober) Deadline() (time.Time, bool) {
	at, ok := p.timers.First()
	p.awake.Sleep(at)
	return at, ok
}

// Info is the account of a probe.
func (p *Prober) Info(id int) (ProbeInfo, bool) {
	x := p.probes[id]
	if x == nil {
		return ProbeInfo{}, false
	}
	return x.info, true
}

func (p *Prober) fix(x *probe) {
	if x.Pending() {
		p.timers.Set(x, x.due(p))
	}
}
