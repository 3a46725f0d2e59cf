package deadline

import (
	"container/heap"
	"time"
)

// Item is embedded by what is put into a Heap. The zero value is in none.
type Item struct {
	at    time.Time
	turn  uint64 // orders those of one time
	place int    // in the heap, from 1
}

// At is the time that it was last set to.
func (i *Item) At() time.Time { return i.at }

// Pending says whether it is in a heap.
func (i *Item) Pending() bool { return i.place > 0 }

func (i *Item) item() *Item { return i }

// Heap orders things by their deadlines.
type Heap[T interface{ item() *Item }] struct {
	list list[T]
	turn uint64
}

// Len is how many there are.
func (h *Heap[T]) Len() int { return len(h.list) }

// Set puts x in, or moves it.
func (h *Heap[T]) Set(x T, at time.Time) {
	i := x.item()
	h.turn++
	i.at, i.turn = at, h.turn
	if i.place > 0 {
		heap.Fix(&h.list, i.place-1)
	} else {
		heap.Push(&h.list, x)
	}
}

// Remove takes x out, and reports whether it was in.
func (h *Heap[T]) Remove(x T) bool {
	i := x.item()
	if i.place == 0 {
		return false
	}
	heap.Remove(&h.list, i.place-1)
	return true
}

// First is the earliest deadline, if there is one.
func (h *Heap[T]) First() (at time.Time, ok bool) {
	if len(h.list) == 0 {
		return time.Time{}, false
	}
	return h.list[0].item().at, true
}

// Due is what has the earliest deadline, if that is not after now. It stays in.
func (h *Heap[T]) Due(now time.Time) (x T, ok bool) {
	if at, any := h.First(); !any || at.After(now) {
		return x, false
	}
	return h.list[0], true
}

// list implements heap.Interface.
type list[T interface{ item() *Item }] []T

func (l list[T]) Len() int { return len(l) }

func (l list[T]) Less(i, j int) bool {
	a, b := l[i].item(), l[j].item()
	if c := a.at.Compare(b.at); c != 0 {
		return c < 0
	}
	return a.turn < b.turn
}

func (l list[T]) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].item().place, l[j].item().place = i+1, j+1
}

func (l *list[T]) Push(x any) {
	*l = append(*l, x.(T))
	(*l)[len(*l)-1].item().place = len(*l)
}

func (l *list[T]) Pop() any {
	var none T
	last := len(*l) - 1
	x := (*l)[last]
	(*l)[last] = none
	*l = (*l)[:last]
	x.item().place = 0
	return x
}
