package bfd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"felloe/netstack/deadline"
	"felloe/routing/awake"
)

// Host is the world outside.
type Host interface {
	// Send sends a control packet of the session from a UDP port: to Port with a hop limit of 255 out of the key's
	// interface, or to MultihopPort. The bytes are the engine's again when it returns.
	Send(k Key, port uint16, b []byte)
	// Changed hears of each change of a session's state that says something: up, and no longer up. It must not call
	// back.
	Changed(i Info, c Change)
	// Number says that a discriminator is one of a session of ours from now on, or no longer: packets with another one
	// need not get here.
	Number(mine uint32, used bool)
}

// Options are what an Engine is made of.
type Options struct {
	Host Host
	// Rand is where discriminators and jitter come from.
	Rand io.Reader
	// Answer says whether a session that a multihop neighbour begins may be, and with which timers; nil is never.
	Answer func(k Key) (Timers, bool)
	// MaxAnswering bounds the sessions that nobody here has asked for; 0 is 1,000.
	MaxAnswering int
}

// expiry is how long a session that a neighbour began may take to come up.
const expiry = 5 * time.Second

// doubt is how long what a neighbour says holds at most while the session is not up: three of the longest intervals that a
// neighbour of ours may have.
const doubt = 30 * time.Second

// Counters count packets that were refused, by what is wrong with them, and what was received and sent.
type Counters struct {
	Received      uint64 `json:"received"`
	Sent          uint64 `json:"sent"`
	HopLimit      uint64 `json:"hop-limit"`
	Malformed     uint64 `json:"malformed"`
	Version       uint64 `json:"version"`
	Authenticated uint64 `json:"authenticated"`
	Unknown       uint64 `json:"unknown"`
	Mismatch      uint64 `json:"mismatch"`
	Refused       uint64 `json:"refused"`
}

// Engine keeps sessions. It has no goroutine, clock, socket or lock.
type Engine struct {
	o         Options
	random    io.Reader
	jitter    *rand.Rand
	byMine    map[uint32]*session
	byKey     map[Key]*session
	timers    deadline.Heap[*session]
	awake     awake.Clock
	answering int
	ports     uint16
	counters  Counters
	buf       [Size]byte
}

// New makes an engine without sessions.
func New(o Options) *Engine {
	if o.MaxAnswering <= 0 {
		o.MaxAnswering = 1000
	}
	e := &Engine{o: o, random: bufio.NewReaderSize(o.Rand, 64), byMine: map[uint32]*session{}, byKey: map[Key]*session{}}
	e.jitter = rand.New(rand.NewPCG(uint64(e.number()), uint64(e.number())))
	return e
}

func (e *Engine) number() uint32 {
	var b [4]byte
	if _, err := io.ReadFull(e.random, b[:]); err != nil {
		panic("bfd: no random numbers: " + err.Error())
	}
	return binary.BigEndian.Uint32(b[:])
}

// Open has f called when the session's state changes, from now on until Close; the session is made if there is none. One
// that is up already says so at once. The timers are the session's from now on. name is who wants it, for shows.
func (e *Engine) Open(now time.Time, k Key, t Timers, name string, f func(Change)) *Client {
	s := e.byKey[k]
	if s == nil {
		s = e.add(now, k, t)
	} else {
		if s.answering {
			s.answering, s.expire = false, time.Time{}
			e.answering--
		}
		if s.state == AdminDown {
			e.revive(now, s)
		}
		e.setTimers(s, t)
	}
	c := &Client{e: e, s: s, name: name, f: f}
	s.clients = append(s.clients, c)
	if s.state == Up {
		f(Change{Up: true})
	}
	e.fix(s)
	return c
}

// Close ends it. With the last client the session ends: the peer is told that this is on purpose, unless the path to it is
// gone anyhow.
func (c *Client) Close(now time.Time, pathGone bool) {
	i := slices.Index(c.s.clients, c)
	if i < 0 {
		return
	}
	s := c.s
	s.clients = slices.Delete(s.clients, i, i+1)
	if len(s.clients) > 0 {
		return
	}
	if t, ok := c.e.answer(s.key); ok && s.key.Multihop && !pathGone && c.e.answering < c.e.o.MaxAnswering {
		// The neighbour may want it still.
		c.e.setTimers(s, t)
		s.answering = true
		c.e.answering++
		if s.state != Up {
			s.expire = now.Add(expiry)
		}
		c.e.fix(s)
		return
	}
	c.e.end(now, s, pathGone)
}

// SetTimers changes what a session asks for, with a poll when it is up.
func (e *Engine) SetTimers(k Key, t Timers) {
	if s := e.byKey[k]; s != nil {
		e.setTimers(s, t)
		e.fix(s)
	}
}

func (e *Engine) setTimers(s *session, t Timers) {
	if s.timers != t.sane() && s.state != AdminDown {
		s.setTimers(t)
	}
}

// Review asks Answer again about the sessions that neighbours have begun.
func (e *Engine) Review(now time.Time) {
	for _, s := range e.sorted() {
		if !s.answering {
			continue
		}
		if t, ok := e.answer(s.key); ok {
			e.setTimers(s, t)
			e.fix(s)
		} else {
			e.end(now, s, false)
		}
	}
}

func (e *Engine) answer(k Key) (Timers, bool) {
	if e.o.Answer == nil {
		return Timers{}, false
	}
	return e.o.Answer(k)
}

func (e *Engine) add(now time.Time, k Key, t Timers) *session {
	s := &session{key: k, state: Down, peerState: Down, peerRx: time.Microsecond, nextTx: now, since: now}
	for s.mine == 0 || e.byMine[s.mine] != nil {
		s.mine = e.number()
	}
	e.o.Host.Number(s.mine, true)
	// RFC 5881 §4: a port of the dynamic range, another for each session while there are enough.
	s.port = 49152 + e.ports%16384
	e.ports++
	s.setTimers(t)
	e.byMine[s.mine], e.byKey[k] = s, s
	e.timers.Set(s, s.due(e))
	return s
}

func (e *Engine) remove(s *session) {
	if s.answering {
		e.answering--
	}
	e.o.Host.Number(s.mine, false)
	delete(e.byMine, s.mine)
	delete(e.byKey, s.key)
	e.timers.Remove(s)
}

// end takes a session away. A peer that has heard of us hears AdminDown for as long as it takes it to notice.
func (e *Engine) end(now time.Time, s *session, pathGone bool) {
	was := s.state
	if s.answering {
		s.answering = false
		e.answering--
	}
	s.clients, s.expire, s.detect, s.polling = nil, time.Time{}, time.Time{}, false
	if was == AdminDown {
		return
	}
	why := AdministrativelyDown
	if pathGone {
		why = PathDown
	}
	s.state, s.diag, s.since = AdminDown, AdministrativelyDown, now
	if was == Up {
		s.downs++
		s.lastDown = why
		e.o.Host.Changed(s.info(e, now), Change{Diagnostic: why})
	}
	if pathGone || s.yours == 0 {
		e.remove(s)
		return
	}
	s.linger = now.Add(time.Duration(s.timers.Multiplier) * s.interval())
	e.send(now, s, false)
	e.fix(s)
}

// revive begins again with a session that was ending.
func (e *Engine) revive(now time.Time, s *session) {
	s.state, s.diag, s.linger, s.since, s.nextTx = Down, NoDiagnostic, time.Time{}, now, now
	s.yours, s.peerState, s.peerRx, s.peerDemand = 0, Down, time.Microsecond, false
	s.setTimers(s.timers)
}

// Context is how a packet came.
type Context struct {
	VRF           string
	Local, Remote netip.Addr
	Interface     string // that it came in on
	HopLimit      uint8
	Multihop      bool // it came to MultihopPort
}

// Key is the key of the session that a packet which comes so belongs to.
func (c *Context) Key() Key {
	k := Key{VRF: c.VRF, Local: c.Local, Remote: c.Remote, Interface: c.Interface, Multihop: c.Multihop}
	if k.Multihop {
		k.Interface = ""
	}
	return k
}

// Receive takes a packet that came at the time now. Its error says why it was refused. One that waited until a later one of
// the neighbour's had been taken, as those may who do not know our number, changes nothing.
func (e *Engine) Receive(now time.Time, c Context, b []byte) error {
	err := e.receive(now, c, b)
	n := &e.counters
	switch {
	case err == nil:
		n.Received++
	case errors.Is(err, ErrTTL):
		n.HopLimit++
	case errors.Is(err, ErrVersion):
		n.Version++
	case errors.Is(err, ErrAuthenticated):
		n.Authenticated++
	case errors.Is(err, ErrUnknown):
		n.Unknown++
	case errors.Is(err, ErrMismatch):
		n.Mismatch++
	case errors.Is(err, ErrFull):
		n.Refused++
	default:
		n.Malformed++
	}
	return err
}

func (e *Engine) receive(now time.Time, c Context, b []byte) error {
	// RFC 5881 §5: a packet of the neighbour's has crossed no router.
	if !c.Multihop && c.HopLimit != 255 {
		return ErrTTL
	}
	p, err := Parse(b)
	if err != nil {
		return err
	}
	k := c.Key()
	var s *session
	if p.Yours != 0 {
		s = e.byMine[p.Yours]
		switch {
		case s != nil && s.key != k:
			return ErrMismatch
		case s == nil && (!k.Multihop || p.State != Down):
			return ErrUnknown
		case s == nil:
			// FRR's bfdd goes on with the number that it knew after it has heard AdminDown, for ever. It may begin a session,
			// as one may that knows none.
			if s = e.byKey[k]; s != nil && (!s.answering || s.state == Up) {
				return ErrUnknown
			}
			if s == nil {
				if s, err = e.begun(now, k, &p); err != nil {
					return err
				}
			}
		}
	} else if s = e.byKey[k]; s == nil {
		if s, err = e.begun(now, k, &p); err != nil {
			return err
		}
	} else if k.Multihop && s.state == Up {
		// Anybody can say "down" from afar in our neighbour's name who need not know our discriminator. A neighbour that
		// really has begun anew is silent otherwise, and heard as soon as that has been noticed.
		return ErrMismatch
	}
	if now.Before(s.lastRx) {
		return nil // what the neighbour has said since counts
	}
	e.process(now, s, &p)
	e.fix(s)
	return nil
}

// begun makes a session that a multihop neighbour begins, if that is wanted.
func (e *Engine) begun(now time.Time, k Key, p *Control) (*session, error) {
	if !k.Multihop || p.State != Down {
		return nil, ErrUnknown
	}
	t, ok := e.answer(k)
	if !ok {
		return nil, ErrUnknown
	}
	if e.answering >= e.o.MaxAnswering {
		// Whoever came up has shown that packets to its address reach it; the oldest that has not makes room.
		var oldest *session
		for _, s := range e.byMine {
			if s.answering && s.state != Up && (oldest == nil || s.expire.Before(oldest.expire)) {
				oldest = s
			}
		}
		if oldest == nil || now.Before(oldest.expire.Add(-expiry/2)) {
			return nil, ErrFull
		}
		e.remove(oldest)
	}
	s := e.add(now, k, t)
	s.answering, s.expire = true, now.Add(expiry)
	e.answering++
	return s, nil
}

// process is RFC 5880 §6.8.6 from where the session is known.
func (e *Engine) process(now time.Time, s *session, p *Control) {
	s.rxs++
	s.lastRx, s.late = now, e.awake.Late()
	s.yours, s.peerState, s.peerDiag, s.peerDemand = p.Mine, p.State, p.Diagnostic, p.Demand
	before := s.interval()
	s.peerTx, s.peerRx, s.peerMultiplier = p.DesiredMinTx, p.RequiredMinRx, p.Multiplier
	if s.polling && p.Final {
		s.polling = false
		s.tx, s.rx = s.wantTx, s.wantRx
	}
	if s.state == AdminDown {
		return
	}
	was := s.state
	switch {
	case p.State == AdminDown:
		if s.state != Down {
			e.become(now, s, Down, NeighborDown)
		}
	case s.state == Down && p.State == Down:
		e.become(now, s, Init, s.diag)
	case s.state == Down && p.State == Init, s.state == Init && p.State >= Init:
		e.become(now, s, Up, NoDiagnostic)
	case s.state == Up && p.State == Down:
		e.become(now, s, Down, NeighborDown)
	}
	silence := s.detection()
	if s.state != Up {
		// Until it is up anybody may have said so in the neighbour's name.
		silence = min(silence, doubt)
	}
	s.detect = e.awake.Time(now).Add(silence)
	if p.Poll {
		e.send(now, s, true)
	}
	if s.state != was {
		e.send(now, s, false)
	} else if d := s.interval(); d < before {
		if soon := s.lastTx.Add(d); soon.Before(s.nextTx) {
			s.nextTx = soon
		}
	}
}

// become changes the state and tells who wants to know.
func (e *Engine) become(now time.Time, s *session, to State, d Diagnostic) {
	was := s.state
	s.state, s.diag, s.since = to, d, now
	change := Change{Up: to == Up, Diagnostic: d, Remote: d == NeighborDown && s.peerState == AdminDown}
	switch {
	case to == Up:
		s.ups++
		s.expire = time.Time{}
		s.setTimers(s.timers)
	case was == Up:
		s.downs++
		s.lastDown = d
		s.polling = false
		s.setTimers(s.timers)
		if s.answering {
			s.expire = now.Add(expiry)
		}
	}
	if to != Up && was != Up {
		return
	}
	e.o.Host.Changed(s.info(e, now), change)
	for _, c := range slices.Clone(s.clients) {
		c.f(change)
	}
}

// send sends a packet; a final one is an answer and does not move the next regular one.
func (e *Engine) send(now time.Time, s *session, final bool) {
	if s.answering && s.yours == 0 {
		return
	}
	p := s.packet(final)
	s.txs++
	e.counters.Sent++
	if !final {
		d := s.interval()
		// RFC 5880 §6.8.7: 75 to 100 per cent of the interval, at most 90 when one lost packet is one too many.
		most := 25
		s.lastTx = now
		if s.timers.Multiplier == 1 {
			d, most = d*9/10, 16
		}
		s.nextTx = now.Add(d - time.Duration(e.jitter.Int64N(int64(d)*int64(most)/100+1)))
	}
	e.o.Host.Send(s.key, s.port, p.Append(e.buf[:0]))
}

// Shutdown ends every session at once: each neighbour hears AdminDown as a farewell.
func (e *Engine) Shutdown(now time.Time) {
	for _, s := range e.sorted() {
		if s.state != AdminDown {
			e.end(now, s, false)
		}
		if e.byKey[s.key] == s {
			e.remove(s)
		}
	}
}

// Tick does what has become due. Packets that have arrived must have been given to Receive before.
func (e *Engine) Tick(now time.Time) {
	e.awake.Wake(now)
	for {
		s, due := e.timers.Due(now)
		if !due {
			return
		}
		if e.expired(now, s) {
			e.fix(s)
		}
	}
}

// expired does what is due about one session and says whether it still is there.
func (e *Engine) expired(now time.Time, s *session) bool {
	if !s.linger.IsZero() && !s.linger.After(now) || !s.expire.IsZero() && !s.expire.After(now) {
		e.remove(s)
		return false
	}
	if s.gone(e, now) {
		// RFC 5880 §6.8.4, and §6.8.1: what we knew of the peer is void.
		s.detect, s.yours, s.peerRx, s.peerDemand = time.Time{}, 0, time.Microsecond, false
		if soon := now.Add(s.interval()); soon.Before(s.nextTx) {
			s.nextTx = soon
		}
		if s.state == Init || s.state == Up {
			e.become(now, s, Down, DetectionTimeExpired)
			if s.answering {
				return true
			}
			e.send(now, s, false)
		}
	}
	if !s.silent() && !s.nextTx.After(now) {
		e.send(now, s, false)
	}
	return true
}

// Deadline is when Tick is to be called, at the latest; it must be asked after every call.
func (e *Engine) Deadline() (time.Time, bool) {
	at, ok := e.timers.First()
	if !ok || at.Equal(never) {
		e.awake.Sleep(time.Time{})
		return time.Time{}, false
	}
	e.awake.Sleep(at)
	return at, true
}

func (e *Engine) fix(s *session) {
	if s.Pending() {
		e.timers.Set(s, s.due(e))
	}
}
