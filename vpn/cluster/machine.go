package cluster

import (
	"cmp"
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/rs/zerolog"
)

// Config is one member's view of its cluster.
type Config struct {
	Self    netip.Addr   // where the others know us by
	Virtual netip.Addr   // what spokes call
	Members []netip.Addr // the others
	Key     []byte

	Priority    uint8 // 1 to 254
	Preempt     bool
	Hello, Hold time.Duration // default 1 s and three times that

	MaxSessions   int        // 0: no limit
	Weight        int        // default 100
	OverloadLimit int        // per cent of MaxSessions; default 100
	RedirectTo    netip.Addr // where clients that are sent here call; default Self
}

// State is what a member is.
type State uint8

const (
	Init   State = iota // its interface is down, or it is leaving
	Backup              // another one has the address, or will
	Master
)

func (s State) String() string { return [...]string{"init", "backup", "master"}[s] }

// Action is what the driver must do, in order: one of the types below by value.
type Action interface{ action() }

// Send is a datagram for a member.
type Send struct {
	To   netip.Addr
	Data []byte
}

// Own says whether the virtual address is this router's from now on. Who gets it announces it on the link.
type Own struct {
	Address netip.Addr
	Own     bool
}

// Announce: tell the link once more whose the address is; another router has claimed it.
type Announce struct{ Address netip.Addr }

// Log is a line for the log.
type Log struct {
	Level  zerolog.Level
	Msg    string
	Fields []Field
}

// Field is a field of a log line.
type Field struct {
	Key   string
	Value any
}

func (Send) action()     {}
func (Own) action()      {}
func (Announce) action() {}
func (Log) action()      {}

// Counters count messages.
type Counters struct {
	Sent, Received uint64
	Strangers      uint64 // from addresses that are no member's
	Malformed      uint64
	BadMAC         uint64
	Replayed       uint64 // seen before, or older than what was seen
	Challenged     uint64 // did not know our start, and were answered
	Foreign        uint64 // of members with another virtual address
	Elections      uint64 // times that we became master
}

// member is another hub.
type member struct {
	addr     netip.Addr
	start    uint64 // of its hellos that count; 0: none yet
	sequence uint64 // highest of that start
	last     hello
	heard    time.Time // zero: never
	since    time.Time // alive, or gone, since
	alive    bool
	answered time.Time // last challenge
	sent     []sent    // callers that were sent there, the last few seconds
	total    uint64
	former   []uint64 // its starts before, to which our start was known as well
}

// maxFormer is how many former starts of a member are remembered.
const maxFormer = 32

// Machine is one member. It is not safe for concurrent use.
type Machine struct {
	cfg   Config
	rand  io.Reader
	start uint64
	seq   uint64
	now   time.Time
	out   []Action

	state     State
	since     time.Time
	up        bool
	leaving   bool
	nextHello time.Time
	listen    time.Time // do not become master before, unless all are heard
	vacant    time.Time // since when no master is alive
	sessions  int
	own       member // what callers were sent to ourselves
	members   []*member
	counters  Counters
	refused   uint64
	badLog    time.Time
	again     bool // announce the address once more: the first time may have been lost
	claimed   bool // what was received just now may have changed whom the link takes for the owner
}

// New makes a member whose interface is down. rand gives its start.
func New(cfg Config, rand io.Reader, now time.Time) (*Machine, error) {
	m := &Machine{now: now, since: now, rand: rand}
	if err := m.renew(); err != nil {
		return nil, err
	}
	m.configure(cfg)
	return m, nil
}

// renew chooses a start: no hello that was ever made names it.
func (m *Machine) renew() error {
	var b [8]byte
	for binary.BigEndian.Uint64(b[:]) == 0 {
		if _, err := io.ReadFull(m.rand, b[:]); err != nil {
			return err
		}
	}
	m.start = binary.BigEndian.Uint64(b[:])
	for _, x := range m.members {
		x.former = nil
	}
	return nil
}

func (m *Machine) configure(cfg Config) {
	cfg.Hello = cmp.Or(cfg.Hello, time.Second)
	cfg.Hold = max(cmp.Or(cfg.Hold, 3*cfg.Hello), cfg.Hello)
	cfg.Weight, cfg.OverloadLimit = cmp.Or(cfg.Weight, 100), cmp.Or(cfg.OverloadLimit, 100)
	if !cfg.RedirectTo.IsValid() {
		cfg.RedirectTo = cfg.Self
	}
	list := make([]*member, 0, len(cfg.Members))
	for _, a := range cfg.Members {
		if a = a.Unmap(); a == cfg.Self || slices.ContainsFunc(list, func(x *member) bool { return x.addr == a }) {
			continue
		}
		if old := m.member(a); old != nil {
			list = append(list, old)
		} else {
			list = append(list, &member{addr: a, since: m.now})
		}
	}
	m.cfg, m.members = cfg, list
	m.own.addr = cfg.Self
}

// SetConfig changes what can change while it runs: all but Self and Virtual, for which there must be a new Machine.
func (m *Machine) SetConfig(now time.Time, cfg Config) []Action {
	m.begin(now)
	cfg.Self, cfg.Virtual = m.cfg.Self, m.cfg.Virtual
	old := m.members
	m.configure(cfg)
	if slices.ContainsFunc(m.members, func(x *member) bool { return !slices.Contains(old, x) }) {
		_ = m.renew() // it may have been a member before, and what it said then is forgotten
	}
	m.elect()
	m.hello()
	return m.finish()
}

// SetUp says whether the interface of the virtual address is up.
func (m *Machine) SetUp(now time.Time, up bool) []Action {
	m.begin(now)
	if m.up != up {
		m.up = up
		m.elect()
		m.hello()
	}
	return m.finish()
}

// SetSessions says how many sessions this hub has.
func (m *Machine) SetSessions(n int) { m.sessions = max(n, 0) }

// Resign leaves the cluster: the address is given up and the others are told.
func (m *Machine) Resign(now time.Time) []Action {
	m.begin(now)
	m.leaving = true
	m.elect()
	m.hello()
	return m.finish()
}

// Deadline is when Tick has something to do.
func (m *Machine) Deadline() time.Time {
	at := m.nextHello
	sooner := func(t time.Time) {
		if !t.IsZero() && t.After(m.now) && t.Before(at) {
			at = t
		}
	}
	for _, x := range m.members {
		if x.alive {
			sooner(x.heard.Add(m.cfg.Hold))
		}
	}
	if m.state == Backup {
		sooner(m.listen)
		if !m.vacant.IsZero() {
			sooner(m.vacant.Add(2 * m.cfg.Hold))
		}
	}
	return at
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time) []Action {
	m.begin(now)
	if !m.nextHello.After(m.now) {
		m.hello()
		if m.again && m.state == Master {
			m.emit(Announce{m.cfg.Virtual})
		}
		m.again = false
	}
	m.elect()
	return m.finish()
}

func (m *Machine) begin(now time.Time) {
	if now.After(m.now) {
		m.now = now
	}
	m.out = nil
}

func (m *Machine) finish() []Action {
	out := m.out
	m.out = nil
	return out
}

func (m *Machine) emit(a Action) { m.out = append(m.out, a) }

func (m *Machine) log(level zerolog.Level, msg string, fields ...Field) {
	m.emit(Log{level, msg, append([]Field{{"event", "cluster"}, {"cluster", m.cfg.Virtual.String()}}, fields...)})
}

func (m *Machine) member(a netip.Addr) *member {
	for _, x := range m.members {
		if x.addr == a {
			return x
		}
	}
	return nil
}

// hello tells all members.
func (m *Machine) hello() {
	for _, x := range m.members {
		m.tell(x, x.start)
	}
	m.nextHello = m.now.Add(m.cfg.Hello)
}

// tell sends a hello to one that has begun with start.
func (m *Machine) tell(x *member, start uint64) {
	m.seq++
	m.counters.Sent++
	h := hello{master: m.state == Master, able: m.state != Init, priority: m.cfg.Priority, start: m.start, yours: start, sequence: m.seq, virtual: m.cfg.Virtual,
		redirectTo: m.cfg.RedirectTo, load: m.load()}
	m.emit(Send{To: x.addr, Data: h.encode(m.cfg.Key, m.cfg.Self, x.addr)})
}

func (m *Machine) load() Load {
	return Load{Sessions: uint32(min(m.sessions, 1<<31)), Max: uint32(min(max(m.cfg.MaxSessions, 0), 1<<31)), Weight: uint16(min(max(m.cfg.Weight, 1), 65535)),
		Limit: uint8(min(max(m.cfg.OverloadLimit, 0), 100))}
}

// Receive takes a datagram that came for Self.
func (m *Machine) Receive(now time.Time, from netip.Addr, data []byte) []Action {
	m.begin(now)
	m.counters.Received++
	m.claimed = false
	m.receive(from.Unmap(), data)
	was := m.state
	if m.elect(); m.claimed && was == Master && m.state == Master {
		m.emit(Announce{m.cfg.Virtual})
	}
	return m.finish()
}

func (m *Machine) receive(from netip.Addr, data []byte) {
	x := m.member(from)
	if x == nil {
		m.counters.Strangers++
		m.complain("a cluster message comes from an address that is not in `member`", from)
		return
	}
	h, err := decode(m.cfg.Key, from, m.cfg.Self, data)
	switch {
	case err == errMAC:
		m.counters.BadMAC++
		m.complain("a cluster message is not authentic; the members' keys must be the same", from)
		return
	case err != nil:
		m.counters.Malformed++
		return
	case h.virtual != m.cfg.Virtual:
		m.counters.Foreign++
		m.complain("a member has the virtual address "+h.virtual.String()+", not ours", from)
		return
	case h.yours != m.start:
		// It does not know us yet, or this is a recording.
		if x.start == h.start && h.sequence <= x.sequence {
			m.counters.Replayed++
			return
		}
		if m.now.Sub(x.answered) < m.cfg.Hello/4 && !x.answered.IsZero() {
			return
		}
		m.counters.Challenged++
		x.answered = m.now
		m.tell(x, h.start)
		return
	case h.start == x.start && h.sequence <= x.sequence, slices.Contains(x.former, h.start):
		m.counters.Replayed++
		return
	}
	if h.start != x.start && x.start != 0 {
		if x.former = append(x.former, x.start); len(x.former) > maxFormer {
			_ = m.renew()
		}
	}
	anew := h.start != x.start || !x.alive
	before := x.last
	x.start, x.sequence, x.last, x.heard = h.start, h.sequence, h, m.now
	if !x.alive {
		x.alive, x.since = true, m.now
		m.log(zerolog.InfoLevel, "cluster member is up", Field{"peer", x.addr.String()}, Field{"state", "up"}, Field{"priority", h.priority})
	}
	if anew || h.master && !before.master {
		m.tell(x, x.start) // so that it need not wait for what we are
	}
	if h.master && m.state == Master && !better(h.priority, x.addr, m.cfg.Priority, m.cfg.Self) && (!before.master || anew) {
		m.log(zerolog.WarnLevel, "another member is master as well and will yield", Field{"peer", x.addr.String()}, Field{"state", "master"})
	}
	// It may have had the address, and the link may still think of it.
	m.claimed = anew || before.master != h.master
}

// complain says rarely what anybody could cause.
func (m *Machine) complain(msg string, from netip.Addr) {
	if m.badLog.IsZero() || m.now.Sub(m.badLog) >= time.Minute {
		m.badLog = m.now
		m.log(zerolog.WarnLevel, msg, Field{"peer", from.String()}, Field{"state", "ignored"})
	}
}
