package netstack

import (
	"net/netip"
	"sync"
	"testing"
)

// fullest is the length of a table's longest bucket.
func fullest[K comparable, V any](c *cow[K, V]) (most, buckets int) {
	t := c.table.Load()
	if t == nil {
		return 0, 0
	}
	for i := range *t {
		if b := (*t)[i].Load(); b != nil {
			most = max(most, len(*b))
		}
	}
	return most, len(*t)
}

func TestNeighbouringKeysSpreadOverTheBuckets(t *testing.T) {
	for name, key := range map[string]func(k int) netip.Addr{
		"hosts of a /24":  func(k int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(k)}) },
		"/24 networks":    func(k int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(k >> 8), byte(k), 1}) },
		"hosts of a /64":  func(k int) netip.Addr { return netip.AddrFrom16([16]byte{0x20, 1, 14: byte(k >> 8), 15: byte(k)}) },
		"/48 of one site": func(k int) netip.Addr { return netip.AddrFrom16([16]byte{0x20, 1, 4: byte(k >> 8), 5: byte(k), 15: 1}) },
	} {
		c := cow[netip.Addr, int]{hash: hashAddr}
		for k := range 256 {
			c.set(key(k), k)
		}
		if most, n := fullest(&c); most > 24 {
			t.Errorf("%s: one of %d buckets has %d of 256", name, n, most)
		}
		for k := range 256 {
			if v, ok := c.get(key(k)); !ok || v != k {
				t.Fatalf("%s: %d is lost", name, k)
			}
			if k%2 == 0 && !c.remove(key(k), func(v int) bool { return v == k }) {
				t.Fatalf("%s: %d is not removed", name, k)
			}
		}
		if c.len() != 128 {
			t.Fatalf("%s: %d are left", name, c.len())
		}
	}
	spi := cow[uint32, int]{hash: hashUint32}
	for k := range 256 {
		spi.set(uint32(k)<<24, k)
		spi.set(uint32(k), k)
	}
	if most, n := fullest(&spi); most > 24 {
		t.Errorf("one of %d buckets has %d of 511 SPIs", n, most)
	}
}

func TestATableGrowsAndShrinksWithWhatIsInIt(t *testing.T) {
	c := cow[uint32, int]{hash: hashUint32}
	var read sync.WaitGroup
	stop := make(chan struct{})
	c.set(7, 7) // stays, and is found all the time
	for range 2 {
		read.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if v, ok := c.get(7); !ok || v != 7 {
					t.Error("an entry was lost while the table changed its size")
					return
				}
			}
		})
	}
	for k := range uint32(20000) {
		c.set(k+100, int(k))
	}
	if _, n := fullest(&c); n < 20000/cowLoad {
		t.Errorf("%d buckets for 20,000 entries", n)
	}
	for k := range uint32(20000) {
		if !c.remove(k+100, nil) || c.remove(k+100, nil) {
			t.Fatalf("%d: not removed once", k)
		}
	}
	close(stop)
	read.Wait()
	if _, n := fullest(&c); n > 8 || c.len() != 1 {
		t.Errorf("%d buckets for %d entries", n, c.len())
	}
	c.remove(7, nil)
	if c.table.Load() != nil {
		t.Error("an empty map has a table")
	}
}
