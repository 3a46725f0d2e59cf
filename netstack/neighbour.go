package netstack

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// Timers and bounds of neighbour tables. The states are those of RFC 4861 §7.3.2, for ARP too.
const (
	neighbourMax       = 4096 // entries of an interface
	neighbourUnknown   = 512  // of them, being asked for
	neighbourQueue     = 16   // packets that wait for one
	neighbourRetry     = time.Second
	neighbourTries     = 3
	neighbourReachable = 60 * time.Second
	neighbourIdle      = 20 // reachable times without use, then it is forgotten
)

// NeighbourState is how sure a table is of an entry.
type NeighbourState uint8

const (
	Incomplete NeighbourState = iota
	Reachable
	Stale
	Probing
	Static
)

func (s NeighbourState) String() string {
	return [...]string{"incomplete", "reachable", "stale", "probe", "static"}[s]
}

// Neighbour is an entry of an interface's table.
type Neighbour struct {
	Addr  netip.Addr
	MAC   [6]byte
	State NeighbourState
	// Age is the time since the entry was last confirmed.
	Age time.Duration
}

// adjacency is how packets reach one neighbour: what is put in front of them, and where they go then.
type adjacency struct {
	iface   *Interface
	addr    netip.Addr
	always  bool                     // the interface's own: multicast, point-to-point, loopback
	dead    atomic.Bool              // no longer in the table: look it up again
	rewrite atomic.Pointer[[14]byte] // Ethernet header, nil while the MAC is not known
	session atomic.Pointer[Session]  // tunnels
	used    atomic.Bool              // since the last look

	// under iface.neigh.mu
	state     NeighbourState
	confirmed time.Time
	tries     int
	idle      int
	queue     []*packet.Packet
	timer     clock.Timer
}

// neighbours is an interface's table of adjacencies.
type neighbours struct {
	iface *Interface
	table cow[netip.Addr, *adjacency]

	mu         sync.Mutex
	incomplete int
}

func (n *neighbours) init(i *Interface) {
	n.iface = i
	n.table.hash = hashAddr
}

// get finds the adjacency of an address on an Ethernet, or makes one that is not resolved yet. It returns nil when the
// table is full.
func (n *neighbours) get(a netip.Addr) *adjacency {
	if adj, ok := n.table.get(a); ok {
		return adj
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if adj, ok := n.table.get(a); ok {
		return adj
	}
	if n.incomplete >= neighbourUnknown || n.table.len() >= neighbourMax {
		return nil
	}
	return n.add(a, Incomplete)
}

// add makes an entry; n.mu is held.
func (n *neighbours) add(a netip.Addr, s NeighbourState) *adjacency {
	adj := &adjacency{iface: n.iface, addr: a, state: s}
	adj.timer = n.iface.d.clock.AfterFunc(time.Hour, func() { n.expire(adj) })
	adj.timer.Stop()
	n.table.set(a, adj)
	if s == Incomplete {
		n.incomplete++
	}
	return adj
}

// set changes an entry's state; n.mu is held.
func (n *neighbours) set(adj *adjacency, s NeighbourState) {
	if adj.state == Incomplete && s != Incomplete {
		n.incomplete--
	}
	if adj.state != Incomplete && s == Incomplete {
		n.incomplete++
	}
	adj.state = s
}

// forget takes an entry out; n.mu is held. The packets that waited are the caller's.
func (n *neighbours) forget(adj *adjacency) []*packet.Packet {
	adj.dead.Store(true)
	adj.timer.Stop()
	if adj.state == Incomplete {
		n.incomplete--
	}
	n.table.remove(adj.addr, func(x *adjacency) bool { return x == adj })
	q := adj.queue
	adj.queue = nil
	return q
}

// wait queues packets behind an address resolution and starts it when there is none.
func (n *neighbours) wait(adj *adjacency, v []*packet.Packet) {
	d := n.iface.d
	n.mu.Lock()
	if adj.dead.Load() {
		n.mu.Unlock()
		d.dropAll(v, dropNoNeighbour)
		return
	}
	if rw := adj.rewrite.Load(); rw != nil { // resolved meanwhile
		n.mu.Unlock()
		w := d.worker()
		w.ethernetOutput(adj, v)
		w.done()
		return
	}
	start := len(adj.queue) == 0 && adj.tries == 0
	for k, p := range v {
		if len(adj.queue) >= neighbourQueue {
			// The newest packet is the one that somebody still waits for.
			d.drop(adj.queue[0], dropNeighbourQueue)
			adj.queue = append(adj.queue[:0], adj.queue[1:]...)
		}
		adj.queue = append(adj.queue, p)
		v[k] = nil
	}
	if start {
		adj.tries = 1
		adj.timer.Reset(neighbourRetry)
	}
	n.mu.Unlock()
	if start {
		n.iface.solicit(adj.addr, nil)
	}
}

// expire is what an entry's timer does.
func (n *neighbours) expire(adj *adjacency) {
	defer n.iface.d.guard("neighbour timer")
	var dead []*packet.Packet
	ask, unicast := false, (*[6]byte)(nil)
	n.mu.Lock()
	if adj.dead.Load() {
		n.mu.Unlock()
		return
	}
	switch adj.state {
	case Reachable, Stale:
		if adj.used.Swap(false) {
			n.set(adj, Probing)
			adj.tries, adj.idle, ask, unicast = 1, 0, true, adj.mac()
			adj.timer.Reset(neighbourRetry)
			break
		}
		n.set(adj, Stale)
		if adj.idle++; adj.idle > neighbourIdle {
			dead = n.forget(adj)
			break
		}
		adj.timer.Reset(neighbourReachable)
	case Probing:
		if adj.tries < neighbourTries {
			adj.tries++
			ask, unicast = true, adj.mac()
		} else {
			adj.rewrite.Store(nil)
			n.set(adj, Incomplete)
			adj.tries, ask = 1, true
		}
		adj.timer.Reset(neighbourRetry)
	case Incomplete:
		if adj.tries < neighbourTries {
			adj.tries++
			ask = true
			adj.timer.Reset(neighbourRetry)
		} else {
			dead = n.forget(adj)
		}
	}
	n.mu.Unlock()
	if ask {
		n.iface.solicit(adj.addr, unicast)
	}
	if len(dead) > 0 {
		w := n.iface.d.worker()
		defer w.done()
		for _, p := range dead {
			w.unreachable(p, dropNoNeighbour, ip.CodeHost, ip.V6AddrUnreach)
		}
	}
}

func (a *adjacency) mac() *[6]byte {
	rw := a.rewrite.Load()
	if rw == nil {
		return nil
	}
	m := [6]byte(rw[:6])
	return &m
}

// learn takes over what a neighbour said of itself. create makes an entry where there is none; solicited says that it
// answered us; override that a different MAC replaces the one we have.
func (n *neighbours) learn(a netip.Addr, mac [6]byte, create, solicited, override bool) {
	i := n.iface
	n.mu.Lock()
	adj, ok := n.table.get(a)
	if !ok {
		if !create || n.table.len() >= neighbourMax {
			n.mu.Unlock()
			return
		}
		adj = n.add(a, Incomplete)
	}
	old := adj.rewrite.Load()
	if adj.state == Static || old != nil && [6]byte(old[:6]) != mac && !override {
		n.mu.Unlock()
		return
	}
	moved := old != nil && [6]byte(old[:6]) != mac
	if old == nil || moved {
		rw := i.ethernetHeader(mac, a.Is4())
		adj.rewrite.Store(&rw)
	}
	adj.tries, adj.idle = 0, 0
	adj.confirmed = i.d.clock.Now()
	switch {
	case solicited || adj.state == Incomplete && !create:
		n.set(adj, Reachable)
	default:
		n.set(adj, Stale)
	}
	adj.timer.Reset(neighbourReachable)
	q := adj.queue
	adj.queue = nil
	n.mu.Unlock()
	if moved {
		i.d.log.Info().Str("event", "neighbour-moved").Str("interface", i.name).Stringer("addr", a).Msg("a neighbour has a new hardware address")
	}
	if len(q) > 0 {
		w := i.d.worker()
		w.ethernetOutput(adj, q)
		w.done()
	}
}

// clear forgets all entries, the static ones only when they may not stay.
func (n *neighbours) clear(keepStatic bool) {
	n.clearIf(func(adj *adjacency) bool { return adj.state != Static || !keepStatic })
}

func (n *neighbours) clearIf(goes func(*adjacency) bool) {
	var dead []*packet.Packet
	n.mu.Lock()
	var all []*adjacency
	n.table.each(func(_ netip.Addr, adj *adjacency) { all = append(all, adj) })
	for _, adj := range all {
		if goes(adj) {
			dead = append(dead, n.forget(adj)...)
		}
	}
	n.mu.Unlock()
	n.iface.d.dropAll(dead, dropInterfaceDown)
}

// Neighbours lists the interface's ARP and neighbour entries by address.
func (i *Interface) Neighbours() []Neighbour {
	var out []Neighbour
	now := i.d.clock.Now()
	i.neigh.mu.Lock()
	i.neigh.table.each(func(a netip.Addr, adj *adjacency) {
		e := Neighbour{Addr: a, State: adj.state}
		if mac := adj.mac(); mac != nil {
			e.MAC = *mac
		}
		if !adj.confirmed.IsZero() {
			e.Age = now.Sub(adj.confirmed)
		}
		out = append(out, e)
	})
	i.neigh.mu.Unlock()
	slices.SortFunc(out, func(a, b Neighbour) int { return a.Addr.Compare(b.Addr) })
	return out
}

// ClearNeighbours forgets what was learnt.
func (i *Interface) ClearNeighbours() { i.neigh.clear(true) }

// AddStaticNeighbour sets an entry that does not age and that nobody overrides.
func (i *Interface) AddStaticNeighbour(a netip.Addr, mac [6]byte) {
	i.neigh.mu.Lock()
	adj, ok := i.neigh.table.get(a)
	if !ok {
		adj = i.neigh.add(a, Incomplete)
	}
	adj.timer.Stop()
	rw := i.ethernetHeader(mac, a.Is4())
	adj.rewrite.Store(&rw)
	i.neigh.set(adj, Static)
	q := adj.queue
	adj.queue = nil
	i.neigh.mu.Unlock()
	if len(q) > 0 {
		w := i.d.worker()
		w.ethernetOutput(adj, q)
		w.done()
	}
}

// RemoveStaticNeighbour takes a static entry back.
func (i *Interface) RemoveStaticNeighbour(a netip.Addr) {
	i.neigh.mu.Lock()
	defer i.neigh.mu.Unlock()
	if adj, ok := i.neigh.table.get(a); ok && adj.state == Static {
		i.neigh.forget(adj)
	}
}
