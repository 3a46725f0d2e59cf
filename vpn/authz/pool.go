package authz

import (
	"container/list"
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/ikev2"
)

// Pool is a set of addresses.
type Pool struct {
	Ranges, Exclude []Range
}

// Range is all addresses of one family from From to To.
type Range struct{ From, To netip.Addr }

func (r Range) contains(a netip.Addr) bool {
	return a.Is4() == r.From.Is4() && !a.Less(r.From) && !r.To.Less(a)
}

const maxRemembered = 65536 // free addresses of a pool that are kept for their identities

// lease is an address and who has, or had, it.
type lease struct {
	pool     *pool
	addr     netip.Addr
	identity ikev2.Identity
	sas      map[ikev2.SAID]struct{} // empty: free
	since    time.Time
	place    *list.Element // in free
}

// identityKey finds an identity's leases of a family.
type identityKey struct {
	identity ikev2.Identity
	v4       bool
}

// pool gives addresses. Every address that was ever given is known: held by SAs, or free and remembered.
type pool struct {
	name      string
	ranges    []Range
	exclude   []Range
	known     map[netip.Addr]*lease
	held      map[netip.Addr]*lease
	mine      map[identityKey][]*lease // the free ones of an identity
	free      *list.List               // the longest free first
	next      map[bool]cursor          // by family (true: IPv4): where never given addresses begin
	exhausted uint64
}

// cursor is a place in the ranges.
type cursor struct {
	at   int
	addr netip.Addr // invalid: the range's first
}

func newPool(name string) *pool {
	return &pool{name: name, known: map[netip.Addr]*lease{}, held: map[netip.Addr]*lease{}, mine: map[identityKey][]*lease{}, free: list.New()}
}

func (p *pool) setRanges(c Pool) {
	p.ranges, p.exclude = c.Ranges, c.Exclude
	p.next = map[bool]cursor{}
	// What is no longer in the pool is forgotten when it is free, else on release.
	for e := p.free.Front(); e != nil; {
		l := e.Value.(*lease)
		e = e.Next()
		if !p.has(l.addr) {
			p.forget(l)
		}
	}
}

func (p *pool) has(a netip.Addr) bool {
	_, out := p.excluded(a)
	return !out && slices.ContainsFunc(p.ranges, func(r Range) bool { return r.contains(a) })
}

// take gives an address to an identity; nil: there is none.
func (p *pool) take(now time.Time, id ikev2.Identity, sa ikev2.SAID, wanted netip.Addr, v4 bool) *lease {
	wish := wanted.IsValid() && !wanted.IsUnspecified()
	if wish {
		// A client that makes a new SA before it leaves the old one.
		if l := p.held[wanted]; l != nil && l.identity == id && p.has(wanted) {
			l.sas[sa] = struct{}{}
			return l
		}
	}
	key := identityKey{id, v4}
	if mine := p.mine[key]; len(mine) > 0 {
		l := mine[len(mine)-1]
		for _, x := range mine {
			if x.addr == wanted {
				l = x
			}
		}
		return p.hold(now, l, sa)
	}
	var l *lease
	switch a, fresh := p.fresh(v4); {
	case wish && p.known[wanted] == nil && p.has(wanted):
		l = p.learn(wanted, id)
	case fresh:
		p.advance(v4, a)
		l = p.learn(a, id)
	default:
		// The one that is free the longest changes hands.
		for e := p.free.Front(); e != nil; e = e.Next() {
			if x := e.Value.(*lease); x.addr.Is4() == v4 {
				p.forget(x)
				l = p.learn(x.addr, id)
				break
			}
		}
	}
	if l == nil {
		p.exhausted++
		return nil
	}
	return p.hold(now, l, sa)
}

// fresh is the first address that was never given. As many as are remembered at most are: then free ones go first.
func (p *pool) fresh(v4 bool) (netip.Addr, bool) {
	if p.free.Len() >= maxRemembered {
		return netip.Addr{}, false
	}
	c := p.next[v4]
	for ; c.at < len(p.ranges); c = (cursor{at: c.at + 1}) {
		r := p.ranges[c.at]
		if r.From.Is4() != v4 {
			continue
		}
		a := c.addr
		if !a.IsValid() {
			a = r.From
		}
		for a.IsValid() && !r.To.Less(a) {
			if x, ok := p.excluded(a); ok {
				a = x.To.Next()
				continue
			}
			if p.known[a] == nil {
				p.next[v4] = cursor{c.at, a}
				return a, true
			}
			a = a.Next()
		}
	}
	p.next[v4] = c
	return netip.Addr{}, false
}

func (p *pool) excluded(a netip.Addr) (Range, bool) {
	for _, r := range p.exclude {
		if r.contains(a) {
			return r, true
		}
	}
	return Range{}, false
}

// advance moves past an address.
func (p *pool) advance(v4 bool, a netip.Addr) {
	c := p.next[v4]
	if c.addr = a.Next(); !c.addr.IsValid() {
		c = cursor{at: c.at + 1}
	}
	p.next[v4] = c
}

func (p *pool) learn(a netip.Addr, id ikev2.Identity) *lease {
	l := &lease{pool: p, addr: a, identity: id, sas: map[ikev2.SAID]struct{}{}}
	p.known[a] = l
	return l
}

// hold takes a lease out of the free ones.
func (p *pool) hold(now time.Time, l *lease, sa ikev2.SAID) *lease {
	p.unlist(l)
	l.sas[sa] = struct{}{}
	l.since = now
	p.held[l.addr] = l
	return l
}

// unlist takes a lease off the lists of free ones.
func (p *pool) unlist(l *lease) {
	if l.place == nil {
		return
	}
	p.free.Remove(l.place)
	l.place = nil
	key := identityKey{l.identity, l.addr.Is4()}
	keep := p.mine[key][:0]
	for _, x := range p.mine[key] {
		if x != l {
			keep = append(keep, x)
		}
	}
	if p.mine[key] = keep; len(keep) == 0 {
		delete(p.mine, key)
	}
}

func (p *pool) forget(l *lease) {
	p.unlist(l)
	delete(p.known, l.addr)
}

// release gives a lease back; it is kept for its identity.
func (p *pool) release(l *lease, sa ikev2.SAID) {
	delete(l.sas, sa)
	if len(l.sas) > 0 || p.held[l.addr] != l {
		return
	}
	delete(p.held, l.addr)
	if !p.has(l.addr) {
		delete(p.known, l.addr)
		return
	}
	l.place = p.free.PushBack(l)
	key := identityKey{l.identity, l.addr.Is4()}
	p.mine[key] = append(p.mine[key], l)
}
