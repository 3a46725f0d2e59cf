package fib

import (
	"errors"
	"fmt"
	"net/netip"
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
}

// Change sets the route of a prefix, or deletes it.
type Change struct {
	Route  Route
	Delete bool
}

// ErrRoute says that a change was rejected; what it wraps says which and why.
var ErrRoute = errors.New("fib: route is not usable")

// Entry is a route as the table holds it. It is immutable but for what its hops remember.
type Entry struct {
	Route
	hops []Hop
}

// Hop is a next hop of an entry.
type Hop struct {
	NextHop
	// Adjacency is what the data plane resolved this hop to; it belongs to the data plane.
	Adjacency atomic.Value
}

// Select returns the hop for a flow hash, nil when the route has none.
func (e *Entry) Select(flow uint32) *Hop {
	switch n := len(e.hops); n {
	case 0:
		return nil
	case 1:
		return &e.hops[0]
	default:
		// The high half of the product spreads the hash evenly over n without a division.
		return &e.hops[uint64(flow)*uint64(n)>>32]
	}
}

// Hops is the number of next hops.
func (e *Entry) Hops() int { return len(e.hops) }

// Table is a forwarding table. The zero value is empty and ready; it is safe for concurrent use.
type Table struct {
	mu   sync.Mutex // one writer
	root atomic.Pointer[snapshot]
}

type snapshot struct {
	table      *bart.Fast[*Entry]
	generation uint64
}

var empty = &snapshot{table: new(bart.Fast[*Entry])}

func (t *Table) snapshot() *snapshot {
	if s := t.root.Load(); s != nil {
		return s
	}
	return empty
}

// Lookup returns the entry of the longest prefix that covers dst, nil when there is none. dst must not be an
// IPv4-mapped IPv6 address.
func (t *Table) Lookup(dst netip.Addr) *Entry {
	e, _ := t.snapshot().table.Lookup(dst)
	return e
}

// Get returns the entry of exactly this prefix.
func (t *Table) Get(p netip.Prefix) (*Entry, bool) { return t.snapshot().table.Get(p.Masked()) }

// Generation counts the calls of Apply that changed something. What was derived from the table is as old as the
// generation it was derived at.
func (t *Table) Generation() uint64 { return t.snapshot().generation }

// Len is the number of routes.
func (t *Table) Len() int { return t.snapshot().table.Size() }

// Routes calls f for each route in the order of prefixes until it returns false, on one snapshot.
func (t *Table) Routes(f func(*Entry) bool) {
	for _, e := range t.snapshot().table.AllSorted() {
		if !f(e) {
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
	old := t.snapshot()
	table := old.table
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
		if c.Delete {
			if bulk {
				table.Delete(p)
			} else {
				table = table.DeletePersist(p)
			}
			continue
		}
		if c.Route.Kind == Forward && len(c.Route.NextHops) == 0 {
			errs = append(errs, fmt.Errorf("%w: %v has no next hop", ErrRoute, p))
			continue
		}
		e := newEntry(c.Route, p)
		if bulk {
			table.Insert(p, e)
		} else {
			table = table.InsertPersist(p, e)
		}
	}
	t.root.Store(&snapshot{table: table, generation: old.generation + 1})
	return errors.Join(errs...)
}

func newEntry(r Route, p netip.Prefix) *Entry {
	e := &Entry{Route: r}
	e.Prefix = p
	e.NextHops = append([]NextHop(nil), r.NextHops...)
	e.hops = make([]Hop, len(e.NextHops))
	for i, h := range e.NextHops {
		e.hops[i].NextHop = h
	}
	return e
}
