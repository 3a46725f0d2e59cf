//go:build !js

package gobgp

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"felloe/routing/bgp"
	"felloe/routing/bgp/guard"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/rs/zerolog"
)

// Options are what the adapter needs beside what every Speaker gets.
type Options struct {
	Network bgp.Network
	// Admit, when set, is asked before a peer of a listen range is let in: DMVPN says no to tunnel addresses that no
	// identity is bound to. It runs on the listener's goroutine.
	Admit func(remote netip.Addr) error
	// Dynamic, when set, bounds the dynamic neighbours of all instances that share it.
	Dynamic *Limit
	// Trace, when set, hears of every message to and from peers, from any goroutine: its type (RFC 4271 §4.1) and length.
	Trace func(peer netip.Addr, sent bool, kind uint8, length int)
}

// Limit bounds something that several instances share.
type Limit struct {
	mu      sync.Mutex
	most, n int
}

// Set sets the bound. What is above it stays until it goes.
func (l *Limit) Set(most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.most = most
}

// Count is how many there are, and may be.
func (l *Limit) Count() (n, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n, l.most
}

func (l *Limit) take() bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most > 0 && l.n >= l.most {
		return false
	}
	l.n++
	return true
}

func (l *Limit) give() {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.n--
	}
}

// Speaker is what bgp.Options wants.
func Speaker(o Options) func(bgp.SpeakerOptions) (bgp.Speaker, error) {
	return func(so bgp.SpeakerOptions) (bgp.Speaker, error) {
		if err := Available(); err != nil {
			return nil, err
		}
		if so.Now == nil {
			so.Now = time.Now
		}
		if so.Wait == nil {
			so.Wait = func() {}
		}
		s := &speaker{o: o, so: so, log: so.Log, peers: make(map[netip.Addr]*peer), away: make(map[netip.Addr]bool), noticed: make(map[netip.Addr]said),
			barred: make(map[netip.Addr]*bar)}
		s.wake = sync.NewCond(&s.workMu)
		s.done = make(chan struct{})
		go s.work()
		return s, nil
	}
}

// speaker implements bgp.Speaker. What asks GoBGP for something is done one after the other by its worker.
type speaker struct {
	o   Options
	so  bgp.SpeakerOptions
	log zerolog.Logger

	workMu sync.Mutex
	wake   *sync.Cond
	jobs   []func()
	ended  bool
	done   chan struct{}

	// of the worker
	engine    *engine
	network   bgp.Config // what the router's TCP was told last
	listeners []net.Listener

	running atomic.Pointer[engine] // the same, for everybody

	mu        sync.Mutex
	cfg       bgp.Config
	closed    bool
	peers     map[netip.Addr]*peer
	sessions  uint64
	away      map[netip.Addr]bool // peers that are not on a subnet of ours
	barred    map[netip.Addr]*bar // dynamic peers that announced too much, until bgp forgets them
	recovered bool                // we have heard what our peers have since we began
	noticed   map[netip.Addr]said
	strangers said // what was said of those who are no peers
}

// said is what the operator was told of a peer: the last words, and how often since when.
type said struct {
	text  string
	since time.Time
	n     int
}

const (
	// noticeLimit is how much is said of a peer, and of all that are none, in a minute.
	noticeLimit = 20
	// noticedLimit is of how many it is remembered.
	noticedLimit = 4096
)

// do queues work for GoBGP.
func (s *speaker) do(f func()) {
	s.workMu.Lock()
	defer s.workMu.Unlock()
	if !s.ended {
		s.jobs = append(s.jobs, f)
		s.wake.Signal()
	}
}

func (s *speaker) work() {
	defer close(s.done)
	for {
		s.workMu.Lock()
		for len(s.jobs) == 0 && !s.ended {
			s.wake.Wait()
		}
		jobs, ended := s.jobs, s.ended
		s.jobs = nil
		s.workMu.Unlock()
		for _, f := range jobs {
			s.contain(f)
		}
		if ended && len(jobs) == 0 {
			return
		}
	}
}

// contain keeps a panic of ours from taking the router down.
func (s *speaker) contain(f func()) {
	defer func() {
		if cause := recover(); cause != nil {
			s.log.Error().Str("event", "panic").Interface("cause", cause).Msg("contained a panic of the BGP adapter")
		}
	}()
	f()
}

func (s *speaker) emit(events ...bgp.Event) {
	if len(events) > 0 {
		s.so.Events(events)
	}
}

// notice tells the operator something about a peer, once until the session comes up or something else is to be said.
func (s *speaker) notice(peer netip.Addr, severity int, mnemonic, format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	s.mu.Lock()
	say := s.maySay(peer, text) && !s.closed
	s.mu.Unlock()
	if say {
		s.emit(&bgp.Notice{Peer: peer, Severity: severity, Mnemonic: mnemonic, Text: text})
	}
}

// maySay says whether a notice is new, and not one too many. The lock is held.
func (s *speaker) maySay(peer netip.Addr, text string) bool {
	x := s.noticed[peer]
	if x.text == text {
		return false
	}
	x.text = text
	if len(s.noticed) >= noticedLimit {
		maps.DeleteFunc(s.noticed, func(a netip.Addr, _ said) bool { return s.peers[a] == nil })
	}
	now, count := s.so.Now(), &x
	if peer.IsValid() && s.peers[peer] == nil {
		count = &s.strangers
	}
	if now.Sub(count.since) >= time.Minute {
		count.since, count.n = now, 0
	}
	count.n++
	s.noticed[peer] = x
	return count.n <= noticeLimit
}

// Apply implements bgp.Speaker.
func (s *speaker) Apply(cfg bgp.Config) error {
	s.mu.Lock()
	old := s.cfg
	s.mu.Unlock()
	cfg.Neighbors, cfg.Listen = slices.Clone(cfg.Neighbors), slices.Clone(cfg.Listen)
	s.mu.Lock()
	s.cfg = cfg
	s.mu.Unlock()
	s.do(func() { s.reconcile(old, cfg) })
	return nil
}

// reconcile brings GoBGP and the sessions from one configuration to another. It runs on the worker.
func (s *speaker) reconcile(old, cfg bgp.Config) {
	restart := s.engine == nil || old.AS != cfg.AS || old.RouterID != cfg.RouterID || old.ClusterID != cfg.ClusterID
	s.retire(&cfg, restart)
	if restart {
		s.stopEngine()
		if !s.startEngine(&cfg) {
			return
		}
	}
	s.setNetwork(cfg)
	for i := range cfg.Neighbors {
		n := &cfg.Neighbors[i]
		s.mu.Lock()
		p := s.peers[n.Address]
		readdressed := p != nil && (p.n.UpdateSource != n.UpdateSource || n.NoSource)
		if p != nil {
			p.n = *n
			p.poke()
		}
		s.mu.Unlock()
		if readdressed {
			s.reset(p, nil, "Our address changed")
			s.Nudge(n.Address)
		}
		switch {
		case p == nil:
			s.addPeer(&cfg, n.Address, *n, nil)
		case n.Shutdown:
			s.reset(p, &guard.Notification{Code: guard.Cease, Subcode: guard.AdminShutdown}, "Admin. shutdown")
		}
	}
	s.mu.Lock()
	var shut []*peer
	for _, p := range s.peers {
		if n, ok := cfg.Settings(p.addr); ok && p.dynamic {
			if p.n = n; n.Shutdown {
				shut = append(shut, p)
			}
		}
	}
	s.mu.Unlock()
	for _, p := range shut {
		s.removePeer(p, &guard.Notification{Code: guard.Cease, Subcode: guard.AdminShutdown}, "Admin. shutdown")
	}
	s.listen()
}

// retire removes peers that are gone from the configuration, or whose settings changed in a way that a session does not
// survive; the latter are added again later.
func (s *speaker) retire(cfg *bgp.Config, all bool) {
	s.mu.Lock()
	peers := slices.Collect(maps.Values(s.peers))
	s.mu.Unlock()
	for _, p := range peers {
		n, ok := cfg.Settings(p.addr)
		switch {
		case !ok || p.dynamic != (n.Address != p.addr):
			s.removePeer(p, &guard.Notification{Code: guard.Cease, Subcode: guard.PeerDeconfigured}, "Neighbor deleted")
		case all || !survives(&p.n, &n):
			s.removePeer(p, &guard.Notification{Code: guard.Cease, Subcode: guard.ConfigurationChange}, "Configuration change")
		}
	}
}

// survives says whether a session can go on with changed settings.
func survives(old, now *bgp.Neighbor) bool {
	a, b := *old, *now
	for _, n := range []*bgp.Neighbor{&a, &b} {
		n.Description, n.Group, n.Passive, n.DisableConnectedCheck, n.Shutdown = "", "", false, false, false
		n.NextHopSelf, n.NextHopSelfAll, n.NextHopUnchanged, n.RemovePrivateAS, n.ASOverride = false, false, false, false, false
		n.In, n.Out, n.DefaultOriginate, n.DefaultMap, n.UnsuppressMap = bgp.Policy{}, bgp.Policy{}, false, nil, nil
		n.BFD, n.NoSource, n.UpdateSource = bgp.BFDOff, false, netip.Addr{} // without a word: see reconcile
		n.SoftReconfiguration, n.SendCommunity, n.Weight, n.MaximumPrefix = false, false, 0, bgp.MaximumPrefix{}
		n.Timers.ConnectRetry = 0
	}
	return a.Equal(&b)
}

func (s *speaker) startEngine(cfg *bgp.Config) bool {
	e, err := startEngine(cfg, s.log, s.fromEngine)
	if err != nil {
		s.notice(netip.Addr{}, 3, "START", "BGP did not start: %v", err)
		time.AfterFunc(5*time.Second, func() {
			s.do(func() {
				s.mu.Lock()
				cfg, closed := s.cfg, s.closed
				s.mu.Unlock()
				if s.engine == nil && !closed {
					s.reconcile(cfg, cfg)
				}
			})
		})
		return false
	}
	s.engine = e
	s.running.Store(e)
	return true
}

func (s *speaker) stopEngine() {
	if s.engine != nil {
		s.running.Store(nil)
		s.engine.close()
		s.engine = nil
	}
}

// setNetwork tells the router's TCP what counts for which peer.
func (s *speaker) setNetwork(cfg bgp.Config) {
	type entry struct {
		prefix netip.Prefix
		o      bgp.SocketOptions
	}
	list := func(c *bgp.Config) map[netip.Prefix]entry {
		m := make(map[netip.Prefix]entry)
		for i := range c.Listen {
			l := &c.Listen[i]
			m[l.Range.Masked()] = entry{l.Range.Masked(), bgp.SocketOptionsOf(&l.Template, c.AS)}
		}
		for i := range c.Neighbors {
			n := &c.Neighbors[i]
			h := netip.PrefixFrom(n.Address, n.Address.BitLen())
			m[h] = entry{h, bgp.SocketOptionsOf(n, c.AS)}
		}
		return m
	}
	was, now := list(&s.network), list(&cfg)
	s.network = cfg
	for p := range was {
		if _, ok := now[p]; !ok {
			s.o.Network.RemovePeer(p)
		}
	}
	for p, e := range now {
		if err := s.o.Network.SetPeer(p, e.o); err != nil {
			s.notice(p.Addr(), 3, "SOCKET", "neighbor %v: %v", p.Addr(), err)
		}
	}
}

// Advertise implements bgp.Speaker.
func (s *speaker) Advertise(a netip.Addr, session uint64, list []bgp.Advertisement) {
	s.mu.Lock()
	var r *relay
	if p := s.peers[a]; p != nil && p.relay != nil && p.relay.session == session {
		r = p.relay
	}
	s.mu.Unlock()
	if r != nil {
		r.send.add(list)
	}
}

// TooMany implements bgp.Speaker.
func (s *speaker) TooMany(a netip.Addr, session uint64, text string, again time.Duration) {
	s.mu.Lock()
	p := s.peers[a]
	if p == nil || p.relay == nil || p.relay.session != session {
		s.mu.Unlock()
		return
	}
	r := p.relay
	if p.dynamic {
		s.bar(p, text, again)
	} else {
		p.close(again)
	}
	s.mu.Unlock()
	n := &guard.Notification{Code: guard.Cease, Subcode: guard.MaximumPrefixes, Text: text}
	go s.contain(func() {
		r.note("sent to", *n)
		r.end(n, "")
	})
}

// Clear implements bgp.Speaker.
func (s *speaker) Clear(a netip.Addr, how bgp.Clear) {
	s.do(func() {
		s.mu.Lock()
		var list []*peer
		for _, p := range s.peers {
			if !a.IsValid() || p.addr == a {
				list = append(list, p)
			}
		}
		s.mu.Unlock()
		for _, p := range list {
			if how == bgp.ClearHard {
				s.mu.Lock()
				p.open()
				p.failures = 0
				delete(s.noticed, p.addr)
				s.mu.Unlock()
				s.reset(p, &guard.Notification{Code: guard.Cease, Subcode: guard.AdminReset}, "User reset")
				p.poke()
				continue
			}
			p.requestRefresh()
		}
	})
}

// Connected implements bgp.Speaker.
func (s *speaker) Connected(a netip.Addr, ok bool) {
	s.mu.Lock()
	if ok {
		delete(s.away, a)
	} else {
		s.away[a] = true
	}
	p := s.peers[a]
	s.mu.Unlock()
	if p == nil {
		return
	}
	if !ok {
		s.reset(p, nil, "Interface flap")
	}
	p.poke()
}

// Peers implements bgp.Speaker.
func (s *speaker) Peers() []bgp.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []bgp.Peer
	for _, p := range s.peers {
		list = append(list, p.snapshot())
	}
	for a, b := range s.barred {
		if s.peers[a] == nil {
			list = append(list, b.peer)
		}
	}
	slices.SortFunc(list, func(a, b bgp.Peer) int { return a.Address.Compare(b.Address) })
	return list
}

// EndOfRIB implements bgp.Speaker.
func (s *speaker) EndOfRIB(a netip.Addr, session uint64) {
	if r := s.relayOf(a, session); r != nil {
		r.send.finish()
	}
}

// Lost implements bgp.Speaker.
func (s *speaker) Lost(a netip.Addr, session uint64, reason string) {
	r := s.relayOf(a, session)
	if r == nil {
		return
	}
	go s.contain(func() {
		r.end(nil, reason)
		s.Nudge(a)
	})
}

// Nudge implements bgp.Speaker.
func (s *speaker) Nudge(a netip.Addr) {
	s.mu.Lock()
	p := s.peers[a]
	var again context.CancelFunc
	if p != nil {
		p.failures, p.burst, again = 0, len(burst), p.redial
	}
	s.mu.Unlock()
	if again != nil {
		again()
	}
	if p != nil {
		p.poke()
	}
}

// Recovered implements bgp.Speaker.
func (s *speaker) Recovered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recovered = true
}

// Forget implements bgp.Speaker.
func (s *speaker) Forget(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.barred, a)
}

func (s *speaker) relayOf(a netip.Addr, session uint64) *relay {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.peers[a]; p != nil && p.relay != nil && p.relay.session == session {
		return p.relay
	}
	return nil
}

// close keeps a listed peer away until it is cleared, or for a while. The lock is held.
func (p *peer) close(again time.Duration) {
	p.open()
	p.prefixes = true
	if again > 0 {
		var t *time.Timer
		t = time.AfterFunc(again, func() {
			p.s.mu.Lock()
			if p.again == t {
				p.open()
			}
			p.s.mu.Unlock()
			p.poke()
		})
		p.again = t
	}
}

// open ends that. The lock is held.
func (p *peer) open() {
	p.prefixes = false
	if p.again != nil {
		p.again.Stop()
		p.again = nil
	}
}

// bar is a dynamic peer that is to stay away.
type bar struct {
	peer  bgp.Peer
	until time.Time // for what is said of it; zero: until it is cleared
}

// bar keeps a peer away. The lock is held.
func (s *speaker) bar(p *peer, text string, again time.Duration) {
	b := &bar{peer: bgp.Peer{Address: p.addr, Group: p.n.Group, RemoteAS: p.remoteAS, Dynamic: true, External: p.external, State: bgp.Idle,
		Why: "PfxCt", Since: s.so.Now(), Established: p.ups, Dropped: p.downs + 1, LastReset: text, LastResetAt: s.so.Now(),
		Families: p.n.FamiliesOf(p.addr)}}
	if again > 0 {
		b.until = s.so.Now().Add(again)
	}
	s.barred[p.addr] = b
}

// Close implements bgp.Speaker.
func (s *speaker) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.mu.Unlock()
	s.do(func() {
		for _, l := range s.listeners {
			l.Close()
		}
		s.mu.Lock()
		peers := slices.Collect(maps.Values(s.peers))
		s.mu.Unlock()
		for _, p := range peers {
			s.removePeer(p, &guard.Notification{Code: guard.Cease, Subcode: guard.AdminShutdown}, "Admin. shutdown")
		}
		s.setNetwork(bgp.Config{})
		s.stopEngine()
	})
	s.workMu.Lock()
	s.ended = true
	s.wake.Signal()
	s.workMu.Unlock()
	<-s.done
}

// fromEngine takes what GoBGP reports: the states of its peers. It is called by one goroutine, in order.
func (s *speaker) fromEngine(r *api.WatchEventResponse) {
	s.contain(func() {
		if e := r.GetPeer(); e != nil && e.Type == api.WatchEventResponse_PeerEvent_STATE {
			if a, err := netip.ParseAddr(e.Peer.GetState().GetNeighborAddress()); err == nil {
				s.engineState(a.Unmap(), e.Peer.GetState().GetSessionState())
			}
		}
	})
}
