package afpacket

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"felloe/netstack/link"
	"felloe/netstack/link/nic"
	"felloe/netstack/packet"

	"golang.org/x/sys/unix"
)

// Ring is the layout of the receive ring.
type Ring uint8

const (
	// Adaptive has a ring of each kind: frames while the worker keeps up, blocks while it does not.
	Adaptive Ring = iota
	// Blocks is TPACKET_V3: the kernel packs frames of any size into blocks and hands over whole blocks.
	Blocks
	// Frames is TPACKET_V2: one slot a frame, handed over at once.
	Frames
)

// Options change what Open does; the zero value is right for a router.
type Options struct {
	// Queues is the number of receive workers; the kernel spreads flows over them. 0 means 1. With more than one,
	// Adaptive means Blocks.
	Queues int
	// Ring is the layout of the receive rings.
	Ring Ring
	// RingBytes is the size of a worker's ring, of each if it has two. 0 means 2 MiB.
	RingBytes int
	// Qdisc sends through the kernel's queueing discipline instead of past it.
	Qdisc bool
	// KeepOffloads leaves GRO and LRO as they are; super-frames are cut up in any case.
	KeepOffloads bool
	// KeepDown does not switch the interface on.
	KeepDown bool
}

// vector is how many packets are handed over, and sent, at once.
const vector = 64

type driver struct {
	info    link.Info
	nic     *nic.NIC
	watcher *nic.Watcher
	restore func()
	queues  []*queue
	tx      []*sender
	stop    int // an eventfd that becomes readable at Close
	workers sync.WaitGroup

	mu              sync.Mutex
	started, closed bool
	stopping        atomic.Bool
	steers          atomic.Uint64 // changes between quick and bulk

	rxFrames, rxBytes, rxDrops, txFrames, txBytes, txDrops atomic.Uint64
}

// Open takes hold of the interface of that name in the network namespace of the calling thread and switches it on.
// Frames are received from Start on.
func Open(name string, o Options) (_ link.Driver, err error) {
	d := &driver{stop: -1, restore: func() {}}
	defer func() {
		if err != nil {
			d.free()
			err = fmt.Errorf("afpacket: %s: %w", name, err)
		}
	}()
	if d.nic, err = nic.Open(name); err != nil {
		return nil, err
	}
	if !o.KeepOffloads {
		d.restore = d.nic.NoMerge()
	}
	if !o.KeepDown {
		if err = d.nic.SetUp(); err != nil {
			return nil, err
		}
	}
	d.info = link.Info{Name: name, SpeedMbps: d.nic.SpeedMbps(), Driver: "af_packet"}
	if d.info.MAC, err = d.nic.MAC(); err != nil {
		return nil, err
	}
	if d.info.MTU, err = d.nic.MTU(); err != nil {
		return nil, err
	}
	if d.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	queues := max(1, o.Queues)
	for range queues {
		q, err := newQueue(d, o)
		d.queues = append(d.queues, q)
		if err != nil {
			return nil, err
		}
	}
	// Other workers than ours send too; a few sockets keep them out of each other's way.
	for range max(queues, min(4, runtime.GOMAXPROCS(0))) {
		s, err := newSender(d, !o.Qdisc)
		if err != nil {
			return nil, err
		}
		d.tx = append(d.tx, s)
	}
	if d.watcher, err = d.nic.Watch(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *driver) Start(input func(v []*packet.Packet)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started || d.closed {
		return fmt.Errorf("afpacket: %s: started twice or after Close", d.info.Name)
	}
	d.started = true
	if err := start(d.queues, d.nic.Index()); err != nil {
		return fmt.Errorf("afpacket: %s: %w", d.info.Name, err)
	}
	for _, q := range d.queues {
		d.workers.Go(func() { q.run(input) })
	}
	return nil
}

// count counts received packets.
func (d *driver) count(v []*packet.Packet) {
	var bytes uint64
	for _, p := range v {
		bytes += uint64(p.Len())
	}
	d.rxFrames.Add(uint64(len(v)))
	d.rxBytes.Add(bytes)
}

func (d *driver) Send(v []*packet.Packet) {
	for len(v) > 0 {
		n := min(vector, len(v))
		d.sender().send(v[:n])
		v = v[n:]
	}
}

// sender returns a sender, locked: one that is idle if there is one.
func (d *driver) sender() *sender {
	for _, s := range d.tx {
		if s.mu.TryLock() {
			return s
		}
	}
	d.tx[0].mu.Lock()
	return d.tx[0]
}

func (d *driver) Info() link.Info { return d.info }

func (d *driver) Stats() link.Stats {
	for _, q := range d.queues {
		for _, r := range q.rings() {
			d.rxDrops.Add(r.kernelDrops())
		}
	}
	return link.Stats{
		RxFrames: d.rxFrames.Load(), RxBytes: d.rxBytes.Load(), RxDrops: d.rxDrops.Load(),
		TxFrames: d.txFrames.Load(), TxBytes: d.txBytes.Load(), TxDrops: d.txDrops.Load(),
	}
}

func (d *driver) OnState(f func(up bool)) { d.watcher.OnState(f) }

func (d *driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	d.stopping.Store(true)
	var one = [8]byte{1}
	if _, err := unix.Write(d.stop, one[:]); err != nil {
		return fmt.Errorf("afpacket: %s: cannot stop the workers: %w", d.info.Name, err)
	}
	d.workers.Wait()
	d.free()
	return nil
}

func (d *driver) free() {
	if d.watcher != nil {
		d.watcher.Close()
	}
	for _, q := range d.queues {
		for _, r := range q.rings() {
			r.close()
		}
	}
	for _, s := range d.tx {
		s.close()
	}
	if d.stop >= 0 {
		unix.Close(d.stop)
	}
	d.restore()
	if d.nic != nil {
		d.nic.Close()
	}
}
