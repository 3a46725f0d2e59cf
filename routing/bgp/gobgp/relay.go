//go:build !js

package gobgp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"felloe/routing/bgp"
	"felloe/routing/bgp/guard"
)

// relay joins a connection with the peer to one with GoBGP, message by message. While the session is not up the
// connection with the peer can be exchanged for another one without GoBGP noticing: what it has said is said again.
type relay struct {
	p       *peer
	session uint64
	send    *sender
	up      chan struct{} // closed when bgp knows that the session is up
	alive   chan struct{} // closed when the peer has got our KEEPALIVE: an UPDATE must not overtake it
	over    chan struct{} // closed when the relay has ended
	begun   sync.Once
	ear     ear

	mu        sync.Mutex
	engine    net.Conn
	conn      net.Conn
	guard     *guard.Guard
	outbound  bool
	preread   []byte
	ended     bool
	orphaned  bool // the peer closed the connection, and another one may take its place
	taken     bool
	reason    string
	notified  bool   // a NOTIFICATION went one way or the other
	sentOpen  []byte // what GoBGP said so far
	sentAlive bool
	gotOpen   []byte // what GoBGP heard so far
	gotAlive  bool
	before    guard.Counters // of connections that were exchanged

	writeMu  sync.Mutex    // one writer at a time to the peer
	patience time.Duration // how long one may take
}

func newRelay(p *peer, o *offer) *relay {
	p.s.sessions++
	return &relay{p: p, session: p.s.sessions, send: newSender(), up: make(chan struct{}), alive: make(chan struct{}), over: make(chan struct{}),
		patience: max(sendHold, 2*p.n.Timers.WithDefaults().Hold), ear: ear{begun: time.Now()}, conn: o.conn, outbound: o.outbound, preread: o.open, guard: newGuard(p)}
}

// newGuard makes a guard for a connection with a peer. The speaker's lock is held.
func newGuard(p *peer) *guard.Guard {
	cfg := &p.s.cfg
	g := guard.Config{LocalAS: cfg.AS, LocalID: cfg.RouterID, ClusterID: cfg.ClusterID, RemoteAS: p.n.RemoteAS,
		AllowASIn: int(p.n.AllowASIn), Hold: uint16(p.n.Timers.WithDefaults().Hold / time.Second)}
	if !g.ClusterID.IsValid() {
		g.ClusterID = cfg.RouterID
	}
	if p.n.External(cfg.AS) {
		g.StandIn = standIn
	}
	if c := cfg.GracefulRestart; c.Enabled {
		c = c.WithDefaults()
		kept := p.s.recovered
		g.Graceful = &guard.Graceful{Restarting: !kept, Seconds: uint16(c.RestartTime / time.Second), KeptIPv4: kept, KeptIPv6: kept}
	}
	for _, f := range p.n.FamiliesOf(p.addr) {
		g.IPv4, g.IPv6 = g.IPv4 || f == bgp.IPv4, g.IPv6 || f == bgp.IPv6
	}
	return guard.New(g)
}

// run connects to GoBGP and relays until one side ends.
func (r *relay) run() {
	to := addrPort(r.conn.LocalAddr()).Addr()
	var c net.Conn
	err := errors.New("BGP is not running")
	if e := r.p.s.running.Load(); e != nil {
		c, err = e.arena.dial(r.p.addr, netip.AddrPortFrom(to, bgp.Port))
	}
	if err != nil {
		r.p.s.log.Warn().Str("peer", r.p.addr.String()).Err(err).Msg("BGP's engine cannot be reached")
		r.end(&guard.Notification{Code: guard.Cease, Subcode: guard.ConnectionRejected}, "out of resources")
		return
	}
	r.mu.Lock()
	r.engine, r.taken = c, true
	ended := r.ended
	conn, g, first := r.conn, r.guard, r.preread
	r.mu.Unlock()
	if ended {
		c.Close()
		return
	}
	go r.contain(func() { r.fromPeer(conn, g, first) })
	r.fromEngine(c)
}

// contain has a panic of ours cost the session: nobody would read from the peer, or write to it, any more.
func (r *relay) contain(f func()) {
	r.p.s.contain(func() {
		done := false
		defer func() {
			if !done {
				r.end(&guard.Notification{Code: guard.Cease}, "a fault of our own")
			}
		}()
		f()
		done = true
	})
}

// fromEngine passes on what GoBGP says.
func (r *relay) fromEngine(c net.Conn) {
	buf := make([]byte, guard.MaxLen)
	alive := false
	for {
		msg, err := guard.ReadMessage(c, buf)
		if err != nil {
			r.end(nil, "")
			return
		}
		r.mu.Lock()
		g, conn := r.guard, r.conn
		out, err := g.ToPeer(msg)
		if err == nil {
			switch msg[18] {
			case guard.Open:
				r.sentOpen = bytes.Clone(out)
			case guard.Keepalive:
				r.sentAlive = true
			}
		}
		r.mu.Unlock()
		if err != nil {
			r.end(nil, err.Error())
			return
		}
		if out == nil {
			continue
		}
		if n, ok := guard.ParseNotification(out); ok {
			r.note("sent to", n)
		}
		if err := r.write(conn, out); err != nil && r.current(conn) && !r.isOrphaned() {
			r.end(nil, "Peer closed the session")
			return
		}
		if msg[18] == guard.Keepalive && !alive {
			alive = true
			close(r.alive)
		}
	}
}

// trace tells who listens of a message.
func (r *relay) trace(sent bool, msg []byte) {
	if f := r.p.s.o.Trace; f != nil && len(msg) > 18 {
		f(r.p.addr, sent, msg[18], len(msg))
	}
}

func (r *relay) write(c net.Conn, b []byte) error {
	r.writeMu.Lock()
	defer r.writeMu.Unlock()
	return r.put(c, b)
}

// put is write with the right to.
func (r *relay) put(c net.Conn, b []byte) error {
	r.trace(true, b)
	late := time.AfterFunc(r.patience, func() { r.end(nil, "Send hold timer expired") })
	defer late.Stop()
	_, err := c.Write(b)
	return err
}

func (r *relay) current(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn == c && !r.ended
}

// note logs a NOTIFICATION and remembers it as the reason.
func (r *relay) note(direction string, n guard.Notification) {
	p := r.p
	what := fmt.Sprintf("%d/%d (%s)", n.Code, n.Subcode, guard.CodeText(n.Code, n.Subcode))
	if n.Text != "" {
		what += ": " + n.Text
	}
	reason := "BGP Notification received: "
	if direction == "sent to" {
		reason = "BGP Notification sent: "
	}
	r.mu.Lock()
	r.notified = true
	if r.reason == "" {
		r.reason = reason + what
	}
	r.mu.Unlock()
	if n.Code == guard.OpenMessageError && n.Subcode == guard.BadPeerAS {
		p.s.mu.Lock()
		p.why = "wrong AS"
		p.s.mu.Unlock()
	}
	p.s.notice(p.addr, 3, "NOTIFICATION", "%s neighbor %v %s", direction, p.addr, what)
}

// fromPeer passes on what the peer says on one connection, as the guard writes it.
func (r *relay) fromPeer(c net.Conn, g *guard.Guard, first []byte) {
	buf := make([]byte, guard.MaxLen)
	defer r.ear.deaf.Store(false)
	for {
		r.ear.deaf.Store(true)
		r.p.s.so.Wait()
		r.ear.hears()
		r.ear.deaf.Store(false)
		msg := first
		first = nil
		if msg == nil {
			var err error
			if msg, err = guard.ReadMessage(c, buf); err != nil {
				var n *guard.Notification
				if errors.As(err, &n) {
					r.refuse(c, n)
				} else {
					r.lost(c)
				}
				return
			}
		}
		r.ear.deaf.Store(true)
		if !r.take(c, g, msg) {
			return
		}
	}
}

// take handles one message of the peer; false says that the connection is done with.
func (r *relay) take(c net.Conn, g *guard.Guard, msg []byte) bool {
	r.trace(false, msg)
	var (
		got           guard.Received
		err           error
		fault         string
		looped, alive bool
		heard         []byte
		engine        net.Conn
	)
	if !func() bool {
		r.mu.Lock()
		defer r.mu.Unlock() // whatever the message does to the guard
		if r.conn != c || r.ended {
			return false
		}
		heard, alive, engine = r.gotOpen, r.gotAlive, r.engine
		got, err = g.FromPeer(msg)
		fault, looped = g.Fault, g.Looped
		if err == nil {
			switch msg[18] {
			case guard.Open:
				if heard == nil {
					r.gotOpen = got.Engine
				}
			case guard.Keepalive:
				r.gotAlive = true
			}
		}
		return true
	}() {
		return false
	}
	if err != nil {
		var n *guard.Notification
		if !errors.As(err, &n) {
			n = &guard.Notification{Code: guard.Cease, Text: err.Error()}
		}
		r.refuse(c, n)
		return false
	}
	switch {
	case looped:
		r.p.s.notice(r.p.addr, 6, "LOOP", "neighbor %v announced a path that was not taken: %s", r.p.addr, fault)
	case fault != "":
		r.p.s.notice(r.p.addr, 4, "MALFORMED", "neighbor %v sent an UPDATE that was not taken as it is: %s", r.p.addr, fault)
	}
	if n, ok := guard.ParseNotification(msg); ok {
		if n.Code == guard.Cease && n.Subcode == guard.CollisionResolution && !r.established() {
			r.lost(c) // the peer keeps another connection, which may be on its way
			return false
		}
		r.note("received from", n)
	}
	if msg[18] == guard.Open && heard != nil {
		if !bytes.Equal(heard, got.Engine) {
			r.end(&guard.Notification{Code: guard.Cease, Subcode: guard.CollisionResolution}, "the peer is another router than before")
			return false
		}
		return true // GoBGP has heard it on the connection before
	}
	r.report(got)
	if msg[18] == guard.Open {
		r.ear.hears()
		r.p.s.mu.Lock()
		hold, every := r.p.times(g.Open())
		r.p.s.mu.Unlock()
		if hold > 0 {
			go r.contain(func() { r.keep(hold, every) })
		}
	}
	if m := got.Engine; m != nil && !(msg[18] == guard.Keepalive && alive) { // GoBGP needs the first one only
		if _, err := engine.Write(m); err != nil {
			r.end(nil, "")
			return false
		}
	}
	if msg[18] == guard.NotificationType {
		r.end(nil, "")
		return false
	}
	return true
}

// begin says that bgp knows of the session: what the peer says of routes can go there, and what it says can come.
func (r *relay) begin() {
	r.begun.Do(func() {
		close(r.up)
		go r.contain(r.sending)
	})
}

// report tells bgp what the peer says of routes, once it knows of the session.
func (r *relay) report(got guard.Received) {
	if got.Update == nil && got.Refresh == 0 {
		return
	}
	select {
	case <-r.up:
	case <-r.over:
		return
	}
	s, a := r.p.s, r.p.addr
	if got.Refresh != 0 {
		s.emit(&bgp.RefreshEvent{Peer: a, Session: r.session, Family: got.Refresh})
		return
	}
	now := s.so.Now()
	var events []bgp.Event
	if w := got.Update.Withdrawn; len(w) > 0 {
		events = append(events, &bgp.PathEvent{Peer: a, Session: r.session, Prefixes: w, Received: now})
	}
	for _, x := range got.Update.Reach {
		events = append(events, &bgp.PathEvent{Peer: a, Session: r.session, Prefixes: x.Prefixes, Attributes: x.Attributes, Received: now})
	}
	if f := got.Update.EndOfRIB; f != 0 {
		events = append(events, &bgp.EndOfRIBEvent{Peer: a, Session: r.session, Family: f})
	}
	s.emit(events...)
}

// refuse ends the session because of what the peer said.
func (r *relay) refuse(c net.Conn, n *guard.Notification) {
	if !r.current(c) {
		return
	}
	r.note("sent to", *n)
	r.end(n, "")
}

// lost is a connection that the peer closed. While another one is being looked at (collide), which the peer may have
// kept in its place, that decides what becomes of the session.
func (r *relay) lost(c net.Conn) {
	if !r.current(c) {
		return
	}
	s := r.p.s
	s.mu.Lock()
	rival := r.p.rival != nil
	r.mu.Lock()
	orphaned := rival && !r.gotAlive && !r.ended
	r.orphaned = orphaned
	r.mu.Unlock()
	s.mu.Unlock()
	if !orphaned {
		r.end(nil, "Peer closed the session")
	}
}

func (r *relay) isOrphaned() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.orphaned
}

// end closes both sides, telling the peer n first, when there is one. Only the first call counts.
func (r *relay) end(n *guard.Notification, reason string) {
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		return
	}
	r.ended = true
	r.notified = r.notified || n != nil
	close(r.over)
	if r.reason == "" {
		r.reason = reason
	}
	reason = r.reason
	conn, engine, taken, notified := r.conn, r.engine, r.taken, r.notified
	r.mu.Unlock()
	if n != nil && conn != nil && r.writeMu.TryLock() {
		write(conn, n)
		r.writeMu.Unlock()
	}
	if conn != nil {
		conn.Close()
	}
	if engine != nil {
		engine.Close()
	}
	r.p.relayEnded(r, taken, notified, reason)
}

// switchTo goes on with another connection of the same peer. It fails once the session is up or over.
func (r *relay) switchTo(o *offer) bool {
	r.p.s.mu.Lock()
	g := newGuard(r.p)
	r.p.s.mu.Unlock()
	r.mu.Lock()
	if r.ended || r.gotAlive || !r.taken {
		r.mu.Unlock()
		return false
	}
	old := r.conn
	r.before = sum(r.before, r.guard.Counters())
	r.conn, r.guard, r.outbound, r.orphaned = o.conn, g, o.outbound, false
	var again [][]byte
	if r.sentOpen != nil {
		again = append(again, r.sentOpen)
	}
	if r.sentAlive {
		again = append(again, guard.KeepaliveMessage())
	}
	for _, m := range again {
		_, _ = g.ToPeer(m)
	}
	// Before anybody else writes to it.
	r.writeMu.Lock()
	r.mu.Unlock()
	for _, m := range again {
		_, _ = o.conn.Write(m)
	}
	r.writeMu.Unlock()
	write(old, &guard.Notification{Code: guard.Cease, Subcode: guard.CollisionResolution})
	old.Close()
	r.p.s.mu.Lock()
	r.p.local, r.p.remote = addrPort(o.conn.LocalAddr()), addrPort(o.conn.RemoteAddr())
	r.p.s.mu.Unlock()
	go r.contain(func() { r.fromPeer(o.conn, g, o.open) })
	return true
}

func (r *relay) established() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gotAlive
}

func (r *relay) isOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

func (r *relay) isOutbound() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outbound
}

func (r *relay) peerOpen() *guard.PeerOpen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.guard.Open()
}

func (r *relay) state() bgp.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.gotAlive:
		return bgp.Established
	case r.gotOpen != nil:
		return bgp.OpenConfirm
	case r.sentOpen != nil:
		return bgp.OpenSent
	}
	return bgp.Connect
}

// messages are the relay's counters.
func (r *relay) messages() (in, out bgp.Messages, malformed uint64) {
	r.mu.Lock()
	c := sum(r.before, r.guard.Counters())
	r.mu.Unlock()
	make := func(a [6]uint64) bgp.Messages {
		return bgp.Messages{Opens: a[guard.Open], Updates: a[guard.UpdateType], Notifications: a[guard.NotificationType],
			Keepalives: a[guard.Keepalive], Refreshes: a[guard.RouteRefresh]}
	}
	return make(c.In), make(c.Out), c.Withdrawn + c.Discarded
}

func sum(a, b guard.Counters) guard.Counters {
	for i := range a.In {
		a.In[i] += b.In[i]
		a.Out[i] += b.Out[i]
	}
	a.Withdrawn += b.Withdrawn
	a.Discarded += b.Discarded
	a.Looped += b.Looped
	return a
}
