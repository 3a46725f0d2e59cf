package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"felloe/config"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestPrefixListsMatchByLength(t *testing.T) {
	for _, c := range []struct {
		e    PrefixEntry
		yes  string
		deny string
	}{
		{PrefixEntry{Prefix: pfx("10.0.0.0/8")}, "10.0.0.0/8", "10.0.0.0/9 11.0.0.0/8 0.0.0.0/0 fd00::/8"},
		{PrefixEntry{Prefix: pfx("10.0.0.0/8"), GE: 16}, "10.1.0.0/16 10.1.1.1/32", "10.0.0.0/8 10.0.0.0/15"},
		{PrefixEntry{Prefix: pfx("10.0.0.0/8"), LE: 24}, "10.0.0.0/8 10.1.1.0/24", "10.1.1.0/25 11.0.0.0/16"},
		{PrefixEntry{Prefix: pfx("10.0.0.0/8"), GE: 16, LE: 24}, "10.1.0.0/16 10.1.1.0/24", "10.0.0.0/8 10.1.1.0/25"},
		{PrefixEntry{Prefix: pfx("0.0.0.0/0")}, "0.0.0.0/0", "10.0.0.0/8 ::/0"},
		{PrefixEntry{Prefix: pfx("0.0.0.0/0"), LE: 32}, "0.0.0.0/0 10.0.0.0/8 1.1.1.1/32", "::/0"},
		{PrefixEntry{Prefix: pfx("2001:db8::/32"), LE: 48}, "2001:db8::/32 2001:db8:1::/48", "2001:db8:1::/49 10.0.0.0/8"},
	} {
		c.e.Permit = true
		l, err := NewPrefixList("L", []PrefixEntry{c.e})
		if err != nil {
			t.Fatal(err)
		}
		for s := range strings.FieldsSeq(c.yes) {
			if !l.Permit(pfx(s)) {
				t.Errorf("%s does not permit %s", l.entries[0].Text(), s)
			}
		}
		for s := range strings.FieldsSeq(c.deny) {
			if l.Permit(pfx(s)) {
				t.Errorf("%s permits %s", l.entries[0].Text(), s)
			}
		}
	}
}

func TestTheFirstEntryThatMatchesDecidesAndCounts(t *testing.T) {
	l, err := NewPrefixList("L", []PrefixEntry{{Permit: true, Prefix: pfx("0.0.0.0/0"), LE: 32}, {Seq: 3, Prefix: pfx("10.0.0.0/8"), LE: 32}, {Permit: true, Prefix: pfx("10.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{"10.1.0.0/16": false, "11.0.0.0/8": true, "::/0": false} {
		if l.Permit(pfx(p)) != want {
			t.Errorf("%s: got %v", p, !want)
		}
	}
	h := l.Hits()
	if h[0].Text != "seq 3 deny 10.0.0.0/8 le 32" || h[0].Hits != 1 || h[1].Seq != 5 || h[1].Hits != 1 || h[2].Seq != 8 || h[2].Hits != 0 {
		t.Errorf("the hits are %+v", h)
	}
	var none *PrefixList
	if !none.Permit(pfx("::/0")) {
		t.Error("no list is not an empty list")
	}
}

func TestPrefixListsAreChecked(t *testing.T) {
	for _, e := range [][]PrefixEntry{
		{{}}, {{Prefix: pfx("10.0.0.0/8"), GE: 7}}, {{Prefix: pfx("10.0.0.0/8"), GE: 20, LE: 19}}, {{Prefix: pfx("10.0.0.0/8"), LE: 33}},
		{{Seq: 5, Prefix: pfx("10.0.0.0/8")}, {Seq: 5, Prefix: pfx("10.0.0.0/8")}},
	} {
		if _, err := NewPrefixList("L", e); err == nil {
			t.Errorf("%+v was taken", e)
		}
	}
}

func TestRegularExpressionsAreCiscos(t *testing.T) {
	for _, c := range []struct{ expr, yes, no string }{
		{"^$", "", "65000"},
		{"_65000_", "65000|1 65000|65000 2|{65000,3}|1 {65000}|(65000)", "165000|650001|1 650002"},
		{"^65000_", "65000|65000 1", "165000|1 65000"},
		{"_65000$", "65000|1 65000", "65000 1"},
		{"^65000_65001$", "65000 65001", "6500065001|65000 1 65001"},
		{"^[0-9]+$", "1|65000", "1 2|"},
		{"^65000_[^6]", "65000 1", "65000 65000"},
		{".*", "|1|1 2", ""},
		{"^(65000|65001)+_", "65000 1|65001", "1"},
		{`\.`, "1.1", "11"},
		{"{1,2}", "{1,2}", "11"},
		{"_65000[_]1", "65000 1|65000,1", "650001"},
	} {
		r, err := config.ASPathRegexp(c.expr)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range strings.Split(c.yes, "|") {
			if !r.MatchString(s) {
				t.Errorf("%q does not match %q", c.expr, s)
			}
		}
		for _, s := range strings.Split(c.no, "|") {
			if (s != "" || c.expr == "^[0-9]+$") && r.MatchString(s) {
				t.Errorf("%q matches %q", c.expr, s)
			}
		}
	}
	for _, s := range []string{"", strings.Repeat("1", 256), "(", "[", "*", `\1`, `\d`, `1\`, "(?i:a)", "1\x00", "((((1+)+)+)+"} {
		if _, err := config.ASPathRegexp(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestCommunitiesAreReadAndWritten(t *testing.T) {
	for s, want := range map[string]uint32{"65000:1": 65000<<16 | 1, "no-export": NoExport, "NO-ADVERTISE": NoAdvertise, "local-as": LocalAS, "100": 100, "blackhole": Blackhole} {
		if got, err := ParseCommunity(s); err != nil || got != want {
			t.Errorf("%q: got %x, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "65536:1", "1:65536", "1:2:3", "4294967296"} {
		if _, err := ParseCommunity(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	if s := CommunityText(65000<<16|7) + " " + CommunityText(NoExport); s != "65000:7 no-export" {
		t.Errorf("got %q", s)
	}
}

func u32(n uint32) *uint32 { return &n }

func TestRouteMapsTakeTheFirstEntryWhoseMatchesAllHold(t *testing.T) {
	p, err := Compile(Definitions{
		PrefixLists:    map[string][]PrefixEntry{"TEN": {{Permit: true, Prefix: pfx("10.0.0.0/8"), LE: 32}}, "HOP": {{Permit: true, Prefix: pfx("192.0.2.1/32")}}},
		ASPathLists:    map[string][]ASPathEntry{"A": {{Permit: true, Regexp: "^65001_"}}, "B": {{Permit: true, Regexp: "^65002_"}}},
		CommunityLists: map[string][]CommunityEntry{"C": {{Permit: true, Communities: []uint32{1, 2}}}},
		RouteMaps: map[string][]MapEntry{"M": {
			{Permit: false, PrefixLists: []string{"TEN"}, Tags: []uint32{7}},
			{Permit: true, PrefixLists: []string{"TEN"}, Set: Set{LocalPreference: u32(200)}},
			{Permit: true, ASPathLists: []string{"A", "B"}, Metric: u32(5)},
			{Permit: true, Communities: []string{"C"}, Set: Set{SetCommunities: true}},
			{Permit: true, Hops: []string{"HOP"}, Interfaces: []string{"Ethernet0"}},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := func(s string) func() string { return func() string { return s } }
	for _, c := range []struct {
		r    Route
		want string
	}{
		{Route{Prefix: pfx("10.0.0.0/8"), Tag: 7}, "no"},
		{Route{Prefix: pfx("10.0.0.0/8")}, "local-preference 200"},
		{Route{Prefix: pfx("11.0.0.0/8"), Path: path("65002 1"), Metric: 5}, "yes"},
		{Route{Prefix: pfx("11.0.0.0/8"), Path: path("65002 1"), Metric: 6}, "no"},
		{Route{Prefix: pfx("11.0.0.0/8"), Path: path("65003"), Metric: 5}, "no"},
		{Route{Prefix: pfx("11.0.0.0/8"), Communities: []uint32{2, 1, 3}}, "community none"},
		{Route{Prefix: pfx("11.0.0.0/8"), Communities: []uint32{2}}, "no"},
		{Route{Prefix: pfx("11.0.0.0/8"), NextHop: netip.MustParseAddr("192.0.2.1"), Interface: "Ethernet0"}, "yes"},
		{Route{Prefix: pfx("11.0.0.0/8"), NextHop: netip.MustParseAddr("192.0.2.1")}, "no"},
		{Route{Prefix: pfx("11.0.0.0/8"), Interface: "Ethernet0"}, "no"},
	} {
		set, ok := p.RouteMaps["M"].Permit(&c.r)
		got := map[bool]string{true: "yes", false: "no"}[ok]
		if set != nil {
			got = strings.Join(set.text(), ", ")
		}
		if got != c.want {
			t.Errorf("%+v: got %s, want %s", c.r, got, c.want)
		}
	}
	h := p.RouteMaps["M"].Hits()
	if h[0].Hits != 1 || h[1].Hits != 1 || h[0].Seq != 10 || h[4].Seq != 50 || !slices.Equal(h[0].Match, []string{"ip address prefix-lists: TEN", "tag: 7"}) {
		t.Errorf("the hits are %+v", h)
	}
}

func TestWhatHasNotChangedIsKept(t *testing.T) {
	d := func(le int, tag uint32) Definitions {
		return Definitions{
			PrefixLists: map[string][]PrefixEntry{"P": {{Permit: true, Prefix: pfx("10.0.0.0/8"), LE: le}}, "Q": {{Permit: true, Prefix: pfx("10.0.0.0/8")}}},
			ASPathLists: map[string][]ASPathEntry{"A": {{Permit: true, Regexp: "1"}}},
			RouteMaps: map[string][]MapEntry{"USES": {{Permit: true, PrefixLists: []string{"P"}}}, "OTHER": {{Permit: true, ASPathLists: []string{"A"}, PrefixLists: []string{"Q"}}},
				"SET": {{Permit: true, Set: Set{Tag: &tag}}}},
		}
	}
	a, _ := Compile(d(16, 1), nil)
	b, _ := Compile(d(16, 1), a)
	c, err := Compile(d(24, 2), b)
	if err != nil {
		t.Fatal(err)
	}
	if a.PrefixLists["P"] != b.PrefixLists["P"] || a.RouteMaps["USES"] != b.RouteMaps["USES"] || a.RouteMaps["SET"] != b.RouteMaps["SET"] {
		t.Error("the same definitions make other policies")
	}
	if c.PrefixLists["P"] == b.PrefixLists["P"] || c.RouteMaps["USES"] == b.RouteMaps["USES"] || c.RouteMaps["SET"] == b.RouteMaps["SET"] {
		t.Error("a change was not taken up")
	}
	if c.PrefixLists["Q"] != b.PrefixLists["Q"] || c.RouteMaps["OTHER"] != b.RouteMaps["OTHER"] || c.ASPathLists["A"] != b.ASPathLists["A"] {
		t.Error("what did not change was made anew")
	}
	if _, err := Compile(Definitions{RouteMaps: map[string][]MapEntry{"M": {{PrefixLists: []string{"X"}}}}}, nil); err == nil || !strings.Contains(err.Error(), `route map M: there is no prefix list "X"`) {
		t.Errorf("got %v", err)
	}
}

// FuzzRegexp: whatever the expression, it is refused or matches without ado.
func FuzzRegexp(f *testing.F) {
	for _, s := range []string{"^65000_", "_(1|2)_", "[0-9_]+", "{1,2}", `\.`, "((1+)+)+$"} {
		f.Add(s, "65000 1 {2,3}")
	}
	f.Fuzz(func(t *testing.T, expr, path string) {
		if r, err := config.ASPathRegexp(expr); err == nil {
			r.MatchString(path)
		}
	})
}
