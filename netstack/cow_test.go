package netstack

import (
	"net/netip"
	"testing"
)

func TestNeighbouringKeysSpreadOverTheShards(t *testing.T) {
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
		for i := range c.shards {
			if m := c.shards[i].Load(); m != nil && len(*m) > 16 {
				t.Errorf("%s: a shard has %d of 256", name, len(*m))
			}
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
	for i := range spi.shards {
		if m := spi.shards[i].Load(); m != nil && len(*m) > 32 {
			t.Errorf("a shard has %d of 511 SPIs", len(*m))
		}
	}
}
