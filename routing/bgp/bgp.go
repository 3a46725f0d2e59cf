package bgp

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"felloe/routing/rib"

	"github.com/rs/zerolog"
)

// Table is what BGP wants of the RIB; *rib.RIB is one.
type Table interface {
	Update(source rib.Source, owner string, prefix netip.Prefix, paths []rib.Path)
	Withdraw(source rib.Source, owner string, prefix netip.Prefix)
	WithdrawAll(source rib.Source, owner string)
	TrackNextHop(a netip.Addr, f func(reachable bool, metric uint32)) (stop func())
	Subscribe(f func([]rib.Change), from ...rib.Source) (stop func())
	OnChange(f func())
	DirectlyConnected(dst netip.Addr) (ifname string, ok bool)
	Get(p netip.Prefix) (rib.Route, bool)
	Companions() map[netip.Addr]netip.Addr
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
	Log zerolog.Logger
}

// SpeakerOptions are what a Speaker gets.
type SpeakerOptions struct {
	VRF string
	// Events takes events, in order, from any goroutine; it does not block.
	Events func([]Event)
	Now    func() time.Time
	Log    zerolog.Logger
}

// BGP is one speaker with its table. It belongs to the control loop.
type BGP struct {
	o       Options
	cfg     Config
	speaker Speaker
	owner   string
	closed  bool

	inMu   sync.Mutex
	in     []Event
	posted bool

	table    map[netip.Prefix]*dest
	peers    map[netip.Addr]*peer
	nexthops map[netip.Addr]*nexthop
	dirty    []*dest
	flushing bool
	version  uint64

	origin     map[netip.Prefix]*local // what we announce
	networks   map[netip.Prefix]bool
	unwatch    func()
	connected  map[netip.Addr]bool // configured peers at one hop, as the speaker was told
	companions map[netip.Addr]netip.Addr
}

// peer is a session that is up.
type peer struct {
	address  netip.Addr
	as       uint32
	routerID netip.Addr
	external bool
	paths    map[netip.Prefix]*path
}

// path is a path of the table.
type path struct {
	prefix   netip.Prefix
	peer     *peer // nil: ours
	attrs    *Attributes
	received time.Time
	nh       *nexthop
}

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
	told      bool // the speaker knows that it is unreachable
}

// local is a prefix that we announce.
type local struct {
	announcement Announcement
	network      bool
	path         *path
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
		connected: make(map[netip.Addr]bool),
	}
	b.o.Log = o.Log.With().Str("vrf", o.VRF).Logger()
	s, err := o.Speaker(SpeakerOptions{VRF: o.VRF, Events: b.events, Now: o.Now, Log: b.o.Log})
	if err != nil {
		return nil, fmt.Errorf("bgp: vrf %s: %w", o.VRF, err)
	}
	b.speaker = s
	if err := b.Apply(cfg); err != nil {
		s.Close()
		return nil, err
	}
	o.RIB.OnChange(b.checkConnected)
	return b, nil
}

// Config is the configuration that was applied last.
func (b *BGP) Config() Config { return b.cfg }

// Apply makes the speaker what cfg says. Neighbours whose settings are the same stay up. A changed AS or router ID
// resets everything.
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
	if old.AS != cfg.AS || !slices.Equal(old.Networks, cfg.Networks) || !slices.Equal(old.Redistribute, cfg.Redistribute) {
		b.watchOrigins()
	}
	if old.BestPath != cfg.BestPath || old.MaximumPaths != cfg.MaximumPaths || old.MaximumPathsIBGP != cfg.MaximumPathsIBGP ||
		old.AS != cfg.AS {
		for _, d := range b.table {
			b.mark(d)
		}
	}
	b.flush()
	b.checkConnected()
	return nil
}

// Close ends the sessions and takes everything back from the RIB.
func (b *BGP) Close() {
	if b.closed {
		return
	}
	b.closed = true
	b.speaker.Close()
	if b.unwatch != nil {
		b.unwatch()
	}
	for _, n := range b.nexthops {
		n.stop()
	}
	b.o.RIB.WithdrawAll(rib.EBGP, b.owner)
}

// Clear is `clear ip bgp`: peer not valid means all.
func (b *BGP) Clear(peer netip.Addr, how Clear) error {
	if peer.IsValid() && !slices.ContainsFunc(b.speaker.Peers(), func(p Peer) bool { return p.Address == peer }) {
		return fmt.Errorf("bgp: there is no neighbor %v", peer)
	}
	b.speaker.Clear(peer, how)
	return nil
}

// checkConnected tells the speaker which external peers at one hop are on our subnets.
func (b *BGP) checkConnected() {
	if b.closed {
		return
	}
	if c := b.o.RIB.Companions(); !maps.Equal(c, b.companions) {
		b.companions = c
		b.speaker.Companions(maps.Clone(c))
	}
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
	}
	for a := range b.connected {
		if !seen[a] {
			delete(b.connected, a)
			b.speaker.Connected(a, true)
		}
	}
}

// events takes events from the speaker's goroutines to the loop.
func (b *BGP) events(list []Event) {
	b.inMu.Lock()
	b.in = append(b.in, list...)
	post := !b.posted
	b.posted = true
	b.inMu.Unlock()
	if post {
		b.o.Post(b.drain)
	}
}

func (b *BGP) drain() {
	b.inMu.Lock()
	list := b.in
	b.in, b.posted = nil, false
	b.inMu.Unlock()
	if b.closed {
		return
	}
	for _, e := range list {
		switch e := e.(type) {
		case *PathEvent:
			b.path(e)
		case *StateEvent:
			b.state(e)
		case *Notice:
			b.notice(e)
		}
	}
	b.flush()
}

func (b *BGP) state(e *StateEvent) {
	if !e.Up {
		p := b.peers[e.Peer]
		if p == nil {
			return
		}
		delete(b.peers, e.Peer)
		for _, x := range p.paths {
			b.remove(x)
		}
		if !b.cfg.Quiet {
			b.o.Log.WithLevel(zerolog.InfoLevel).Str("event", "bgp-down").Str("peer", e.Peer.String()).Uint32("as", e.RemoteAS).
				Str("state", "down").Str("reason", e.Reason).
				Msgf("%%BGP-5-ADJCHANGE: neighbor %v %sDown %s", e.Peer, b.inVRF(), e.Reason)
		}
		return
	}
	if p := b.peers[e.Peer]; p != nil { // it came up without having gone down: begin anew
		for _, x := range p.paths {
			b.remove(x)
		}
	}
	b.peers[e.Peer] = &peer{address: e.Peer, as: e.RemoteAS, routerID: e.RouterID, external: e.External,
		paths: make(map[netip.Prefix]*path)}
	if !b.cfg.Quiet {
		b.o.Log.WithLevel(zerolog.InfoLevel).Str("event", "bgp-up").Str("peer", e.Peer.String()).Uint32("as", e.RemoteAS).
			Bool("dynamic", e.Dynamic).Str("state", "established").
			Msgf("%%BGP-5-ADJCHANGE: neighbor %v %sUp", e.Peer, b.inVRF())
	}
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

// path takes a path event into the table.
func (b *BGP) path(e *PathEvent) {
	p := b.peers[e.Peer]
	if p == nil {
		return // of a session that is gone
	}
	old := p.paths[e.Prefix]
	if e.Attributes == nil {
		if old != nil {
			delete(p.paths, e.Prefix)
			b.remove(old)
		}
		return
	}
	received := e.Received
	if received.IsZero() {
		received = b.o.Now()
	}
	x := &path{prefix: e.Prefix, peer: p, attrs: e.Attributes, received: received}
	p.paths[e.Prefix] = x
	d := b.dest(e.Prefix)
	x.nh = b.track(e.Attributes.NextHop, d)
	if old != nil {
		b.remove(old)
	}
	d.paths = append(d.paths, x)
	b.mark(d)
}

func (b *BGP) dest(p netip.Prefix) *dest {
	d := b.table[p]
	if d == nil {
		d = &dest{prefix: p}
		b.table[p] = d
	}
	return d
}

func (b *BGP) remove(x *path) {
	d := b.table[x.prefix]
	if d == nil {
		return
	}
	if i := slices.Index(d.paths, x); i >= 0 {
		d.paths = slices.Delete(d.paths, i, i+1)
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
		n.stop = b.o.RIB.TrackNextHop(a, func(reachable bool, metric uint32) {
			if n.reachable == reachable && n.metric == metric {
				return
			}
			n.reachable, n.metric = reachable, metric
			for d := range n.dests {
				b.mark(d)
			}
			if len(n.dests) > 0 { // not while it is being set up
				b.tell(n)
				b.flush()
			}
		})
	}
	n.refs++
	n.dests[d]++
	b.tell(n)
	return n
}

// tell lets the speaker know about a next hop that it takes for what it is not.
func (b *BGP) tell(n *nexthop) {
	if n.told == n.reachable { // told means "unreachable"
		n.told = !n.reachable
		b.speaker.NextHop(n.addr, n.reachable)
	}
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
		if n.told {
			b.speaker.NextHop(n.addr, true)
		}
	}
}
