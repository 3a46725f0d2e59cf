package afpacket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"felloe/netstack/link"
	"felloe/netstack/link/internal/nstest"
	"felloe/netstack/packet"
)

// long is how long a test waits for what must come.
const long = 20 * time.Second

func open(t testing.TB, ns *nstest.Namespace, name string, o Options) link.Driver {
	t.Helper()
	var d link.Driver
	ns.Must("open "+name, func() (err error) { d, err = Open(name, o); return err })
	t.Cleanup(func() { d.Close() })
	return d
}

// collect starts a driver and hands out the frames that it receives and f likes.
func collect(t testing.TB, d link.Driver, f func(b []byte) bool) <-chan []byte {
	t.Helper()
	c := make(chan []byte, 4096)
	if err := d.Start(func(v []*packet.Packet) {
		for _, p := range v {
			if f(p.Bytes()) {
				c <- bytes.Clone(p.Bytes())
			}
		}
		packet.ReleaseAll(v)
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

const testType = 0x88b5 // IEEE 802: local experiments

func ours(b []byte) bool { return len(b) >= 14 && b[12] == testType>>8 && b[13] == testType&0xff }

func frame(dst, src [6]byte, payload string) []byte {
	b := append(append(append([]byte(nil), dst[:]...), src[:]...), testType>>8, testType&0xff)
	b = append(b, payload...)
	return append(b, make([]byte, max(0, 60-len(b)))...)
}

func want(t testing.TB, c <-chan []byte, b []byte) {
	t.Helper()
	select {
	case got := <-c:
		if !bytes.Equal(got, b) {
			t.Fatalf("received %x, want %x", got, b)
		}
	case <-time.After(long):
		t.Fatal("no frame came")
	}
}

var rings = map[string]Ring{"adaptive": Adaptive, "blocks": Blocks, "frames": Frames}

func TestFramesGoBothWaysAndNoneComesBack(t *testing.T) {
	for name, ring := range rings {
		t.Run(name, func(t *testing.T) {
			ns1, ns2 := nstest.New(t), nstest.New(t)
			ns1.Veth("a", ns2, "b")
			a, b := open(t, ns1, "a", Options{Ring: ring}), open(t, ns2, "b", Options{Ring: ring})
			fromA, fromB := collect(t, b, ours), collect(t, a, ours)
			for i := range 200 {
				x := frame(b.Info().MAC, a.Info().MAC, fmt.Sprintf("from a %d", i))
				y := frame([6]byte{0x33, 0x33, 0, 0, 1, byte(i)}, b.Info().MAC, fmt.Sprintf("multicast from b %d", i))
				a.Send([]*packet.Packet{packet.From(x)})
				b.Send([]*packet.Packet{packet.From(y)})
				want(t, fromA, x)
				want(t, fromB, y)
			}
			if len(fromA)+len(fromB) > 0 {
				t.Fatal("frames came twice, or came back to their sender")
			}
			sent, got := a.Stats(), b.Stats()
			if sent.TxFrames != 200 || sent.TxDrops != 0 || got.RxFrames < 200 || got.RxBytes < sent.TxBytes {
				t.Fatalf("a %+v, b %+v", sent, got)
			}
			if i := a.Info(); i.Name != "a" || i.MTU != 1500 || i.MAC == [6]byte{} || i.Driver != "af_packet" {
				t.Fatalf("%+v", i)
			}
		})
	}
}

func TestALongVectorArrivesInOrder(t *testing.T) {
	for name, ring := range rings {
		t.Run(name, func(t *testing.T) {
			ns := nstest.New(t)
			ns.Veth("a", ns, "b")
			a, b := open(t, ns, "a", Options{}), open(t, ns, "b", Options{Ring: ring, RingBytes: 4 << 20})
			got := collect(t, b, ours)
			v := make([]*packet.Packet, 1000)
			for i := range v {
				v[i] = packet.From(frame(b.Info().MAC, a.Info().MAC, fmt.Sprint("frame ", i)))
			}
			a.Send(v)
			for i := range v {
				want(t, got, frame(b.Info().MAC, a.Info().MAC, fmt.Sprint("frame ", i)))
			}
		})
	}
}

func TestAFrameThatCannotGoIsCountedAndTheNextGoes(t *testing.T) {
	ns := nstest.New(t)
	ns.Veth("a", ns, "b")
	a, b := open(t, ns, "a", Options{}), open(t, ns, "b", Options{})
	got := collect(t, b, ours)
	good := frame(b.Info().MAC, a.Info().MAC, "good")
	a.Send([]*packet.Packet{packet.From(good), packet.From(make([]byte, 4000)), packet.From([]byte("short")), packet.From(good)})
	want(t, got, good)
	want(t, got, good)
	if s := a.Stats(); s.TxFrames != 2 || s.TxDrops != 2 || s.TxBytes != uint64(2*len(good)) {
		t.Fatalf("%+v", s)
	}
}

func TestTheCarrierIsFollowed(t *testing.T) {
	ns := nstest.New(t)
	ns.Veth("a", ns, "b")
	a := open(t, ns, "a", Options{})
	states := make(chan bool, 16)
	a.OnState(func(up bool) { states <- up })
	wait := func(want bool) {
		t.Helper()
		for deadline := time.After(long); ; {
			select {
			case got := <-states:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("the link never went %v", want)
			}
		}
	}
	wait(true)
	ns.SetUp("b", false)
	wait(false)
	ns.SetUp("b", true)
	wait(true)
	got := collect(t, a, ours)
	b := open(t, ns, "b", Options{})
	x := frame(a.Info().MAC, b.Info().MAC, "after the carrier came back")
	b.Send([]*packet.Packet{packet.From(x)})
	want(t, got, x)
	ns.SetUp("a", false)
	wait(false)
	a.Send([]*packet.Packet{packet.From(x)})
	if s := a.Stats(); s.TxDrops != 1 {
		t.Fatalf("a frame into an interface that is down: %+v", s)
	}
	ns.SetUp("a", true)
	wait(true)
	b.Send([]*packet.Packet{packet.From(x)})
	want(t, got, x)
	ns.DelLink("b")
	wait(false)
}

func TestCloseEndsDeliveryAndIsIdempotent(t *testing.T) {
	before := openFiles(t)
	ns := nstest.New(t)
	ns.Veth("a", ns, "b")
	a, b := open(t, ns, "a", Options{Queues: 2}), open(t, ns, "b", Options{})
	var mu sync.Mutex
	closed := false
	if err := a.Start(func(v []*packet.Packet) {
		mu.Lock()
		defer mu.Unlock()
		if closed {
			t.Error("input after Close returned")
		}
		packet.ReleaseAll(v)
	}); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(func([]*packet.Packet) {}); err == nil {
		t.Fatal("started twice")
	}
	stop := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				b.Send([]*packet.Packet{packet.From(frame(a.Info().MAC, b.Info().MAC, "traffic"))})
			}
		}
	})
	for deadline := time.Now().Add(long); a.Stats().RxFrames < 1000; {
		if time.Now().After(deadline) {
			t.Fatal("no traffic")
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	closed = true
	mu.Unlock()
	for range 100 {
		a.Send([]*packet.Packet{packet.From(make([]byte, 60))})
	}
	close(stop)
	sender.Wait()
	if err := a.Close(); err != nil {
		t.Fatal("second Close:", err)
	}
	_ = a.Stats()
	b.Close()
	if after := openFiles(t); after > before {
		t.Fatalf("%d files open before, %d after", before, after)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestSeveralQueuesShareTheFlows(t *testing.T) {
	ns := nstest.New(t)
	ns.Veth("a", ns, "b")
	a, b := open(t, ns, "a", Options{}), open(t, ns, "b", Options{Queues: 2})
	got := collect(t, b, func(b []byte) bool { return len(b) > 23 && b[12] == 8 && b[23] == 17 })
	const flows = 64
	for i := range flows {
		// UDP over IPv4 from different addresses.
		f := frame(b.Info().MAC, a.Info().MAC, "")
		f[12], f[13], f[14], f[23] = 8, 0, 0x45, 17
		f[17], f[29], f[33] = 46, byte(i), 1
		a.Send([]*packet.Packet{packet.From(f)})
	}
	seen := map[byte]bool{}
	for deadline := time.After(long); len(seen) < flows; {
		select {
		case f := <-got:
			seen[f[29]] = true
		case <-deadline:
			t.Fatalf("%d of %d flows", len(seen), flows)
		}
	}
}

// bridge joins two drivers frame by frame, and counts frames that no wire would carry.
func bridge(t testing.TB, a, b link.Driver) (oversize func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	join := func(from, to link.Driver) {
		if err := from.Start(func(v []*packet.Packet) {
			for _, p := range v {
				if p.Len() > 1514 {
					mu.Lock()
					n++
					mu.Unlock()
				}
			}
			to.Send(v)
		}); err != nil {
			t.Fatal(err)
		}
	}
	join(a, b)
	join(b, a)
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// kernels makes two namespaces whose kernels reach each other only through two drivers in a third.
func kernels(t testing.TB, o Options) (k1, k2 *nstest.Namespace, oversize func() int) {
	t.Helper()
	k1, mid, k2 := nstest.New(t), nstest.New(t), nstest.New(t)
	mid.Veth("a", k1, "k1")
	mid.Veth("b", k2, "k2")
	k1.SetAddress("k1", netip.MustParsePrefix("10.0.0.1/24"))
	k2.SetAddress("k2", netip.MustParsePrefix("10.0.0.2/24"))
	return k1, k2, bridge(t, open(t, mid, "a", o), open(t, mid, "b", o))
}

func TestKernelsWithOffloadsTalkTCPThroughTwoDrivers(t *testing.T) {
	for name, ring := range rings {
		t.Run(name, func(t *testing.T) {
			k1, k2, oversize := kernels(t, Options{Ring: ring})
			const size = 16 << 20
			transfer(t, k1, k2, size)
			if n := oversize(); n > 0 {
				t.Fatalf("%d super-frames reached the router", n)
			}
		})
	}
}

// Under load frames go to the bulk ring, and back to the quick one after it; none is lost or comes twice or out of order
// while they change.
func TestTheRingsChangeWithTheLoadWithoutAnyoneNoticing(t *testing.T) {
	ns := nstest.New(t)
	ns.Veth("a", ns, "b")
	a, b := open(t, ns, "a", Options{}), open(t, ns, "b", Options{RingBytes: 16 << 20})
	var gate sync.Mutex
	var came, next, wrong atomic.Uint64
	if err := b.Start(func(v []*packet.Packet) {
		gate.Lock()
		defer gate.Unlock()
		for _, p := range v {
			if got := p.Bytes(); ours(got) {
				n := binary.BigEndian.Uint64(got[14:])
				if came.Add(1); n < next.Load() {
					wrong.Add(1)
				}
				next.Store(n + 1)
			}
		}
		packet.ReleaseAll(v)
	}); err != nil {
		t.Fatal(err)
	}
	sent := uint64(0)
	v := make([]*packet.Packet, vector)
	send := func(n int) {
		for i := range v[:n] {
			f := frame(b.Info().MAC, a.Info().MAC, "")
			binary.BigEndian.PutUint64(f[14:], sent)
			v[i] = packet.From(f)
			sent++
		}
		a.Send(v[:n])
	}
	arrived := func() {
		t.Helper()
		for deadline := time.Now().Add(long); came.Load()+backlogDrops(t, ns, "a") < sent; {
			if time.Now().After(deadline) {
				t.Fatalf("%d frames sent, %d came, %d lost by veth", sent, came.Load(), backlogDrops(t, ns, "a"))
			}
			runtime.Gosched()
		}
	}
	steers := &b.(*driver).steers
	for round := uint64(1); round <= 3; round++ {
		for deadline := time.Now().Add(long); steers.Load() < 2*round-1; {
			gate.Lock() // a worker that cannot keep up
			for range busy * 3 / 2 / vector {
				send(vector)
			}
			gate.Unlock()
			arrived()
			if time.Now().After(deadline) {
				t.Fatal("frames were never steered to the bulk ring")
			}
		}
		for deadline := time.Now().Add(long); steers.Load() < 2*round; {
			send(1)
			arrived()
			if time.Now().After(deadline) {
				t.Fatal("frames were never steered back")
			}
		}
	}
	arrived()
	if n := wrong.Load(); n > 0 || b.Stats().RxDrops > 0 {
		t.Fatalf("%d of %d frames out of place, %+v", n, sent, b.Stats())
	}
}

// backlogDrops is how many frames a veth dropped because the kernel's backlog behind it was full.
func backlogDrops(t testing.TB, ns *nstest.Namespace, name string) (n uint64) {
	t.Helper()
	ns.Must("read the counters", func() error {
		b, err := os.ReadFile("/proc/thread-self/net/dev")
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 17 && f[0] == name+":" {
				n, err = strconv.ParseUint(f[12], 10, 64)
			}
		}
		return err
	})
	return n
}

// transfer sends bytes by TCP from one kernel to the other and verifies them.
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

func TestWhatIsNotThereIsNamed(t *testing.T) {
	if _, err := Open("no-such-nic", Options{}); err == nil || !bytes.Contains([]byte(err.Error()), []byte("no-such-nic")) {
		t.Fatal(err)
	}
}

func BenchmarkTCPBetweenKernels(b *testing.B) {
	for name, ring := range rings {
		b.Run(name, func(b *testing.B) {
			k1, k2, _ := kernels(b, Options{Ring: ring})
			const size = 256 << 20
			b.SetBytes(size)
			for b.Loop() {
				transfer(b, k1, k2, size)
			}
		})
	}
}

// BenchmarkRoundTrip is a request and its answer between two kernels, through two drivers each way.
func BenchmarkRoundTrip(b *testing.B) {
	for name, ring := range rings {
		b.Run(name, func(b *testing.B) {
			k1, k2, _ := kernels(b, Options{Ring: ring})
			var server, client net.Conn
			k2.Must("listen", func() (err error) {
				server, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.2:7")))
				return err
			})
			defer server.Close()
			go func() {
				buf := make([]byte, 64)
				for {
					n, from, err := server.(*net.UDPConn).ReadFromUDPAddrPort(buf)
					if err != nil {
						return
					}
					server.(*net.UDPConn).WriteToUDPAddrPort(buf[:n], from)
				}
			}()
			k1.Must("dial", func() (err error) { client, err = net.Dial("udp4", "10.0.0.2:7"); return err })
			defer client.Close()
			buf := make([]byte, 64)
			for b.Loop() {
				client.SetDeadline(time.Now().Add(long))
				if _, err := client.Write([]byte("ping")); err != nil {
					b.Fatal(err)
				}
				if _, err := client.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkForward is small frames through one receive queue and out of another interface.
func BenchmarkForward(b *testing.B) {
	for name, ring := range rings {
		b.Run(name, func(b *testing.B) {
			src, mid, dst := nstest.New(b), nstest.New(b), nstest.New(b)
			mid.Veth("a", src, "s")
			mid.Veth("b", dst, "d")
			in, out := open(b, mid, "a", Options{Ring: ring}), open(b, mid, "b", Options{})
			gen := open(b, src, "s", Options{})
			if err := in.Start(out.Send); err != nil {
				b.Fatal(err)
			}
			x := frame(in.Info().MAC, gen.Info().MAC, "x")
			v := make([]*packet.Packet, vector)
			sent := uint64(0)
			for b.Loop() {
				for i := range v {
					v[i] = packet.From(x)
				}
				gen.Send(v)
				sent += vector
			}
			s := in.Stats()
			b.ReportMetric(float64(in.(*driver).steers.Load()), "steers")
			b.ReportMetric(float64(out.Stats().TxFrames)/b.Elapsed().Seconds()/1e6, "Mpps")
			b.ReportMetric(float64(s.RxDrops)/float64(sent), "lost")
		})
	}
}
