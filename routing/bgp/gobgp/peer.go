//go:build !js

package gobgp

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"felloe/routing/bgp"
	"felloe/routing/bgp/guard"

	api "github.com/osrg/gobgp/v3/api"
)

// engineSide is what GoBGP's peer is ready for.
type engineSide uint8

const (
	engineIdle   engineSide = iota // takes no connection
	engineActive                   // takes one
	engineTaken                    // has been given one
	engineUp
)

// pendingFor is how long a connection waits for GoBGP's peer, whose idle time is five seconds.
const pendingFor = 15 * time.Second

// stable is how long a session must have lasted for the next one not to count as one more attempt.
const stable = 10 * time.Second

// burst is how long each attempt may take when there is a new way to a peer: what leads back to us may be a moment behind,
// and a lost SYN is sent again after a second only. After a quarter of that a peer that refused is tried again. The last
// comes first.
var burst = [...]time.Duration{4 * time.Second, 2 * time.Second, time.Second, 500 * time.Millisecond, 250 * time.Millisecond, 200 * time.Millisecond,
	100 * time.Millisecond}

// probeFor is how long a connection waits for the old one to prove dead; what is not acknowledged there is sent again
// at growing intervals.
const probeFor = 10 * time.Second

// peer is a neighbour's session. Its fields belong to the speaker's lock.
type peer struct {
	s       *speaker
	addr    netip.Addr
	n       bgp.Neighbor
	dynamic bool
	gone    bool

	side    engineSide
	renewed bool // GoBGP's peer was made anew since it was idle
	relay   *relay
	waiting *offer // a connection that GoBGP is not ready for
	rival   *offer // a connection that collides with the relayed one, while that is decided
	dialing bool
	burst   int                // of attempts that are made in quick order, how many are left
	redial  context.CancelFunc // ends the attempt that is being made
	kick    chan struct{}
	cancel  context.CancelFunc

	prefixes bool        // maximum-prefix closed it, until it is cleared
	again    *time.Timer // or until this
	failures int
	failedAt time.Time // by the system's clock
	up       bool      // bgp was told so
	upAt     time.Time // by the system's clock
	external bool
	since    time.Time
	remoteAS uint32
	graceful *bgp.Graceful // of the session, when both sides know it
	routerID netip.Addr
	hold     time.Duration
	local    netip.AddrPort
	remote   netip.AddrPort

	endReason      string       // of the relay that ended last
	endNotified    bool         // it ended with a NOTIFICATION
	downPending    bool         // GoBGP's peer is down; bgp hears of it when the relay has said why
	received, sent bgp.Messages // of sessions before this one
	malformed      uint64
	ups, downs     uint64
	why, lastReset string
	lastResetAt    time.Time
}

// offer is a connection that is not relayed yet.
type offer struct {
	conn     net.Conn
	outbound bool
	open     []byte // the OPEN that was read from it
}

func (s *speaker) newPeer(addr netip.Addr, n bgp.Neighbor, first net.Conn) *peer {
	p := &peer{s: s, addr: addr, n: n, dynamic: !n.Address.IsValid(), kick: make(chan struct{}, 1), since: s.so.Now(), burst: len(burst)}
	if first != nil {
		p.waiting = &offer{conn: first}
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	if !p.dynamic {
		go p.dial(ctx)
	} else {
		go p.expire(ctx)
	}
	return p
}

// addPeer adds a peer to GoBGP and to ours. It runs on the worker.
func (s *speaker) addPeer(cfg *bgp.Config, addr netip.Addr, n bgp.Neighbor, first net.Conn) {
	p := s.newPeer(addr, n, first)
	s.mu.Lock()
	s.peers[addr] = p
	s.mu.Unlock()
	s.addToEngine(cfg, p)
}

func (s *speaker) addToEngine(cfg *bgp.Config, p *peer) {
	if s.engine == nil {
		return
	}
	if err := s.engine.addPeer(cfg, p.addr, &p.n); err != nil {
		s.notice(p.addr, 3, "PEER", "neighbor %v cannot be set up: %v", p.addr, err)
		if p.dynamic {
			s.removePeer(p, nil, "")
		}
	}
}

// addPeerAsync is addPeer for a connection that has just come.
func (s *speaker) addPeerAsync(cfg *bgp.Config, addr netip.Addr, n bgp.Neighbor, first net.Conn) bool {
	s.mu.Lock()
	if s.closed || s.peers[addr] != nil {
		s.mu.Unlock()
		first.Close()
		return false
	}
	p := s.newPeer(addr, n, first)
	s.peers[addr] = p
	s.mu.Unlock()
	s.do(func() { s.addToEngine(cfg, p) })
	return true
}

// removePeer ends a peer's session and forgets it. It runs on the worker.
func (s *speaker) removePeer(p *peer, n *guard.Notification, reason string) {
	s.mu.Lock()
	if p.gone {
		s.mu.Unlock()
		return
	}
	p.gone = true
	if p.dynamic {
		s.o.Dynamic.give()
	}
	p.cancel()
	r, w := p.relay, p.waiting
	p.waiting = nil
	if s.peers[p.addr] == p {
		delete(s.peers, p.addr)
	}
	delete(s.noticed, p.addr)
	delete(s.away, p.addr)
	down := p.goneDown(reason)
	s.mu.Unlock()
	if r != nil {
		r.end(n, reason)
	}
	if w != nil {
		w.conn.Close()
	}
	s.emit(down...)
	if s.engine != nil {
		_ = s.engine.deletePeer(p.addr)
	}
}

// reset ends a session; the peer tries again.
func (s *speaker) reset(p *peer, n *guard.Notification, reason string) {
	s.mu.Lock()
	r, w := p.relay, p.waiting
	p.waiting = nil
	s.mu.Unlock()
	if r != nil {
		r.end(n, reason)
	}
	if w != nil {
		if n != nil {
			write(w.conn, n)
		}
		w.conn.Close()
	}
}

// goneDown notes that the session is down and returns what bgp must hear. The lock is held.
func (p *peer) goneDown(reason string) []bgp.Event {
	if !p.up {
		return nil
	}
	p.up = false
	lost := reason == "" && !p.endNotified && p.graceful != nil
	p.downs++
	p.since = p.s.so.Now()
	p.downPending = false
	if reason == "" {
		reason = p.endReason
	}
	if reason == "" {
		reason = "Peer closed the session"
	}
	p.lastReset, p.lastResetAt = reason, p.since
	return []bgp.Event{&bgp.StateEvent{Peer: p.addr, Reason: reason, RemoteAS: p.remoteAS, RouterID: p.routerID,
		External: p.external, Dynamic: p.dynamic, Lost: lost}}
}

// failed notes why a session ended or did not come up. The lock is held.
func (p *peer) failed(reason string) {
	if reason != "" {
		p.lastReset, p.lastResetAt = reason, p.s.so.Now()
	}
}

// engineState takes up where GoBGP's peer is.
func (s *speaker) engineState(a netip.Addr, state api.PeerState_SessionState) {
	s.mu.Lock()
	p := s.peers[a]
	if p == nil {
		s.mu.Unlock()
		return
	}
	var events []bgp.Event
	var ended, begun *relay
	idle := false
	switch state {
	case api.PeerState_ESTABLISHED:
		p.side = engineUp
		if r := p.relay; r != nil {
			if o := r.peerOpen(); o != nil {
				p.remoteAS, p.routerID, p.external = o.AS, o.ID, o.AS != s.cfg.AS
				p.hold, _ = p.times(o)
			}
			p.up, p.since, p.why, p.upAt = true, s.so.Now(), "", time.Now()
			p.ups++
			delete(s.noticed, a)
			p.graceful = p.agreed(r)
			up := &bgp.StateEvent{Peer: a, Up: true, RemoteAS: p.remoteAS, RouterID: p.routerID,
				External: p.external, Dynamic: p.dynamic, Session: r.session, Local: p.local.Addr(), Graceful: p.graceful}
			if o := r.peerOpen(); o != nil {
				up.Refresh, up.Families = o.Refresh, familiesOf(o)
			}
			events = append(events, up)
			begun = r
		}
	case api.PeerState_ACTIVE:
		if p.side == engineIdle {
			p.side, p.renewed = engineActive, false
			p.handWaiting()
		}
	case api.PeerState_IDLE:
		if p.side != engineIdle {
			p.side = engineIdle
			if ended = p.relay; ended != nil {
				p.downPending = p.up
			} else {
				events = p.goneDown("")
				idle = true
			}
		}
	}
	s.mu.Unlock()
	s.emit(events...)
	if begun != nil {
		begun.begin()
	}
	if ended != nil {
		// What GoBGP said last may still be on its way through the relay, which ends by itself then.
		time.AfterFunc(300*time.Millisecond, func() { ended.end(nil, "") })
	}
	if idle {
		s.do(func() { s.renew(p) })
	}
	p.poke()
}

// renew makes GoBGP's peer anew, which is idle for five seconds otherwise. A dynamic one that has no connection is done
// with. It runs on the worker.
func (s *speaker) renew(p *peer) {
	s.mu.Lock()
	ok := !p.gone && !p.renewed && p.side == engineIdle && p.relay == nil
	done := ok && p.dynamic && p.waiting == nil
	p.renewed = p.renewed || ok
	cfg := s.cfg
	s.mu.Unlock()
	switch {
	case done:
		s.removePeer(p, nil, "")
	case ok && s.engine != nil:
		_ = s.engine.deletePeer(p.addr)
		s.addToEngine(&cfg, p)
	}
}

// agreed is what the peer says of graceful restart, when we do it too. The lock is held.
func (p *peer) agreed(r *relay) *bgp.Graceful {
	o := r.peerOpen()
	if o == nil || o.Graceful == nil || !p.s.cfg.GracefulRestart.Enabled {
		return nil
	}
	x := o.Graceful
	g := &bgp.Graceful{Restarting: x.Restarting, Time: time.Duration(x.Seconds) * time.Second}
	for _, f := range [...]struct {
		family   bgp.Family
		on, kept bool
	}{{bgp.IPv4, x.IPv4, x.KeptIPv4}, {bgp.IPv6, x.IPv6, x.KeptIPv6}} {
		if f.on {
			g.Families = append(g.Families, f.family)
		}
		if f.on && f.kept {
			g.Kept = append(g.Kept, f.family)
		}
	}
	return g
}

// knowsGraceful says whether both sides of a session know graceful restart.
func (p *peer) knowsGraceful(r *relay) bool {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.agreed(r) != nil
}

// poke makes the dialler look again.
func (p *peer) poke() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// blocked says, in a word, what keeps a session from being tried. The lock is held.
func (p *peer) blocked() string {
	switch {
	case p.n.Shutdown:
		return "Admin"
	case p.prefixes:
		return "PfxCt"
	case p.n.NoSource:
		return "no address"
	case p.s.away[p.addr] && !p.n.DisableConnectedCheck:
		return "not connected"
	}
	return ""
}

// dial tries to connect while there is no session, until the peer is removed.
func (p *peer) dial(ctx context.Context) {
	for ctx.Err() == nil {
		p.s.mu.Lock()
		if p.waiting != nil && p.side == engineActive && p.relay == nil {
			p.handWaiting()
		}
		try := p.side == engineActive && p.relay == nil && p.waiting == nil && !p.n.Passive && p.blocked() == ""
		n, as := p.n, p.s.cfg.AS
		retry := n.Timers.WithDefaults().ConnectRetry
		wait := time.Duration(0)
		if p.failures > 0 {
			wait = time.Until(p.failedAt.Add(backoff(p.failures-1, retry)))
			if p.burst > 0 {
				wait = min(wait, 100*time.Millisecond)
			}
		}
		p.dialing = try && wait <= 0
		lost := p.side == engineIdle && p.relay == nil
		p.s.mu.Unlock()
		switch {
		case !try && !lost:
			p.pause(ctx, time.Hour)
			continue
		case !try:
			// GoBGP's peer is idle for five seconds at most. If it seems to be for longer, a report has been missed.
			if p.pause(ctx, 7*time.Second) {
				p.s.do(func() { p.s.askState(p) })
			}
			continue
		case wait > 0:
			p.pause(ctx, wait)
			continue
		}
		limit := min(retry, 10*time.Second)
		attempt, cancel := context.WithCancel(ctx)
		p.s.mu.Lock()
		quick := p.burst
		if quick > 0 {
			p.burst--
			limit = min(limit, burst[quick-1])
		}
		p.redial = cancel
		p.s.mu.Unlock()
		begun := time.Now()
		c, err := p.connect(attempt, &n, as, limit)
		nudged := attempt.Err() != nil
		cancel()
		p.s.mu.Lock()
		p.dialing, p.redial = false, nil
		if err != nil && quick == 0 {
			p.failures++
			p.failedAt = time.Now()
		}
		p.s.mu.Unlock()
		if err == nil {
			p.offer(c, true)
			continue
		}
		if quick > 0 && !nudged {
			p.pause(ctx, limit/4-time.Since(begun))
		}
		p.s.log.Debug().Str("peer", p.addr.String()).Err(err).Msg("BGP connection failed")
	}
}

// askState makes up for a missed report of GoBGP's. It runs on the worker.
func (s *speaker) askState(p *peer) {
	if s.engine == nil || p.gone {
		return
	}
	s.engine.state(p.addr, func(state api.PeerState_SessionState) {
		s.mu.Lock()
		missed := p.side == engineIdle && p.relay == nil && state == api.PeerState_ACTIVE
		s.mu.Unlock()
		if missed {
			s.engineState(p.addr, state)
		}
	})
}

// backoff doubles from one second to 30 or the connect-retry time, give or take a quarter: two routers that dial each
// other must not keep step.
func backoff(failures int, most time.Duration) time.Duration {
	d := min(time.Second<<min(failures, 5), 30*time.Second, most)
	return d*3/4 + time.Duration(rand.Int64N(int64(d)/2+1))
}

// pause waits for d, or until something has changed; it says whether it waited for all of d.
func (p *peer) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-p.kick:
	case <-t.C:
		return true
	}
	return false
}

func (p *peer) connect(ctx context.Context, n *bgp.Neighbor, as uint32, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var local netip.AddrPort
	if n.UpdateSource.IsValid() {
		local = netip.AddrPortFrom(n.UpdateSource, 0)
	}
	return p.s.o.Network.DialTCP(ctx, local, netip.AddrPortFrom(p.addr, bgp.Port), bgp.SocketOptionsOf(n, as))
}

// expire closes connections of a dynamic peer that wait for too long, and the peer with them.
func (p *peer) expire(ctx context.Context) {
	t := time.NewTicker(pendingFor)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		p.s.mu.Lock()
		useless := p.relay == nil && !p.up
		p.s.mu.Unlock()
		if useless {
			p.s.do(func() { p.s.removePeer(p, nil, "") })
			return
		}
	}
}

// offer takes a connection with the peer: it is relayed, waits, or is closed.
func (p *peer) offer(c net.Conn, outbound bool) {
	s := p.s
	s.mu.Lock()
	why := p.blocked()
	var refused net.Conn
	var rival *relay
	o := &offer{conn: c, outbound: outbound}
	switch {
	case p.gone || s.closed || why != "" || !outbound && !p.localOK(c):
		refused = c
	case p.relay != nil && p.rival != nil:
		refused = c
	case p.relay != nil:
		rival, p.rival = p.relay, o
	default:
		if p.waiting != nil {
			refused = p.waiting.conn // the newer one is more likely to be alive
		}
		p.waiting = o
		if p.side == engineActive {
			p.handWaiting()
		} else {
			p.dropLater(o)
		}
	}
	s.mu.Unlock()
	if refused != nil {
		write(refused, &guard.Notification{Code: guard.Cease, Subcode: guard.ConnectionRejected})
		refused.Close()
	}
	if rival != nil {
		go s.contain(func() { p.collide(rival, o) })
	}
}

// localOK says whether a connection came to the address that update-source names.
func (p *peer) localOK(c net.Conn) bool {
	return !p.n.UpdateSource.IsValid() || addrPort(c.LocalAddr()).Addr() == p.n.UpdateSource
}

// dropLater closes a waiting connection when its time is over. The lock is held.
func (p *peer) dropLater(o *offer) {
	time.AfterFunc(pendingFor, func() {
		p.s.mu.Lock()
		late := p.waiting == o
		if late {
			p.waiting = nil
		}
		p.s.mu.Unlock()
		if late {
			o.conn.Close()
			p.poke()
		}
	})
}

// handWaiting relays the waiting connection. GoBGP's peer is ACTIVE; the lock is held.
func (p *peer) handWaiting() {
	o := p.waiting
	if o == nil || p.relay != nil {
		return
	}
	if p.blocked() != "" { // since it was offered: as the rival of a session that has been shut down, for instance
		p.waiting = nil
		go func() {
			write(o.conn, &guard.Notification{Code: guard.Cease, Subcode: guard.ConnectionRejected})
			o.conn.Close()
		}()
		return
	}
	p.waiting, p.side, p.endReason = nil, engineTaken, ""
	r := newRelay(p, o)
	p.relay = r
	p.local, p.remote = addrPort(o.conn.LocalAddr()), addrPort(o.conn.RemoteAddr())
	go r.contain(r.run)
}

// relayEnded is called once by each relay. taken says that GoBGP saw it, and so will go through IDLE.
func (p *peer) relayEnded(r *relay, taken, notified bool, reason string) {
	s := p.s
	s.mu.Lock()
	var down []bgp.Event
	idle := false
	if p.relay == r {
		p.relay = nil
		if !taken && p.side == engineTaken {
			p.side = engineActive
		}
		p.failed(reason)
		p.endReason, p.endNotified = reason, notified
		if notified {
			p.burst = min(p.burst, 1)
		}
		if p.up && time.Since(p.upAt) > stable {
			p.failures = 0
		} else {
			p.failures++
			p.failedAt = time.Now()
		}
		if p.downPending {
			down = p.goneDown("")
		}
		if idle = p.side == engineIdle; p.dynamic && !taken && p.waiting == nil {
			p.side, idle = engineIdle, true
		}
	}
	in, out, bad := r.messages()
	p.received, p.sent, p.malformed = add(p.received, in), add(p.sent, out), p.malformed+bad
	s.mu.Unlock()
	s.emit(down...)
	if idle {
		s.do(func() { s.renew(p) })
	}
	p.poke()
}

func add(a, b bgp.Messages) bgp.Messages {
	return bgp.Messages{Opens: a.Opens + b.Opens, Updates: a.Updates + b.Updates, Notifications: a.Notifications + b.Notifications,
		Keepalives: a.Keepalives + b.Keepalives, Refreshes: a.Refreshes + b.Refreshes}
}

// requestRefresh asks the peer for its paths (RFC 2918).
func (p *peer) requestRefresh() {
	p.s.mu.Lock()
	r := p.relay
	p.s.mu.Unlock()
	if r != nil {
		r.send.ask()
	}
}

// snapshot is the peer's state. The lock is held.
func (p *peer) snapshot() bgp.Peer {
	b := bgp.Peer{Address: p.addr, Group: p.n.Group, RemoteAS: p.n.RemoteAS, Dynamic: p.dynamic,
		External: p.n.External(p.s.cfg.AS), Since: p.since, Received: p.received, Sent: p.sent, Malformed: p.malformed,
		Established: p.ups, Dropped: p.downs, LastReset: p.lastReset, LastResetAt: p.lastResetAt,
		Families: p.n.FamiliesOf(p.addr), Signed: p.n.Password != "", State: bgp.Idle}
	if r := p.relay; r != nil {
		in, out, bad := r.messages()
		b.Received, b.Sent, b.Malformed = add(b.Received, in), add(b.Sent, out), b.Malformed+bad
		b.State = r.state()
		b.Local, b.Remote = p.local, p.remote
	}
	switch {
	case p.up:
		b.Graceful = p.graceful
		b.State, b.RemoteAS, b.RouterID, b.Hold, b.External = bgp.Established, p.remoteAS, p.routerID, p.hold, p.external
	case p.relay != nil:
		b.Why = p.why
	case p.blocked() != "":
		b.Why = p.blocked()
	case p.dialing:
		b.State = bgp.Connect
	case p.side == engineActive && p.why == "":
		b.State = bgp.Active
	default:
		b.Why = p.why
	}
	if b.State == bgp.Established && !p.up {
		b.State = bgp.OpenConfirm
	}
	return b
}
