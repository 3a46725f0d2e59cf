package labkit

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/netstack/fib"
	"felloe/netstack/link/mem"
	"felloe/netstack/loop"
)

// Lab is a clock with wires and control loops on it.
type Lab struct {
	T     *testing.T
	Clock *clock.Virtual
	Net   *mem.Network
	// Explain tells, before a test fails for waiting in vain, how things stand.
	Explain func()

	loops []*loop.Loop
	mu    sync.Mutex
	leaks []string
}

// New is an empty lab. What was seen in clear fails the test when it ends.
func New(t *testing.T) *Lab {
	v := clock.NewVirtual(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	l := &Lab{T: t, Clock: v, Net: mem.NewNetwork(v), Explain: func() {}}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, s := range l.leaks {
			t.Error(s)
		}
	})
	return l
}

// Join has time wait for a control loop, Leave not any more.
func (l *Lab) Join(c *loop.Loop) { l.loops = append(l.loops, c) }

func (l *Lab) Leave(c *loop.Loop) {
	l.loops = slices.DeleteFunc(l.loops, func(o *loop.Loop) bool { return o == c })
}

// Settle lets everything that is due now happen.
func (l *Lab) Settle() {
	for {
		l.Clock.Advance(0)
		for _, c := range l.loops {
			_ = c.Call("settle", func() {})
		}
		if at, ok := l.Clock.Next(); !ok || at.After(l.Clock.Now()) {
			return
		}
	}
}

// Run lets time pass.
func (l *Lab) Run(d time.Duration) {
	end := l.Clock.Now().Add(d)
	for {
		l.Settle()
		at, ok := l.Clock.Next()
		if !ok || at.After(end) {
			l.Clock.Advance(end.Sub(l.Clock.Now()))
			l.Settle()
			return
		}
		l.Clock.Advance(at.Sub(l.Clock.Now()))
	}
}

// Until runs till ok, and fails when that takes longer than d.
func (l *Lab) Until(d time.Duration, what string, ok func() bool) {
	l.T.Helper()
	l.Settle()
	for end := l.Clock.Now().Add(d); !ok(); l.Run(10 * time.Millisecond) {
		if !l.Clock.Now().Before(end) {
			l.Explain()
			l.T.Fatalf("not within %v: %s", d, what)
		}
	}
}

// Check ends the test with an error.
func (l *Lab) Check(err error) {
	l.T.Helper()
	if err != nil {
		l.T.Fatal(err)
	}
}

// Watch looks at every frame of a wire for what must never be there in clear: GRE and the mark. More, when it is not nil,
// says what else is wrong with a frame.
func (l *Lab) Watch(w *mem.Link, more func(frame []byte) string) {
	w.SetCapture(func(at time.Time, from *mem.Port, frame []byte) {
		bad := exposed(frame)
		if more != nil && bad == "" {
			bad = more(frame)
		}
		if bad != "" {
			l.mu.Lock()
			l.leaks = append(l.leaks, fmt.Sprintf("%s %s: %s", at.Format("15:04:05.000"), from.Name(), bad))
			l.mu.Unlock()
		}
	})
}

// exposed says what an Ethernet frame shows that it must not.
func exposed(frame []byte) string {
	switch {
	case len(frame) > 34 && frame[12] == 8 && frame[13] == 0 && frame[23] == 47, len(frame) > 54 && frame[12] == 0x86 && frame[20] == 47:
		return "GRE in clear"
	case bytes.Contains(frame, mark):
		return "a payload in clear"
	}
	return ""
}

// Random is randomness that repeats, for the data plane's workers too.
func Random(seed ...byte) io.Reader {
	var s [32]byte
	copy(s[:], seed)
	return &random{r: rand.NewChaCha8(s)}
}

type random struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (r *random) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.r.Read(p)
}

// Log is what a router has logged.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Address gives an interface without a routing table its address, the routes of that, and life.
func Address(i *netstack.Interface, p netip.Prefix) {
	i.SetAddresses([]netip.Prefix{p})
	i.SetAdminUp(true)
	i.VRF().Program([]fib.Change{
		{Route: fib.Route{Prefix: p.Masked(), NextHops: []fib.NextHop{{Interface: i.Index()}}}},
		{Route: fib.Route{Prefix: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), Kind: fib.Local}},
	})
}

// Release is what becomes of a punt that nobody wants.
func Release(p netstack.Punt) {
	if p.Packet != nil {
		p.Packet.Release()
	}
}
