package esp

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"felloe/netstack/packet"
)

// model is a replay window as one would explain it: the set of numbers seen.
type model struct {
	size, top uint64
	seen      map[uint64]bool
}

func (m *model) take(seq uint64) bool {
	if seq == 0 || m.seen[seq] || seq <= m.top && m.top-seq >= m.size {
		return false
	}
	m.seen[seq] = true
	m.top = max(m.top, seq)
	return true
}

func TestTheWindowBehavesLikeASetOfNumbers(t *testing.T) {
	for _, size := range []int{64, 65, 1000, 1024, 4096} {
		rng := rand.New(rand.NewPCG(1, uint64(size)))
		w, m := newWindow(size), &model{size: uint64(size), seen: map[uint64]bool{}}
		at := int64(1)
		for range 200_000 {
			switch rng.IntN(1000) {
			case 0:
				at += rng.Int64N(int64(size) * 5) // a gap longer than the window
			case 1, 2, 3:
				at += rng.Int64N(int64(size))
			default:
				at += rng.Int64N(3)
			}
			seq := uint64(max(0, at-rng.Int64N(int64(size)*3/2)))
			if check := w.check(seq); check != w.mark(seq) {
				t.Fatalf("size %d: check and mark disagree on %d", size, seq)
			} else if want := m.take(seq); check != want {
				t.Fatalf("size %d, top %d: %d taken %v, want %v", size, m.top, seq, check, want)
			}
		}
	}
}

func TestTheWindowsEdges(t *testing.T) {
	w := newWindow(1024)
	for _, c := range []struct {
		seq  uint64
		want bool
	}{
		{0, false}, {1, true}, {1, false}, {1024, true}, {2, true},
		{1025, true}, {1, false}, // outside now, and seen
		{3, true}, {1500, true},
		{476, false}, // 1500-1024
		{477, true},
		{1 << 31, true}, {1500, false}, {1<<31 - 1023, true}, {1<<31 - 1024, false},
		{1<<32 - 1, true},
	} {
		if got := w.mark(c.seq); got != c.want {
			t.Fatalf("%d: %v, want %v", c.seq, got, c.want)
		}
	}
}

func TestWithoutAWindowEverythingOpensTwice(t *testing.T) {
	p := params(gcm256)
	p.Window = -1
	o, in := pair(t, p)
	sent := packet.From([]byte("payload"))
	defer sent.Release()
	if err := o.Seal(sent, 47); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := arrive(sent)
		if _, err := in.Open(got); err != nil {
			t.Fatal(err)
		}
		got.Release()
	}
}

func TestTheUpperHalfOfASequenceNumberIsInferred(t *testing.T) {
	const w = 1024
	for _, c := range []struct {
		name string
		top  uint64
		seq  uint64
		ok   bool
	}{
		{"first packet", 0, 1, true},
		{"inside the window", 5 << 32, 5<<32 + 7, true},
		{"a little back across the boundary", 5<<32 + 10, 5<<32 - 5, true},
		{"forward across the boundary", 5<<32 - 5, 5<<32 + 3, true},
		{"far forward", 1<<32 + 5000, 1<<32 + 1<<31, true},
		{"far forward across the boundary", 1<<32 + 5000, 2<<32 + 100, true},
		{"the boundary itself", 1<<32 - 1, 1 << 32, true},
		{"before the first packet", 10, 1<<64 - 5, false},
	} {
		win := newWindow(w)
		win.top = c.top
		got, ok := win.infer(uint32(c.seq))
		if ok != c.ok || ok && got != c.seq {
			t.Errorf("%s: top %#x, sent %#x: got %#x, %v", c.name, c.top, c.seq, got, ok)
		}
	}
	win := newWindow(w)
	win.top = 5<<32 + 5000
	// A number just below the window is taken for one that is almost 2^32 ahead; the ICV will tell.
	if got, ok := win.infer(5000 - w); !ok || got != 6<<32+5000-w {
		t.Errorf("%#x, %v", got, ok)
	}
}

func TestExtendedNumbersCrossTheBoundaryWithPacketsOutOfOrder(t *testing.T) {
	for _, s := range []Suite{gcm256, cbc256} {
		p := params(s)
		p.ESN = true
		o, in := pair(t, p)
		o.seq.Store(1<<32 - 500)
		in.window.top = 1<<32 - 500
		v := make([]*packet.Packet, 1000)
		for i := range v {
			v[i] = packet.From([]byte("payload"))
			if err := o.Seal(v[i], 47); err != nil {
				t.Fatal(err)
			}
		}
		rand.Shuffle(len(v), func(i, j int) { v[i], v[j] = v[j], v[i] })
		for _, sent := range v {
			got := arrive(sent)
			if _, err := in.Open(got); err != nil || !bytes.Equal(got.Bytes(), []byte("payload")) {
				t.Fatalf("%s: %v", s, err)
			}
			got.Release()
			if _, err := in.Open(sent); !errors.Is(err, ErrReplay) {
				t.Fatalf("%s: replay: %v", s, err)
			}
		}
		packet.ReleaseAll(v)
		if in.Sequence() != 1<<32+500 {
			t.Fatal(in.Sequence())
		}
	}
}
