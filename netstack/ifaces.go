package netstack

import (
	"slices"
	"sync/atomic"
)

// ifaceTable is the interfaces by index, read without a lock. Indices are given out once and never again, so that a
// route or a packet that still carries an old one finds nothing. A chunk whose interfaces are all gone is let go of.
type ifaceTable struct {
	chunks atomic.Pointer[[]*ifaceChunk]
	next   uint32 // with live: the data plane's lock
	live   map[uint32]int
}

const ifaceChunkSize = 256

type ifaceChunk [ifaceChunkSize]atomic.Pointer[Interface]

func (t *ifaceTable) get(index uint32) *Interface {
	if all := t.chunks.Load(); all != nil && index/ifaceChunkSize < uint32(len(*all)) {
		if c := (*all)[index/ifaceChunkSize]; c != nil {
			return c[index%ifaceChunkSize].Load()
		}
	}
	return nil
}

// add gives an interface its index. The caller holds the data plane's lock.
func (t *ifaceTable) add(i *Interface) {
	if t.next == 0 {
		t.next, t.live = 1, map[uint32]int{} // index 0 is the router itself
		t.chunks.Store(&[]*ifaceChunk{{}})
	}
	i.index = t.next
	t.next++
	n := i.index / ifaceChunkSize
	all := *t.chunks.Load()
	if n == uint32(len(all)) {
		all = append(slices.Clone(all), &ifaceChunk{})
		t.chunks.Store(&all)
	}
	t.live[n]++
	all[n][i.index%ifaceChunkSize].Store(i)
}

// remove forgets an interface. The caller holds the data plane's lock.
func (t *ifaceTable) remove(i *Interface) {
	n := i.index / ifaceChunkSize
	all := *t.chunks.Load()
	all[n][i.index%ifaceChunkSize].Store(nil)
	if t.live[n]--; t.live[n] == 0 {
		delete(t.live, n)
		if n != (t.next-1)/ifaceChunkSize {
			all = slices.Clone(all)
			all[n] = nil
			t.chunks.Store(&all)
		}
	}
}

// each calls f with all interfaces by their index.
func (t *ifaceTable) each(f func(*Interface)) {
	all := t.chunks.Load()
	if all == nil {
		return
	}
	for _, c := range *all {
		if c == nil {
			continue
		}
		for k := range c {
			if i := c[k].Load(); i != nil {
				f(i)
			}
		}
	}
}

// Interfaces lists the interfaces by their index.
func (d *Dataplane) Interfaces() []*Interface {
	var out []*Interface
	d.ifaces.each(func(i *Interface) { out = append(out, i) })
	return out
}

// listed keeps a short list (of the Ethernet interfaces, of those with an address) that is read without a lock and
// changed under one.
func listed(p *atomic.Pointer[[]*Interface], i *Interface, want bool) {
	list := *p.Load()
	if slices.Contains(list, i) == want {
		return
	}
	if !want {
		list = slices.DeleteFunc(slices.Clone(list), func(x *Interface) bool { return x == i })
	} else {
		list = append(slices.Clone(list), i)
		slices.SortFunc(list, func(a, b *Interface) int { return int(a.index) - int(b.index) })
	}
	p.Store(&list)
}
