package bgp

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

func manyPrefixes(n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x14000000+uint32(i)<<8)
		list[i] = netip.PrefixFrom(netip.AddrFrom4(a), 24)
	}
	return list
}

// announce lets 10.10.10.N announce prefixes, some at a time; no path withdraws them.
func (b *bench) announce(n int, list []netip.Prefix, as ...uint32) {
	a := ip("10.10.10.1").As4()
	a[3] = byte(n)
	from := netip.AddrFrom4(a)
	for len(list) > 0 {
		part := list[:min(len(list), 500)]
		list = list[len(part):]
		e := &PathEvent{Peer: from, Session: uint64(n), Prefixes: part}
		if len(as) > 0 {
			e.Attributes = &Attributes{NextHop: from, ASPath: []Segment{{ASSequence, as}}}
		}
		b.rib.Batch(func() { b.sp.o.Events([]Event{e}) }) // the RIB flushes at the end of a turn
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAFullTableComesFlapsAndGoesWithoutATrace(t *testing.T) {
	b := newBench(t, func(c *Config) {
		peers(c)
		c.Aggregates = []Aggregate{{Prefix: pfx("0.0.0.0/1")}}
	})
	b.sp.quiet = true
	for n, as := range map[int]uint32{2: 65002, 3: 65003, 12: 65010, 13: 65010} {
		b.up(n, as)
	}
	list := manyPrefixes(many)
	before := heap()
	began := time.Now()
	b.announce(2, list, 65002)
	first := time.Since(began)
	if len(b.table) != len(list)+1 || b.rib.Len() < len(list) || len(b.peers[ip("10.10.10.3")].sent) != len(list)+1 {
		t.Fatalf("%d in the table, %d in the RIB", len(b.table), b.rib.Len())
	}
	full := heap()
	began = time.Now()
	some := list[many*8/10:]
	b.announce(2, some, 65002, 1)
	b.announce(2, some)
	b.announce(2, some, 65002)
	flap := time.Since(began)
	b.announce(3, some, 65003)
	began = time.Now()
	b.down(2)
	down := time.Since(began)
	if r, ok := b.rib.Get(list[many-1]); !ok || r.Hops[0].Via != ip("10.10.10.3") {
		t.Errorf("the other path is not taken: %+v", r)
	}
	began = time.Now()
	b.announce(3, some)
	gone := time.Since(began)
	after := heap()
	t.Logf("first %v, flap of a fifth %v, session down %v, withdraw %v; heap %d → %d → %d KiB", first, flap, down, gone, before>>10, full>>10, after>>10)
	if len(b.table) != 0 || b.rib.Len() != 4 || len(b.nexthops) != 0 || len(b.peers[ip("10.10.10.12")].sent) != 0 {
		t.Errorf("%d in the table, %d in the RIB, %d next hops", len(b.table), b.rib.Len(), len(b.nexthops))
	}
	if after > before+(full-before)/4 {
		t.Errorf("the heap went from %d to %d to %d bytes", before, full, after)
	}
	runtime.KeepAlive(b)
}

func BenchmarkPrefix(b *testing.B) {
	x := newBench(nil, peers)
	x.sp.quiet = true
	x.up(2, 65002)
	x.up(3, 65003)
	list := manyPrefixes(100000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x.announce(2, list[i%len(list):i%len(list)+1], 65002, uint32(i/len(list))+1)
	}
}
