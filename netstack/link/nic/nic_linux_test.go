package nic

import (
	"encoding/binary"
	"testing"
	"time"

	"felloe/netstack/link/internal/nstest"

	"golang.org/x/sys/unix"
)

// message is a netlink message about a link.
func message(kind uint16, index int, flags uint32) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint32(b[unix.SizeofNlMsghdr+4:], uint32(index))
	binary.NativeEndian.PutUint32(b[unix.SizeofNlMsghdr+8:], flags)
	return b
}

func TestTheLastWordAboutTheInterfaceCounts(t *testing.T) {
	const on = unix.IFF_UP | unix.IFF_RUNNING
	for name, c := range map[string]struct {
		b      []byte
		up, ok bool
	}{
		"up":                  {message(unix.RTM_NEWLINK, 7, on), true, true},
		"up without carrier":  {message(unix.RTM_NEWLINK, 7, unix.IFF_UP), false, true},
		"removed":             {message(unix.RTM_DELLINK, 7, on), false, true},
		"another interface":   {message(unix.RTM_NEWLINK, 8, on), false, false},
		"down, then up":       {append(message(unix.RTM_NEWLINK, 7, 0), message(unix.RTM_NEWLINK, 7, on)...), true, true},
		"up, then of another": {append(message(unix.RTM_NEWLINK, 7, on), message(unix.RTM_NEWLINK, 8, 0)...), true, true},
		"nothing":             {nil, false, false},
	} {
		if up, ok := linkState(c.b, 7); up != c.up || ok != c.ok {
			t.Errorf("%s: %v, %v", name, up, ok)
		}
	}
}

func FuzzLinkState(f *testing.F) {
	f.Add(message(unix.RTM_NEWLINK, 7, 1))
	f.Add(append(message(unix.RTM_NEWLINK, 7, 0), message(unix.RTM_DELLINK, 7, 1)...))
	f.Fuzz(func(t *testing.T, b []byte) { linkState(b, 7) })
}

func TestANICIsDescribedSwitchedOnAndWatched(t *testing.T) {
	ns := nstest.New(t)
	ns.Veth("a", ns, "b")
	ns.SetUp("a", false)
	var n *NIC
	var w *Watcher
	ns.Must("open", func() (err error) {
		if n, err = Open("a"); err == nil {
			w, err = n.Watch()
		}
		return err
	})
	defer n.Close()
	defer w.Close()
	if mtu, err := n.MTU(); err != nil || mtu != 1500 {
		t.Fatal(mtu, err)
	}
	if mac, err := n.MAC(); err != nil || mac == [6]byte{} {
		t.Fatal(mac, err)
	}
	if n.SpeedMbps() != 10000 { // what a veth claims
		t.Fatal(n.SpeedMbps())
	}
	if n.Running() || w.Up() {
		t.Fatal("up although it was switched off")
	}
	up := make(chan bool, 8)
	w.OnState(func(s bool) { up <- s })
	if <-up {
		t.Fatal("up at once")
	}
	if err := n.SetUp(); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-up:
		if !s {
			t.Fatal("down again")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody told that it is up")
	}
	n.NoMerge()()
}

func TestNamesThatCannotBeAreRefused(t *testing.T) {
	for _, name := range []string{"", "a-name-longer-than-the-kernels", "no-such-nic"} {
		if n, err := Open(name); err == nil {
			n.Close()
			t.Errorf("%q opened", name)
		}
	}
}
