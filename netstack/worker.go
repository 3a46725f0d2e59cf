package netstack

import (
	"net/netip"
	"time"

	"felloe/netstack/fib"
	"felloe/netstack/packet"
)

const (
	// vectorSize is the longest run that a stage hands on at once.
	vectorSize = 256
	// maxHops bounds encapsulations and decapsulations of one packet.
	maxHops = 8
)

// worker is what one pass through the data plane needs: its scratch space, and what it has ready for the wires. A
// worker belongs to one goroutine from worker() to done(); passes do not nest on one worker.
type worker struct {
	d   *Dataplane
	now time.Time // read once a pass

	// What the last packet of the pass found: the next one often wants the same.
	lastSA *inbound
	last   struct {
		hop *fib.Hop
		dst netip.Addr
		adj *adjacency // a neighbour on an Ethernet that is the destination itself
	}

	tx    []txQueue
	local []*packet.Packet // for the pass's entry, not for stages
	next  [vectorSize]uint8
	errs  [vectorSize]error
}

type txQueue struct {
	iface *Interface
	v     []*packet.Packet
}

// target is where a run of packets goes next: an adjacency, a receiving SA, a session.
type target interface {
	run(w *worker, v []*packet.Packet)
}

func (d *Dataplane) worker() *worker { return d.workers.Get().(*worker) }

// done sends what is ready and gives the worker back.
func (w *worker) done() {
	for k := range w.tx {
		w.flush(&w.tx[k])
	}
	w.now = time.Time{}
	w.lastSA, w.last.hop, w.last.adj = nil, nil, nil
	w.d.workers.Put(w)
}

func (w *worker) time() time.Time {
	if w.now.IsZero() {
		w.now = w.d.clock.Now()
	}
	return w.now
}

// transmit queues frames for an interface's driver until the end of the pass.
func (w *worker) transmit(i *Interface, v []*packet.Packet) {
	var q *txQueue
	for k := range w.tx {
		if w.tx[k].iface == i {
			q = &w.tx[k]
			break
		}
		if w.tx[k].iface == nil && q == nil {
			q = &w.tx[k]
		}
	}
	if q == nil {
		w.tx = append(w.tx, txQueue{})
		q = &w.tx[len(w.tx)-1]
	}
	q.iface = i
	for len(v) > 0 {
		n := min(len(v), vectorSize-len(q.v))
		q.v = append(q.v, v[:n]...)
		clear(v[:n])
		if v = v[n:]; len(q.v) == vectorSize {
			w.flush(q)
			q.iface = i
		}
	}
}

func (w *worker) flush(q *txQueue) {
	i := q.iface
	q.iface = nil
	if len(q.v) == 0 {
		return
	}
	defer func() {
		if cause := recover(); cause != nil {
			w.d.contained("transmit", cause)
			clear(q.v)
			q.v = q.v[:0]
		}
	}()
	if !i.up.Load() {
		w.d.dropAll(q.v, dropInterfaceDown)
	} else {
		i.captured(Out, q.v)
		var bytes uint64
		for _, p := range q.v {
			bytes += uint64(p.Len() - etherSize)
		}
		i.txPackets.Add(uint64(len(q.v)))
		i.txBytes.Add(bytes)
		i.driver.Send(q.v)
		clear(q.v)
	}
	q.v = q.v[:0]
}

// fresh moves a packet to a buffer with all the room in front and behind again.
func (w *worker) fresh(p *packet.Packet) *packet.Packet {
	q := p.Clone()
	p.Release()
	return q
}

// runs hands stretches of packets with the same target on, in order. The zero value is ready.
type runs struct {
	start int
	to    target
}

// add says that v[k] goes to t; t == nil says that v[k] is gone.
func (r *runs) add(w *worker, v []*packet.Packet, k int, t target) {
	if t != r.to || k-r.start == vectorSize {
		r.flush(w, v, k)
		r.to = t
	}
	if t == nil {
		r.start = k + 1
	}
}

func (r *runs) flush(w *worker, v []*packet.Packet, k int) {
	t, start := r.to, r.start
	r.start = k
	if t != nil && k > start {
		r.to = nil
		t.run(w, v[start:k])
	}
}
