package client

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// ErrUnknown says that there is no client block of a name, and ErrAutomatic that a block connects by itself.
var (
	ErrUnknown   = errors.New("there is no such client block")
	ErrAutomatic = errors.New("the block connects by itself: only one with connect = \"manual\" does as it is told")
)

// Manager is a router's client blocks. It runs on the control loop.
type Manager struct {
	host    Host
	clients map[string]*client
	tracks  map[int]bool
	sources map[string]sourceState
	last    uint64 // number of a Call or Query
	now     time.Time
	busy    bool
	pending []func()
}

type sourceState struct {
	up    bool
	addrs []netip.Addr
}

// New makes a Manager without clients.
func New(h Host) *Manager {
	return &Manager{host: h, clients: map[string]*client{}, tracks: map[int]bool{}, sources: map[string]sourceState{}}
}

// do runs an input. One that comes while another is being worked on, by the Host, waits for its end.
func (m *Manager) do(now time.Time, f func()) {
	if now.After(m.now) {
		m.now = now
	}
	m.pending = append(m.pending, f)
	if m.busy {
		return
	}
	m.busy = true
	defer func() { m.busy = false }()
	for len(m.pending) > 0 {
		f := m.pending[0]
		m.pending[0] = nil
		m.pending = m.pending[1:]
		f()
	}
	m.pending = nil
}

func (m *Manager) ordered() []*client {
	return slices.SortedFunc(maps.Values(m.clients), func(a, b *client) int { return cmp.Compare(a.cfg.Name, b.cfg.Name) })
}

// reviewAll looks at every client: what one does may matter to others of its group, and to the one that it backs up.
func (m *Manager) reviewAll() {
	for range 2 {
		for _, c := range m.ordered() {
			c.review()
		}
	}
}

// SetClients makes the client blocks be these. A block that has not changed is not touched; one that has keeps its session
// when the new one could have it.
func (m *Manager) SetClients(now time.Time, list []Config) {
	m.do(now, func() {
		want := map[string]Config{}
		for _, c := range list {
			want[c.Name] = c
		}
		for _, c := range m.ordered() {
			if w, ok := want[c.cfg.Name]; !ok || w.Tunnel != c.cfg.Tunnel {
				c.remove("client block is removed")
			}
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			w := want[name]
			c := m.clients[name]
			switch {
			case c == nil:
				c = &client{m: m, cfg: w, since: m.now, retryAt: map[uint32]time.Time{}}
				m.clients[name] = c
			case !reflect.DeepEqual(c.cfg, w):
				c.change(w)
			}
		}
		m.reviewAll()
	})
}

// Remove ends a client block, and says why.
func (m *Manager) Remove(now time.Time, name, reason string) {
	m.do(now, func() {
		if c := m.clients[name]; c != nil {
			c.remove(reason)
			m.reviewAll()
		}
	})
}

// TrackChanged says what state a tracked object is in.
func (m *Manager) TrackChanged(now time.Time, id int, up bool) {
	m.do(now, func() {
		if old, known := m.tracks[id]; known && old == up {
			return
		}
		m.tracks[id] = up
		for _, c := range m.ordered() {
			c.trackChanged(id)
		}
		m.reviewAll()
	})
}

// ForgetTrack says that an object is not there any more.
func (m *Manager) ForgetTrack(now time.Time, id int) {
	m.do(now, func() {
		if _, known := m.tracks[id]; known {
			delete(m.tracks, id)
			m.reviewAll()
		}
	})
}

// SourceChanged says whether an interface's line protocol is up and which addresses it has.
func (m *Manager) SourceChanged(now time.Time, ifname string, up bool, addrs []netip.Addr) {
	m.do(now, func() {
		s := sourceState{up, slices.Clone(addrs)}
		if old, known := m.sources[ifname]; known && old.up == s.up && slices.Equal(old.addrs, s.addrs) {
			return
		}
		m.sources[ifname] = s
		for _, c := range m.ordered() {
			if slices.ContainsFunc(c.cfg.Sources, func(x Source) bool { return x.Interface == ifname }) {
				c.retrySource = time.Time{}
			}
		}
		m.reviewAll()
	})
}

// Resolved answers Host.Resolve.
func (m *Manager) Resolved(now time.Time, id uint64, addrs []netip.Addr, err error) {
	m.do(now, func() {
		for _, c := range m.ordered() {
			if c.resolved(id, addrs, err) {
				break
			}
		}
		m.reviewAll()
	})
}

// Up says that a call's session is up.
func (m *Manager) Up(now time.Time, call uint64, u Up) {
	m.do(now, func() { m.call(call, func(c *client) { c.up(u) }) })
}

// Readdressed says that a call's peer has given other addresses.
func (m *Manager) Readdressed(now time.Time, call uint64, assigned []netip.Prefix) {
	m.do(now, func() {
		m.call(call, func(c *client) {
			if c.cur != nil {
				c.cur.assigned = assigned
			}
		})
	})
}

// Prepared says that what Host.Prepare has begun can be moved to.
func (m *Manager) Prepared(now time.Time, call uint64) {
	m.do(now, func() { m.call(call, func(c *client) { c.prepared(call) }) })
}

// Failed says that a call has come to nothing.
func (m *Manager) Failed(now time.Time, call uint64, reason string) {
	m.do(now, func() { m.call(call, func(c *client) { c.failed(call, reason) }) })
}

// Down says that a call's session has ended.
func (m *Manager) Down(now time.Time, call uint64, reason string) {
	m.do(now, func() { m.call(call, func(c *client) { c.down(call, reason) }) })
}

// Redirected says that a call's peer sends us to another gateway.
func (m *Manager) Redirected(now time.Time, call uint64, to netip.Addr) {
	m.do(now, func() { m.call(call, func(c *client) { c.redirected(call, to.Unmap()) }) })
}

// call finds whose call it is; one that was given up is nobody's.
func (m *Manager) call(id uint64, f func(*client)) {
	for _, c := range m.clients {
		if c.cur.is(id) || c.beside.is(id) {
			f(c)
			m.reviewAll()
			return
		}
	}
}

// Connect is the operator's word to a manual block.
func (m *Manager) Connect(now time.Time, name string) error { return m.command(now, name, true) }

// Disconnect takes it back.
func (m *Manager) Disconnect(now time.Time, name string) error { return m.command(now, name, false) }

func (m *Manager) command(now time.Time, name string, on bool) error {
	c := m.clients[name]
	switch {
	case c == nil:
		return fmt.Errorf("%w: %q", ErrUnknown, name)
	case !c.cfg.Manual:
		return fmt.Errorf("%w: %q", ErrAutomatic, name)
	}
	m.do(now, func() {
		c.told = on
		c.rounds = 0
		m.reviewAll()
	})
	return nil
}

// Clear ends a client's session, or its pause, and begins anew with the best peer.
func (m *Manager) Clear(now time.Time, name string) error {
	c := m.clients[name]
	if c == nil {
		return fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	m.do(now, func() {
		c.stop("cleared by the operator", StateIdle)
		c.first = 0
		m.reviewAll()
	})
	return nil
}

// Names are the blocks' names.
func (m *Manager) Names() []string { return slices.Sorted(maps.Keys(m.clients)) }

// Hurry ends a client's pause: something has changed that lets its next round be worth while.
func (m *Manager) Hurry(now time.Time, name string) {
	m.do(now, func() {
		if c := m.clients[name]; c != nil {
			c.hurry()
			m.reviewAll()
		}
	})
}

// Tick does what is due.
func (m *Manager) Tick(now time.Time) {
	m.do(now, func() {
		for _, c := range m.ordered() {
			c.due()
		}
		m.reviewAll()
	})
}

// Deadline is when Tick has something to do.
func (m *Manager) Deadline() (time.Time, bool) {
	var at time.Time
	for _, c := range m.clients {
		for _, t := range c.deadlines() {
			if !t.IsZero() && (at.IsZero() || t.Before(at)) {
				at = t
			}
		}
	}
	return at, !at.IsZero()
}

func (m *Manager) number() uint64 {
	m.last++
	return m.last
}

// holds says whether a condition holds. An object whose state is not known is neither up nor down.
func (m *Manager) holds(c Condition) bool {
	if c.Track == 0 {
		return true
	}
	up, known := m.tracks[c.Track]
	return known && up != c.Down
}
