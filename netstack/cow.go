package netstack

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
)

const cowShards = 64

// cow is a map that is read without a lock: each shard is an immutable map behind an atomic pointer, a writer copies
// its shard.
type cow[K comparable, V any] struct {
	hash   func(K) uint32
	mu     sync.Mutex
	shards [cowShards]atomic.Pointer[map[K]V]
	size   atomic.Int64
}

func (c *cow[K, V]) get(k K) (v V, ok bool) {
	if m := c.shards[c.hash(k)%cowShards].Load(); m != nil {
		v, ok = (*m)[k]
	}
	return
}

func (c *cow[K, V]) set(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.shards[c.hash(k)%cowShards]
	m := map[K]V{}
	if old := s.Load(); old != nil {
		m = maps.Clone(*old)
	}
	if _, there := m[k]; !there {
		c.size.Add(1)
	}
	m[k] = v
	s.Store(&m)
}

// remove deletes k if it is there and, when still is given, if it still approves of the value.
func (c *cow[K, V]) remove(k K, still func(V) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.shards[c.hash(k)%cowShards]
	old := s.Load()
	if old == nil {
		return false
	}
	v, there := (*old)[k]
	if !there || still != nil && !still(v) {
		return false
	}
	m := maps.Clone(*old)
	delete(m, k)
	s.Store(&m)
	c.size.Add(-1)
	return true
}

func (c *cow[K, V]) each(f func(K, V)) {
	for i := range c.shards {
		if m := c.shards[i].Load(); m != nil {
			for k, v := range *m {
				f(k, v)
			}
		}
	}
}

func (c *cow[K, V]) len() int { return int(c.size.Load()) }

func hashAddr(a netip.Addr) uint32 {
	b := a.As16()
	x := binary.BigEndian.Uint64(b[:])*0x9e3779b97f4a7c15 ^ binary.BigEndian.Uint64(b[8:])
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return uint32(x >> 32)
}

func hashUint32(x uint32) uint32 {
	x ^= x >> 16
	x *= 0x9e3779b1
	return x >> 16
}
