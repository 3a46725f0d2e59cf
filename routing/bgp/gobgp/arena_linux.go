package gobgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// arena is a network namespace of its own in which every address is local.
type arena struct {
	ns   *os.File
	ipv6 bool

	mu     sync.Mutex
	closed bool
}

// Available says whether this process can make an arena.
func Available() error {
	a, err := newArena()
	if err != nil {
		return err
	}
	a.close()
	return nil
}

// UserNamespace is what an ordinary user's program must start itself again with so that it can make arenas: as root of a
// user namespace, and in an empty network namespace.
func UserNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// onOwnThread runs f on a thread that ends with it, never on the process's first one: /proc/self is that one's view.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread() // and no unlock: the thread goes with the goroutine
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
			f()
		}()
		<-done
		runtime.UnlockOSThread()
	}()
}

func newArena() (*arena, error) {
	type outcome struct {
		a   *arena
		err error
	}
	made := make(chan outcome, 1)
	onOwnThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			if errors.Is(err, unix.EPERM) {
				err = fmt.Errorf("%w (run as root, or in a user namespace: see gobgp.UserNamespace)", err)
			}
			made <- outcome{nil, fmt.Errorf("gobgp: no network namespace for the arena: %w", err)}
			return
		}
		ipv6, err := everythingIsLocal()
		if err != nil {
			made <- outcome{nil, fmt.Errorf("gobgp: the arena's loopback: %w", err)}
			return
		}
		ns, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			made <- outcome{nil, fmt.Errorf("gobgp: the arena's handle: %w", err)}
			return
		}
		made <- outcome{&arena{ns: ns, ipv6: ipv6}, nil}
	})
	o := <-made
	return o.a, o.err
}

// run runs f in the arena on a thread of its own and does not wait for it. started gets what became of entering.
func (a *arena) run(f func(), started chan<- error) {
	onOwnThread(func() {
		a.mu.Lock()
		err := net.ErrClosed
		if !a.closed {
			err = unix.Setns(int(a.ns.Fd()), unix.CLONE_NEWNET)
		}
		a.mu.Unlock()
		started <- err
		if err == nil {
			f()
		}
	})
}

func (a *arena) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.closed = true
		a.ns.Close()
	}
}

// dial connects within the arena, from an address that is a peer's to one that is ours.
func (a *arena) dial(from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	type outcome struct {
		c   net.Conn
		err error
	}
	done := make(chan outcome, 1)
	started := make(chan error, 1)
	a.run(func() {
		c, err := connect(from, to)
		done <- outcome{c, err}
	}, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("gobgp: entering the arena: %w", err)
	}
	o := <-done
	return o.c, o.err
}

func connect(from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	family := unix.AF_INET
	if from.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "arena")
	defer f.Close()
	// The address is local by a route, not by an interface.
	if from.Is4() {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 255)
	} else {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0))); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	for {
		err := unix.Connect(fd, sockaddr(to))
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, os.NewSyscallError("connect", err)
		}
	}
	return net.FileConn(f)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// everythingIsLocal brings lo up and makes every address local to it: rtnetlink, as `ip link set lo up` and
// `ip route add local default dev lo table local`.
func everythingIsLocal() (ipv6 bool, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return false, os.NewSyscallError("netlink socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, os.NewSyscallError("netlink bind", err)
	}
	const lo = 1
	link := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(link[4:], lo)
	binary.NativeEndian.PutUint32(link[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(link[12:], unix.IFF_UP)
	if err := request(fd, unix.RTM_NEWLINK, 0, link); err != nil {
		return false, fmt.Errorf("up: %w", err)
	}
	route := func(family uint8) error {
		b := make([]byte, unix.SizeofRtMsg, unix.SizeofRtMsg+8)
		b[0], b[4], b[5], b[6], b[7] = family, unix.RT_TABLE_LOCAL, unix.RTPROT_STATIC, unix.RT_SCOPE_HOST, unix.RTN_LOCAL
		b = binary.NativeEndian.AppendUint16(b, 8)
		b = binary.NativeEndian.AppendUint16(b, unix.RTA_OIF)
		b = binary.NativeEndian.AppendUint32(b, lo)
		return request(fd, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b)
	}
	if err := route(unix.AF_INET); err != nil {
		return false, fmt.Errorf("local 0.0.0.0/0: %w", err)
	}
	return route(unix.AF_INET6) == nil, nil // a kernel may be without IPv6
}

func request(fd int, kind, flags uint16, body []byte) error {
	b := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	b = append(b, body...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	binary.NativeEndian.PutUint32(b[8:], 1)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("netlink send", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return os.NewSyscallError("netlink receive", err)
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlink gave no acknowledgement")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
