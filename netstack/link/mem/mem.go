package mem

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/link"
	"felloe/netstack/packet"
)

const (
	// vectorSize is the most frames that one input call gets.
	vectorSize = 256
	// queueTime is how long a frame may wait for its turn on a link with a rate.
	queueTime = 250 * time.Millisecond
	// maxFlying bounds the frames on their way to one port: what a long and fast wire holds.
	maxFlying = 16384
	// maxWaiting bounds them while the scheduler is late: then they wait rather than fly, and a NIC's ring is no longer. A
	// starved process with many ports on one switch would fill its memory otherwise.
	maxWaiting = 4096
	// late is how far the scheduler may be behind before that is so.
	late = 20 * time.Millisecond
	// idleEvents is the room for events that an idle network keeps.
	idleEvents = 4096
	// header is an Ethernet header with one VLAN tag, which the MTU does not count.
	header = 18
)

// Impairment is how a link misbehaves. The zero value is a perfect link of MTU 1500.
type Impairment struct {
	Delay  time.Duration
	Jitter time.Duration // 0 to Jitter more, evenly spread
	Loss   float64       // probability that a frame is lost
	// Reorder is the probability that a frame is held back, by Delay + Jitter or at least 1 ms, while others pass it.
	Reorder   float64
	Duplicate float64
	RateBps   uint64 // bits per second, 0 for no limit
	MTU       int    // largest payload of a frame; 0 means 1500
}

// Network is a set of links with one scheduler. It is safe for concurrent use.
type Network struct {
	clock clock.Clock

	mu      sync.Mutex
	idle    *sync.Cond // signalled when a delivery has ended
	events  events
	seq     uint64
	timer   clock.Timer
	armed   time.Time // when the timer fires; zero when it does not
	running bool
	seed    uint64
	links   []*Link
	macs    uint32
	lost    uint64 // frames that found a full ring, or a full wire
}

// NewNetwork returns an empty network that lives by the clock.
func NewNetwork(c clock.Clock) *Network {
	n := &Network{clock: c, seed: 1}
	n.idle = sync.NewCond(&n.mu)
	return n
}

// Seed sets the seed of the chances of links that are made after it.
func (n *Network) Seed(seed uint64) {
	n.mu.Lock()
	n.seed = seed
	n.mu.Unlock()
}

// Overflows counts the frames that were lost because nobody took them in time: those that the scheduler did not come to, and
// those that were Refused.
func (n *Network) Overflows() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost
}

// Link is what frames cross: two ports, or as many as a switch has.
type Link struct {
	net  *Network
	name string
	// under net.mu
	imp   Impairment
	up    bool
	ports []*Port
	table map[[6]byte]*Port // a switch's; nil for a pair

	capture atomic.Pointer[func(at time.Time, from *Port, frame []byte)]
}

// Port is one end of a link.
type Port struct {
	link *Link
	name string
	mac  [6]byte
	// under link.net.mu
	rng     *rand.Rand
	input   func([]*packet.Packet)
	closed  bool
	carrier bool
	onState []func(bool)
	queued  int
	free    time.Time // when the sender of this port is done with what it has
	last    time.Time // arrival of the newest frame that was not reordered
	busy    bool      // input is running
	stats   link.Stats
}

var _ link.Driver = (*Port)(nil)

// Pair makes a link between two new ports.
func (n *Network) Pair(a, b string, imp Impairment) (A, B *Port) {
	l := n.newLink(a+" - "+b, imp)
	return l.port(a), l.port(b)
}

// Switch makes a link that more than two ports may join. It learns addresses and floods what it does not know.
func (n *Network) Switch(name string, imp Impairment) *Link {
	l := n.newLink(name, imp)
	l.table = map[[6]byte]*Port{}
	return l
}

// Port adds a port to a switch.
func (l *Link) Port(name string) *Port { return l.port(name) }

func (n *Network) newLink(name string, imp Impairment) *Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &Link{net: n, name: name, imp: imp, up: true}
	n.links = append(n.links, l)
	return l
}

func (l *Link) port(name string) *Port {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.net.macs++
	p := &Port{link: l, name: name, carrier: true, mac: [6]byte{0x02, 0xfe, 0, 0, 0, 0}}
	binary.BigEndian.PutUint32(p.mac[2:], l.net.macs)
	p.rng = rand.New(rand.NewPCG(l.net.seed, uint64(l.net.macs)))
	l.ports = append(l.ports, p)
	return p
}

// Name of the link.
func (l *Link) Name() string { return l.name }

// Ports of the link.
func (l *Link) Ports() []*Port {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	return append([]*Port(nil), l.ports...)
}

// SetImpairment changes how the link misbehaves from now on.
func (l *Link) SetImpairment(imp Impairment) {
	l.net.mu.Lock()
	l.imp = imp
	l.net.mu.Unlock()
}

// Impairment of the link.
func (l *Link) Impairment() Impairment {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	return l.imp
}

// SetUp cuts the link silently, what is on its way included, or restores it.
func (l *Link) SetUp(up bool) {
	l.net.mu.Lock()
	l.up = up
	l.net.mu.Unlock()
}

// SetCapture sets what sees every frame that enters the link, before it can be lost; nil ends it. The calls are one
// after the other over the whole Network, one may still be under way when SetCapture returns; f must not block, keep
// the frame, or call the Network.
func (l *Link) SetCapture(f func(at time.Time, from *Port, frame []byte)) {
	if f == nil {
		l.capture.Store(nil)
		return
	}
	l.capture.Store(&f) // without the Network's lock: its caller may hold what f wants
}

// Link of the port.
func (p *Port) Link() *Link { return p.link }

// Name of the port.
func (p *Port) Name() string { return p.name }

// Start implements link.Driver. A port that was closed may be started again, as a NIC whose interface is made anew.
func (p *Port) Start(input func([]*packet.Packet)) error {
	p.link.net.mu.Lock()
	defer p.link.net.mu.Unlock()
	p.input, p.closed = input, false
	return nil
}

// Info implements link.Driver.
func (p *Port) Info() link.Info {
	imp := p.link.Impairment()
	return link.Info{Name: p.name, MAC: p.mac, MTU: imp.mtu(), SpeedMbps: int(imp.RateBps / 1e6), Driver: "mem"}
}

// Stats implements link.Driver.
func (p *Port) Stats() link.Stats {
	p.link.net.mu.Lock()
	defer p.link.net.mu.Unlock()
	return p.stats
}

// Refused says that frames were lost behind the port: who reads from it did not take them.
func (p *Port) Refused(frames int) {
	n := p.link.net
	n.mu.Lock()
	defer n.mu.Unlock()
	p.stats.RxDrops += uint64(frames)
	n.lost += uint64(frames)
}

// OnState implements link.Driver.
func (p *Port) OnState(f func(up bool)) {
	n := p.link.net
	n.mu.Lock()
	p.onState = append(p.onState, f)
	up := p.carrier
	n.mu.Unlock()
	f(up)
}

// SetCarrier plugs the cable of this port in or out.
func (p *Port) SetCarrier(up bool) {
	n := p.link.net
	n.mu.Lock()
	changed := p.carrier != up
	p.carrier = up
	fs := p.onState
	n.mu.Unlock()
	if changed {
		for _, f := range fs {
			f(up)
		}
	}
}

// Close implements link.Driver. It must not be called from the port's own input.
func (p *Port) Close() error {
	n := p.link.net
	n.mu.Lock()
	defer n.mu.Unlock()
	p.closed, p.onState = true, nil
	for p.busy {
		n.idle.Wait()
	}
	if p.closed { // nobody has started it meanwhile
		p.input = nil
	}
	return nil
}

func (imp *Impairment) mtu() int {
	if imp.MTU == 0 {
		return 1500
	}
	return imp.MTU
}

// Send implements link.Driver.
func (p *Port) Send(v []*packet.Packet) {
	l, n := p.link, p.link.net
	now := n.clock.Now()
	n.mu.Lock()
	for i, f := range v {
		if p.closed || !p.carrier || f.Len() > l.imp.mtu()+header || f.Len() < 14 {
			p.stats.TxDrops++
			f.Release()
			v[i] = nil
			continue
		}
		if c := l.capture.Load(); c != nil {
			(*c)(now, p, f.Bytes())
		}
		p.stats.TxFrames++
		p.stats.TxBytes += uint64(f.Len())
		p.send(now, f)
		v[i] = nil
	}
	n.arm(now)
	n.mu.Unlock()
}

// send puts one frame on the link; n.mu is held.
func (p *Port) send(now time.Time, f *packet.Packet) {
	l := p.link
	at := now
	if l.imp.RateBps > 0 {
		if p.free.Before(now) {
			p.free = now
		}
		if p.free.Sub(now) > queueTime {
			p.stats.TxDrops++
			f.Release()
			return
		}
		p.free = p.free.Add(time.Duration(uint64(f.Len()) * 8 * uint64(time.Second) / l.imp.RateBps))
		at = p.free
	}
	if !l.up || l.imp.Loss > 0 && p.rng.Float64() < l.imp.Loss {
		f.Release()
		return
	}
	at = at.Add(l.imp.Delay)
	if l.imp.Jitter > 0 {
		at = at.Add(time.Duration(p.rng.Int64N(int64(l.imp.Jitter) + 1)))
	}
	if l.imp.Reorder > 0 && p.rng.Float64() < l.imp.Reorder {
		at = at.Add(max(l.imp.Delay+l.imp.Jitter, time.Millisecond))
	} else {
		if at.Before(p.last) {
			at = p.last
		}
		p.last = at
	}
	twice := l.imp.Duplicate > 0 && p.rng.Float64() < l.imp.Duplicate
	if l.table == nil {
		for _, to := range l.ports {
			if to != p {
				l.net.deliver(now, at, to, f, twice)
				return
			}
		}
		f.Release()
		return
	}
	b := f.Bytes()
	if b[6]&1 == 0 && len(l.table) < 65536 {
		l.table[[6]byte(b[6:12])] = p
	}
	if b[0]&1 == 0 {
		if to, ok := l.table[[6]byte(b[0:6])]; ok {
			if to != p {
				l.net.deliver(now, at, to, f, twice)
			} else {
				f.Release()
			}
			return
		}
	}
	for _, to := range l.ports {
		if to != p {
			l.net.deliver(now, at, to, packet.From(b), twice)
		}
	}
	f.Release()
}

// deliver makes the event of a frame's arrival; n.mu is held.
func (n *Network) deliver(now, at time.Time, to *Port, f *packet.Packet, twice bool) {
	room := maxFlying
	if len(n.events) > 0 && now.Sub(n.events[0].at) > late {
		room = maxWaiting
	}
	if to.queued >= room {
		to.stats.RxDrops++
		n.lost++
		f.Release()
		return
	}
	if twice {
		n.push(at, to, packet.From(f.Bytes()))
	}
	n.push(at, to, f)
}

func (n *Network) push(at time.Time, to *Port, f *packet.Packet) {
	f.CopyContext(&blank) // a wire carries bytes, nothing else
	n.seq++
	to.queued++
	n.events.push(event{at: at, seq: n.seq, to: to, frame: f})
}

// arm sets the timer for the earliest event; n.mu is held.
func (n *Network) arm(now time.Time) {
	if n.running || len(n.events) == 0 {
		return
	}
	at := n.events[0].at
	if !n.armed.IsZero() && !at.Before(n.armed) {
		return
	}
	n.armed = at
	if n.timer == nil {
		n.timer = n.clock.AfterFunc(at.Sub(now), n.run)
	} else {
		n.timer.Reset(at.Sub(now))
	}
}

// run delivers what is due. Only one run is at work at a time; the one that ends sets the timer for the next.
func (n *Network) run() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.armed = time.Time{}
	if n.running {
		return
	}
	n.running = true
	defer func() { // also when an input never returns to us: the others' frames go on
		n.running = false
		n.arm(n.clock.Now())
	}()
	var vector [vectorSize]*packet.Packet
	for len(n.events) > 0 {
		now := n.clock.Now()
		if n.events[0].at.After(now) {
			break
		}
		to, k := n.events[0].to, 0
		for k < vectorSize && len(n.events) > 0 && n.events[0].to == to && !n.events[0].at.After(now) {
			f := n.events.pop().frame
			to.queued--
			if !to.link.up || to.closed || to.input == nil || !to.carrier {
				to.stats.RxDrops++
				f.Release()
				continue
			}
			to.stats.RxFrames++
			to.stats.RxBytes += uint64(f.Len())
			vector[k] = f
			k++
		}
		if k > 0 {
			n.input(to, vector[:k])
		}
	}
}

// input hands a vector to a port's input. n.mu is held, but not meanwhile.
func (n *Network) input(to *Port, v []*packet.Packet) {
	to.busy = true
	input := to.input
	n.mu.Unlock()
	defer func() {
		clear(v)
		n.mu.Lock()
		to.busy = false
		n.idle.Broadcast()
	}()
	input(v)
}

var blank packet.Packet

type event struct {
	at    time.Time
	seq   uint64
	to    *Port
	frame *packet.Packet
}

// events are a heap by time, and then by the order of sending.
type events []event

func (h events) before(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}

func (h *events) push(e event) {
	*h = append(*h, e)
	q := *h
	for k := len(q) - 1; k > 0; {
		up := (k - 1) / 2
		if !q.before(k, up) {
			break
		}
		q[k], q[up] = q[up], q[k]
		k = up
	}
}

func (h *events) pop() event {
	q := *h
	first, last := q[0], len(q)-1
	q[0], q[last] = q[last], event{}
	q = q[:last]
	*h = q
	for k := 0; ; {
		least := 2*k + 1
		if least >= last {
			break
		}
		if r := least + 1; r < last && q.before(r, least) {
			least = r
		}
		if !q.before(least, k) {
			break
		}
		q[k], q[least] = q[least], q[k]
		k = least
	}
	if last == 0 && cap(q) > idleEvents {
		*h = nil
	}
	return first
}
