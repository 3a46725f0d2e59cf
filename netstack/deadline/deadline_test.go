package deadline

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

type thing struct {
	Item
	name int
}

var start = time.Unix(1000, 0)

// names takes everything out in order.
func names(h *Heap[*thing]) (out []int) {
	for {
		x, ok := h.Due(start.Add(time.Hour))
		if !ok {
			return out
		}
		h.Remove(x)
		out = append(out, x.name)
	}
}

func TestTheEarliestComesFirstAndOfOneTimeWhoWasSetFirst(t *testing.T) {
	var h Heap[*thing]
	if _, ok := h.First(); ok {
		t.Fatal("an empty heap has a deadline")
	}
	things := make([]*thing, 6)
	for n, after := range []time.Duration{3, 1, 2, 1, 1, 2} {
		things[n] = &thing{name: n}
		h.Set(things[n], start.Add(after*time.Second))
	}
	if _, ok := h.Due(start); ok {
		t.Fatal("something is due too early")
	}
	if x, ok := h.Due(start.Add(time.Second)); !ok || x.name != 1 || h.Len() != 6 {
		t.Fatalf("due is %v, %v", x, ok)
	}
	h.Set(things[1], start.Add(time.Second)) // behind those of the same time
	h.Set(things[0], start)
	if !things[2].Pending() || !h.Remove(things[2]) || things[2].Pending() || h.Remove(things[2]) {
		t.Fatal("Remove must report whether it was in")
	}
	if at, _ := h.First(); !at.Equal(start) || !things[0].At().Equal(start) {
		t.Fatalf("the first is at %v", at)
	}
	if got := names(&h); !slices.Equal(got, []int{0, 3, 4, 1, 5}) {
		t.Fatalf("they came as %v", got)
	}
}

func TestTheOrderIsRightHoweverDeadlinesMove(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h Heap[*thing]
	things := make([]*thing, 200)
	for n := range things {
		things[n] = &thing{name: n}
	}
	for range 5000 {
		x := things[rng.IntN(len(things))]
		if rng.IntN(4) == 0 {
			h.Remove(x)
		} else {
			h.Set(x, start.Add(time.Duration(rng.IntN(50))*time.Millisecond))
		}
	}
	var want []*thing
	for _, x := range things {
		if x.Pending() {
			want = append(want, x)
		}
	}
	slices.SortFunc(want, func(a, b *thing) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return int(a.turn) - int(b.turn)
	})
	if h.Len() != len(want) {
		t.Fatalf("%d are in, want %d", h.Len(), len(want))
	}
	for n, name := range names(&h) {
		if name != want[n].name {
			t.Fatalf("number %d is %d, want %d", n, name, want[n].name)
		}
	}
}
