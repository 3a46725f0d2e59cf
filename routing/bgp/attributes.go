package bgp

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
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

// Attributes are the path attributes that the router looks at. They are immutable once an Event has carried them.
type Attributes struct {
	Origin           Origin
	ASPath           []Segment
	NextHop          netip.Addr
	MED              uint32
	HasMED           bool
	LocalPref        uint32
	HasLocalPref     bool
	AtomicAggregate  bool
	OriginatorID     netip.Addr
	ClusterList      []netip.Addr
	Communities      []uint32
	LargeCommunities [][3]uint32
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
