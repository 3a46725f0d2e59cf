package netstack

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// bucket is a token bucket: so many events a second, so many at once. It is safe for concurrent use.
type bucket struct {
	perEvent time.Duration
	burst    time.Duration
	next     atomic.Int64 // when the bucket will be full again, in ns of the clock
}

func newBucket(perSecond, burst int) *bucket {
	per := time.Second / time.Duration(perSecond)
	return &bucket{perEvent: per, burst: per * time.Duration(burst)}
}

func (b *bucket) allow(now time.Time) bool {
	t := now.UnixNano()
	for {
		old := b.next.Load()
		next := max(old, t) + int64(b.perEvent)
		if next-t > int64(b.burst) {
			return false
		}
		if b.next.CompareAndSwap(old, next) {
			return true
		}
	}
}

// pairLimiter lets one event in an interval pass for each pair of addresses. Its memory is bounded (and there once it
// is used): pairs that share a slot push each other out, and the bucket bounds what passes all in all.
type pairLimiter struct {
	slots  atomic.Pointer[[4096]atomic.Uint64] // hash in the high half, milliseconds in the low
	bucket *bucket
}

func (l *pairLimiter) allow(now time.Time, a, b netip.Addr, salt uint32, interval time.Duration) bool {
	h := hashAddr(a)*31 + hashAddr(b) + salt*0x9e3779b1
	h ^= h >> 15
	t := uint32(now.UnixMilli())
	slots := l.slots.Load()
	if slots == nil {
		l.slots.CompareAndSwap(nil, new([4096]atomic.Uint64))
		slots = l.slots.Load()
	}
	s := &slots[h%uint32(len(slots))]
	old := s.Load()
	if uint32(old>>32) == h && old != 0 && t-uint32(old) < uint32(interval.Milliseconds()) {
		return false
	}
	if l.bucket != nil && !l.bucket.allow(now) {
		return false
	}
	return s.CompareAndSwap(old, uint64(h)<<32|uint64(t))
}
