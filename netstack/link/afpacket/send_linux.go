package afpacket

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"felloe/netstack/packet"

	"golang.org/x/sys/unix"
)

const (
	// sendBuffer is how many bytes the kernel holds for the NIC.
	sendBuffer = 4 << 20
	// patience is for how many milliseconds a sender waits for room in it.
	patience = 5
)

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// sender is a socket that only sends, with the arrays of one sendmmsg call.
type sender struct {
	d  *driver
	mu sync.Mutex
	fd int // -1 when closed

	headers [vector]mmsghdr
	vectors [vector]unix.Iovec
}

func newSender(d *driver, bypass bool) (*sender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket (CAP_NET_RAW is needed): %w", err)
	}
	s := &sender{d: d, fd: fd}
	if bypass {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
			s.close()
			return nil, fmt.Errorf("queue bypass: %w", err)
		}
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	}
	// Protocol 0: bound to the interface, but it receives nothing.
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: d.nic.Index()}); err != nil {
		s.close()
		return nil, fmt.Errorf("bind: %w", err)
	}
	for i := range s.headers {
		s.headers[i].hdr.Iov = &s.vectors[i]
		s.headers[i].hdr.SetIovlen(1)
	}
	return s, nil
}

// send sends and releases at most a vector of packets. The caller has locked mu; send unlocks it.
func (s *sender) send(v []*packet.Packet) {
	for i, p := range v {
		b := p.Bytes()
		s.vectors[i].Base = unsafe.SliceData(b)
		s.vectors[i].SetLen(len(b))
	}
	var frames, bytes uint64
	for at := 0; at < len(v); {
		n, errno := s.sendmmsg(at, len(v))
		switch {
		case n > 0:
			frames += uint64(n)
			for _, p := range v[at : at+n] {
				bytes += uint64(p.Len())
			}
			at += n
		case errno == unix.EINTR, errno == unix.EAGAIN && s.waitForRoom():
		case errno == unix.EAGAIN, errno == unix.ENETDOWN, errno == unix.ENXIO, errno == unix.ENODEV, errno == unix.EBADF:
			at = len(v)
		default: // ENOBUFS: the NIC's queue is full; EMSGSIZE, EINVAL: this frame cannot go
			at++
		}
	}
	s.mu.Unlock()
	s.d.txFrames.Add(frames)
	s.d.txBytes.Add(bytes)
	if dropped := uint64(len(v)) - frames; dropped > 0 {
		s.d.txDrops.Add(dropped)
	}
	for _, p := range v {
		p.Release()
	}
}

func (s *sender) sendmmsg(from, to int) (int, unix.Errno) {
	if s.fd < 0 {
		return 0, unix.EBADF
	}
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
		uintptr(unsafe.Pointer(&s.headers[from])), uintptr(to-from), unix.MSG_DONTWAIT, 0, 0)
	runtime.KeepAlive(s)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func (s *sender) waitForRoom() bool {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, patience)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLOUT != 0
}

func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}
