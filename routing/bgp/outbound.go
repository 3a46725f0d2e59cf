package bgp

import (
	"fmt"
	"net/netip"
	"slices"

	"felloe/routing/policy"
	"felloe/routing/rib"
)

func tooManyText(n, limit uint32) string {
	return fmt.Sprintf("%d prefixes, the limit is %d", n, limit)
}

// sweep is a peer that must be told everything, bit by bit.
type sweep struct {
	peer *peer
	list []netip.Prefix
	// force tells it again what it has been told; family is the one that it asked for, or 0 for all.
	force  bool
	family Family
	begun  bool
	first  bool // everything, for the first time: it ends with End-of-RIB
	again  bool // it was asked for once more after it had begun
}

// sweep begins one, for a family or (0) for all. However often a peer asks to be told again, there is one at a time.
func (b *BGP) sweep(p *peer, force bool, f Family) {
	if b.waiting {
		return
	}
	if force {
		for _, s := range b.sweeps {
			if s.peer == p && s.force && (s.family == f || s.family == 0) {
				s.again = s.again || s.begun
				return
			}
		}
	}
	s := &sweep{peer: p, force: force, family: f, first: !force && !p.told}
	want := func(prefix netip.Prefix) bool {
		return p.carries(prefix) && (f == 0 || f == FamilyOf(prefix.Addr()))
	}
	for prefix := range b.table {
		if want(prefix) {
			s.list = append(s.list, prefix)
		}
	}
	for prefix := range p.sent {
		if b.table[prefix] == nil && want(prefix) {
			s.list = append(s.list, prefix)
		}
	}
	slices.SortFunc(s.list, netip.Prefix.Compare)
	for i, d := range defaultPrefixes {
		if want(d) {
			b.refreshDefault(p, i)
			if b.table[d] == nil && p.sent[d] == nil {
				s.list = append(s.list, d)
			}
		}
	}
	if !force {
		b.sweeps = slices.DeleteFunc(b.sweeps, func(o *sweep) bool { return o.peer == p && !o.force })
	}
	b.sweeps = append(b.sweeps, s)
	b.schedule()
}

func (p *peer) carries(prefix netip.Prefix) bool {
	if prefix.Addr().Is4() {
		return p.ipv4
	}
	return p.ipv6
}

// work goes on with the sweeps.
func (b *BGP) work(n int) {
	for n > 0 && len(b.sweeps) > 0 {
		s := b.sweeps[0]
		part := s.list[:min(n, len(s.list))]
		s.begun = true
		if s.list = s.list[len(part):]; len(s.list) == 0 {
			b.sweeps = b.sweeps[1:]
			if s.again {
				b.sweep(s.peer, true, s.family)
			}
		}
		n -= max(len(part), 1)
		for _, prefix := range part {
			b.offer(s.peer, prefix, b.table[prefix], s.force)
		}
		b.tell(s.peer)
		if s.first && len(s.list) == 0 {
			s.peer.told = true
			b.speaker.EndOfRIB(s.peer.address, s.peer.session)
		}
	}
}

// tell hands the speaker what a peer is to be told.
func (b *BGP) tell(p *peer) {
	if len(p.queue) > 0 {
		b.speaker.Advertise(p.address, p.session, p.queue)
		p.queue = nil
	}
}

// offer compares what a peer should know of a prefix with what it has been told.
func (b *BGP) offer(p *peer, prefix netip.Prefix, d *dest, force bool) {
	if b.waiting || !p.carries(prefix) {
		return
	}
	want := b.outgoing(p, prefix, d)
	old := p.sent[prefix]
	switch {
	case want == nil && old == nil, !force && old != nil && old.Equal(want):
		return
	case want == nil:
		delete(p.sent, prefix)
	default:
		p.sent[prefix] = want
	}
	p.queue = append(p.queue, Advertisement{prefix, want})
}

var defaultPrefixes = [2]netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// outgoing is what a peer is to be told of a prefix; nil is nothing.
func (b *BGP) outgoing(p *peer, prefix netip.Prefix, d *dest) *Attributes {
	if prefix.Bits() == 0 && p.n.DefaultOriginate {
		i := 0
		if prefix.Addr().Is6() {
			i = 1
		}
		if p.dflt[i] != nil {
			return p.dflt[i]
		}
	}
	if d == nil || d.best == nil {
		return nil
	}
	x := d.best
	a := x.attrs
	if x.peer != nil && x.peer.address == p.address {
		return nil // it comes from there, or did
	}
	var bared *policy.Set
	if b.suppressed(prefix) {
		if p.n.UnsuppressMap == nil {
			return nil
		}
		var ok bool
		if bared, ok = p.n.UnsuppressMap.Permit(b.routeOf(x, prefix)); !ok {
			return nil
		}
	}
	reflected := x.peer != nil && !x.peer.external && !p.external
	if reflected && (!x.peer.n.RouteReflectorClient && !p.n.RouteReflectorClient || x.id() == p.routerID) {
		return nil
	}
	if slices.Contains(a.Communities, policy.NoAdvertise) || p.external &&
		(slices.Contains(a.Communities, policy.NoExport) || slices.Contains(a.Communities, policy.LocalAS)) {
		return nil
	}
	if !p.n.Out.PrefixList.Permit(prefix) {
		return nil
	}
	var set *policy.Set
	if p.n.Out.RouteMap != nil {
		var ok bool
		if set, ok = p.n.Out.RouteMap.Permit(b.routeOf(x, prefix)); !ok {
			return nil
		}
	}
	key := memo{attrs: a, set: set, bared: bared, from: x.peer}
	if prefix.Addr().Is6() != p.local.Is6() {
		key.from = nil // the next hop is another one
	} else if out := p.memoOut[key]; out != nil {
		return out
	}
	out := b.export(p, prefix, x, reflected, bared, set)
	if out != nil && prefix.Addr().Is6() == p.local.Is6() {
		remember(&p.memoOut, key, out)
	}
	return out
}

// routeOf is what a policy for what we say sees of a path.
func (b *BGP) routeOf(x *path, prefix netip.Prefix) *policy.Route {
	r := x.attrs.route(prefix)
	if x.nh == nil && x.rank != rankAggregate {
		r.NextHop, r.Interface = b.hopOf(prefix)
	}
	return r
}

// hopOf is where a route of ours leads.
func (b *BGP) hopOf(prefix netip.Prefix) (via netip.Addr, ifname string) {
	if r, ok := b.o.RIB.Get(prefix); ok {
		return hop(&r)
	}
	return
}

func hop(r *rib.Route) (via netip.Addr, ifname string) {
	if len(r.Hops) == 0 {
		return
	}
	return r.Hops[0].Via, r.Hops[0].Interface
}

// self is our address in a session for prefixes of a family; not valid when there is none.
func (b *BGP) self(p *peer, six bool) netip.Addr {
	if p.local.Is6() == six {
		return p.local
	}
	if c := b.companions[p.local]; c.IsValid() && c.Is6() == six {
		return c
	}
	return netip.Addr{}
}

// export writes the attributes of a path as a peer gets them (RFC 4271 §5, RFC 4456 §8), and as the policies set them.
func (b *BGP) export(p *peer, prefix netip.Prefix, x *path, reflected bool, sets ...*policy.Set) *Attributes {
	c := *x.attrs
	c.Weight, c.Tag = 0, 0
	ours := x.peer == nil
	if p.external {
		c.HasLocalPref, c.LocalPref = false, 0
		if !ours {
			c.HasMED, c.MED = false, 0 // it is between its own AS and us
		}
	} else if !c.HasLocalPref {
		c.HasLocalPref, c.LocalPref = true, 100
	}
	self := false
	switch {
	case ours:
		self = !c.NextHop.IsValid() || c.NextHop.IsUnspecified()
	case p.n.NextHopUnchanged:
	case p.external, p.n.NextHopSelfAll:
		self = true
	case p.n.NextHopSelf:
		self = !reflected
	}
	if self {
		c.NextHop = netip.Addr{}
	}
	for _, set := range sets {
		if out := c.with(set); out != &c {
			c = *out
		}
	}
	c.Weight, c.Tag = 0, 0
	if p.external {
		c.HasLocalPref, c.LocalPref = false, 0
	}
	if !c.NextHop.IsValid() {
		c.NextHop = b.self(p, prefix.Addr().Is6())
	}
	if !c.NextHop.IsValid() || c.NextHop.Is6() != prefix.Addr().Is6() {
		return nil // we have no address of that family there
	}
	if c.NextHop == p.address {
		return nil // it would send to itself (RFC 4271 §5.1.3)
	}
	if p.external {
		// Those that are not transitive end here (RFC 4360 §6).
		c.ExtendedCommunities = slices.DeleteFunc(slices.Clone(c.ExtendedCommunities), func(x [8]byte) bool { return x[0]&0x40 != 0 })
		c.OriginatorID, c.ClusterList = netip.Addr{}, nil
		if p.n.RemovePrivateAS {
			c.ASPath = replaceAS(c.ASPath, func(as uint32) (uint32, bool) { return as, !private(as) })
		}
		if p.n.ASOverride {
			c.ASPath = replaceAS(c.ASPath, func(as uint32) (uint32, bool) {
				if as == p.as {
					as = b.cfg.AS
				}
				return as, true
			})
		}
		c.ASPath = prepend(c.ASPath, b.cfg.AS)
	} else if reflected {
		c.OriginatorID = x.id()
		cluster := b.cfg.ClusterID
		if !cluster.IsValid() {
			cluster = b.cfg.RouterID
		}
		c.ClusterList = append([]netip.Addr{cluster}, c.ClusterList...)
	}
	if !p.n.SendCommunity {
		c.Communities, c.ExtendedCommunities, c.LargeCommunities = nil, nil, nil
	}
	return &c
}

// private says whether an AS number is for private use (RFC 6996).
func private(as uint32) bool {
	return as >= 64512 && as <= 65534 || as >= 4200000000 && as <= 4294967294
}

// replaceAS rewrites the numbers of a path; those that f does not keep go.
func replaceAS(path []Segment, f func(uint32) (uint32, bool)) []Segment {
	var out []Segment
	for _, s := range path {
		n := Segment{Type: s.Type}
		for _, as := range s.AS {
			if as, keep := f(as); keep {
				n.AS = append(n.AS, as)
			}
		}
		if len(n.AS) > 0 {
			out = append(out, n)
		}
	}
	return out
}

// refreshDefault makes the default route that we originate for a peer anew, and says whether it is another one.
func (b *BGP) refreshDefault(p *peer, i int) bool {
	var a *Attributes
	prefix := defaultPrefixes[i]
	if p.n.DefaultOriginate && p.carries(prefix) {
		set, ok := b.condition(p.n.DefaultMap, prefix.Addr().Is6())
		if ok {
			x := &path{attrs: (&Attributes{HasMED: true}).with(set)}
			a = b.export(p, prefix, x, false)
		}
	}
	if a.Equal(p.dflt[i]) {
		return false
	}
	p.dflt[i] = a
	return true
}

// question is whether a route map permits any route of a family.
type question struct {
	m   *policy.RouteMap
	six bool
}

type answer struct {
	set *policy.Set
	ok  bool
}

// condition says whether a route map permits any route of the table or of the RIB, and what it sets then: for the lowest
// prefix that it permits, so that the answer is the same each time.
func (b *BGP) condition(m *policy.RouteMap, six bool) (*policy.Set, bool) {
	if m == nil {
		return nil, true
	}
	q := question{m, six}
	if a, ok := b.answers[q]; ok {
		return a.set, a.ok
	}
	a := b.ask(q)
	if b.answers != nil {
		b.answers[q] = a
	}
	return a.set, a.ok
}

func (b *BGP) ask(q question) (a answer) {
	var lowest netip.Prefix
	for prefix, d := range b.table {
		if d.best == nil || prefix.Addr().Is6() != q.six || a.ok && prefix.Compare(lowest) > 0 {
			continue
		}
		if set, ok := q.m.Permit(d.best.attrs.route(prefix)); ok {
			a, lowest = answer{set, true}, prefix
		}
	}
	if a.ok {
		return a
	}
	for _, r := range b.o.RIB.Routes() {
		if r.Prefix.Addr().Is6() != q.six {
			continue
		}
		x := policy.Route{Prefix: r.Prefix, Metric: r.Metric, Tag: r.Tag}
		x.NextHop, x.Interface = hop(&r)
		if set, ok := q.m.Permit(&x); ok {
			return answer{set, true}
		}
	}
	return answer{}
}

// checkDefaults looks at the default routes that depend on a condition, which peers have in common.
func (b *BGP) checkDefaults() {
	if !b.defaults {
		return
	}
	b.defaults = false
	b.answers = make(map[question]answer)
	defer func() { b.answers = nil }()
	for _, p := range b.peers {
		if !p.n.DefaultOriginate || p.n.DefaultMap == nil {
			continue
		}
		for i, prefix := range defaultPrefixes {
			if b.refreshDefault(p, i) {
				b.offer(p, prefix, b.table[prefix], false)
			}
		}
	}
}
