package tap

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"felloe/netstack/link"
	"felloe/netstack/link/nic"
	"felloe/netstack/link/vnet"
	"felloe/netstack/packet"

	"golang.org/x/sys/unix"
)

// Options change what Open does.
type Options struct {
	// MAC is the router's address; the zero value derives one from the kernel's.
	MAC [6]byte
	// Offload lets the kernel hand over super-frames and frames without checksums.
	Offload bool
	// KeepDown does not switch the kernel's interface on.
	KeepDown bool
}

// vector is how many packets are handed over at once.
const vector = 64

// largest is the largest super-frame with its headers.
const largest = 65536 + 64 + vnet.Len

type driver struct {
	info    link.Info
	offload bool
	nic     *nic.NIC
	watcher *nic.Watcher
	file    *os.File
	raw     syscall.RawConn
	done    chan struct{}

	mu              sync.Mutex
	started, closed bool

	sendMu sync.Mutex
	toSend []*packet.Packet
	write  func(fd uintptr) bool

	rxFrames, rxBytes, rxDrops, txFrames, txBytes, txDrops atomic.Uint64
}

// Open makes, or joins, the TAP device of that name in the network namespace of the calling thread.
func Open(name string, o Options) (_ link.Driver, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("tap: %s: %w", name, err)
		}
	}()
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return nil, errors.New("no interface name")
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun (CAP_NET_ADMIN and the module tun are needed): %w", err)
	}
	d := &driver{offload: o.Offload, done: make(chan struct{})}
	if err = d.setup(fd, name, o); err != nil {
		if d.nic != nil {
			d.nic.Close()
		}
		unix.Close(fd)
		return nil, err
	}
	d.file = os.NewFile(uintptr(fd), "/dev/net/tun")
	if d.raw, err = d.file.SyscallConn(); err == nil {
		d.watcher, err = d.nic.Watch()
	}
	if err != nil {
		d.file.Close()
		d.nic.Close()
		return nil, err
	}
	d.write = d.writeAll
	return d, nil
}

func (d *driver) setup(fd int, name string, o Options) (err error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if o.Offload {
		flags |= unix.IFF_VNET_HDR
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("attach (is it in use, or of another kind?): %w", err)
	}
	if o.Offload {
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnet.Len); err != nil {
			return fmt.Errorf("header size: %w", err)
		}
		// The kernel segments by itself what it is not told that we can take.
		const all = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, all|unix.TUN_F_USO4|unix.TUN_F_USO6); err != nil {
			if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, all); err != nil {
				return fmt.Errorf("offloads: %w", err)
			}
		}
	}
	if d.nic, err = nic.Open(ifr.Name()); err != nil {
		return err
	}
	if !o.KeepDown {
		if err := d.nic.SetUp(); err != nil {
			return err
		}
	}
	d.info = link.Info{Name: ifr.Name(), MAC: o.MAC, Driver: "tap"}
	if d.info.MAC == [6]byte{} {
		if d.info.MAC, err = d.nic.MAC(); err != nil {
			return err
		}
		d.info.MAC[0] = d.info.MAC[0]&^1 | 2 // locally administered
		d.info.MAC[5] ^= 0x80
	}
	d.info.MTU, err = d.nic.MTU()
	return err
}

func (d *driver) Start(input func(v []*packet.Packet)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started || d.closed {
		return fmt.Errorf("tap: %s: started twice or after Close", d.info.Name)
	}
	d.started = true
	go d.receive(input)
	return nil
}

func (d *driver) receive(input func(v []*packet.Packet)) {
	defer close(d.done)
	buf := make([]byte, largest)
	v := make([]*packet.Packet, 0, vector)
	var failure error
	read := func(fd uintptr) bool {
		for len(v) < vector {
			n, err := unix.Read(int(fd), buf)
			switch {
			case err == unix.EINTR:
			case err == unix.EAGAIN:
				return len(v) > 0
			case err == unix.EIO, err == unix.EBADFD:
				// The interface is down or was removed; the poller tells when it is readable again.
				return len(v) > 0
			case err != nil:
				failure = err
				return true
			default:
				v = d.take(v, buf[:n])
			}
		}
		return true
	}
	for failure == nil {
		v = v[:0]
		if d.raw.Read(read) != nil { // closed
			packet.ReleaseAll(v)
			return
		}
		for rest := v; len(rest) > 0; {
			n := min(vector, len(rest))
			input(rest[:n])
			rest = rest[n:]
		}
	}
}

func (d *driver) take(v []*packet.Packet, b []byte) []*packet.Packet {
	var h vnet.Header
	if d.offload {
		if len(b) < vnet.Len {
			d.rxDrops.Add(1)
			return v
		}
		h, b = vnet.Decode(b), b[vnet.Len:]
	}
	first := len(v)
	v, err := h.Packets(b, v)
	if err != nil {
		d.rxDrops.Add(1)
		return v
	}
	d.rxFrames.Add(uint64(len(v) - first))
	for _, p := range v[first:] {
		d.rxBytes.Add(uint64(p.Len()))
	}
	return v
}

func (d *driver) Send(v []*packet.Packet) {
	d.sendMu.Lock()
	defer d.sendMu.Unlock()
	d.toSend = v
	if d.raw.Write(d.write) != nil { // closed
		d.txDrops.Add(uint64(len(d.toSend)))
		for _, p := range d.toSend {
			p.Release()
		}
	}
	d.toSend = nil
}

// writeAll writes and releases toSend. A TAP device takes a frame or refuses it, so nothing is waited for.
func (d *driver) writeAll(fd uintptr) bool {
	for _, p := range d.toSend {
		size := p.Len()
		if d.offload {
			clear(p.Prepend(vnet.Len)) // nothing left to do
		}
		_, err := unix.Write(int(fd), p.Bytes())
		for err == unix.EINTR {
			_, err = unix.Write(int(fd), p.Bytes())
		}
		if err != nil {
			d.txDrops.Add(1)
		} else {
			d.txFrames.Add(1)
			d.txBytes.Add(uint64(size))
		}
		p.Release()
	}
	d.toSend = nil
	return true
}

func (d *driver) Info() link.Info { return d.info }

func (d *driver) Stats() link.Stats {
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
	err := d.file.Close()
	if d.started {
		<-d.done
	}
	d.watcher.Close()
	d.nic.Close()
	return err
}
