package nstest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace.
type Namespace struct {
	t    testing.TB
	work chan func()
}

// New makes a namespace that lives until the test ends.
func New(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{t: t, work: make(chan func())}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here, and with it the namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		made <- err
		if err == nil {
			for f := range n.work {
				f()
			}
		}
	}()
	if err := <-made; err != nil {
		t.Fatalf("no network namespace (root is needed): %v", err)
	}
	t.Cleanup(func() { close(n.work) })
	return n
}

// Do runs f on the namespace's thread and waits for its end. f must not call methods of testing.T that end the test.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	n.work <- func() { done <- f() }
	return <-done
}

// Must is Do for what has to succeed.
func (n *Namespace) Must(what string, f func() error) {
	n.t.Helper()
	if err := n.Do(f); err != nil {
		n.t.Fatalf("%s: %v", what, err)
	}
}

// Veth makes a pair of virtual Ethernet interfaces, a in this namespace, b in the other, both up.
func (n *Namespace) Veth(a string, other *Namespace, b string) {
	n.t.Helper()
	var fd int
	other.Must("open the namespace", func() (err error) {
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	defer unix.Close(fd)
	n.Must("make a veth pair", func() error {
		peer := append(make([]byte, unix.SizeofIfInfomsg), attr(unix.IFLA_IFNAME, []byte(b+"\x00"))...)
		peer = append(peer, attr(unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(fd)))...)
		info := attr(unix.IFLA_INFO_KIND, []byte("veth"))
		const vethInfoPeer = 1
		info = append(info, attr(unix.IFLA_INFO_DATA, attr(vethInfoPeer, peer))...)
		body := append(make([]byte, unix.SizeofIfInfomsg), attr(unix.IFLA_IFNAME, []byte(a+"\x00"))...)
		body = append(body, attr(unix.IFLA_LINKINFO, info)...)
		return netlink(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
	})
	n.SetUp(a, true)
	other.SetUp(b, true)
}

// SetUp switches an interface on or off.
func (n *Namespace) SetUp(name string, up bool) {
	n.t.Helper()
	n.Must("switch "+name, func() error {
		flags := uint16(0)
		if up {
			flags = unix.IFF_UP
		}
		return ifreq(name, unix.SIOCSIFFLAGS, binary.NativeEndian.AppendUint16(nil, flags))
	})
}

// SetAddress gives the kernel's side of an interface an IPv4 address.
func (n *Namespace) SetAddress(name string, p netip.Prefix) {
	n.t.Helper()
	n.Must("address of "+name, func() error {
		a := p.Addr().As4()
		if err := ifreq(name, unix.SIOCSIFADDR, append([]byte{unix.AF_INET, 0, 0, 0}, a[:]...)); err != nil {
			return err
		}
		mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
		return ifreq(name, unix.SIOCSIFNETMASK, append([]byte{unix.AF_INET, 0, 0, 0}, mask...))
	})
}

// DelLink removes an interface.
func (n *Namespace) DelLink(name string) {
	n.t.Helper()
	n.Must("remove "+name, func() error {
		body := append(make([]byte, unix.SizeofIfInfomsg), attr(unix.IFLA_IFNAME, []byte(name+"\x00"))...)
		return netlink(unix.RTM_DELLINK, 0, body)
	})
}

func ifreq(name string, op uintptr, data []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var r [40]byte
	copy(r[:unix.IFNAMSIZ-1], name)
	copy(r[unix.IFNAMSIZ:], data)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), op, uintptr(unsafe.Pointer(&r))); e != 0 {
		return e
	}
	return nil
}

func attr(kind uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&3)...)
}

// netlink sends a request and waits for its acknowledgement.
func netlink(kind, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	m = append(append(m, make([]byte, 8)...), body...)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	b := make([]byte, 8192)
	n, _, err := unix.Recvfrom(fd, b, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("netlink answered with message type %d", binary.NativeEndian.Uint16(b[4:]))
	}
	if e := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])); e != 0 {
		return unix.Errno(-e)
	}
	return nil
}
