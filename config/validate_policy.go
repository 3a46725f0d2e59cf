package config

import (
	"net/netip"
)

// policy checks prefix lists, as-path lists, community lists and route maps.
func (v *validator) policy() {
	for _, name := range Names(v.c.PrefixList) {
		v.prefixList(v.c.PrefixList[name], at("prefix-list", name, "entry"))
	}
	for _, name := range Names(v.c.ASPathList) {
		path := at("as-path-list", name, "entry")
		for i, e := range v.c.ASPathList[name].Entry {
			if key := v.item(path, i); v.permitOrDeny(key, e.Permit != "", e.Deny != "") {
				word := map[bool]string{true: ".permit", false: ".deny"}[e.Permit != ""]
				if _, err := ASPathRegexp(e.Permit + e.Deny); err != nil {
					v.errorf(key+word, "%v", err)
				}
			}
		}
	}
	for _, name := range Names(v.c.CommunityList) {
		path := at("community-list", name, "entry")
		for i, e := range v.c.CommunityList[name].Entry {
			v.permitOrDeny(v.item(path, i), len(e.Permit) > 0, len(e.Deny) > 0)
		}
	}
	for _, name := range Names(v.c.RouteMap) {
		v.routeMap(v.c.RouteMap[name], at("route-map", name, "entry"))
	}
}

// permitOrDeny checks that an entry does one of both.
func (v *validator) permitOrDeny(path string, permit, deny bool) bool {
	switch {
	case permit && deny:
		v.errorf(path, "an entry permits or denies, not both: make two of it")
	case !permit && !deny && !v.badBelow(path):
		v.errorf(path, "permit or deny is missing")
	default:
		return permit || deny
	}
	return false
}

// sequence finds numbers that two entries have; numbers are those of ordered.
func (v *validator) sequence(path string, n int, seq func(int) uint32) {
	seen := map[uint32]int{}
	for i := range n {
		s := seq(i)
		if o, twice := seen[s]; twice {
			v.errorf(v.item(path, i)+".seq", "%d is the number of another entry (%s)", s, v.where(v.item(path, o)))
		}
		seen[s] = i
	}
}

func (v *validator) prefixList(l *PrefixList, path string) {
	type span struct {
		p      netip.Prefix
		lo, hi int
	}
	seen := map[span]bool{}
	for i, e := range l.Entry {
		key := v.item(path, i)
		if !v.permitOrDeny(key, e.Permit.IsValid(), e.Deny.IsValid()) {
			continue
		}
		p, _ := e.Prefix()
		size := p.Addr().BitLen()
		switch {
		case e.GE != 0 && (int(e.GE) < p.Bits() || int(e.GE) > size):
			v.errorf(key+".ge", "%d is not between the length of %s and %d", e.GE, p, size)
		case e.LE != 0 && (int(e.LE) < p.Bits() || int(e.LE) > size):
			v.errorf(key+".le", "%d is not between the length of %s and %d", e.LE, p, size)
		case e.GE != 0 && e.LE != 0 && e.LE < e.GE:
			v.errorf(key+".le", "%d is below ge = %d: no length is both", e.LE, e.GE)
		default:
			lo, hi := e.Lengths()
			s := span{p, lo, hi}
			if seen[s] {
				v.warnf(key, "has no effect: an entry before it has the same prefix and lengths")
			}
			seen[s] = true
		}
	}
	numbers := numbered(l.Entry, 5, func(e *PrefixListEntry) uint32 { return e.Seq })
	v.sequence(path, len(l.Entry), func(i int) uint32 { return numbers[i] })
}

func (v *validator) routeMap(m *RouteMap, path string) {
	all := 0 // sequence number of an entry that every route fits
	for _, e := range m.Ordered() {
		if all == 0 && Same(e.Match, RouteMatch{}) {
			all = int(e.Seq)
		}
	}
	numbers := numbered(m.Entry, 10, func(e *RouteMapEntry) uint32 { return e.Seq })
	for i, e := range m.Entry {
		key := v.item(path, i)
		s := &e.Set
		if e.Action == DenyRoute && !Same(*s, RouteSet{}) {
			v.warnf(key+".set", "has no effect: the entry denies the routes that fit")
		}
		if s.CommunityAdditive && len(s.Community) == 0 && !v.badBelow(key+".set") {
			v.errorf(key+".set.community-additive", "there is no community to add")
		}
		if a := s.NextHop; a.IsValid() && (a.IsUnspecified() || a.IsMulticast() || a.IsLoopback()) {
			v.errorf(key+".set.next-hop", "%s is not the address of a router", a)
		}
		twice(v, key+".match.tag", e.Match.Tag)
		if all != 0 && numbers[i] > uint32(all) && !v.badBelow(key+".match") {
			v.warnf(key, "is never reached: every route fits entry %d", all)
		}
	}
	v.sequence(path, len(m.Entry), func(i int) uint32 { return numbers[i] })
}
