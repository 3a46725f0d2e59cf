package netstack

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
)

// cow is a map that is read without a lock: a table of buckets, each an immutable list behind an atomic pointer. A
// writer copies its bucket; the table doubles and halves with what is in it, so what reading and writing cost does not
// depend on how much that is. An empty one has no table.
type cow[K comparable, V any] struct {
	hash  func(K) uint32
	mu    sync.Mutex
	table atomic.Pointer[[]atomic.Pointer[[]cowEntry[K, V]]] // a power of two of buckets
	size  atomic.Int64
}

type cowEntry[K comparable, V any] struct {
	k K
	v V
}

// cowMin is the least number of buckets, cowLoad how many entries a bucket has when the table doubles.
const cowMin, cowLoad = 4, 4

func (c *cow[K, V]) get(k K) (v V, ok bool) {
	t := c.table.Load()
	if t == nil {
		return
	}
	if b := (*t)[c.hash(k)&uint32(len(*t)-1)].Load(); b != nil {
		for i := range *b {
			if e := &(*b)[i]; e.k == k {
				return e.v, true
			}
		}
	}
	return
}

func (c *cow[K, V]) set(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.table.Load()
	if t == nil {
		t = c.resize(cowMin)
	} else if int(c.size.Load()) >= len(*t)*cowLoad {
		t = c.resize(len(*t) * 2)
	}
	at := &(*t)[c.hash(k)&uint32(len(*t)-1)]
	var list []cowEntry[K, V]
	if old := at.Load(); old != nil {
		list = make([]cowEntry[K, V], len(*old), len(*old)+1)
		copy(list, *old)
	}
	for i := range list {
		if list[i].k == k {
			list[i].v = v
			at.Store(&list)
			return
		}
	}
	list = append(list, cowEntry[K, V]{k, v})
	at.Store(&list)
	c.size.Add(1)
}

// remove deletes k if it is there and, when still is given, if it still approves of the value.
func (c *cow[K, V]) remove(k K, still func(V) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.table.Load()
	if t == nil {
		return false
	}
	at := &(*t)[c.hash(k)&uint32(len(*t)-1)]
	old := at.Load()
	if old == nil {
		return false
	}
	for i := range *old {
		if (*old)[i].k != k {
			continue
		}
		if still != nil && !still((*old)[i].v) {
			return false
		}
		if len(*old) == 1 {
			at.Store(nil)
		} else {
			list := make([]cowEntry[K, V], 0, len(*old)-1)
			list = append(append(list, (*old)[:i]...), (*old)[i+1:]...)
			at.Store(&list)
		}
		switch n := int(c.size.Add(-1)); {
		case n == 0:
			c.table.Store(nil)
		case n < len(*t)/4 && len(*t) > cowMin:
			c.resize(len(*t) / 2)
		}
		return true
	}
	return false
}

// resize makes a table of n buckets. Who still reads the old one reads what was there a moment ago.
func (c *cow[K, V]) resize(n int) *[]atomic.Pointer[[]cowEntry[K, V]] {
	lists := make([][]cowEntry[K, V], n)
	if old := c.table.Load(); old != nil {
		for i := range *old {
			if b := (*old)[i].Load(); b != nil {
				for _, e := range *b {
					at := c.hash(e.k) & uint32(n-1)
					lists[at] = append(lists[at], e)
				}
			}
		}
	}
	t := make([]atomic.Pointer[[]cowEntry[K, V]], n)
	for i := range lists {
		if len(lists[i]) > 0 {
			t[i].Store(&lists[i])
		}
	}
	c.table.Store(&t)
	return &t
}

func (c *cow[K, V]) each(f func(K, V)) {
	t := c.table.Load()
	if t == nil {
		return
	}
	for i := range *t {
		if b := (*t)[i].Load(); b != nil {
			for _, e := range *b {
				f(e.k, e.v)
			}
		}
	}
}

func (c *cow[K, V]) len() int { return int(c.size.Load()) }

// hashSeed keeps strangers who choose their addresses from choosing their buckets.
var hashSeed = rand.Uint64() | 1

func hashAddr(a netip.Addr) uint32 {
	b := a.As16()
	x := binary.BigEndian.Uint64(b[:])*0x9e3779b97f4a7c15 ^ binary.BigEndian.Uint64(b[8:]) ^ hashSeed
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= hashSeed
	return uint32(x >> 32)
}

func hashUint32(x uint32) uint32 {
	y := (uint64(x) ^ hashSeed) * 0x9e3779b97f4a7c15
	return uint32(y >> 32)
}
