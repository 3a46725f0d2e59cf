package policy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// Definitions are the policies of a configuration, by name, with references between them by name.
type Definitions struct {
	PrefixLists    map[string][]PrefixEntry
	ASPathLists    map[string][]ASPathEntry
	CommunityLists map[string][]CommunityEntry
	RouteMaps      map[string][]MapEntry
	// Track says whether an object is up.
	Track func(object int) bool
}

// Objects are the numbers of the objects that route maps look at.
func (d *Definitions) Objects() []int {
	var list []int
	for _, m := range d.RouteMaps {
		for i := range m {
			list = append(list, m[i].Tracks...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// MapEntry is an entry of a route map with its lists by name.
type MapEntry struct {
	Seq                                         int
	Permit                                      bool
	PrefixLists, ASPathLists, Communities, Hops []string
	Tags                                        []uint32
	Interfaces                                  []string
	Metric                                      *uint32
	Tracks                                      []int
	Set                                         Set
}

// Policies are compiled definitions.
type Policies struct {
	PrefixLists    map[string]*PrefixList
	ASPathLists    map[string]*ASPathList
	CommunityLists map[string]*CommunityList
	RouteMaps      map[string]*RouteMap
	from           Definitions
}

// Compile makes policies of definitions. What old has of the same name and contents is kept as it is; a route map is
// kept when its lists are, too.
func Compile(d Definitions, old *Policies) (*Policies, error) {
	if old == nil {
		old = &Policies{}
	}
	p := &Policies{from: d, PrefixLists: make(map[string]*PrefixList), ASPathLists: make(map[string]*ASPathList),
		CommunityLists: make(map[string]*CommunityList), RouteMaps: make(map[string]*RouteMap)}
	err := errors.Join(
		compile(d.PrefixLists, old.from.PrefixLists, old.PrefixLists, p.PrefixLists, NewPrefixList),
		compile(d.ASPathLists, old.from.ASPathLists, old.ASPathLists, p.ASPathLists, NewASPathList),
		compile(d.CommunityLists, old.from.CommunityLists, old.CommunityLists, p.CommunityLists,
			func(name string, e []CommunityEntry) (*CommunityList, error) { return NewCommunityList(name, e), nil }))
	if err != nil {
		return nil, err
	}
	return p, compile(d.RouteMaps, old.from.RouteMaps, old.RouteMaps, p.RouteMaps, func(name string, list []MapEntry) (*RouteMap, error) {
		m, err := p.routeMap(name, list)
		if was := old.RouteMaps[name]; err == nil && was != nil && reflect.DeepEqual(old.from.RouteMaps[name], list) && was.sameLists(m) {
			return was, nil
		}
		return m, err
	})
}

// compile makes one kind. A route map is looked at even if its definition is the same: its lists may not be.
func compile[D, T any](defs, was map[string][]D, old, out map[string]*T, make func(string, []D) (*T, error)) error {
	var errs []error
	_, maps := any(out).(map[string]*RouteMap)
	for name, d := range defs {
		if x := old[name]; x != nil && !maps && reflect.DeepEqual(was[name], d) {
			out[name] = x
			continue
		}
		x, err := make(name, d)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out[name] = x
	}
	return errors.Join(errs...)
}

func (p *Policies) routeMap(name string, list []MapEntry) (*RouteMap, error) {
	var entries []Entry
	for _, d := range list {
		e := Entry{Seq: d.Seq, Permit: d.Permit, Set: d.Set}
		e.Match = Match{Tags: d.Tags, Interfaces: d.Interfaces, Metric: d.Metric,
			Tracks: d.Tracks, Track: p.from.Track}
		err := errors.Join(
			find(d.PrefixLists, p.PrefixLists, &e.Match.PrefixLists, "prefix list"), find(d.Hops, p.PrefixLists, &e.Match.NextHop, "prefix list"),
			find(d.ASPathLists, p.ASPathLists, &e.Match.ASPathLists, "as-path list"),
			find(d.Communities, p.CommunityLists, &e.Match.CommunityLists, "community list"))
		if err != nil {
			return nil, fmt.Errorf("route map %s: %w", name, err)
		}
		entries = append(entries, e)
	}
	return NewRouteMap(name, entries)
}

func find[T any](names []string, in map[string]*T, out *[]*T, kind string) error {
	for _, n := range names {
		x := in[n]
		if x == nil {
			return fmt.Errorf("there is no %s %q", kind, n)
		}
		*out = append(*out, x)
	}
	return nil
}

// sameLists says whether two maps of one definition refer to the same lists.
func (m *RouteMap) sameLists(o *RouteMap) bool {
	for i := range m.entries {
		a, b := &m.entries[i].Match, &o.entries[i].Match
		if !same(a.PrefixLists, b.PrefixLists) || !same(a.NextHop, b.NextHop) || !same(a.ASPathLists, b.ASPathLists) ||
			!same(a.CommunityLists, b.CommunityLists) {
			return false
		}
	}
	return true
}

func same[T any](a, b []*T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
