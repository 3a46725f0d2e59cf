package boot

import (
	"sync"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/loop"
	"felloe/routing/bfd"
	"felloe/routing/track"
)

// prompt is a second control loop, for what must be on time however busy the first one is: BFD's packets and the probes of
// tracked objects. It begins when it is first needed. The first loop posts to it; it posts to the first one, and never waits
// for it.
//
//	data workers ── packets, answers, with their times ──► mailbox ─┐ all of it, before any timer is looked at
//	                                                     timers ────┴─► bfd.Engine, track.Prober ──► main loop: up, down
type prompt struct {
	r      *Router
	loop   *loop.Loop
	engine *bfd.Engine
	prober *track.Prober
	asks   *asks
	filter bfd.Filter
	timer  clock.Timer
	mail   mailbox
}

// Rooms in the mailbox. Who knows the number of a session does not wait behind who does not.
const (
	mailPeers     = 8192
	mailStrangers = 256
	mailAnswers   = 8192
)

// mailbox is where data workers leave what came.
type mailbox struct {
	mu                    sync.Mutex
	posted                bool
	peers, strangers      []letter
	answers               []answer
	sparePeers, spareLate []letter
	spareAnswers          []answer
	lost                  uint64
}

// letter is a BFD packet. What an engine reads of one fits.
type letter struct {
	at  time.Time
	ctx bfd.Context
	b   [bfd.Size]byte
	n   int
}

// answer is what came of a probe's question.
type answer struct {
	at      time.Time
	id      int
	seq     uint32
	failure string
}

// promptly is the prompt loop, which begins with the first call. On the control loop.
func (r *Router) promptly() *prompt {
	if r.prompt != nil {
		return r.prompt
	}
	p := &prompt{r: r, loop: loop.New(r.clock, r.log)}
	p.engine = bfd.New(bfd.Options{Host: bfdHost{p}, Rand: r.o.Rand, Answer: r.answerBFD})
	p.asks = newAsks(p)
	p.prober = track.NewProber(p.asks)
	p.timer = r.clock.AfterFunc(time.Hour, func() { p.wake() })
	r.prompt = p
	return p
}

// post runs f on the prompt loop, after what has come before it.
func (p *prompt) post(name string, f func(now time.Time)) {
	p.loop.Post(name, func() {
		defer p.arm()
		p.drain()
		f(p.r.clock.Now())
	})
}

// call is post that waits. It may be called from the control loop.
func (p *prompt) call(name string, f func(now time.Time)) {
	_ = p.loop.Call(name, func() { f(p.r.clock.Now()) })
}

// wake has run run soon.
func (p *prompt) wake() {
	p.mail.mu.Lock()
	posted := p.mail.posted
	p.mail.posted = true
	p.mail.mu.Unlock()
	if !posted {
		p.loop.Post("bfd and probes", p.run)
	}
}

func (p *prompt) run() {
	defer p.arm()
	p.drain()
	now := p.r.clock.Now()
	p.engine.Tick(now)
	p.prober.Tick(now)
}

// drain reads all that has come.
func (p *prompt) drain() {
	m := &p.mail
	m.mu.Lock()
	peers, strangers, answers := m.peers, m.strangers, m.answers
	m.peers, m.strangers, m.answers = m.sparePeers[:0], m.spareLate[:0], m.spareAnswers[:0]
	m.sparePeers, m.spareLate, m.spareAnswers = nil, nil, nil
	m.posted = false
	m.mu.Unlock()
	for _, list := range [][]letter{peers, strangers} {
		for k := range list {
			l := &list[k]
			_ = p.engine.Receive(l.at, l.ctx, l.b[:l.n]) // counted there
		}
	}
	for k := range answers {
		a := &answers[k]
		p.asks.done(a.id, a.seq)
		p.prober.Answer(a.at, a.id, a.seq, a.failure)
	}
	clear(answers)
	m.mu.Lock()
	m.sparePeers, m.spareLate, m.spareAnswers = peers, strangers, answers
	m.mu.Unlock()
}

// arm sets the timer for what is due next.
func (p *prompt) arm() {
	next, ok := p.engine.Deadline()
	if at, also := p.prober.Deadline(); also && (!ok || at.Before(next)) {
		next, ok = at, true
	}
	if !ok {
		p.timer.Stop()
		return
	}
	p.timer.Reset(max(next.Sub(p.r.clock.Now()), time.Millisecond))
}

// packet takes a BFD packet. On data workers.
func (p *prompt) packet(ctx bfd.Context, b []byte) {
	ok, knows := p.filter.Admit(ctx.Multihop, ctx.HopLimit, b)
	if !ok {
		return
	}
	l := letter{at: p.r.clock.Now(), ctx: ctx}
	l.n = copy(l.b[:], b)
	if int(b[3]) > len(b) {
		l.n = 0 // shorter than it says: the engine counts it
	} else if b[3] > bfd.Size {
		l.b[3] = bfd.Size // what is behind is authentication, which its bit says
	}
	m := &p.mail
	m.mu.Lock()
	switch {
	case knows && len(m.peers) < mailPeers:
		m.peers = append(m.peers, l)
	case !knows && len(m.strangers) < mailStrangers:
		m.strangers = append(m.strangers, l)
	default:
		m.lost++
	}
	m.mu.Unlock()
	p.wake()
}

// answered takes the answer to a probe's question. On any goroutine.
func (p *prompt) answered(id int, seq uint32, failure string) {
	a := answer{p.r.clock.Now(), id, seq, failure}
	m := &p.mail
	m.mu.Lock()
	if len(m.answers) < mailAnswers {
		m.answers = append(m.answers, a)
	} else {
		m.lost++
	}
	m.mu.Unlock()
	p.wake()
}

// lost counts what came when the mailbox was full.
func (p *prompt) lost() uint64 {
	p.mail.mu.Lock()
	defer p.mail.mu.Unlock()
	return p.mail.lost
}

// close says goodbye to BFD's neighbours and ends the loop.
func (p *prompt) close() {
	p.call("bfd goodbye", func(now time.Time) {
		p.engine.Shutdown(now)
		p.asks.close()
	})
	p.timer.Stop()
	p.loop.Close()
}
