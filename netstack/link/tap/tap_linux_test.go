package tap

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"felloe/netstack/link"
	"felloe/netstack/link/internal/nstest"
	"felloe/netstack/packet"

	"golang.org/x/sys/unix"
)

const long = 20 * time.Second

func open(t testing.TB, ns *nstest.Namespace, name string, o Options) link.Driver {
	t.Helper()
	// A container may lack the node of a device that it may use.
	if _, err := os.Stat("/dev/net/tun"); os.IsNotExist(err) {
		_ = os.MkdirAll("/dev/net", 0o755)
		if err := unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))); err != nil {
			t.Fatalf("no /dev/net/tun: %v", err)
		}
	}
	var d link.Driver
	ns.Must("open "+name, func() (err error) { d, err = Open(name, o); return err })
	t.Cleanup(func() { d.Close() })
	return d
}

// kernels makes two kernels that reach each other only through two TAP devices, and counts frames that no wire carries.
func kernels(t testing.TB, o Options) (k1, k2 *nstest.Namespace, oversize *atomic.Uint64) {
	t.Helper()
	k1, k2, oversize = nstest.New(t), nstest.New(t), new(atomic.Uint64)
	a, b := open(t, k1, "tap1", o), open(t, k2, "tap2", o)
	k1.SetAddress("tap1", netip.MustParsePrefix("10.0.0.1/24"))
	k2.SetAddress("tap2", netip.MustParsePrefix("10.0.0.2/24"))
	join := func(from, to link.Driver) {
		if err := from.Start(func(v []*packet.Packet) {
			for _, p := range v {
				if p.Len() > 1514 {
					oversize.Add(1)
				}
			}
			to.Send(v)
		}); err != nil {
			t.Fatal(err)
		}
	}
	join(a, b)
	join(b, a)
	return k1, k2, oversize
}

func transfer(t testing.TB, k1, k2 *nstest.Namespace, size int) {
	t.Helper()
	var l net.Listener
	k2.Must("listen", func() (err error) { l, err = net.Listen("tcp4", "10.0.0.2:5001"); return err })
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(long))
		n, err := io.Copy(io.Discard, c)
		if err == nil && int(n) != size {
			err = fmt.Errorf("%d bytes of %d", n, size)
		}
		done <- err
	}()
	k1.Must("send", func() error {
		c, err := net.DialTimeout("tcp4", "10.0.0.2:5001", long)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(long))
		chunk := make([]byte, 1<<20)
		for range size / len(chunk) {
			if _, err := c.Write(chunk); err != nil {
				return err
			}
		}
		return nil
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestKernelsTalkTCPThroughTwoDevices(t *testing.T) {
	for name, o := range map[string]Options{"plain": {}, "offload": {Offload: true}} {
		t.Run(name, func(t *testing.T) {
			k1, k2, oversize := kernels(t, o)
			transfer(t, k1, k2, 16<<20)
			if n := oversize.Load(); n > 0 {
				t.Fatalf("%d super-frames reached the router", n)
			}
		})
	}
}

func TestTheRouterHasAnotherAddressThanTheKernel(t *testing.T) {
	ns := nstest.New(t)
	d := open(t, ns, "tap1", Options{})
	var kernel net.HardwareAddr
	ns.Must("look at tap1", func() error {
		i, err := net.InterfaceByName("tap1")
		if err == nil {
			kernel = i.HardwareAddr
		}
		return err
	})
	if mac := d.Info().MAC; bytes.Equal(mac[:], kernel) || mac[0]&3 != 2 {
		t.Fatalf("router %x, kernel %x", mac, kernel)
	}
	if i := d.Info(); i.MTU != 1500 || i.Driver != "tap" || i.Name != "tap1" {
		t.Fatalf("%+v", i)
	}
	own := [6]byte{2, 0, 0, 0, 0, 1}
	if d := open(t, ns, "tap2", Options{MAC: own}); d.Info().MAC != own {
		t.Fatalf("%x", d.Info().MAC)
	}
}

func TestTheStateIsTheKernelInterfaces(t *testing.T) {
	ns := nstest.New(t)
	d := open(t, ns, "tap1", Options{})
	states := make(chan bool, 16)
	d.OnState(func(up bool) { states <- up })
	wait := func(want bool) {
		t.Helper()
		for deadline := time.After(long); ; {
			select {
			case got := <-states:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("never %v", want)
			}
		}
	}
	got := make(chan struct{}, 1024)
	if err := d.Start(func(v []*packet.Packet) {
		for range v {
			select {
			case got <- struct{}{}:
			default:
			}
		}
		packet.ReleaseAll(v)
	}); err != nil {
		t.Fatal(err)
	}
	wait(true)
	ns.SetUp("tap1", false)
	wait(false)
	d.Send([]*packet.Packet{packet.From(make([]byte, 60))})
	if s := d.Stats(); s.TxDrops != 1 {
		t.Fatalf("%+v", s)
	}
	ns.SetUp("tap1", true)
	wait(true)
	for len(got) > 0 {
		<-got
	}
	// The driver still reads after the interface was down: the kernel asks who has an address.
	ns.SetAddress("tap1", netip.MustParsePrefix("10.0.0.1/24"))
	ns.Must("send", func() error {
		c, err := net.Dial("udp4", "10.0.0.9:9")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return err
	})
	select {
	case <-got:
	case <-time.After(long):
		t.Fatal("no frame after the interface came back")
	}
}

func TestCloseEndsDeliveryAndIsIdempotent(t *testing.T) {
	ns := nstest.New(t)
	d := open(t, ns, "tap1", Options{})
	if err := d.Start(packet.ReleaseAll); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(packet.ReleaseAll); err == nil {
		t.Fatal("started twice")
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d.Send([]*packet.Packet{packet.From(make([]byte, 60))})
	if s := d.Stats(); s.TxDrops != 1 {
		t.Fatalf("%+v", s)
	}
	ns.Must("look for tap1", func() error {
		if _, err := net.InterfaceByName("tap1"); err == nil {
			return fmt.Errorf("the device is still there")
		}
		return nil
	})
	unstarted := open(t, ns, "tap2", Options{})
	if err := unstarted.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestADeviceInUseIsNamed(t *testing.T) {
	ns := nstest.New(t)
	open(t, ns, "tap1", Options{})
	ns.Must("open it again", func() error {
		d, err := Open("tap1", Options{})
		if err == nil {
			d.Close()
			return fmt.Errorf("opened twice")
		}
		if !bytes.Contains([]byte(err.Error()), []byte("tap1")) {
			return err
		}
		return nil
	})
}
