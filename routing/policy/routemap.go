package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Route is what a route map looks at.
type Route struct {
	Prefix      netip.Prefix
	NextHop     netip.Addr
	Path        func() string // the AS path as IOS prints it; nil when there is none
	Communities []uint32
	Metric      uint32
	Tag         uint32
	Interface   string
}

// Match are the conditions of an entry; an empty one is true.
type Match struct {
	PrefixLists    []*PrefixList
	ASPathLists    []*ASPathList
	CommunityLists []*CommunityList
	NextHop        []*PrefixList
	Tags           []uint32
	Interfaces     []string
	Metric         *uint32
	Tracks         []int // objects; one that is up is enough
	// Track says whether an object is up; without it none is.
	Track func(object int) bool
}

// Set is what an entry changes. It is immutable; nil and empty fields change nothing.
type Set struct {
	LocalPreference *uint32
	Metric          *uint32
	Communities     []uint32
	SetCommunities  bool // also when there are none: all are taken away
	Additive        bool
	Prepend         []uint32
	Weight          *uint32
	NextHop         netip.Addr
	Origin          *uint8 // 0 IGP, 2 incomplete
	Tag             *uint32
}

// IsZero says that nothing is set.
func (s *Set) IsZero() bool {
	return s == nil || s.LocalPreference == nil && s.Metric == nil && !s.SetCommunities && len(s.Prepend) == 0 && s.Weight == nil &&
		!s.NextHop.IsValid() && s.Origin == nil && s.Tag == nil
}

// Entry is an entry of a route map.
type Entry struct {
	Seq    int
	Permit bool
	Match  Match
	Set    Set
}

// RouteMap is an ordered list of conditions and what they set.
type RouteMap struct {
	Name    string
	entries []Entry
	hits    hits
}

// NewRouteMap makes a route map. Entries without a number get 10 more than the one before them.
func NewRouteMap(name string, entries []Entry) (*RouteMap, error) {
	m := &RouteMap{Name: name, entries: slices.Clone(entries), hits: make(hits, len(entries))}
	number(m.entries, 10, func(e *Entry) *int { return &e.Seq })
	return m, unique("route map "+name, m.entries, func(e *Entry) int { return e.Seq })
}

// Permit says whether a route passes and what is set on it; the Set is the entry's own, the same pointer each time, or
// nil when it sets nothing. A nil map lets everything pass.
func (m *RouteMap) Permit(r *Route) (set *Set, ok bool) {
	if m == nil {
		return nil, true
	}
	for i := range m.entries {
		e := &m.entries[i]
		if !e.Match.matches(r) {
			continue
		}
		m.hits[i].Add(1)
		if !e.Permit {
			return nil, false
		}
		if e.Set.IsZero() {
			return nil, true
		}
		return &e.Set, true
	}
	return nil, false
}

// Tracks says whether what the map permits depends on objects, which may change at any time.
func (m *RouteMap) Tracks() bool {
	return m != nil && slices.ContainsFunc(m.entries, func(e Entry) bool { return len(e.Match.Tracks) > 0 })
}

func (m *Match) matches(r *Route) bool {
	if len(m.PrefixLists) > 0 && !slices.ContainsFunc(m.PrefixLists, func(l *PrefixList) bool { return l.Permit(r.Prefix) }) {
		return false
	}
	if len(m.Tags) > 0 && !slices.Contains(m.Tags, r.Tag) {
		return false
	}
	if len(m.Interfaces) > 0 && !slices.Contains(m.Interfaces, r.Interface) {
		return false
	}
	if m.Metric != nil && *m.Metric != r.Metric {
		return false
	}
	if len(m.Tracks) > 0 && (m.Track == nil || !slices.ContainsFunc(m.Tracks, m.Track)) {
		return false
	}
	if len(m.CommunityLists) > 0 && !slices.ContainsFunc(m.CommunityLists, func(l *CommunityList) bool { return l.Permit(r.Communities) }) {
		return false
	}
	if len(m.NextHop) > 0 {
		if !r.NextHop.IsValid() {
			return false
		}
		host := netip.PrefixFrom(r.NextHop, r.NextHop.BitLen())
		if !slices.ContainsFunc(m.NextHop, func(l *PrefixList) bool { return l.Permit(host) }) {
			return false
		}
	}
	if len(m.ASPathLists) > 0 {
		path := ""
		if r.Path != nil {
			path = r.Path()
		}
		if !slices.ContainsFunc(m.ASPathLists, func(l *ASPathList) bool { return l.Permit(path) }) {
			return false
		}
	}
	return true
}

// MapHit is an entry of a route map, for show.
type MapHit struct {
	Seq    int      `json:"seq"`
	Permit bool     `json:"permit"`
	Match  []string `json:"match,omitempty"`
	Set    []string `json:"set,omitempty"`
	Hits   uint64   `json:"hits"`
}

// Hits are the entries, in order.
func (m *RouteMap) Hits() []MapHit {
	var list []MapHit
	for i := range m.entries {
		e := &m.entries[i]
		list = append(list, MapHit{e.Seq, e.Permit, e.Match.text(), e.Set.text(), m.hits[i].Load()})
	}
	return list
}

func (m *Match) text() (out []string) {
	add := func(what string, names []string) {
		if len(names) > 0 {
			out = append(out, what+": "+strings.Join(names, " "))
		}
	}
	add("ip address prefix-lists", names(m.PrefixLists, func(l *PrefixList) string { return l.Name }))
	add("as-path (as-path filter)", names(m.ASPathLists, func(l *ASPathList) string { return l.Name }))
	add("community (community-list filter)", names(m.CommunityLists, func(l *CommunityList) string { return l.Name }))
	add("ip next-hop prefix-lists", names(m.NextHop, func(l *PrefixList) string { return l.Name }))
	add("tag", names(m.Tags, func(t uint32) string { return fmt.Sprint(t) }))
	add("interface", m.Interfaces)
	if m.Metric != nil {
		add("metric", []string{fmt.Sprint(*m.Metric)})
	}
	add("track", names(m.Tracks, func(t int) string { return fmt.Sprint(t) }))
	return out
}

func names[T any](list []T, f func(T) string) (out []string) {
	for _, x := range list {
		out = append(out, f(x))
	}
	return out
}

func (s *Set) text() (out []string) {
	number := func(what string, n *uint32) {
		if n != nil {
			out = append(out, fmt.Sprintf("%s %d", what, *n))
		}
	}
	number("local-preference", s.LocalPreference)
	number("metric", s.Metric)
	if s.SetCommunities {
		t := "community " + strings.Join(names(s.Communities, CommunityText), " ")
		if len(s.Communities) == 0 {
			t = "community none"
		}
		if s.Additive {
			t += " additive"
		}
		out = append(out, t)
	}
	if len(s.Prepend) > 0 {
		out = append(out, "as-path prepend "+strings.Join(names(s.Prepend, func(a uint32) string { return fmt.Sprint(a) }), " "))
	}
	number("weight", s.Weight)
	if s.NextHop.IsValid() {
		out = append(out, "ip next-hop "+s.NextHop.String())
	}
	if s.Origin != nil {
		out = append(out, "origin "+map[uint8]string{0: "igp", 1: "egp", 2: "incomplete"}[*s.Origin])
	}
	number("tag", s.Tag)
	return out
}
