package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"felloe/config"
)

// PrefixEntry is an entry of a prefix list. It matches prefixes inside Prefix whose length is Prefix's, or GE to LE when
// one of them is set: GE alone goes up to a host route, LE alone begins at Prefix's length.
type PrefixEntry struct {
	Seq    int
	Permit bool
	Prefix netip.Prefix
	GE, LE int // 0: not set
}

func (e *PrefixEntry) match(p netip.Prefix) bool {
	if p.Addr().Is4() != e.Prefix.Addr().Is4() || p.Bits() < e.Prefix.Bits() || !e.Prefix.Contains(p.Addr()) {
		return false
	}
	from, to := e.Prefix.Bits(), e.Prefix.Bits()
	if e.GE > 0 {
		from, to = e.GE, e.Prefix.Addr().BitLen()
	}
	if e.LE > 0 {
		to = e.LE
	}
	return p.Bits() >= from && p.Bits() <= to
}

// Text is the entry as IOS writes it.
func (e *PrefixEntry) Text() string {
	s := fmt.Sprintf("seq %d %s %v", e.Seq, action(e.Permit), e.Prefix)
	if e.GE > 0 {
		s += fmt.Sprintf(" ge %d", e.GE)
	}
	if e.LE > 0 {
		s += fmt.Sprintf(" le %d", e.LE)
	}
	return s
}

func action(permit bool) string {
	if permit {
		return "permit"
	}
	return "deny"
}

// hits counts per entry.
type hits []atomic.Uint64

// PrefixList is an ordered list of prefixes.
type PrefixList struct {
	Name    string
	entries []PrefixEntry
	hits    hits
}

// NewPrefixList makes a list. Entries without a number get 5 more than the one before them.
func NewPrefixList(name string, entries []PrefixEntry) (*PrefixList, error) {
	l := &PrefixList{Name: name, entries: slices.Clone(entries), hits: make(hits, len(entries))}
	number(l.entries, 5, func(e *PrefixEntry) *int { return &e.Seq })
	for i := range l.entries {
		e := &l.entries[i]
		if !e.Prefix.IsValid() {
			return nil, fmt.Errorf("prefix list %s, seq %d: no prefix", name, e.Seq)
		}
		e.Prefix = e.Prefix.Masked()
		most := e.Prefix.Addr().BitLen()
		if e.GE != 0 && (e.GE < e.Prefix.Bits() || e.GE > most) || e.LE != 0 && (e.LE < max(e.GE, e.Prefix.Bits()) || e.LE > most) {
			return nil, fmt.Errorf("prefix list %s, seq %d: lengths must be %d <= ge <= le <= %d", name, e.Seq, e.Prefix.Bits(), most)
		}
	}
	return l, unique("prefix list "+name, l.entries, func(e *PrefixEntry) int { return e.Seq })
}

// number gives entries their sequence numbers and sorts by them.
func number[E any](list []E, step int, seq func(*E) *int) {
	last := 0
	for i := range list {
		s := seq(&list[i])
		if *s == 0 {
			*s = last + step
		}
		last = *s
	}
	slices.SortStableFunc(list, func(a, b E) int { return cmp.Compare(*seq(&a), *seq(&b)) })
}

func unique[E any](where string, list []E, seq func(*E) int) error {
	for i := 1; i < len(list); i++ {
		if seq(&list[i]) == seq(&list[i-1]) {
			return fmt.Errorf("%s: sequence number %d is there twice", where, seq(&list[i]))
		}
	}
	return nil
}

// Permit says whether a prefix passes. A nil list lets everything pass.
func (l *PrefixList) Permit(p netip.Prefix) bool {
	if l == nil {
		return true
	}
	for i := range l.entries {
		if l.entries[i].match(p) {
			l.hits[i].Add(1)
			return l.entries[i].Permit
		}
	}
	return false
}

// Hit is an entry with the number of its hits, for show.
type Hit struct {
	Seq    int    `json:"seq"`
	Permit bool   `json:"permit"`
	Text   string `json:"text"`
	Hits   uint64 `json:"hits"`
}

// Hits are the entries, in order.
func (l *PrefixList) Hits() []Hit {
	var list []Hit
	for i := range l.entries {
		e := &l.entries[i]
		list = append(list, Hit{e.Seq, e.Permit, e.Text(), l.hits[i].Load()})
	}
	return list
}

// ASPathEntry is an entry of an AS-path list.
type ASPathEntry struct {
	Seq    int
	Permit bool
	Regexp string // Cisco's
}

// ASPathList is an ordered list of regular expressions for AS paths.
type ASPathList struct {
	Name    string
	entries []ASPathEntry
	exprs   []*regexp.Regexp
	hits    hits
}

// NewASPathList makes a list.
func NewASPathList(name string, entries []ASPathEntry) (*ASPathList, error) {
	l := &ASPathList{Name: name, entries: slices.Clone(entries), hits: make(hits, len(entries))}
	number(l.entries, 5, func(e *ASPathEntry) *int { return &e.Seq })
	for i := range l.entries {
		r, err := config.ASPathRegexp(l.entries[i].Regexp)
		if err != nil {
			return nil, fmt.Errorf("as-path list %s: %w", name, err)
		}
		l.exprs = append(l.exprs, r)
	}
	return l, nil
}

// Permit says whether a path, as IOS prints it, passes. A nil list lets everything pass.
func (l *ASPathList) Permit(path string) bool {
	if l == nil {
		return true
	}
	for i, r := range l.exprs {
		if r.MatchString(path) {
			l.hits[i].Add(1)
			return l.entries[i].Permit
		}
	}
	return false
}

// Hits are the entries, in order.
func (l *ASPathList) Hits() []Hit {
	var list []Hit
	for i, e := range l.entries {
		list = append(list, Hit{e.Seq, e.Permit, action(e.Permit) + " " + e.Regexp, l.hits[i].Load()})
	}
	return list
}

// CommunityEntry is an entry of a community list. A route must have all of its communities.
type CommunityEntry struct {
	Seq         int
	Permit      bool
	Communities []uint32 // none: every route matches
}

// CommunityList is an ordered list of communities.
type CommunityList struct {
	Name    string
	entries []CommunityEntry
	hits    hits
}

// NewCommunityList makes a list.
func NewCommunityList(name string, entries []CommunityEntry) *CommunityList {
	l := &CommunityList{Name: name, entries: slices.Clone(entries), hits: make(hits, len(entries))}
	number(l.entries, 5, func(e *CommunityEntry) *int { return &e.Seq })
	return l
}

// Permit says whether a route with these communities passes. A nil list lets everything pass.
func (l *CommunityList) Permit(have []uint32) bool {
	if l == nil {
		return true
	}
	for i := range l.entries {
		all := true
		for _, c := range l.entries[i].Communities {
			all = all && slices.Contains(have, c)
		}
		if all {
			l.hits[i].Add(1)
			return l.entries[i].Permit
		}
	}
	return false
}

// Hits are the entries, in order.
func (l *CommunityList) Hits() []Hit {
	var list []Hit
	for i, e := range l.entries {
		var s []string
		for _, c := range e.Communities {
			s = append(s, CommunityText(c))
		}
		list = append(list, Hit{e.Seq, e.Permit, action(e.Permit) + " " + strings.Join(s, " "), l.hits[i].Load()})
	}
	return list
}
