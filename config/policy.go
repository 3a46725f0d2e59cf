package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// PrefixList permits and denies prefixes of both families. What no entry names is denied.
type PrefixList struct {
	Name string `toml:"-"`
	// Free text.
	Description string `toml:"description"`
	// Entries; the first that fits counts.
	Entry []*PrefixListEntry `toml:"entry" layout:"inline" required:"true" example:"[{ permit = \"10.0.0.0/8\", ge = 16, le = 24 }]"`
}

// PrefixListEntry is one line of a prefix list: either Permit or Deny is valid.
type PrefixListEntry struct {
	// Place in the list; 5 more than the one before when not given.
	Seq uint32 `toml:"seq" range:"1..4294967294" example:"5"`
	// Permit this prefix, or with `ge` and `le` those within it.
	Permit netip.Prefix `toml:"permit" example:"\"10.0.0.0/8\""`
	// Deny it.
	Deny netip.Prefix `toml:"deny" example:"\"0.0.0.0/0\""`
	// The shortest length that fits; the prefix's own when not given.
	GE uint8 `toml:"ge" unit:"bits" range:"1..128" example:"16"`
	// The longest length that fits; with `ge` alone the family's longest, with neither the prefix's own.
	LE uint8 `toml:"le" unit:"bits" range:"1..128" example:"24"`
}

// Prefix is the prefix, permitted or not.
func (e *PrefixListEntry) Prefix() (p netip.Prefix, permit bool) {
	if e.Permit.IsValid() {
		return e.Permit, true
	}
	return e.Deny, false
}

// Lengths are the shortest and the longest length that fit.
func (e *PrefixListEntry) Lengths() (lo, hi int) {
	p, _ := e.Prefix()
	lo, hi = p.Bits(), p.Bits()
	if e.GE != 0 {
		lo, hi = int(e.GE), p.Addr().BitLen()
	}
	if e.LE != 0 {
		hi = int(e.LE)
	}
	return lo, hi
}

// Ordered lists the entries by sequence number, each with its number.
func (l *PrefixList) Ordered() []PrefixListEntry {
	return ordered(l.Entry, 5, func(e *PrefixListEntry) *uint32 { return &e.Seq })
}

// ASPathList permits and denies AS paths. What no entry fits is denied.
type ASPathList struct {
	Name string `toml:"-"`
	// Entries; the first that fits counts.
	Entry []*ASPathEntry `toml:"entry" layout:"inline" required:"true" example:"[{ permit = \"^65000_\" }]"`
}

// ASPathEntry is one line: either Permit or Deny is set.
type ASPathEntry struct {
	// Permit paths that this regular expression fits; as on IOS; `_` is a blank, a comma, a bracket, or an end of the path.
	Permit string `toml:"permit" example:"\"^65000_\""`
	// Deny them.
	Deny string `toml:"deny" example:"\"_65100_\""`
}

// CommunityList permits and denies routes by their communities. What no entry fits is denied.
type CommunityList struct {
	Name string `toml:"-"`
	// Entries; the first that fits counts.
	Entry []*CommunityEntry `toml:"entry" layout:"inline" required:"true" example:"[{ permit = [\"65000:1\"] }]"`
}

// CommunityEntry is one line: either Permit or Deny is set.
type CommunityEntry struct {
	// Permit routes that have all of these communities.
	Permit []Community `toml:"permit" example:"[\"65000:1\"]"`
	// Deny them.
	Deny []Community `toml:"deny" example:"[\"no-export\"]"`
}

// Community is a community (RFC 1997).
type Community uint32

// communityWords are the communities that have names.
var communityWords = []struct {
	word  string
	value Community
}{
	{"internet", 0},
	{"graceful-shutdown", 0xffff0000},
	{"no-export", 0xffffff01},
	{"no-advertise", 0xffffff02},
	{"local-as", 0xffffff03},
}

// String is the TOML form.
func (c Community) String() string {
	for _, w := range communityWords {
		if w.value == c {
			return w.word
		}
	}
	return fmt.Sprintf("%d:%d", c>>16, c&0xffff)
}

// ParseCommunity reads ASN:NUMBER or a word.
func ParseCommunity(s string) (Community, error) {
	for _, w := range communityWords {
		if w.word == s {
			return w.value, nil
		}
	}
	high, low, ok := strings.Cut(s, ":")
	a, errA := strconv.ParseUint(high, 10, 16)
	b, errB := strconv.ParseUint(low, 10, 16)
	if !ok || errA != nil || errB != nil {
		var words []string
		for _, w := range communityWords {
			words = append(words, w.word)
		}
		return 0, fmt.Errorf("%q is not a community such as \"65000:1\", nor one of %s%s", s, quoteList(words), onlySuggestion(s, words))
	}
	return Community(a<<16 | b), nil
}

// RouteMap decides about routes and changes them. A route that no entry fits is denied.
type RouteMap struct {
	Name string `toml:"-"`
	// Free text.
	Description string `toml:"description"`
	// Entries; the first that fits counts.
	Entry []*RouteMapEntry `toml:"entry" required:"true" example:"[{ match = { prefix-list = [\"LAN\"] }, set = { metric = 50 } }]"`
}

// RouteMapEntry is one entry of a route map.
type RouteMapEntry struct {
	// Place in the map; 10 more than the one before when not given.
	Seq uint32 `toml:"seq" range:"1..65535" example:"10"`
	// What becomes of a route that fits.
	Action RouteAction `toml:"action" default:"permit"`
	// Free text.
	Description string `toml:"description"`
	// Which routes fit; every one when nothing is given.
	Match RouteMatch `toml:"match" layout:"inline"`
	// What is changed of them.
	Set RouteSet `toml:"set" layout:"inline"`
}

// RouteAction is what becomes of a route.
type RouteAction string

const (
	PermitRoute RouteAction = "permit"
	DenyRoute   RouteAction = "deny"
)

// Values lists what may be written.
func (RouteAction) Values() []string { return []string{string(PermitRoute), string(DenyRoute)} }

// Ordered lists the entries by sequence number, each with its number.
func (m *RouteMap) Ordered() []RouteMapEntry {
	return ordered(m.Entry, 10, func(e *RouteMapEntry) *uint32 { return &e.Seq })
}

// RouteMatch is what a route must be: of each key that is given, one of what is listed.
type RouteMatch struct {
	// The prefix is permitted by one of these lists.
	PrefixList []string `toml:"prefix-list" ref:"prefix-list" example:"[\"LAN\"]"`
	// The AS path is permitted by one of these lists.
	ASPath []string `toml:"as-path" ref:"as-path-list" example:"[\"FROM-65000\"]"`
	// The communities are permitted by one of these lists.
	Community []string `toml:"community" ref:"community-list" example:"[\"SPOKES\"]"`
	// The next hop, as a host prefix, is permitted by one of these lists.
	NextHop []string `toml:"next-hop" ref:"prefix-list" example:"[\"HUBS\"]"`
	// The tag is one of these.
	Tag []uint32 `toml:"tag" example:"[7]"`
	// The route leads out of one of these interfaces.
	Interface []string `toml:"interface" ref:"interface" example:"[\"Loopback80\"]"`
	// The metric (MED) is this.
	Metric *uint32 `toml:"metric" example:"50"`
	// One of these objects is up.
	Track []int `toml:"track" ref:"track" range:"1..1000" example:"[5]"`
}

// RouteSet is what is changed of a route.
type RouteSet struct {
	// Local preference: the highest wins within the autonomous system.
	LocalPreference *uint32 `toml:"local-preference" example:"200"`
	// Metric (MED): the lowest wins.
	Metric *uint32 `toml:"metric" example:"50"`
	// Communities, in place of those that are there.
	Community []Community `toml:"community" example:"[\"65000:1\"]"`
	// Add them to those that are there instead.
	CommunityAdditive bool `toml:"community-additive"`
	// Put these autonomous systems in front of the path.
	ASPathPrepend []uint32 `toml:"as-path-prepend" range:"1..4294967295" example:"[65000, 65000]"`
	// Weight: the highest wins. It stays in this router.
	Weight *uint16 `toml:"weight" example:"100"`
	// Next hop.
	NextHop netip.Addr `toml:"next-hop" example:"\"10.10.10.1\""`
	// Origin.
	Origin RouteOrigin `toml:"origin" example:"\"igp\""`
	// Tag of the route in the routing table.
	Tag *uint32 `toml:"tag" example:"7"`
}

// RouteOrigin is the origin of a path.
type RouteOrigin string

const (
	OriginIGP        RouteOrigin = "igp"
	OriginIncomplete RouteOrigin = "incomplete"
)

// Values lists what may be written.
func (RouteOrigin) Values() []string { return []string{string(OriginIGP), string(OriginIncomplete)} }

// ordered numbers what has no number and sorts by number.
func ordered[T any](list []*T, step uint32, seq func(*T) *uint32) []T {
	out := make([]T, len(list))
	for i, n := range numbered(list, step, func(e *T) uint32 { return *seq(e) }) {
		out[i] = *list[i]
		*seq(&out[i]) = n
	}
	slices.SortStableFunc(out, func(a, b T) int { return cmp.Compare(*seq(&a), *seq(&b)) })
	return out
}

// numbered is the number of each entry: its own, or step more than the one before.
func numbered[T any](list []*T, step uint32, seq func(*T) uint32) []uint32 {
	out := make([]uint32, len(list))
	last := uint32(0)
	for i, e := range list {
		if out[i] = seq(e); out[i] == 0 {
			out[i] = last + step
		}
		last = out[i]
	}
	return out
}
