package bfd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	start  = time.Unix(1_700_000_000, 0)
	addrA  = netip.MustParseAddr("192.0.2.1")
	addrB  = netip.MustParseAddr("192.0.2.2")
	fast   = Timers{Interval: 100 * time.Millisecond, MinRx: 100 * time.Millisecond, Multiplier: 3}
	single = Key{VRF: "default", Local: addrA, Remote: addrB, Interface: "GigabitEthernet1"}
	multi  = Key{VRF: "default", Local: addrA, Remote: addrB, Multihop: true}
)

type chacha struct{ *rand.ChaCha8 }

func (c chacha) Read(b []byte) (int, error) { return c.ChaCha8.Read(b) }

func numbers(seed byte) chacha { return chacha{rand.NewChaCha8([32]byte{seed})} }

// recorder is a Host that keeps what it is given.
type recorder struct {
	sent    []Control
	changes []Change
	known   map[uint32]bool
}

func (r *recorder) Send(k Key, port uint16, b []byte) {
	c, err := Parse(b)
	if err != nil {
		panic(err)
	}
	r.sent = append(r.sent, c)
}
func (r *recorder) Changed(_ Info, c Change) { r.changes = append(r.changes, c) }
func (r *recorder) Number(mine uint32, used bool) {
	if r.known == nil {
		r.known = map[uint32]bool{}
	}
	if used {
		r.known[mine] = true
	} else {
		delete(r.known, mine)
	}
}
func (r *recorder) last() Control { return r.sent[len(r.sent)-1] }

func alone() (*Engine, *recorder) {
	r := &recorder{}
	return New(Options{Host: r, Rand: numbers(1)}), r
}

func from(k Key, ttl uint8) Context {
	return Context{VRF: k.VRF, Local: k.Local, Remote: k.Remote, Interface: k.Interface, HopLimit: ttl, Multihop: k.Multihop}
}

// peer answers by hand.
type peer struct {
	Control
	e *Engine
	k Key
}

func (p *peer) say(t *testing.T, now time.Time) {
	t.Helper()
	if err := p.e.Receive(now, from(p.k, 255), p.Append(nil)); err != nil {
		t.Fatal(err)
	}
}

// established brings a session up with a peer by hand.
func established(t *testing.T, e *Engine, r *recorder, k Key, now time.Time) *peer {
	t.Helper()
	p := &peer{Control{State: Down, Multiplier: 3, Mine: 0x77, DesiredMinTx: time.Second, RequiredMinRx: 100 * time.Millisecond}, e, k}
	e.Tick(now)
	p.say(t, now)
	p.State, p.Yours = Up, r.last().Mine
	p.DesiredMinTx = 100 * time.Millisecond
	p.say(t, now)
	if got := r.last(); got.State != Up || !got.Poll {
		t.Fatalf("not up: %+v", got)
	}
	p.Final = true
	p.say(t, now)
	p.Final = false
	return p
}

func TestAPacketHasTheBytesOfRFC5880Section41(t *testing.T) {
	// Vers 1, Diag 1 | State Up (3), P | Detect Mult 3 | Length 24, then My, Your, 300 ms, 100 ms, 0.
	want := "21e00318" + "00000001" + "a1b2c3d4" + "000493e0" + "000186a0" + "00000000"
	c := Control{Diagnostic: DetectionTimeExpired, State: Up, Poll: true, Multiplier: 3, Mine: 1, Yours: 0xa1b2c3d4,
		DesiredMinTx: 300 * time.Millisecond, RequiredMinRx: 100 * time.Millisecond}
	got := c.Append(nil)
	if hex.EncodeToString(got) != want {
		t.Fatalf("got %x, want %s", got, want)
	}
	back, err := Parse(append(got, 0xff)) // bytes behind the packet are nobody's
	if err != nil || back != c {
		t.Fatalf("got %+v, %v", back, err)
	}
}

func TestPacketsThatRFC5880Section686RefusesAreRefused(t *testing.T) {
	good := (&Control{State: Down, Multiplier: 3, Mine: 9}).Append(nil)
	change := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	for name, x := range map[string]struct {
		b    []byte
		want error
	}{
		"empty":                        {nil, ErrShort},
		"short":                        {good[:23], ErrShort},
		"version 0":                    {change(func(b []byte) { b[0] = 0 }), ErrVersion},
		"length below the minimum":     {change(func(b []byte) { b[3] = 23 }), ErrShort},
		"length beyond the payload":    {change(func(b []byte) { b[3] = 25 }), ErrShort},
		"authenticated":                {change(func(b []byte) { b[1] |= 4 }), ErrAuthenticated},
		"multiplier 0":                 {change(func(b []byte) { b[2] = 0 }), ErrField},
		"multipoint":                   {change(func(b []byte) { b[1] |= 1 }), ErrField},
		"no discriminator":             {change(func(b []byte) { b[7] = 0 }), ErrField},
		"poll and final":               {change(func(b []byte) { b[1] |= 0x30 }), ErrField},
		"up without our discriminator": {change(func(b []byte) { b[1] |= 0xc0 }), ErrField},
	} {
		if _, err := Parse(x.b); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPacketThatCrossedARouterIsNotLookedAt(t *testing.T) {
	e, r := alone()
	e.Open(start, single, fast, "BGP", func(Change) {})
	b := (&Control{State: Down, Multiplier: 3, Mine: 9}).Append(nil)
	if err := e.Receive(start, from(single, 254), b); !errors.Is(err, ErrTTL) {
		t.Fatal(err)
	}
	if err := e.Receive(start, from(single, 254), nil); !errors.Is(err, ErrTTL) {
		t.Fatalf("its form came before its hop limit: %v", err)
	}
	if len(r.sent) != 0 || e.Counters().HopLimit != 2 {
		t.Fatalf("%+v", e.Counters())
	}
	e.Open(start, multi, fast, "BGP", func(Change) {})
	if err := e.Receive(start, from(multi, 3), b); err != nil {
		t.Fatalf("a multihop packet may: %v", err)
	}
}

func TestNothingIsKeptOfStrangers(t *testing.T) {
	e, r := alone()
	e.Open(start, single, fast, "BGP", func(Change) {})
	stranger := single
	stranger.Remote = netip.MustParseAddr("192.0.2.99")
	far := stranger
	far.Multihop = true
	p := Control{State: Down, Multiplier: 3, Mine: 9}
	for _, x := range []struct {
		k     Key
		yours uint32
		want  error
	}{{stranger, 0, ErrUnknown}, {far, 0, ErrUnknown}, {single, 12345, ErrUnknown}, {stranger, e.Snapshot(start)[0].Mine, ErrMismatch}} {
		p.Yours = x.yours
		if err := e.Receive(start, from(x.k, 255), p.Append(nil)); !errors.Is(err, x.want) {
			t.Errorf("%+v: %v", x, err)
		}
	}
	c := e.Counters()
	if c.Unknown != 3 || c.Mismatch != 1 || len(e.byKey) != 1 || len(r.sent) != 0 {
		t.Fatalf("%+v, %d sessions", c, len(e.byKey))
	}
	b := p.Append(nil)
	if n := testing.AllocsPerRun(100, func() { _ = e.Receive(start, from(single, 255), b) }); n > 0 {
		t.Fatalf("%v allocations for a stranger's packet", n)
	}
}

func TestTimersAreNegotiatedByAPoll(t *testing.T) {
	e, r := alone()
	e.Open(start, single, fast, "BGP", func(Change) {})
	p := established(t, e, r, single, start)
	i := e.Snapshot(start)[0]
	if i.Polling || i.Interval != 100*time.Millisecond || i.Detection != 300*time.Millisecond {
		t.Fatalf("%+v", i)
	}
	// Slower: our own packets stay fast, and the peer's silence is judged as before, until the peer has answered.
	e.SetTimers(single, Timers{Interval: 500 * time.Millisecond, MinRx: 50 * time.Millisecond, Multiplier: 4})
	if i = e.Snapshot(start)[0]; !i.Polling || i.Interval != 100*time.Millisecond || i.Detection != 300*time.Millisecond {
		t.Fatalf("%+v", i)
	}
	e.Tick(start.Add(101 * time.Millisecond))
	if got := r.last(); !got.Poll || got.DesiredMinTx != 500*time.Millisecond || got.RequiredMinRx != 50*time.Millisecond || got.Multiplier != 4 {
		t.Fatalf("%+v", got)
	}
	p.Final = true
	p.say(t, start.Add(110*time.Millisecond))
	if i = e.Snapshot(start)[0]; i.Polling || i.Interval != 500*time.Millisecond || i.Detection != 300*time.Millisecond {
		t.Fatalf("%+v", i)
	}
	// The peer's poll is answered at once, without a poll of ours in the answer.
	p.Final, p.Poll = false, true
	p.RequiredMinRx = time.Second
	n := len(r.sent)
	p.say(t, start.Add(120*time.Millisecond))
	if len(r.sent) != n+1 || !r.last().Final || r.last().Poll || e.Snapshot(start)[0].Interval != time.Second {
		t.Fatalf("%+v", r.sent[n:])
	}
}

func TestJitterIsThreeQuartersToAllOfTheInterval(t *testing.T) {
	for _, mult := range []uint8{1, 3} {
		e, r := alone()
		timers := fast
		timers.Multiplier = mult
		e.Open(start, single, timers, "BGP", func(Change) {})
		p := established(t, e, r, single, start)
		p.Multiplier = 255 // its silence does not matter here
		p.say(t, start)
		s := e.byKey[single]
		low, high := time.Hour, time.Duration(0)
		e.Tick(s.nextTx)
		for range 200 {
			before := s.lastTx
			e.Tick(s.nextTx)
			low, high = min(low, s.lastTx.Sub(before)), max(high, s.lastTx.Sub(before))
		}
		most := 100 * time.Millisecond
		if mult == 1 {
			most = 90 * time.Millisecond
		}
		if low < 75*time.Millisecond || high > most || high-low < 10*time.Millisecond {
			t.Errorf("multiplier %d: from %v to %v", mult, low, high)
		}
	}
}

func TestSilenceTakesTheSessionDownAndTheClientsHear(t *testing.T) {
	e, r := alone()
	var bgp, static []Change
	e.Open(start, single, fast, "BGP", func(c Change) { bgp = append(bgp, c) })
	p := established(t, e, r, single, start)
	e.Open(start, single, fast, "Static", func(c Change) { static = append(static, c) })
	if len(bgp) != 1 || !bgp[0].Up || len(static) != 1 || !static[0].Up {
		t.Fatalf("%v %v", bgp, static)
	}
	if i := e.Snapshot(start)[0]; len(i.Clients) != 2 || len(e.byKey) != 1 {
		t.Fatalf("not shared: %v", i.Clients)
	}
	now := start
	for range 20 {
		now = now.Add(80 * time.Millisecond)
		e.Tick(now)
		p.say(t, now)
	}
	last := now
	for len(bgp) == 1 && now.Sub(last) < time.Second {
		at, _ := e.Deadline()
		now = at
		e.Tick(now)
	}
	if now.Sub(last) != 300*time.Millisecond || len(bgp) != 2 || bgp[1].Up || bgp[1].Diagnostic != DetectionTimeExpired || len(static) != 2 {
		t.Fatalf("after %v: %v %v", now.Sub(last), bgp, static)
	}
	if got := r.last(); got.State != Down || got.Diagnostic != DetectionTimeExpired || got.DesiredMinTx != time.Second || got.Yours != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestAPacketThatWaitedBehindALaterOneChangesNothing(t *testing.T) {
	e, r := alone()
	e.Open(start, single, fast, "BGP", func(Change) {})
	now := start.Add(time.Millisecond)
	p := established(t, e, r, single, now)
	before := *p
	before.State, before.Yours = Down, 0
	before.say(t, start)
	if len(r.changes) != 1 || r.last().State != Up {
		t.Fatalf("%+v", r.changes)
	}
	before.say(t, now.Add(time.Millisecond)) // it has begun anew
	if len(r.changes) != 2 || r.changes[1].Up {
		t.Fatalf("%+v", r.changes)
	}
}

func TestALateEngineDoesNotTakeItsOwnLatenessForSilence(t *testing.T) {
	e, r := alone()
	var heard []Change
	e.Open(start, single, fast, "BGP", func(c Change) { heard = append(heard, c) })
	p := established(t, e, r, single, start)
	e.Deadline()
	// Nothing ran for two seconds. The timers run before the packets that wait are read.
	now := start.Add(2 * time.Second)
	e.Tick(now)
	if len(heard) != 1 {
		t.Fatalf("down without having looked: %v", heard)
	}
	p.say(t, now.Add(5*time.Millisecond))
	// And then the peer is really gone.
	for len(heard) == 1 {
		at, _ := e.Deadline()
		now = at
		e.Tick(now)
	}
	if d := now.Sub(start.Add(2*time.Second + 5*time.Millisecond)); d != 300*time.Millisecond {
		t.Fatalf("down after %v", d)
	}
}

func TestADetectionThatWasItselfLateLeavesAMomentToLook(t *testing.T) {
	e, r := alone()
	downs := 0
	e.Open(start, single, fast, "BGP", func(c Change) {
		if !c.Up {
			downs++
		}
	})
	p := established(t, e, r, single, start)
	p.RequiredMinRx = time.Hour // so that the next thing to do is the detection
	p.say(t, start)
	e.Tick(start.Add(100 * time.Millisecond))
	if at, _ := e.Deadline(); !at.Equal(start.Add(300 * time.Millisecond)) {
		t.Fatal(at)
	}
	now := start.Add(time.Second)
	e.Tick(now)
	if downs != 0 {
		t.Fatal("down without having looked")
	}
	at, _ := e.Deadline()
	if at.Sub(now) < 20*time.Millisecond || at.Sub(now) > 50*time.Millisecond {
		t.Fatal(at.Sub(now))
	}
	e.Tick(at)
	if downs != 1 {
		t.Fatal("and never down")
	}
}

func TestAnEngineThatIsAlwaysLateNoticesInTheEnd(t *testing.T) {
	e, r := alone()
	downs := 0
	e.Open(start, single, fast, "BGP", func(c Change) {
		if !c.Up {
			downs++
		}
	})
	established(t, e, r, single, start)
	now := start
	for downs == 0 && now.Sub(start) < 10*time.Second {
		at, _ := e.Deadline()
		now = at.Add(200 * time.Millisecond)
		e.Tick(now)
	}
	if d := now.Sub(start); downs != 1 || d < time.Second || d > 2*time.Second {
		t.Fatalf("%d after %v", downs, d)
	}
}

func TestTheLastClientEndsTheSessionOnPurpose(t *testing.T) {
	e, r := alone()
	a := e.Open(start, single, fast, "BGP", func(Change) {})
	b := e.Open(start, single, fast, "Static", func(Change) {})
	established(t, e, r, single, start)
	a.Close(start, false)
	a.Close(start, false)
	if r.last().State != Up {
		t.Fatal("the first of two ended it")
	}
	b.Close(start, false)
	var said int
	now := start
	for {
		at, ok := e.Deadline()
		if !ok {
			break
		}
		now = at
		e.Tick(now)
	}
	for _, c := range r.sent {
		if c.State == AdminDown && c.Diagnostic == AdministrativelyDown {
			said++
		}
	}
	if said < 3 || now.Sub(start) < 300*time.Millisecond || len(e.byMine)+len(e.byKey)+len(r.known)+e.timers.Len() != 0 {
		t.Fatalf("AdminDown %d times in %v, left %v", said, now.Sub(start), e.byKey)
	}
	// One that nobody has heard of, or whose path is gone, just goes.
	e.Open(now, single, fast, "BGP", func(Change) {}).Close(now, false)
	c := e.Open(now, single, fast, "BGP", func(Change) {})
	established(t, e, r, single, now)
	n := len(r.sent)
	c.Close(now, true)
	if len(e.byKey) != 0 || len(r.sent) != n {
		t.Fatal("it lingers")
	}
}

func TestAShutdownSaysGoodbyeToEveryNeighbour(t *testing.T) {
	e, r := alone()
	a := e.Open(start, single, fast, "BGP", func(Change) {})
	e.Open(start, multi, fast, "BGP", func(Change) {})
	established(t, e, r, single, start)
	n := len(r.sent)
	e.Shutdown(start)
	if len(r.sent) != n+1 || r.last().State != AdminDown || len(e.byKey)+len(r.known) != 0 {
		t.Fatalf("%+v", r.sent[n:])
	}
	a.Close(start, false)
}

func TestASessionThatIsWantedAgainWhileItEndsGoesOn(t *testing.T) {
	e, r := alone()
	a := e.Open(start, single, fast, "BGP", func(Change) {})
	established(t, e, r, single, start)
	a.Close(start, false)
	ups := 0
	e.Open(start.Add(time.Millisecond), single, fast, "BGP", func(c Change) { ups++ })
	if ups != 0 {
		t.Fatal("up before it was")
	}
	established(t, e, r, single, start.Add(time.Second))
	if ups != 1 || len(e.byKey) != 1 {
		t.Fatalf("%d", ups)
	}
}

func TestAPeerThatEndsOnPurposeIsToldApart(t *testing.T) {
	e, r := alone()
	var heard []Change
	e.Open(start, single, fast, "BGP", func(c Change) { heard = append(heard, c) })
	p := established(t, e, r, single, start)
	p.State, p.Diagnostic = AdminDown, AdministrativelyDown
	p.say(t, start)
	if len(heard) != 2 || heard[1].Up || !heard[1].Remote || heard[1].Diagnostic != NeighborDown {
		t.Fatalf("%+v", heard)
	}
	p.State = Down
	p.say(t, start)
	p.State = Up
	p.say(t, start)
	p.State = Down
	p.say(t, start)
	if len(heard) != 4 || heard[3].Remote || heard[3].Diagnostic != NeighborDown {
		t.Fatalf("%+v", heard)
	}
}

func TestADemandingPeerIsSentNothingByItselfButAnswered(t *testing.T) {
	e, r := alone()
	e.Open(start, single, fast, "BGP", func(Change) {})
	p := established(t, e, r, single, start)
	p.Demand, p.DesiredMinTx = true, time.Hour
	p.say(t, start)
	n := len(r.sent)
	e.Tick(start.Add(time.Minute))
	if len(r.sent) != n {
		t.Fatal("it was sent something")
	}
	p.Poll = true
	p.say(t, start.Add(time.Minute))
	if len(r.sent) != n+1 || !r.last().Final {
		t.Fatal("its poll was not answered")
	}
}

func TestPermittedNeighboursBeginMultihopSessionsWithinBounds(t *testing.T) {
	r := &recorder{}
	allowed := netip.MustParsePrefix("198.51.100.0/24")
	e := New(Options{Host: r, Rand: numbers(1), MaxAnswering: 3, Answer: func(k Key) (Timers, bool) { return fast, allowed.Contains(k.Remote) }})
	begin := func(last byte, now time.Time) error {
		k := multi
		k.Remote = netip.AddrFrom4([4]byte{198, 51, 100, last})
		return e.Receive(now, from(k, 60), (&Control{State: Down, Multiplier: 3, Mine: 9, DesiredMinTx: time.Second, RequiredMinRx: time.Second}).Append(nil))
	}
	k := multi
	k.Remote = netip.MustParseAddr("203.0.113.1")
	if err := e.Receive(start, from(k, 60), (&Control{State: Down, Multiplier: 3, Mine: 9}).Append(nil)); !errors.Is(err, ErrUnknown) {
		t.Fatal(err)
	}
	k = single
	k.Remote = netip.MustParseAddr("198.51.100.1")
	if err := e.Receive(start, from(k, 255), (&Control{State: Down, Multiplier: 3, Mine: 9}).Append(nil)); !errors.Is(err, ErrUnknown) {
		t.Fatalf("a single hop session was begun from the wire: %v", err)
	}
	for n := range byte(3) {
		if err := begin(n+1, start); err != nil {
			t.Fatal(err)
		}
	}
	if err := begin(4, start.Add(time.Second)); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if err := begin(5, start.Add(4*time.Second)); err != nil || len(e.byKey) != 3 {
		t.Fatalf("the oldest that did not come up must make room: %v", err)
	}
	for {
		at, ok := e.Deadline()
		if !ok {
			break
		}
		e.Tick(at)
	}
	if len(e.byKey) != 0 || e.answering != 0 || len(r.known) != 0 {
		t.Fatalf("%d left", len(e.byKey))
	}
	// One that comes up stays until the neighbour goes, or is not wanted any more.
	now := start.Add(time.Minute)
	if err := begin(1, now); err != nil {
		t.Fatal(err)
	}
	k = multi
	k.Remote = netip.MustParseAddr("198.51.100.1")
	p := &peer{Control{State: Up, Multiplier: 3, Mine: 9, Yours: r.last().Mine, DesiredMinTx: 100 * time.Millisecond, RequiredMinRx: 100 * time.Millisecond}, e, k}
	for range 100 {
		p.say(t, now)
		now = now.Add(100 * time.Millisecond)
		e.Tick(now)
	}
	if i := e.Snapshot(now); len(i) != 1 || i[0].State != Up || len(i[0].Clients) != 0 {
		t.Fatalf("%+v", i)
	}
	allowed = netip.MustParsePrefix("203.0.113.0/24")
	e.Review(now)
	if r.last().State != AdminDown {
		t.Fatalf("%+v", r.last())
	}
}

func TestASessionThatNobodyWantsAnyMoreStaysWithANeighbourThatMayBegin(t *testing.T) {
	r := &recorder{}
	permitted := true
	e := New(Options{Host: r, Rand: numbers(1), Answer: func(k Key) (Timers, bool) { return fast, permitted }})
	c := e.Open(start, multi, fast, "BGP", func(Change) {})
	established(t, e, r, multi, start)
	c.Close(start, false)
	if i := e.Snapshot(start)[0]; i.State != Up || len(i.Clients) != 0 || e.answering != 1 {
		t.Fatalf("%+v", i)
	}
	c = e.Open(start, multi, fast, "BGP", func(Change) {})
	permitted = false
	c.Close(start, false)
	if r.last().State != AdminDown || e.answering != 0 {
		t.Fatalf("%+v", r.last())
	}
}

func TestANeighbourThatRemembersAnOldNumberMayBegin(t *testing.T) {
	r := &recorder{}
	e := New(Options{Host: r, Rand: numbers(1), Answer: func(k Key) (Timers, bool) { return fast, k.Remote == addrB }})
	p := Control{State: Down, Multiplier: 3, Mine: 9, Yours: 0xdead, DesiredMinTx: time.Second, RequiredMinRx: time.Second}
	for range 2 { // the first answer may be lost
		if err := e.Receive(start, from(multi, 60), p.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	p.Yours, p.State = r.last().Mine, Up
	if err := e.Receive(start, from(multi, 60), p.Append(nil)); err != nil || e.Snapshot(start)[0].State != Up {
		t.Fatal(err)
	}
	p.Yours, p.State = 0xdead, Down
	if err := e.Receive(start, from(multi, 60), p.Append(nil)); !errors.Is(err, ErrUnknown) || e.Snapshot(start)[0].State != Up {
		t.Fatalf("it took a session down whose number it does not know: %v", err)
	}
}

func TestAnUpMultihopSessionListensToNobodyWhoDoesNotKnowItsNumber(t *testing.T) {
	e, r := alone()
	var heard []Change
	e.Open(start, multi, fast, "BGP", func(c Change) { heard = append(heard, c) })
	established(t, e, r, multi, start)
	forged := Control{State: Down, Multiplier: 3, Mine: 0x666}
	if err := e.Receive(start, from(multi, 255), forged.Append(nil)); !errors.Is(err, ErrMismatch) || len(heard) != 1 {
		t.Fatalf("%v %v", err, heard)
	}
	forged.Yours = e.Snapshot(start)[0].Mine + 1
	if err := e.Receive(start, from(multi, 255), forged.Append(nil)); err == nil || len(heard) != 1 {
		t.Fatalf("%v %v", err, heard)
	}
}

func TestTheFilterLetsThroughWhatASessionMayBeFor(t *testing.T) {
	var f Filter
	f.Number(0x1234, true)
	p := Control{State: Up, Multiplier: 3, Mine: 9, Yours: 0x1234}
	good := p.Append(nil)
	p.Yours, p.State = 0, Down
	first := p.Append(nil)
	p.Yours = 0x1235
	beginner := p.Append(nil)
	p.State = Up
	stranger := p.Append(nil)
	for name, x := range map[string]struct {
		multihop  bool
		hops      uint8
		b         []byte
		ok, knows bool
	}{
		"ours": {false, 255, good, true, true}, "from afar": {false, 254, good, false, false}, "multihop from afar": {true, 9, good, true, true},
		"the first": {false, 255, first, true, false}, "who knew another number": {true, 255, beginner, true, false}, "the same over one hop": {false, 255, beginner, false, false},
		"a stranger's": {true, 255, stranger, false, false}, "short": {false, 255, good[:23], false, false},
	} {
		if ok, knows := f.Admit(x.multihop, x.hops, x.b); ok != x.ok || knows != x.knows {
			t.Errorf("%s: %v %v", name, ok, knows)
		}
	}
	if n := testing.AllocsPerRun(100, func() { f.Admit(true, 255, stranger) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	f.Number(0x1234, false)
	if ok, _ := f.Admit(false, 255, good); ok {
		t.Error("a session that is gone is still known")
	}
	if c := f.Count(Counters{Unknown: 1}); c.HopLimit != 1 || c.Malformed != 1 || c.Unknown < 3 {
		t.Errorf("%+v", c)
	}
}

func TestAStrangerWhoKnowsNoNumberCannotSilenceASessionThatComesUp(t *testing.T) {
	for name, c := range map[string]Control{
		"nothing may be sent":       {State: Down, Multiplier: 255, Mine: 77, DesiredMinTx: 4294 * time.Second},
		"hardly anything":           {State: Down, Multiplier: 255, Mine: 77, DesiredMinTx: 4294 * time.Second, RequiredMinRx: 4294 * time.Second},
		"hardly anything, on leave": {State: AdminDown, Multiplier: 255, Mine: 77, DesiredMinTx: 4294 * time.Second, RequiredMinRx: 4294 * time.Second},
	} {
		e, r := alone()
		e.Open(start, multi, fast, "", func(Change) {})
		e.Tick(start)
		if err := e.Receive(start, from(multi, 60), c.Append(nil)); err != nil {
			t.Fatal(err)
		}
		now := start
		for now.Before(start.Add(time.Minute)) {
			now, _ = e.Deadline()
			e.Tick(now)
		}
		if now.After(start.Add(90 * time.Second)) {
			t.Errorf("%s: nothing is due for %v", name, now.Sub(start))
		}
		r.sent = nil
		for end := now.Add(10 * time.Second); now.Before(end); {
			now, _ = e.Deadline()
			e.Tick(now)
		}
		if n := len(r.sent); n < 8 || n > 16 || r.sent[0].Yours != 0 {
			t.Errorf("%s: %d packets in ten seconds, a minute later", name, n)
		}
	}
}
