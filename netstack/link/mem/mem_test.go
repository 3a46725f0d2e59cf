package mem

import (
	"slices"
	"testing"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/packet"
)

var start = time.Unix(1_000_000, 0)

func frame(dst, src byte, n int) *packet.Packet {
	b := make([]byte, max(n, 15))
	b[5], b[11], b[14] = dst, src, dst
	return packet.From(b)
}

type sink struct {
	clock *clock.Virtual
	tags  []byte
	at    []time.Duration
}

func (s *sink) input(v []*packet.Packet) {
	for _, p := range v {
		s.tags = append(s.tags, p.Bytes()[14])
		s.at = append(s.at, s.clock.Now().Sub(start))
		p.Release()
	}
}

func lab(t *testing.T, imp Impairment) (*clock.Virtual, *Port, *sink) {
	t.Helper()
	c := clock.NewVirtual(start)
	a, b := NewNetwork(c).Pair("a", "b", imp)
	s := &sink{clock: c}
	if err := b.Start(s.input); err != nil {
		t.Fatal(err)
	}
	return c, a, s
}

func TestFramesArriveInOrderAfterTheDelay(t *testing.T) {
	c, a, s := lab(t, Impairment{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond})
	for i := range 50 {
		a.Send([]*packet.Packet{frame(byte(i), 1, 60)})
		c.Advance(time.Millisecond)
	}
	c.Advance(time.Second)
	if len(s.tags) != 50 || !slices.IsSorted(s.tags) {
		t.Fatalf("got %v", s.tags)
	}
	for i, at := range s.at {
		if d := at - time.Duration(i)*time.Millisecond; d < 10*time.Millisecond || d > 15*time.Millisecond {
			t.Fatalf("frame %d took %v", i, d)
		}
	}
}

func TestChancesAreTheSameWithTheSameSeed(t *testing.T) {
	once := func() ([]byte, []time.Duration) {
		c, a, s := lab(t, Impairment{Delay: time.Millisecond, Loss: .2, Reorder: .2, Duplicate: .1})
		for i := range 200 {
			a.Send([]*packet.Packet{frame(byte(i), 1, 60)})
			c.Advance(300 * time.Microsecond)
		}
		c.Advance(time.Second)
		return s.tags, s.at
	}
	tags, at := once()
	again, atAgain := once()
	if !slices.Equal(tags, again) || !slices.Equal(at, atAgain) {
		t.Fatal("two runs differ")
	}
	seen := map[byte]int{}
	for _, tag := range tags {
		seen[tag]++
	}
	twice := 0
	for _, n := range seen {
		if n == 2 {
			twice++
		}
	}
	if len(seen) > 180 || len(seen) < 130 || twice == 0 || slices.IsSorted(tags) {
		t.Fatalf("%d of 200 arrived, %d twice, in order: %v", len(seen), twice, slices.IsSorted(tags))
	}
}

func TestARateSpacesFramesAndBoundsTheQueue(t *testing.T) {
	c, a, s := lab(t, Impairment{RateBps: 8_000_000}) // 1,000 bytes a millisecond
	for i := range 400 {
		a.Send([]*packet.Packet{frame(byte(i), 1, 1000)})
	}
	c.Advance(10 * time.Second)
	if n := len(s.tags); n < 245 || n > 260 || s.at[9] != 10*time.Millisecond {
		t.Fatalf("%d frames, the tenth at %v", n, s.at[9])
	}
	if st := a.Stats(); int(st.TxDrops)+len(s.tags) != 400 {
		t.Fatalf("%d dropped, %d arrived", st.TxDrops, len(s.tags))
	}
}

func TestACutIsSilentAndLosesWhatIsOnItsWay(t *testing.T) {
	c, a, s := lab(t, Impairment{Delay: time.Millisecond})
	states := 0
	a.OnState(func(bool) { states++ })
	a.Send([]*packet.Packet{frame(1, 1, 60)})
	a.Link().SetUp(false)
	a.Send([]*packet.Packet{frame(2, 1, 60)})
	c.Advance(time.Second)
	a.Link().SetUp(true)
	a.Send([]*packet.Packet{frame(3, 1, 60)})
	c.Advance(time.Second)
	if !slices.Equal(s.tags, []byte{3}) || states != 1 {
		t.Fatalf("arrived %v, %d state changes", s.tags, states)
	}
	a.SetCarrier(false)
	a.Send([]*packet.Packet{frame(4, 1, 60)})
	c.Advance(time.Second)
	if len(s.tags) != 1 || states != 2 {
		t.Fatal("a frame crossed without a carrier, or nobody was told")
	}
}

func TestFramesBeyondTheMTUAreDroppedAndCounted(t *testing.T) {
	c, a, s := lab(t, Impairment{MTU: 1400})
	a.Send([]*packet.Packet{frame(1, 1, 1419), frame(2, 1, 1418)})
	c.Advance(time.Second)
	if !slices.Equal(s.tags, []byte{2}) || a.Stats().TxDrops != 1 {
		t.Fatalf("arrived %v, dropped %d", s.tags, a.Stats().TxDrops)
	}
}

func TestASwitchLearnsAndFloods(t *testing.T) {
	c := clock.NewVirtual(start)
	sw := NewNetwork(c).Switch("lan", Impairment{})
	var ports [3]*Port
	var sinks [3]*sink
	for i := range ports {
		ports[i], sinks[i] = sw.Port(string(rune('a'+i))), &sink{clock: c}
		_ = ports[i].Start(sinks[i].input)
	}
	captured := 0
	sw.SetCapture(func(_ time.Time, _ *Port, f []byte) { captured++ })
	ports[0].Send([]*packet.Packet{frame(12, 11, 60)}) // unknown: flooded
	c.Advance(0)
	ports[1].Send([]*packet.Packet{frame(11, 12, 60)}) // known: to port 0 only
	c.Advance(0)
	if len(sinks[0].tags) != 1 || len(sinks[1].tags) != 1 || len(sinks[2].tags) != 1 || captured != 2 {
		t.Fatalf("arrived %v %v %v, captured %d", sinks[0].tags, sinks[1].tags, sinks[2].tags, captured)
	}
}

func TestRealTimeDeliversFromManySendersAndCloseWaits(t *testing.T) {
	n := NewNetwork(clock.Real)
	a, b := n.Pair("a", "b", Impairment{})
	got := make(chan byte, 1000)
	_ = b.Start(func(v []*packet.Packet) {
		for _, p := range v {
			got <- p.Bytes()[14]
			p.Release()
		}
	})
	for range 10 {
		go func() {
			for i := range 20 {
				a.Send([]*packet.Packet{frame(byte(i), 1, 60)})
			}
		}()
	}
	for range 200 {
		select {
		case <-got:
		case <-time.After(10 * time.Second):
			t.Fatal("frames are missing")
		}
	}
	_ = b.Close()
	a.Send([]*packet.Packet{frame(9, 1, 60)})
	if len(got) != 0 {
		t.Fatal("a closed port received")
	}
}

func TestAWireHoldsManyFramesAndANetworkThatIsLateFew(t *testing.T) {
	const sent = 20000
	flood := func(p *Port) {
		for range sent / 100 {
			var v [100]*packet.Packet
			for k := range v {
				v[k] = frame(7, 1, 60)
			}
			p.Send(v[:])
		}
	}
	c := clock.NewVirtual(start)
	n := NewNetwork(c)
	a, b := n.Pair("a", "b", Impairment{Delay: 100 * time.Millisecond})
	far := &sink{clock: c}
	_ = b.Start(far.input)
	flood(a)
	c.Advance(time.Second)
	if lost := n.Overflows(); len(far.tags) != maxFlying || lost != sent-maxFlying || b.Stats().RxDrops != lost {
		t.Errorf("%d arrived over a long wire, %d are counted as lost", len(far.tags), lost)
	}
	if cap(n.events) != 0 {
		t.Errorf("an idle network keeps room for %d events", cap(n.events))
	}

	// Whoever takes the first frame lets a second pass, in which the next one waits.
	n = NewNetwork(c)
	a, b = n.Pair("a", "b", Impairment{})
	other, next := n.Pair("other", "next", Impairment{})
	got := &sink{clock: c}
	slow := true
	_ = next.Start(got.input)
	_ = b.Start(func(v []*packet.Packet) {
		if got.input(v); slow {
			slow = false
			c.Advance(time.Second)
			flood(a)
		}
	})
	a.Send([]*packet.Packet{frame(1, 1, 60)})
	other.Send([]*packet.Packet{frame(2, 1, 60)})
	c.Advance(time.Second)
	if lost := n.Overflows(); len(got.tags) != 2+maxWaiting || lost != sent-maxWaiting || b.Stats().RxDrops != lost {
		t.Errorf("%d arrived through a network that was late, %d are counted as lost", len(got.tags), lost)
	}
	b.Refused(3)
	if n.Overflows() != sent-maxWaiting+3 || b.Stats().RxDrops != sent-maxWaiting+3 {
		t.Error("what was refused is not counted")
	}
}
