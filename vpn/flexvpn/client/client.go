package client

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// client is a block at work.
type client struct {
	m   *Manager
	cfg Config

	cur    *attempt // what the tunnel has or is getting; nil: nothing
	beside *attempt // what is being prepared beside it
	active bool     // cur is up

	told   bool  // Connect was said
	state  State // as it is shown while there is no cur
	why    string
	since  time.Time // of the state
	first  int       // which peer to begin with
	tried  map[int]bool
	rounds int // without success
	flaps  int // sessions in a row that did not last
	waits  time.Time
	tries  uint64 // since the last success
	ups    uint64
	last   string // why the last attempt failed or the last session ended

	retryAt map[uint32]time.Time // by Seq: when a better peer is called again
	// retrySource is when a better source is tried again.
	retrySource time.Time

	lostAt   time.Time // there is no session since; zero: and none is wanted
	raised   bool      // the dial backup is up
	lowersAt time.Time
}

// attempt is a peer that is being called, or was.
type attempt struct {
	idx       int // of the peer in the list
	addrs     []netip.Addr
	query     uint64 // what is being asked about its name, 0: nothing
	call      Call   // ID 0 before there is one
	source    string
	local     netip.Addr
	assigned  []netip.Prefix
	until     time.Time
	redirects int
	redirect  bool // another gateway than the peer: it has sent us there
	prepared  bool
}

func (a *attempt) is(call uint64) bool { return a != nil && call != 0 && a.call.ID == call }

func (c *client) event(k EventKind, a *attempt, reason string) {
	e := Event{Kind: k, Client: c.cfg.Name, Tunnel: c.cfg.Tunnel, Reason: reason}
	if a != nil {
		e.Call, e.Assigned = a.call, a.assigned
		if a.call.ID == 0 {
			e.Call = Call{Client: c.cfg.Name, Tunnel: c.cfg.Tunnel, Seq: c.cfg.Peers[a.idx].Seq, FQDN: c.cfg.Peers[a.idx].FQDN, Source: a.source, Local: a.local}
		}
	}
	c.m.host.Event(e)
}

// review brings a client to what it should be doing, after whatever has changed.
func (c *client) review() {
	if c.m.clients[c.cfg.Name] != c {
		return
	}
	c.backup()
	switch {
	case c.cfg.Off != "":
		c.stop(c.cfg.Off, StateIdle)
		return
	case c.standby():
		c.stop("it backs up a client that has its session", StateIdle)
		return
	case c.cfg.Manual && !c.told:
		c.stop("the operator has not said connect", StateIdle)
		return
	case !c.m.holds(c.cfg.Wanted):
		c.stop(c.cfg.Wanted.fails(), StateTracking)
		return
	}
	source, _, ok := c.source()
	if !ok {
		c.stop("no source interface can be used", StateIdle)
		return
	}
	if a := c.cur; a != nil {
		switch {
		case !a.redirect && !c.m.holds(c.cfg.Peers[a.idx].While):
			c.end(c.cfg.Peers[a.idx].While.fails(), a.idx+1)
		case !c.works(a.source, a.local):
			c.end("source "+a.source+" is down", a.idx)
		case c.active:
			c.reactivate(source)
			return
		default:
			return // it is on its way
		}
	}
	if !c.m.now.Before(c.waits) {
		c.waits = time.Time{}
	}
	for c.cur == nil && c.waits.IsZero() && c.advance() {
	}
}

// fails says why a condition does not hold.
func (x Condition) fails() string {
	if x.Down {
		return fmt.Sprintf("track %d is not down", x.Track)
	}
	return fmt.Sprintf("track %d is not up", x.Track)
}

// stop ends all that a client does.
func (c *client) stop(reason string, state State) {
	if c.cur != nil {
		c.end(reason, 0)
	}
	c.tried, c.waits, c.rounds, c.flaps = nil, time.Time{}, 0, 0
	c.rest(state, reason)
}

// rest is how a client looks while it has nothing.
func (c *client) rest(state State, why string) {
	if c.state != state || c.why != why {
		c.state, c.why, c.since = state, why, c.m.now
		if state == StateIdle || state == StateTracking {
			c.event(Idle, nil, why)
		}
	}
}

// end takes away what the tunnel has; next is the peer that is the first to be tried then.
func (c *client) end(reason string, next int) {
	a := c.cur
	c.giveUpBeside(reason)
	c.cur = nil
	if c.active {
		c.lost(a, reason)
	}
	c.first = next % max(len(c.cfg.Peers), 1)
	if a.call.ID != 0 {
		c.m.host.Hangup(c.cfg.Name, c.cfg.Tunnel, reason)
	}
}

// lost notes the end of a session.
func (c *client) lost(a *attempt, reason string) {
	if c.m.now.Sub(c.since) < Stable {
		c.flaps++
	} else {
		c.flaps = 0
	}
	c.active, c.last = false, reason
	c.lostAt, c.since, c.lowersAt = c.m.now, c.m.now, time.Time{}
	c.state, c.why = "", ""
	c.tried = nil
	c.event(Lost, a, reason)
}

// down is called when the session of a call has ended by itself.
func (c *client) down(call uint64, reason string) {
	if c.beside.is(call) || !c.active {
		c.failed(call, reason)
		return
	}
	a := c.cur
	c.cur = nil
	c.lost(a, reason)
	c.first = (a.idx + 1) % len(c.cfg.Peers)
	if a.redirect {
		c.first = a.idx // RFC 5685 §5: back to the gateway that had sent us there
	}
	if b := c.beside; b != nil && b.call.ID != 0 {
		// What was to take its place later does so as soon as it can.
		c.cur, c.beside = b, nil
		c.state, c.why = StateNegotiation, ""
		if b.prepared {
			c.commit(b)
		}
		return
	}
	c.giveUpBeside(reason)
	if len(a.addrs) > 0 {
		// The peer's name has further addresses.
		c.tried = map[int]bool{a.idx: true}
		c.try(&attempt{idx: a.idx, addrs: a.addrs})
		return
	}
	if c.flaps > 1 {
		c.pause(c.flaps - 1)
	}
}

// pause has the client wait before it goes on.
func (c *client) pause(n int) {
	d := RetryBase
	for range min(n-1, 16) {
		d = min(d*2, RetryMax)
	}
	c.waits = c.m.now.Add(d)
	c.rest(StateWaiting, c.last)
	c.m.host.Event(Event{Kind: Exhausted, Client: c.cfg.Name, Tunnel: c.cfg.Tunnel, Reason: c.last, Wait: d})
}

// hurry ends a pause: the next round is worth while now.
func (c *client) hurry() {
	if c.cur == nil && !c.waits.IsZero() {
		c.waits, c.tried, c.first, c.rounds = time.Time{}, nil, 0, 0
	}
}

// advance calls the next peer; false when there is none. Its turn may be over at once.
func (c *client) advance() bool {
	idx, ok := c.next()
	if ok {
		if c.tried == nil {
			c.tried = map[int]bool{}
		}
		c.tried[idx] = true
		c.try(&attempt{idx: idx})
		return true
	}
	if len(c.tried) == 0 {
		c.rest(StateIdle, c.nobody())
		return false
	}
	c.tried, c.first = nil, 0
	c.rounds++
	c.pause(c.rounds)
	return false
}

// next is the next peer of this round that may be tried.
func (c *client) next() (int, bool) {
	n := len(c.cfg.Peers)
	for k := range n {
		idx := (c.first + k) % n
		if !c.tried[idx] && c.usable(idx) {
			return idx, true
		}
	}
	return 0, false
}

// usable says whether a peer may be called, as far as is known before its name is resolved.
func (c *client) usable(idx int) bool {
	p := c.cfg.Peers[idx]
	return c.m.holds(p.While) && (p.FQDN != "" || c.free(p.Address))
}

// nobody says why no peer may be called.
func (c *client) nobody() string {
	for _, p := range c.cfg.Peers {
		if c.m.holds(p.While) {
			return fmt.Sprintf("every peer is in use by another client of backup group %s", c.cfg.BackupGroup)
		}
	}
	return "no peer's track is in the state that is asked for"
}

// free says whether no other block of the backup group has an address or is calling it.
func (c *client) free(a netip.Addr) bool {
	if c.cfg.BackupGroup == "" {
		return true
	}
	for _, o := range c.m.clients {
		if o == c || o.cfg.BackupGroup != c.cfg.BackupGroup {
			continue
		}
		for _, x := range []*attempt{o.cur, o.beside} {
			if x != nil && x.call.ID != 0 && x.call.Peer == a {
				return false
			}
		}
	}
	return true
}

// try begins with a peer: its name is resolved, or its next address is called.
func (c *client) try(a *attempt) {
	p := c.cfg.Peers[a.idx]
	c.cur, c.active = a, false
	c.since = c.m.now
	c.state, c.why = StateNegotiation, ""
	c.expectBetter()
	switch {
	case len(a.addrs) > 0:
	case p.FQDN == "":
		a.addrs = []netip.Addr{p.Address}
	default:
		c.resolve(a)
		return
	}
	c.dial()
}

func (c *client) resolve(a *attempt) {
	p := c.cfg.Peers[a.idx]
	a.query, a.until = c.m.number(), c.m.now.Add(ResolveTime)
	a.source, a.local, _ = c.source()
	c.m.host.Resolve(Query{ID: a.query, Client: c.cfg.Name, Name: p.FQDN, IPv6: p.IPv6})
}

// resolved takes the answer to a question; true when it was this client's.
func (c *client) resolved(id uint64, addrs []netip.Addr, err error) bool {
	a := c.cur
	if a == nil || a.query != id {
		a = c.beside
	}
	if a == nil || id == 0 || a.query != id {
		return false
	}
	a.query = 0
	for _, x := range addrs {
		if x = x.Unmap(); x.IsValid() && x.Is6() == c.cfg.Peers[a.idx].IPv6 && !slices.Contains(a.addrs, x) && len(a.addrs) < 16 {
			a.addrs = append(a.addrs, x)
		}
	}
	if len(a.addrs) == 0 {
		reason := "it has no address of the family"
		if err != nil {
			reason = err.Error()
		}
		c.last = fmt.Sprintf("%s: %s", c.cfg.Peers[a.idx].FQDN, reason)
		c.event(Unresolved, a, reason)
	}
	if a == c.cur {
		c.dial()
	} else {
		c.prepareNext()
	}
	return true
}

// dial calls the next address of the peer in turn; without one it is the next peer's turn.
func (c *client) dial() {
	a := c.cur
	for len(a.addrs) > 0 {
		to := a.addrs[0]
		a.addrs = a.addrs[1:]
		if c.free(to) {
			c.place(a, to, netip.Addr{})
			c.tries++
			c.event(Dialing, a, "")
			c.m.host.Dial(a.call)
			return
		}
	}
	c.cur = nil
}

// place makes a call of an attempt.
func (c *client) place(a *attempt, to, from netip.Addr) {
	p := c.cfg.Peers[a.idx]
	a.source, a.local, _ = c.source()
	a.call = Call{ID: c.m.number(), Client: c.cfg.Name, Tunnel: c.cfg.Tunnel, Seq: p.Seq, Peer: to, FQDN: p.FQDN, Source: a.source, Local: a.local,
		RedirectedFrom: from}
	a.until, a.prepared = c.m.now.Add(AttemptTime), false
}

// failed takes the end of an attempt.
func (c *client) failed(call uint64, reason string) {
	if c.beside.is(call) {
		c.besideFailed(reason)
		return
	}
	if c.active {
		return
	}
	c.last = reason
	c.event(Failed, c.cur, reason)
	c.cur.call = Call{}
	c.dial()
}

// up takes that a session is there.
func (c *client) up(u Up) {
	a := c.cur
	if a == nil || c.active {
		return
	}
	c.active = true
	a.until = time.Time{}
	a.assigned = u.Assigned
	if u.Local.IsValid() {
		a.call.Local = u.Local
	}
	c.since, c.state, c.why = c.m.now, StateActive, ""
	c.tried, c.rounds, c.tries, c.waits = nil, 0, 0, time.Time{}
	c.ups++
	c.lowersAt = c.m.now.Add(BackupDelay)
	c.event(Connected, a, "")
	c.postpone()
}

// redirected follows a gateway's advice.
func (c *client) redirected(call uint64, to netip.Addr) {
	a, beside := c.cur, c.beside.is(call)
	if beside {
		a = c.beside
	}
	c.m.host.Event(Event{Kind: Redirected, Client: c.cfg.Name, Tunnel: c.cfg.Tunnel, Call: a.call, To: to})
	switch {
	case !to.IsValid() || to == a.call.Peer || a.redirects >= maxRedirects || !c.free(to):
		return // the attempt fails, or the session goes on, by itself
	case beside:
		from := a.call.Peer
		a.redirects, a.redirect = a.redirects+1, true
		c.m.host.Abandon(a.call, "redirected to "+to.String())
		c.place(a, to, from)
		c.m.host.Prepare(a.call)
	case !c.active:
		from := a.call.Peer
		a.redirects, a.redirect = a.redirects+1, true
		c.place(a, to, from)
		c.event(Dialing, a, "redirected by "+from.String())
		c.m.host.Dial(a.call)
	default:
		c.giveUpBeside("redirected")
		b := &attempt{idx: a.idx, redirects: a.redirects + 1, redirect: true}
		c.beside = b
		c.place(b, to, a.call.Peer)
		c.event(Preparing, b, "redirected by "+a.call.Peer.String())
		c.m.host.Prepare(b.call)
	}
}

// due does what the time has come for.
func (c *client) due() {
	late := func(t time.Time) bool { return !t.IsZero() && !t.After(c.m.now) }
	if a := c.cur; a != nil && !c.active && late(a.until) {
		if a.query != 0 {
			c.resolved(a.query, nil, fmt.Errorf("no answer"))
		} else {
			c.m.host.Hangup(c.cfg.Name, c.cfg.Tunnel, "no session in time")
			c.failed(a.call.ID, "no session in time")
		}
	}
	if b := c.beside; b != nil && late(b.until) {
		if b.query != 0 {
			c.resolved(b.query, nil, fmt.Errorf("no answer"))
		} else {
			c.m.host.Abandon(b.call, "no session in time")
			c.besideFailed("no session in time")
		}
	}
}

// remove ends a client for good.
func (c *client) remove(reason string) {
	c.stop(reason, StateIdle)
	delete(c.m.clients, c.cfg.Name)
	c.setBackup(false)
}

// change gives a client another configuration.
func (c *client) change(w Config) {
	old := c.cfg
	if old.BackupInterface != w.BackupInterface {
		c.setBackup(false)
	}
	keeps := -1
	if a := c.cur; c.active && old.IPv6 == w.IPv6 {
		p := old.Peers[a.idx]
		keeps = slices.IndexFunc(w.Peers, func(x Peer) bool { return x.Address == p.Address && x.FQDN == p.FQDN && x.IPv6 == p.IPv6 })
		if len(old.Sources) == 0 != (len(w.Sources) == 0) || a.source != "" && !slices.ContainsFunc(w.Sources, func(s Source) bool { return s.Interface == a.source }) {
			keeps = -1
		}
	}
	c.giveUpBeside("client block is changed")
	if c.cur != nil && keeps < 0 {
		c.end("client block is changed", 0)
	}
	c.cfg = w
	if c.active && !c.free(c.cur.call.Peer) {
		c.end("another client of backup group "+w.BackupGroup+" uses the peer", 0)
	}
	c.first, c.tried, c.waits, c.rounds = 0, nil, time.Time{}, 0
	if c.cur != nil {
		c.cur.idx = keeps
		c.cur.addrs = nil
		c.expectBetter()
	}
}
