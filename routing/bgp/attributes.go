package bgp

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"felloe/routing/policy"
)

// Origin is the ORIGIN attribute.
type Origin uint8

// RFC 4271 §5.1.1.
const (
	OriginIGP Origin = iota
	OriginEGP
	OriginIncomplete
)

// Letter is what `show ip bgp` prints behind the AS path.
func (o Origin) Letter() string {
	if o > OriginIncomplete {
		return "?"
	}
	return "ie?"[o : o+1]
}

// Segment types of AS_PATH.
const (
	ASSet      = 1
	ASSequence = 2
)

// Segment is a segment of an AS path.
type Segment struct {
	Type uint8
	AS   []uint32
}

// Aggregator is who made a summary.
type Aggregator struct {
	AS uint32     `json:"as"`
	ID netip.Addr `json:"id,omitzero"` // not valid: there is no AGGREGATOR
}

// Unknown is an optional transitive attribute that the router passes on without understanding it.
type Unknown struct {
	Kind  uint8
	Value []byte
}

// Attributes are the path attributes of a route. They are immutable once an Event or an Advertisement has carried them,
// and are shared by the routes that have them in common.
type Attributes struct {
	Origin              Origin
	ASPath              []Segment
	NextHop             netip.Addr
	MED                 uint32
	HasMED              bool
	LocalPref           uint32
	HasLocalPref        bool
	AtomicAggregate     bool
	Aggregator          Aggregator `json:"Aggregator,omitzero"`
	OriginatorID        netip.Addr
	ClusterList         []netip.Addr
	Communities         []uint32
	ExtendedCommunities [][8]byte `json:"ExtendedCommunities,omitempty"`
	LargeCommunities    [][3]uint32
	Unknown             []Unknown `json:"Unknown,omitempty"`

	// Weight and Tag stay in this router.
	Weight uint32 `json:"-"`
	Tag    uint32 `json:"Tag,omitempty"`
}

// Equal says whether two sets of attributes are the same.
func (a *Attributes) Equal(b *Attributes) bool {
	if a == b || a == nil || b == nil {
		return a == b
	}
	return a.Origin == b.Origin && a.NextHop == b.NextHop && a.HasMED == b.HasMED && a.MED == b.MED && a.HasLocalPref == b.HasLocalPref &&
		a.LocalPref == b.LocalPref && a.AtomicAggregate == b.AtomicAggregate && a.Aggregator == b.Aggregator &&
		a.OriginatorID == b.OriginatorID && a.Weight == b.Weight && a.Tag == b.Tag && a.samePath(b) &&
		slices.Equal(a.ClusterList, b.ClusterList) && slices.Equal(a.Communities, b.Communities) &&
		slices.Equal(a.ExtendedCommunities, b.ExtendedCommunities) && slices.Equal(a.LargeCommunities, b.LargeCommunities) &&
		slices.EqualFunc(a.Unknown, b.Unknown, func(x, y Unknown) bool { return x.Kind == y.Kind && bytes.Equal(x.Value, y.Value) })
}

// PathLength is the length of the AS path as the decision process counts it: a set counts once (RFC 4271 §9.1.2.2).
func (a *Attributes) PathLength() int {
	n := 0
	for _, s := range a.ASPath {
		switch s.Type {
		case ASSequence:
			n += len(s.AS)
		case ASSet:
			n++
		}
	}
	return n
}

// FirstAS is the AS that the path came from; 0 when it began in ours.
func (a *Attributes) FirstAS() uint32 {
	for _, s := range a.ASPath {
		if s.Type == ASSequence && len(s.AS) > 0 {
			return s.AS[0]
		}
	}
	return 0
}

// PathString is the AS path as IOS prints it.
func (a *Attributes) PathString() string {
	var b strings.Builder
	for _, s := range a.ASPath {
		if b.Len() > 0 && len(s.AS) > 0 {
			b.WriteByte(' ')
		}
		if s.Type == ASSet {
			b.WriteByte('{')
		}
		for i, as := range s.AS {
			if i > 0 {
				if s.Type == ASSet {
					b.WriteByte(',')
				} else {
					b.WriteByte(' ')
				}
			}
			b.WriteString(strconv.FormatUint(uint64(as), 10))
		}
		if s.Type == ASSet {
			b.WriteByte('}')
		}
	}
	return b.String()
}

func (a *Attributes) samePath(b *Attributes) bool {
	return slices.EqualFunc(a.ASPath, b.ASPath, func(x, y Segment) bool { return x.Type == y.Type && slices.Equal(x.AS, y.AS) })
}

func (a *Attributes) localPref() uint32 {
	if a.HasLocalPref {
		return a.LocalPref
	}
	return 100
}

// prepend puts AS numbers in front of a path.
func prepend(path []Segment, as ...uint32) []Segment {
	if len(as) == 0 {
		return path
	}
	if len(path) == 0 || path[0].Type != ASSequence || len(path[0].AS)+len(as) > 255 {
		return append([]Segment{{ASSequence, slices.Clone(as)}}, path...)
	}
	out := slices.Clone(path)
	out[0].AS = append(slices.Clone(as), path[0].AS...)
	return out
}

// with is a copy of the attributes, changed as a route map says.
func (a *Attributes) with(s *policy.Set) *Attributes {
	if s.IsZero() {
		return a
	}
	c := *a
	if s.LocalPreference != nil {
		c.LocalPref, c.HasLocalPref = *s.LocalPreference, true
	}
	if s.Metric != nil {
		c.MED, c.HasMED = *s.Metric, true
	}
	if s.SetCommunities {
		list := slices.Clone(s.Communities)
		if s.Additive {
			list = append(slices.Clone(a.Communities), list...)
		}
		slices.Sort(list)
		c.Communities = slices.Compact(list)
	}
	c.ASPath = prepend(a.ASPath, s.Prepend...)
	if s.Weight != nil {
		c.Weight = *s.Weight
	}
	if s.NextHop.IsValid() {
		c.NextHop = s.NextHop
	}
	if s.Origin != nil {
		c.Origin = Origin(*s.Origin)
	}
	if s.Tag != nil {
		c.Tag = *s.Tag
	}
	return &c
}

// route is what a route map sees of a path.
func (a *Attributes) route(p netip.Prefix) *policy.Route {
	return &policy.Route{Prefix: p, NextHop: a.NextHop, Path: a.PathString, Communities: a.Communities, Metric: a.MED, Tag: a.Tag}
}
