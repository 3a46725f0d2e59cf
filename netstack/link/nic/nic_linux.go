package nic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NIC is a network interface of the kernel.
type NIC struct {
	fd    int
	name  string
	index int
}

// Open finds the interface of that name in the namespace of the calling thread.
func Open(name string) (*NIC, error) {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("nic: %q is no interface name", name)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("nic: socket: %w", err)
	}
	n := &NIC{fd: fd, name: name}
	r, err := n.ioctl(unix.SIOCGIFINDEX, request{})
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	n.index = int(r.uint32())
	return n, nil
}

// Close frees the handle; the interface stays as it is.
func (n *NIC) Close() error { return unix.Close(n.fd) }

// Name is the kernel's name of the interface.
func (n *NIC) Name() string { return n.name }

// Index is the kernel's number of the interface.
func (n *NIC) Index() int { return n.index }

// MAC is the hardware address.
func (n *NIC) MAC() (mac [6]byte, err error) {
	r, err := n.ioctl(unix.SIOCGIFHWADDR, request{})
	copy(mac[:], r[2:]) // behind the address family
	return mac, err
}

// MTU is the largest payload of a frame in bytes.
func (n *NIC) MTU() (int, error) {
	r, err := n.ioctl(unix.SIOCGIFMTU, request{})
	return int(r.uint32()), err
}

// Flags are the IFF flags.
func (n *NIC) Flags() (uint16, error) {
	r, err := n.ioctl(unix.SIOCGIFFLAGS, request{})
	return binary.NativeEndian.Uint16(r[:]), err
}

// Running tells whether the interface is up and has a carrier.
func (n *NIC) Running() bool {
	f, err := n.Flags()
	return err == nil && running(uint32(f))
}

func running(flags uint32) bool {
	const need = unix.IFF_UP | unix.IFF_RUNNING
	return flags&need == need
}

// SetUp switches the interface on.
func (n *NIC) SetUp() error {
	f, err := n.Flags()
	if err != nil || f&unix.IFF_UP != 0 {
		return err
	}
	var r request
	binary.NativeEndian.PutUint16(r[:], f|unix.IFF_UP)
	_, err = n.ioctl(unix.SIOCSIFFLAGS, r)
	return err
}

// request is the union of struct ifreq behind the name.
type request [24]byte

func (r request) uint32() uint32 { return binary.NativeEndian.Uint32(r[:]) }

func (n *NIC) ioctl(op uintptr, r request) (request, error) {
	var ifr struct {
		name [unix.IFNAMSIZ]byte
		data request
	}
	copy(ifr.name[:], n.name)
	ifr.data = r
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(n.fd), op, uintptr(unsafe.Pointer(&ifr))); e != 0 {
		return request{}, fmt.Errorf("nic: %s: ioctl %#x: %w", n.name, op, e)
	}
	return ifr.data, nil
}

// ethtool does an ioctl whose argument is a structure of the ethtool family.
func (n *NIC) ethtool(data unsafe.Pointer) error {
	var ifr struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(ifr.name[:], n.name)
	ifr.data = data
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(n.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr))); e != 0 {
		return e
	}
	return nil
}

// Ethtool commands that x/sys does not name (include/uapi/linux/ethtool.h).
const (
	ethtoolGSet   = 0x01
	ethtoolGFlags = 0x25
	ethtoolSFlags = 0x26
	ethtoolGGRO   = 0x2b
	ethtoolSGRO   = 0x2c
	ethFlagLRO    = 1 << 15
)

// SpeedMbps is the nominal speed in Mbit/s, 0 when the driver does not say.
func (n *NIC) SpeedMbps() int {
	cmd := struct {
		cmd, supported, advertising uint32
		speed                       uint16
		_                           [6]byte
		_                           [2]uint32
		speedHigh                   uint16
		_                           [2]byte
		_                           [3]uint32
	}{cmd: ethtoolGSet}
	if n.ethtool(unsafe.Pointer(&cmd)) != nil {
		return 0
	}
	speed := uint32(cmd.speedHigh)<<16 | uint32(cmd.speed)
	if speed == 0xffff || speed == 0xffffffff {
		return 0
	}
	return int(speed)
}

// NoMerge switches off what merges received frames into super-frames (GRO, LRO), as far as the driver lets it be
// switched, and returns what switches it on again.
func (n *NIC) NoMerge() (restore func()) {
	type value struct{ cmd, data uint32 }
	gro, flags := value{cmd: ethtoolGGRO}, value{cmd: ethtoolGFlags}
	var undo []value
	if n.ethtool(unsafe.Pointer(&gro)) == nil && gro.data != 0 {
		if n.ethtool(unsafe.Pointer(&value{cmd: ethtoolSGRO})) == nil {
			undo = append(undo, value{ethtoolSGRO, gro.data})
		}
	}
	if n.ethtool(unsafe.Pointer(&flags)) == nil && flags.data&ethFlagLRO != 0 {
		if n.ethtool(unsafe.Pointer(&value{ethtoolSFlags, flags.data &^ ethFlagLRO})) == nil {
			undo = append(undo, value{ethtoolSFlags, flags.data})
		}
	}
	return func() {
		for i := range undo {
			_ = n.ethtool(unsafe.Pointer(&undo[i])) // best effort: the NIC may be gone
		}
	}
}

// Watcher follows an interface's carrier.
type Watcher struct {
	file *os.File
	done chan struct{}

	mu sync.Mutex
	up bool
	f  func(up bool)
}

// Watch starts to follow whether the interface is up and has a carrier. OnState says who is told.
func (n *NIC) Watch() (*Watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("nic: %s: netlink socket: %w", n.name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("nic: %s: netlink bind: %w", n.name, err)
	}
	w := &Watcher{file: os.NewFile(uintptr(fd), "netlink"), done: make(chan struct{}), up: n.Running()}
	go w.run(n)
	return w, nil
}

// OnState has f called with the state at once and at each change, one call at a time.
func (w *Watcher) OnState(f func(up bool)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.f = f
	if f != nil {
		f(w.up)
	}
}

// Up is the state.
func (w *Watcher) Up() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.up
}

// Close ends the watch and waits until the last call has returned. It must not be called from within one.
func (w *Watcher) Close() {
	w.file.Close()
	<-w.done
}

func (w *Watcher) set(up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if up != w.up {
		w.up = up
		if w.f != nil {
			w.f(up)
		}
	}
}

func (w *Watcher) run(n *NIC) {
	defer close(w.done)
	buf := make([]byte, 16<<10)
	for {
		k, err := w.file.Read(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS): // too many changes at once: look again
			w.set(n.Running())
		case err != nil:
			return
		default:
			if up, ok := linkState(buf[:k], n.index); ok {
				w.set(up)
			}
		}
	}
}

// linkState finds the last word about an interface in netlink messages.
func linkState(b []byte, index int) (up, ok bool) {
	for len(b) >= unix.SizeofNlMsghdr+unix.SizeofIfInfomsg {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return up, ok
		}
		kind := binary.NativeEndian.Uint16(b[4:])
		if info := b[unix.SizeofNlMsghdr:size]; len(info) >= unix.SizeofIfInfomsg && int(int32(binary.NativeEndian.Uint32(info[4:]))) == index {
			switch kind {
			case unix.RTM_NEWLINK:
				up, ok = running(binary.NativeEndian.Uint32(info[8:])), true
			case unix.RTM_DELLINK:
				up, ok = false, true
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return up, ok
}
