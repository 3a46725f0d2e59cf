package show

import (
	"fmt"
	"slices"
	"strings"

	"felloe/manage/cli"
	"felloe/routing/policy"
)

func community(c uint32) string { return policy.CommunityText(c) }

// PolicyList is one prefix list, AS-path list or community list.
type PolicyList struct {
	Name    string       `json:"name"`
	V6      bool         `json:"ipv6,omitempty"`
	Entries []policy.Hit `json:"entries"`
}

// PrefixLists is `show ip prefix-list`.
type PrefixLists struct {
	Lists  []PolicyList `json:"prefix_lists"`
	detail bool
}

// NewPrefixLists makes the answer. A list is an IPv6 one when it has IPv6 prefixes.
func NewPrefixLists(p *policy.Policies, v6 bool, only string, detail bool) PrefixLists {
	out := PrefixLists{Lists: []PolicyList{}, detail: detail}
	if p == nil {
		return out
	}
	for _, name := range sortedKeys(p.PrefixLists) {
		entries := p.PrefixLists[name].Hits()
		has6 := slices.ContainsFunc(entries, func(h policy.Hit) bool { return strings.Contains(h.Text, ":") })
		if only != "" && only != name || v6 != has6 {
			continue
		}
		out.Lists = append(out.Lists, PolicyList{Name: name, V6: v6, Entries: entries})
	}
	return out
}

// Text implements cli.Result.
func (r PrefixLists) Text(w *cli.Table) {
	for _, l := range r.Lists {
		w.Linef("%s prefix-list %s: %d entries", map[bool]string{false: "ip", true: "ipv6"}[l.V6], l.Name, len(l.Entries))
		for _, e := range l.Entries {
			hits := ""
			if r.detail {
				hits = fmt.Sprintf(" (hit count: %d)", e.Hits)
			}
			w.Linef("   %s%s", e.Text, hits)
		}
	}
}

// ASPathLists is `show ip as-path-access-list`.
type ASPathLists struct {
	Lists []PolicyList `json:"as_path_lists"`
}

// NewASPathLists makes the answer.
func NewASPathLists(p *policy.Policies, only string) ASPathLists {
	if p == nil {
		p = &policy.Policies{}
	}
	return ASPathLists{lists(p.ASPathLists, only)}
}

// Text implements cli.Result.
func (r ASPathLists) Text(w *cli.Table) { printLists(w, "AS path access list", r.Lists) }

// CommunityLists is `show ip community-list`.
type CommunityLists struct {
	Lists []PolicyList `json:"community_lists"`
}

// NewCommunityLists makes the answer.
func NewCommunityLists(p *policy.Policies, only string) CommunityLists {
	if p == nil {
		p = &policy.Policies{}
	}
	return CommunityLists{lists(p.CommunityLists, only)}
}

// Text implements cli.Result.
func (r CommunityLists) Text(w *cli.Table) { printLists(w, "Named Community standard list", r.Lists) }

// lists are those of a kind, or one of them.
func lists[L interface{ Hits() []policy.Hit }](all map[string]L, only string) []PolicyList {
	out := []PolicyList{}
	for _, name := range sortedKeys(all) {
		if only == "" || only == name {
			out = append(out, PolicyList{Name: name, Entries: all[name].Hits()})
		}
	}
	return out
}

func printLists(w *cli.Table, title string, lists []PolicyList) {
	for _, l := range lists {
		w.Linef("%s %s", title, l.Name)
		for _, e := range l.Entries {
			w.Linef("    %s", e.Text)
		}
	}
}

// RouteMaps is `show route-map`.
type RouteMaps struct {
	Maps []RouteMap `json:"route_maps"`
}

// RouteMap is one of them.
type RouteMap struct {
	Name    string          `json:"name"`
	Entries []policy.MapHit `json:"entries"`
}

// NewRouteMaps makes the answer.
func NewRouteMaps(p *policy.Policies, only string) RouteMaps {
	out := RouteMaps{Maps: []RouteMap{}}
	if p == nil {
		return out
	}
	for _, name := range sortedKeys(p.RouteMaps) {
		if only == "" || only == name {
			out.Maps = append(out.Maps, RouteMap{name, p.RouteMaps[name].Hits()})
		}
	}
	return out
}

// Text implements cli.Result.
func (r RouteMaps) Text(w *cli.Table) {
	for _, m := range r.Maps {
		for _, e := range m.Entries {
			w.Linef("route-map %s, %s, sequence %d", m.Name, map[bool]string{true: "permit", false: "deny"}[e.Permit], e.Seq)
			w.Line("  Match clauses:")
			for _, x := range e.Match {
				w.Linef("    %s ", x)
			}
			w.Line("  Set clauses:")
			for _, x := range e.Set {
				w.Linef("    %s", x)
			}
			w.Linef("  Routes that matched: %d", e.Hits)
		}
	}
}
