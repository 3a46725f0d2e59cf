package bgp

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"felloe/routing/policy"
	"felloe/routing/rib"

	"github.com/gaissmai/bart"
	"github.com/rs/zerolog"
)

// Table is what BGP wants of the RIB; *rib.RIB is one.
type Table interface {
	Update(source rib.Source, owner string, prefix netip.Prefix, paths []rib.Path)
	Withdraw(source rib.Source, owner string, prefix netip.Prefix)
	WithdrawAll(source rib.Source, owner string)
	TrackNextHop(a netip.Addr, f func(reachable bool, metric uint32)) (stop func())
	Subscribe(f func([]rib.Change), from ...rib.Source) (stop func())
	Heed(f func()) (stop func())
	DirectlyConnected(dst netip.Addr) (ifname string, ok bool)
	Adjacent(dst netip.Addr) (ifname string, ok bool)
	Get(p netip.Prefix) (rib.Route, bool)
	Routes() []rib.Route
	Companions() map[netip.Addr]netip.Addr
	Ways(dst netip.Addr) []string
	Lookup(vrf string, dst netip.Addr) (prefix netip.Prefix, via netip.Addr, ifname string, local, discard, ok bool)
}

// Options are what a BGP needs of the router.
type Options struct {
	VRF string
	RIB Table
	// Speaker makes the sessions' side: gobgp.Speaker(...), or a simulation.
	Speaker func(SpeakerOptions) (Speaker, error)
	// Post runs f on the control loop (func(f func()) { loop.Post("bgp", f) }).
	Post func(f func())
	// Now is the time; nil is the system's.
	Now func() time.Time
	// RouterID, when set, is asked for the router ID when all sessions are cleared: one that was chosen from what
	// addresses there were stays until then, even if its interface goes.
	RouterID func() netip.Addr
	// After runs f on the control loop after a while, unless it is stopped before; nil uses the system's time.
	After func(d time.Duration, f func()) (stop func())
	// BFD watches sessions whose settings say so; nil does not.
	BFD BFD
	// Follows says of an interface that it is the way to one peer only, and that whoever was reached by it is gone when it
	// is: a point-to-point tunnel. Nil says so of none; those behind routes of IKE's are always taken for such.
	Follows func(ifname string) bool
	// Tunnel says of an interface that it is a tunnel: what is learned through it resolves by no default route of another
	// one. Nil says so of those that lead to one peer only.
	Tunnel func(ifname string) bool
	Log    zerolog.Logger
}

// SpeakerOptions are what a Speaker gets.
type SpeakerOptions struct {
	VRF string
	// Events takes events, in order, from any goroutine; it does not block.
	Events func([]Event)
	// Wait returns when not too many events wait to be handled. Whoever reads from peers calls it between messages.
	Wait func()
	Now  func() time.Time
	Log  zerolog.Logger
}

const (
	// turn is how many prefixes are handled before others on the control loop have their turn.
	turn = 2000
	// backlog is how many prefixes may wait to be handled before peers are read no further.
	backlog = 50000
)

// BGP is one speaker with its table. It belongs to the control loop.
type BGP struct {
	o       Options
	cfg     Config
	speaker Speaker
	owner   string
	closed  bool

	inMu   sync.Mutex
	in     []Event
	queued int // prefixes in it
	room   *sync.Cond
	ended  bool
	posted bool

	table    map[netip.Prefix]*dest
	high     int // how many there were in it
	peers    map[netip.Addr]*peer
	nexthops map[netip.Addr]*nexthop
	dirty    []*dest
	flushing bool
	version  uint64
	sweeps   []*sweep

	origin     map[netip.Prefix]*local // what we announce
	networks   map[netip.Prefix]bool
	unwatch    func()
	unhear     func()
	aggregates bart.Table[*aggregate]
	summaries  []*aggregate
	answers    map[question]answer // while default routes are looked at
	defaults   bool                // a peer has a default route under a condition: look at it in the next flush
	connected  map[netip.Addr]bool // configured peers at one hop, as the speaker was told
	companions map[netip.Addr]netip.Addr

	paths   int // in the table
	stale   map[netip.Addr]*stale
	waiting bool // for peers to say all that they have, before they are told anything
	unwait  func()
	barred  map[netip.Addr]func() // dynamic peers that announced too much and are to stay away, with what ends their time
	ways    bart.Table[*way]      // of neighbours, by their addresses
	unroute func()
}

// peer is a session that is up.
type peer struct {
	address  netip.Addr
	as       uint32
	routerID netip.Addr
	external bool
	dynamic  bool
	session  uint64
	local    netip.Addr
	ipv4     bool
	ipv6     bool
	refresh  bool
	n        Neighbor
	graceful *Graceful
	ended    [2]bool // it has said all that it has, by family
	told     bool    // it has been told all that there is
	by       string  // the interface that leads to it, if it goes with that
	through  string  // the tunnel that led to it when it came up
	failed   bool    // BFD says so
	lost     bool    // the speaker was told to end it
	cut      bool    // it was on a subnet that is gone
	away     bool    // there is no way to it any more: its paths are not used
	unwatch  func()  // of BFD

	paths   map[netip.Prefix]*path
	refused map[netip.Prefix]*Attributes // by policy; kept with SoftReconfiguration
	memoIn  map[memo]*Attributes
	held    [2]uint32 // how many there are in both, by family
	warned  [2]bool
	tooMany bool

	sent    map[netip.Prefix]*Attributes // what the peer has been told
	queue   []Advertisement
	memoOut map[memo]*Attributes
	highIn  int
	highOut int
	dflt    [2]*Attributes // the default routes that we originate for it: IPv4, IPv6
}

// memo is what the outcome of a policy depends on.
type memo struct {
	attrs *Attributes
	set   *policy.Set
	bared *policy.Set // by an unsuppress map
	from  *peer
}

// path is a path of the table.
type path struct {
	prefix   netip.Prefix
	peer     *peer       // nil: ours
	rank     uint8       // of ours: network, redistributed, aggregate
	raw      *Attributes // as the peer sent it
	attrs    *Attributes
	received time.Time
	nh       *nexthop
	stale    bool // of a session that was lost
}

// The ranks of paths of ours.
const (
	rankNetwork uint8 = iota
	rankRedistributed
	rankAggregate
)

// dest is a prefix of the table.
type dest struct {
	prefix    netip.Prefix
	paths     []*path // in the order of preference after decide
	best      *path
	multipath int // how many from the front share the traffic
	dirty     bool
	given     bool // the RIB has paths of ours
}

// nexthop is a tracked next hop.
type nexthop struct {
	addr      netip.Addr
	refs      int
	reachable bool
	metric    uint32
	stop      func()
	dests     map[*dest]int
}

// New starts BGP with a configuration.
func New(cfg Config, o Options) (*BGP, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.VRF == "" {
		o.VRF = "default"
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &BGP{
		o: o, table: make(map[netip.Prefix]*dest), peers: make(map[netip.Addr]*peer),
		nexthops: make(map[netip.Addr]*nexthop), origin: make(map[netip.Prefix]*local),
		connected: make(map[netip.Addr]bool), stale: make(map[netip.Addr]*stale), barred: make(map[netip.Addr]func()),
	}
	if b.o.After == nil {
		b.o.After = func(d time.Duration, f func()) func() {
			t := time.AfterFunc(d, func() { b.o.Post(f) })
			return func() { t.Stop() }
		}
	}
	b.room = sync.NewCond(&b.inMu)
	b.o.Log = o.Log.With().Str("vrf", o.VRF).Logger()
	s, err := o.Speaker(SpeakerOptions{VRF: o.VRF, Events: b.events, Wait: b.wait, Now: o.Now, Log: b.o.Log})
	if err != nil {
		return nil, fmt.Errorf("bgp: vrf %s: %w", o.VRF, err)
	}
	b.speaker = s
	if err := b.Apply(cfg); err != nil {
		s.Close()
		return nil, err
	}
	b.unhear = o.RIB.Heed(b.checkConnected)
	b.unroute = o.RIB.Subscribe(b.routed)
	b.restarted()
	return b, nil
}

// Config is the configuration that was applied last.
func (b *BGP) Config() Config { return b.cfg }

// Apply makes the speaker what cfg says. Neighbours whose settings are the same stay up, and so do those of which only
// policies changed: their paths go through the new ones. A changed AS or router ID resets everything.
func (b *BGP) Apply(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if err := b.speaker.Apply(cfg); err != nil {
		return err
	}
	owner := fmt.Sprintf("bgp %d", cfg.AS)
	if b.owner != "" && b.owner != owner {
		b.o.RIB.WithdrawAll(rib.EBGP, b.owner)
	}
	old := b.cfg
	b.cfg, b.owner = cfg, owner
	if old.AS != cfg.AS || old.DefaultInformation != cfg.DefaultInformation || !slices.Equal(old.Networks, cfg.Networks) ||
		!slices.Equal(old.Redistribute, cfg.Redistribute) {
		b.watchOrigins()
	}
	if old.AS != cfg.AS || old.RouterID != cfg.RouterID || !slices.Equal(old.Aggregates, cfg.Aggregates) {
		b.applyAggregates()
	}
	if old.BestPath != cfg.BestPath || old.MaximumPaths != cfg.MaximumPaths || old.MaximumPathsIBGP != cfg.MaximumPathsIBGP ||
		old.AS != cfg.AS {
		for _, d := range b.table {
			b.mark(d)
		}
	}
	b.pruneStale(old.AS != cfg.AS)
	for a := range b.barred {
		if n, ok := cfg.Settings(a); !ok || n.Address == a {
			b.unbar(a)
		}
	}
	for _, p := range b.sortedPeers() {
		b.applyPeer(p)
	}
	b.watchWays()
	b.flush()
	b.checkConnected()
	return nil
}

func (b *BGP) sortedPeers() []*peer {
	return slices.SortedFunc(maps.Values(b.peers), func(x, y *peer) int { return x.address.Compare(y.address) })
}

// applyPeer takes up changed policies of a peer whose session is up.
func (b *BGP) applyPeer(p *peer) {
	n, ok := b.cfg.Settings(p.address)
	if !ok {
		return // it goes
	}
	old := p.n
	p.n = n
	if old.In != n.In || old.Weight != n.Weight {
		p.memoIn = nil
		b.again(p)
		if !old.SoftReconfiguration && !n.SoftReconfiguration && p.refresh {
			b.speaker.Clear(p.address, ClearSoftIn) // for what the old policy did not let pass
		}
	} else if n.SoftReconfiguration && !old.SoftReconfiguration && p.refresh {
		b.speaker.Clear(p.address, ClearSoftIn)
	}
	if !n.SoftReconfiguration {
		for prefix := range p.refused {
			p.held[at(prefix)]--
		}
		p.refused = nil
	}
	if n.MaximumPrefix != old.MaximumPrefix {
		p.warned = [2]bool{}
		b.checkMaximum(p, 0)
		b.checkMaximum(p, 1)
	}
	n.In, n.Weight, n.SoftReconfiguration, n.MaximumPrefix = old.In, old.Weight, old.SoftReconfiguration, old.MaximumPrefix
	if n.BFD != old.BFD {
		b.watchBFD(p)
	}
	n.Description, n.Group, n.BFD, n.UpdateSource, n.NoSource = old.Description, old.Group, old.BFD, old.UpdateSource, old.NoSource
	if !n.equal(&old) {
		p.memoOut = nil
		b.sweep(p, false, 0)
	}
}

// Close ends the sessions and takes everything back from the RIB. Peers are told, also those with graceful restart: a
// router that stops does not forward.
func (b *BGP) Close() {
	if b.closed {
		return
	}
	b.closed = true
	b.inMu.Lock()
	b.ended = true
	b.room.Broadcast()
	b.inMu.Unlock()
	b.speaker.Close()
	b.stopWatching()
	if b.unwatch != nil {
		b.unwatch()
	}
	if b.unhear != nil {
		b.unhear()
	}
	for _, n := range b.nexthops {
		n.stop()
	}
	b.o.RIB.WithdrawAll(rib.EBGP, b.owner)
}

// Clear is `clear ip bgp`: peer not valid means all. A peer whose paths are kept as they came need not be asked for them
// again.
func (b *BGP) Clear(peer netip.Addr, how Clear) error {
	if peer.IsValid() && b.stale[peer] == nil && !slices.ContainsFunc(b.speaker.Peers(), func(p Peer) bool { return p.Address == peer }) {
		return fmt.Errorf("bgp: there is no neighbor %v", peer)
	}
	if how == ClearHard {
		for a := range b.stale {
			if !peer.IsValid() || a == peer {
				b.dropStale(a)
			}
		}
		for a := range b.barred {
			if !peer.IsValid() || a == peer {
				b.unbar(a)
			}
		}
		b.flush()
		if !peer.IsValid() && b.o.RouterID != nil {
			if id := b.o.RouterID(); id.IsValid() && id != b.cfg.RouterID {
				cfg := b.cfg
				cfg.RouterID = id
				return b.Apply(cfg) // resets everything
			}
		}
		b.speaker.Clear(peer, how)
		return nil
	}
	for _, p := range b.sortedPeers() {
		if peer.IsValid() && p.address != peer {
			continue
		}
		if how == ClearSoftIn || how == ClearSoft {
			if p.n.SoftReconfiguration {
				p.memoIn = nil
				b.again(p)
			} else {
				b.speaker.Clear(p.address, ClearSoftIn)
			}
		}
		if how == ClearSoftOut || how == ClearSoft {
			p.memoOut = nil
			b.sweep(p, true, 0)
		}
	}
	b.flush()
	return nil
}

// checkConnected tells the speaker which external peers at one hop are on our subnets.
func (b *BGP) checkConnected() {
	if b.closed {
		return
	}
	if c := b.o.RIB.Companions(); !maps.Equal(c, b.companions) {
		b.companions = maps.Clone(c)
		for _, p := range b.sortedPeers() {
			if p.ipv4 && p.ipv6 { // it is told paths of a family that its session's addresses are not of
				p.memoOut = nil
				b.sweep(p, false, 0)
			}
		}
	}
	b.defaults = true
	seen := make(map[netip.Addr]bool, len(b.cfg.Neighbors))
	for i := range b.cfg.Neighbors {
		n := &b.cfg.Neighbors[i]
		if !n.External(b.cfg.AS) || n.EBGPMultihop > 1 || n.TTLSecurity > 1 || n.DisableConnectedCheck {
			continue
		}
		_, ok := b.o.RIB.DirectlyConnected(n.Address)
		seen[n.Address] = true
		if was, told := b.connected[n.Address]; !told || was != ok {
			b.connected[n.Address] = ok
			b.speaker.Connected(n.Address, ok)
		}
		if p := b.peers[n.Address]; !ok && p != nil && p.by == "" && !p.cut {
			p.cut, p.away = true, true
			for prefix := range p.paths {
				b.mark(b.table[prefix])
			}
		}
	}
	for a := range b.connected {
		if !seen[a] {
			delete(b.connected, a)
			b.speaker.Connected(a, true)
		}
	}
	if len(b.dirty) > 0 {
		b.flush()
	}
}

// events takes events from the speaker's goroutines to the loop.
func (b *BGP) events(list []Event) {
	b.inMu.Lock()
	b.in = append(b.in, list...)
	for _, e := range list {
		b.queued += cost(e)
	}
	post := !b.posted
	b.posted = true
	b.inMu.Unlock()
	if post {
		b.o.Post(b.drain)
	}
}

func cost(e Event) int {
	if p, ok := e.(*PathEvent); ok {
		return len(p.Prefixes)
	}
	return 1
}

// wait holds those up who read from peers faster than the loop works.
func (b *BGP) wait() {
	b.inMu.Lock()
	defer b.inMu.Unlock()
	for b.queued > backlog && !b.ended {
		b.room.Wait()
	}
}

// drain handles events, and then what there is to do for peers that must be told everything; a turn's worth of it.
func (b *BGP) drain() {
	b.inMu.Lock()
	list, n := b.in, 0
	for i, e := range list {
		if n += cost(e); n >= turn {
			list = list[:i+1]
			break
		}
	}
	if b.in = b.in[len(list):]; len(b.in) == 0 {
		b.in = nil
	}
	b.queued -= n
	b.room.Broadcast()
	b.inMu.Unlock()
	if b.closed {
		return
	}
	for _, e := range list {
		switch e := e.(type) {
		case *PathEvent:
			b.received(e)
		case *EndOfRIBEvent:
			b.endOfRIB(e)
		case *StateEvent:
			b.state(e)
		case *RefreshEvent:
			if p := b.peers[e.Peer]; p != nil && p.session == e.Session {
				b.sweep(p, true, e.Family)
			}
		case *Notice:
			b.notice(e)
		}
	}
	b.flush()
	b.work(turn)
	b.inMu.Lock()
	b.posted = len(b.in) > 0 || len(b.sweeps) > 0
	again := b.posted
	b.inMu.Unlock()
	if again {
		b.o.Post(b.drain)
	}
}

// schedule makes drain run.
func (b *BGP) schedule() {
	b.inMu.Lock()
	post := !b.posted
	b.posted = true
	b.inMu.Unlock()
	if post {
		b.o.Post(b.drain)
	}
}

func (b *BGP) state(e *StateEvent) {
	p := b.peers[e.Peer]
	if !e.Up {
		if p == nil {
			return
		}
		kept := b.retire(p, e.Lost)
		b.unfollow(e.Peer)
		b.checkWaiting()
		if !b.cfg.Quiet {
			b.o.Log.WithLevel(zerolog.InfoLevel).Str("event", "bgp-down").Str("peer", e.Peer.String()).Uint32("as", e.RemoteAS).
				Str("state", "down").Str("reason", e.Reason).Int("stale", kept).
				Msgf("%%BGP-5-ADJCHANGE: neighbor %v %sDown %s", e.Peer, b.inVRF(), e.Reason)
		}
		return
	}
	if p != nil { // it came up without having gone down: begin anew
		b.retire(p, false)
	}
	n, ok := b.cfg.Settings(e.Peer)
	if !ok {
		return // it goes: the speaker has not taken it away yet
	}
	p = &peer{address: e.Peer, n: n, as: e.RemoteAS, routerID: e.RouterID, external: e.External, dynamic: e.Dynamic, session: e.Session, local: e.Local,
		refresh: e.Refresh, paths: make(map[netip.Prefix]*path), sent: make(map[netip.Prefix]*Attributes)}
	families := e.Families
	if len(families) == 0 {
		families = []Family{FamilyOf(e.Peer)}
	}
	p.ipv4, p.ipv6 = slices.Contains(families, IPv4), slices.Contains(families, IPv6)
	p.graceful = e.Graceful
	b.peers[e.Peer] = p
	b.unbar(e.Peer)
	b.followWay(p)
	b.takeBack(p)
	b.watchBFD(p)
	b.sweep(p, false, 0)
	b.checkWaiting()
	if !b.cfg.Quiet {
		b.o.Log.WithLevel(zerolog.InfoLevel).Str("event", "bgp-up").Str("peer", e.Peer.String()).Uint32("as", e.RemoteAS).
			Bool("dynamic", e.Dynamic).Str("state", "established").
			Msgf("%%BGP-5-ADJCHANGE: neighbor %v %sUp", e.Peer, b.inVRF())
	}
}

// forget drops a session with its paths.
func (b *BGP) forget(p *peer) {
	delete(b.peers, p.address)
	if p.unwatch != nil {
		p.unwatch()
		p.unwatch = nil
	}
	b.sweeps = slices.DeleteFunc(b.sweeps, func(s *sweep) bool { return s.peer == p })
	for _, x := range p.paths {
		b.remove(x)
	}
	p.paths, p.refused, p.sent, p.queue = nil, nil, nil, nil
}

// inVRF is what IOS puts into its messages for a VRF that is not the default one.
func (b *BGP) inVRF() string {
	if b.o.VRF == "default" {
		return ""
	}
	return "vpn vrf " + b.o.VRF + " "
}

func (b *BGP) notice(n *Notice) {
	level := zerolog.InfoLevel
	switch {
	case n.Severity <= 3:
		level = zerolog.ErrorLevel
	case n.Severity == 4:
		level = zerolog.WarnLevel
	}
	e := b.o.Log.WithLevel(level).Str("event", "bgp-"+lower(n.Mnemonic))
	if n.Peer.IsValid() {
		e = e.Str("peer", n.Peer.String())
	}
	e.Msgf("%%BGP-%d-%s: %s", n.Severity, n.Mnemonic, n.Text)
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func (b *BGP) dest(p netip.Prefix) *dest {
	d := b.table[p]
	if d == nil {
		d = &dest{prefix: p}
		b.table[p] = d
	}
	return d
}

// add puts a path into the table.
func (b *BGP) add(d *dest, x *path) {
	d.paths = append(d.paths, x)
	b.paths++
	b.mark(d)
}

func (b *BGP) remove(x *path) {
	d := b.table[x.prefix]
	if d == nil {
		return
	}
	if i := slices.Index(d.paths, x); i >= 0 {
		d.paths = slices.Delete(d.paths, i, i+1)
		b.paths--
	}
	b.untrack(x.nh, d)
	b.mark(d)
}

func (b *BGP) mark(d *dest) {
	if !d.dirty {
		d.dirty = true
		b.dirty = append(b.dirty, d)
	}
}

func (b *BGP) track(a netip.Addr, d *dest) *nexthop {
	n := b.nexthops[a]
	if n == nil {
		n = &nexthop{addr: a, dests: make(map[*dest]int)}
		b.nexthops[a] = n
		n.stop = func() {}
	}
	if n.refs == 0 && !a.Is4In6() { // which peers say that have no IPv6 address; nothing leads there, as on IOS
		n.stop = b.o.RIB.TrackNextHop(a, func(reachable bool, metric uint32) {
			if n.reachable == reachable && n.metric == metric {
				return
			}
			n.reachable, n.metric = reachable, metric
			for d := range n.dests {
				b.mark(d)
			}
			if len(n.dests) > 0 { // not while it is being set up
				b.flush()
			}
		})
	}
	n.refs++
	n.dests[d]++
	return n
}

func (b *BGP) untrack(n *nexthop, d *dest) {
	if n == nil {
		return
	}
	if n.dests[d]--; n.dests[d] == 0 {
		delete(n.dests, d)
	}
	if n.refs--; n.refs == 0 {
		n.stop()
		delete(b.nexthops, n.addr)
	}
}
