package fib

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// Kind is what happens to a packet whose destination a route covers.
type Kind uint8

const (
	// Forward sends it to one of the next hops.
	Forward Kind = iota
	// Local is ours: the host stack's or a decapsulator's.
	Local
	// Discard drops it without a word (Null0).
	Discard
	// Unreachable drops it and tells the source by ICMP.
	Unreachable
)

func (k Kind) String() string {
	switch k {
	case Forward:
		return "forward"
	case Local:
		return "local"
	case Discard:
		return "discard"
	case Unreachable:
		return "unreachable"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// NextHop is where a packet goes next.
type NextHop struct {
	// Interface is the index of the output interface.
	Interface uint32
	// Via is the neighbour on it. The zero Addr says that the prefix is directly connected: the destination is the
	// neighbour.
	Via netip.Addr
}

// Route is one prefix of the table.
type Route struct {
	Prefix   netip.Prefix
	Kind     Kind
	NextHops []NextHop // several share the flows (ECMP)
	// Routed are the next hops of the router's own routing protocols where they are others: a shortcut carries none of
	// those, so that what they say of a way does not depend on a shortcut beside it.
	Routed []NextHop
}

// Change sets the route of a prefix, or deletes it.
type Change struct {
	Route  Route
	Delete bool
}

// ErrRoute says that a change was rejected; what it wraps says which and why.
var ErrRoute = errors.New("fib: route is not usable")

// Entry is a route as the table holds it. It is immutable but for what its group's hops remember.
type Entry struct {
	Route
	group *Group
}

// Select returns the hop for a flow hash, nil when the route has none.
func (e *Entry) Select(flow uint32) *Hop { return e.group.Select(flow) }

// Hops is the number of next hops.
func (e *Entry) Hops() int { return len(e.group.hops) }

// Group is what forwarding needs of a route. All routes of a table that do the same with a packet share one, so that
// the packets of ten thousand routes over one next hop touch one hop.
type Group struct {
	Kind   Kind
	hops   []Hop
	routed *Group // for routing protocols, nil when they go the same way

	// under the table's lock
	key  string
	next []NextHop
	refs int
}

// Hop is a next hop of a group.
type Hop struct {
	NextHop
	// Adjacency is what the data plane resolved this hop to; it belongs to the data plane.
	Adjacency atomic.Value
}

// Select returns the hop for a flow hash, nil when the group has none.
func (g *Group) Select(flow uint32) *Hop {
	switch n := len(g.hops); n {
	case 0:
		return nil
	case 1:
		return &g.hops[0]
	default:
		// The high half of the product spreads the hash evenly over n without a division.
		return &g.hops[uint64(flow)*uint64(n)>>32]
	}
}

// Hops is the number of next hops.
func (g *Group) Hops() int { return len(g.hops) }

// Routed is what the route does with packets of our routing protocols; nil: the same.
func (g *Group) Routed() *Group { return g.routed }

// Table is a forwarding table. The zero value is empty and ready; it is safe for concurrent use.
type Table struct {
	root atomic.Pointer[snapshot]

	mu     sync.Mutex // one writer
	groups map[string]*Group
	key    []byte // scratch
}

// slot is what the trie holds. A packet needs the group alone; the entry stays out of its cache.
type slot struct {
	group *Group
	entry *Entry
}

type snapshot struct {
	table      *bart.Fast[slot]
	generation uint64
}

var empty = &snapshot{table: new(bart.Fast[slot])}

func (t *Table) snapshot() *snapshot {
	if s := t.root.Load(); s != nil {
		return s
	}
	return empty
}

// Lookup returns the entry of the longest prefix that covers dst, nil when there is none. dst must not be an
// IPv4-mapped IPv6 address.
func (t *Table) Lookup(dst netip.Addr) *Entry {
	s, _ := t.snapshot().table.Lookup(dst)
	return s.entry
}

// Find is Lookup for who only forwards: it returns what the route does with the packet.
func (t *Table) Find(dst netip.Addr) *Group {
	s, _ := t.snapshot().table.Lookup(dst)
	return s.group
}

// View is a table as it stands at one moment.
type View struct{ table *bart.Fast[slot] }

// View returns the table as it stands, for who asks it several times.
func (t *Table) View() View { return View{t.snapshot().table} }

// Find is the table's Find.
func (v View) Find(dst netip.Addr) *Group {
	s, _ := v.table.Lookup(dst)
	return s.group
}

// Get returns the entry of exactly this prefix.
func (t *Table) Get(p netip.Prefix) (*Entry, bool) {
	s, ok := t.snapshot().table.Get(p.Masked())
	return s.entry, ok
}

// Generation counts the calls of Apply that changed something. What was derived from the table is as old as the
// generation it was derived at.
func (t *Table) Generation() uint64 { return t.snapshot().generation }

// Len is the number of routes.
func (t *Table) Len() int { return t.snapshot().table.Size() }

// Routes calls f for each route in the order of prefixes until it returns false, on one snapshot.
func (t *Table) Routes(f func(*Entry) bool) {
	for _, s := range t.snapshot().table.AllSorted() {
		if !f(s.entry) {
			return
		}
	}
}

// Apply makes the changes in order and publishes them at once. Changes that can never forward are left out and
// reported, the others are made all the same.
func (t *Table) Apply(changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.snapshot()
	table := before.table
	// A persistent insert copies the nodes on its way. Many of them together cost more than one deep copy.
	bulk := len(changes) > 64 && len(changes) > table.Size()/8
	if bulk {
		table = table.Clone()
	}
	var errs []error
	for _, c := range changes {
		p := c.Route.Prefix
		if !p.IsValid() || p.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("%w: prefix %v is not one of IPv4 or IPv6", ErrRoute, p))
			continue
		}
		p = p.Masked()
		old, there := table.Get(p)
		if c.Delete {
			if !there {
				continue
			}
			if bulk {
				table.Delete(p)
			} else {
				table = table.DeletePersist(p)
			}
			t.leave(old.group)
			continue
		}
		if c.Route.Kind == Forward && len(c.Route.NextHops) == 0 {
			errs = append(errs, fmt.Errorf("%w: %v has no next hop", ErrRoute, p))
			continue
		}
		g := t.join(c.Route.Kind, c.Route.NextHops, c.Route.Routed)
		s := slot{g, &Entry{Route{Prefix: p, Kind: c.Route.Kind, NextHops: g.next, Routed: c.Route.Routed}, g}}
		if bulk {
			table.Insert(p, s)
		} else {
			table = table.InsertPersist(p, s)
		}
		if there {
			t.leave(old.group)
		}
	}
	t.root.Store(&snapshot{table: table, generation: before.generation + 1})
	return errors.Join(errs...)
}

// join finds or makes the group of routes that do this; t.mu is held.
func (t *Table) join(kind Kind, hops, routed []NextHop) *Group {
	k := append(t.key[:0], byte(kind), byte(len(hops)))
	for _, list := range [][]NextHop{hops, routed} {
		for _, h := range list {
			k = binary.BigEndian.AppendUint32(k, h.Interface)
			k, _ = h.Via.AppendBinary(append(k, byte(h.Via.BitLen()/8), byte(len(h.Via.Zone()))))
		}
	}
	t.key = k
	g := t.groups[string(k)]
	if g == nil {
		g = newGroup(kind, hops)
		g.key = string(k)
		if len(routed) > 0 {
			g.routed = newGroup(Forward, routed)
		}
		if t.groups == nil {
			t.groups = map[string]*Group{}
		}
		t.groups[g.key] = g
	}
	g.refs++
	return g
}

func newGroup(kind Kind, hops []NextHop) *Group {
	g := &Group{Kind: kind, next: slices.Clone(hops), hops: make([]Hop, len(hops))}
	for i, h := range hops {
		g.hops[i].NextHop = h
	}
	return g
}

// leave forgets a group when its last route has gone. Who reads an older snapshot keeps it alive; t.mu is held.
func (t *Table) leave(g *Group) {
	if g.refs--; g.refs == 0 {
		delete(t.groups, g.key)
	}
}
