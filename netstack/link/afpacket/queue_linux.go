package afpacket

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"felloe/netstack/packet"

	"golang.org/x/sys/unix"
)

// queue is one receive worker with its rings: quick for frames that should not wait, bulk for many at a time, or just
// one of them.
//
// With both, the kernel asks a one-instruction program to which ring a frame goes (PACKET_FANOUT_CBPF), and the worker
// changes that program: to bulk, where small frames take little room, when frames are lost or the quick ring does not
// get empty for a long time; back when a block comes by the kernel's timer with little in it. Frames stay in order: after a change the ring that was used
// before is emptied first, and a block that is still being filled is waited for.
type queue struct {
	d           *driver
	quick, bulk *ring

	toBulk   bool
	awake    int // frames since the quick ring was empty
	changing atomic.Bool
}

// busy is after how many frames without a pause frames go to the bulk ring.
const busy = 4096

func newQueue(d *driver, o Options) (q *queue, err error) {
	q = &queue{d: d}
	bytes := o.RingBytes
	if bytes <= 0 {
		bytes = defaultBytes
	}
	kind := o.Ring
	if kind == Adaptive && o.Queues > 1 {
		kind = Blocks
	}
	// The quick ring first: the kernel numbers the members of a group in this order.
	if kind != Blocks {
		if q.quick, err = newRing(d, Frames, bytes); err != nil {
			return q, err
		}
	}
	if kind != Frames {
		if q.bulk, err = newRing(d, Blocks, bytes); err != nil {
			return q, err
		}
	}
	return q, nil
}

func (q *queue) rings() (all []*ring) {
	for _, r := range []*ring{q.quick, q.bulk} {
		if r != nil {
			all = append(all, r)
		}
	}
	return all
}

// start binds the rings of all queues and makes them groups, so that each frame goes to one of them.
func start(queues []*queue, index int) error {
	var rings []*ring
	for _, q := range queues {
		rings = append(rings, q.rings()...)
	}
	if len(rings) == 1 {
		return rings[0].bind(index)
	}
	kind := unix.PACKET_FANOUT_HASH
	if len(queues) == 1 {
		kind = unix.PACKET_FANOUT_CBPF
	}
	// Until all are members each would get every frame.
	for _, r := range rings {
		if err := r.deaf(true); err != nil {
			return err
		}
		if err := r.bind(index); err != nil {
			return err
		}
	}
	arg := (kind | unix.PACKET_FANOUT_FLAG_UNIQUEID) << 16
	for _, r := range rings {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, arg); err != nil {
			return fmt.Errorf("fanout: %w", err)
		}
		group, err := unix.GetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
		if err != nil {
			return fmt.Errorf("fanout: %w", err)
		}
		arg = kind<<16 | group&0xffff
	}
	for _, r := range rings {
		if err := r.deaf(false); err != nil {
			return err
		}
	}
	return nil
}

// run is the worker's life.
func (q *queue) run(input func(v []*packet.Packet)) {
	// Never unlocked: the thread ends with the worker.
	runtime.LockOSThread()
	v := make([]*packet.Packet, 0, vector)
	fds := make([]unix.PollFd, 0, 3)
	for {
		if v = q.fill(v[:0]); len(v) > 0 {
			q.d.count(v)
			for rest := v; len(rest) > 0; { // more than a vector when super-frames came
				n := min(vector, len(rest))
				input(rest[:n])
				rest = rest[n:]
			}
			if !q.d.stopping.Load() {
				continue
			}
		}
		fds = append(fds[:0], unix.PollFd{Fd: int32(q.d.stop), Events: unix.POLLIN})
		if q.quick != nil && !q.waiting() {
			fds = append(fds, unix.PollFd{Fd: int32(q.quick.fd), Events: unix.POLLIN})
		}
		if q.bulk != nil {
			fds = append(fds, unix.PollFd{Fd: int32(q.bulk.fd), Events: unix.POLLIN})
		}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if fds[0].Revents != 0 {
			return
		}
		for _, f := range fds[1:] {
			if f.Revents&unix.POLLERR != 0 {
				// The interface went down: the error is read once, the socket works again when it is up.
				_, _ = unix.GetsockoptInt(int(f.Fd), unix.SOL_SOCKET, unix.SO_ERROR)
			}
		}
	}
}

// fill appends about a vector of packets to v, nothing when there are none now.
func (q *queue) fill(v []*packet.Packet) []*packet.Packet {
	switch {
	case q.bulk == nil:
		return q.quick.fill(v)
	case q.quick == nil:
		return q.bulk.fill(v)
	case q.toBulk:
		if v = q.quick.fill(v); len(v) > 0 {
			return v
		}
		if v = q.bulk.fill(v); q.bulk.quiet {
			q.steer(false)
		}
		return v
	}
	if v = q.bulk.fill(v); len(v) > 0 || q.waiting() {
		return v
	}
	v = q.quick.fill(v)
	if q.awake += len(v); len(v) == 0 {
		q.awake = 0
	}
	if q.quick.losing || q.awake >= busy {
		q.steer(true)
	}
	return v
}

// waiting tells whether frames in the bulk ring's open block are older than those in the quick ring.
func (q *queue) waiting() bool { return q.bulk != nil && !q.toBulk && q.bulk.pending() }

// steer changes the ring that frames go to. The kernel waits for a grace period when it changes the program, so another
// goroutine does it; until then frames go where they went, which fill allows for.
func (q *queue) steer(toBulk bool) {
	if q.changing.Swap(true) {
		return
	}
	q.toBulk, q.awake, q.quick.losing, q.bulk.quiet = toBulk, 0, false, false
	q.d.workers.Go(func() {
		member := uint32(0)
		if toBulk {
			member = 1
		}
		program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: member}}
		err := unix.SetsockoptSockFprog(q.quick.fd, unix.SOL_PACKET, unix.PACKET_FANOUT_DATA,
			&unix.SockFprog{Len: 1, Filter: &program[0]})
		// The kernel calls every frame a losing one until its count of lost frames is read.
		q.d.rxDrops.Add(q.quick.kernelDrops())
		if err == nil {
			q.d.steers.Add(1)
		}
		q.changing.Store(false)
	})
}
