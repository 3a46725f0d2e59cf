package rib

import (
	"net/netip"
	"slices"
	"time"

	"felloe/netstack/fib"
)

// Source is who offers a path.
type Source uint8

const (
	// Connected is the subnet of an interface's address.
	Connected Source = iota
	// Local is an interface's address itself (/32, /128).
	Local
	// Static is a configured route.
	Static
	// IKE is a route that an IKEv2 peer's configuration payload gave.
	IKE
	// EBGP is a path from another autonomous system.
	EBGP
	// EIGRP is an internal EIGRP path.
	EIGRP
	// IBGP is a path from the own autonomous system.
	IBGP
	// NHRP is a shortcut.
	NHRP
	// Pinned is the way to the far end of a tunnel, where other routes would lead into the tunnel itself.
	Pinned

	sources
)

var sourceTable = [sources]struct {
	distance   uint8
	code, name string
}{
	Connected: {0, "C", "connected"},
	Local:     {0, "L", "local"},
	Static:    {1, "S", "static"},
	IKE:       {1, "S", "ike"},
	EBGP:      {20, "B", "bgp"},
	EIGRP:     {90, "D", "eigrp"},
	IBGP:      {200, "B", "bgp"},
	NHRP:      {250, "H", "nhrp"},
	Pinned:    {1, "T", "tunnel destination"},
}

// Distance is the source's default administrative distance.
func (s Source) Distance() uint8 {
	if s < sources {
		return sourceTable[s].distance
	}
	return NeverUsed
}

// Code is the letter that `show ip route` prints.
func (s Source) Code() string {
	if s < sources {
		return sourceTable[s].code
	}
	return "?"
}

func (s Source) String() string {
	if s < sources {
		return sourceTable[s].name
	}
	return "unknown"
}

// NeverUsed is the distance of a path that is remembered and never becomes a route.
const NeverUsed = 255

// NextHop is where a path leads: over an interface (the destination is on it), to a neighbour on an interface, or to an
// address that the RIB resolves.
type NextHop struct {
	Via       netip.Addr
	Interface string
}

// Path is one way to a prefix.
type Path struct {
	Source Source
	// Distance is the administrative distance; 0 is the source's default.
	Distance uint8
	// Rank orders the paths of one owner before distance and metric do: the lowest rank that is usable wins. A protocol
	// with a decision process of its own (BGP) hands over its order with it; paths of equal rank share the traffic.
	Rank     uint32
	Metric   uint32
	NextHops []NextHop
	// Discard drops what matches (Null0); NextHops is empty.
	Discard bool
	Tag     uint32
	// DefaultBy, when set, is the interface by which a default route leads to a next hop of the path, or does not: what
	// was learned through a tunnel must not go to whoever else has a default route when the tunnel is gone.
	DefaultBy string
	// Origin is the source's own view of the path, for show commands: a pointer, or nil.
	Origin any
}

func (p *Path) distance() uint8 {
	if p.Distance != 0 {
		return p.Distance
	}
	return p.Source.Distance()
}

func (p *Path) same(o *Path) bool {
	return p.Source == o.Source && p.distance() == o.distance() && p.Rank == o.Rank && p.Metric == o.Metric &&
		p.Discard == o.Discard && p.Tag == o.Tag && p.DefaultBy == o.DefaultBy && slices.Equal(p.NextHops, o.NextHops)
}

// Hop is a next hop with its interface known.
type Hop struct {
	Interface string     `json:"interface"`
	Index     uint32     `json:"-"`
	Via       netip.Addr `json:"via,omitzero"` // not valid: directly connected
}

// Route is what the RIB has chosen for a prefix. It is a copy.
type Route struct {
	Prefix   netip.Prefix `json:"prefix"`
	Source   Source       `json:"-"`
	Owner    string       `json:"owner,omitempty"`
	Distance uint8        `json:"distance"`
	Metric   uint32       `json:"metric"`
	Tag      uint32       `json:"tag,omitempty"`
	Kind     fib.Kind     `json:"-"`
	// Paths are the next hops as their source gave them, Hops what they resolve to.
	Paths []NextHop `json:"paths,omitempty"`
	Hops  []Hop     `json:"hops,omitempty"`
	// Override are the next hops that NHRP put in the place of Hops (%); empty when it did not.
	Override      []Hop     `json:"override,omitempty"`
	OverrideSince time.Time `json:"override-since,omitzero"`
	Since         time.Time `json:"since"`
	Origin        any       `json:"-"`
}

// Code is the first column of `show ip route`: the source's letter, `*` when the route is the default route.
func (r *Route) Code() string {
	if r.Prefix.Bits() == 0 {
		return r.Source.Code() + "*"
	}
	return r.Source.Code()
}

// Overridden says that NHRP replaced the next hop (`%`).
func (r *Route) Overridden() bool { return len(r.Override) > 0 }

// Change is how the route of a prefix changed; nil means that there was or is none. NHRP's routes and overrides are no
// part of it.
type Change struct {
	Prefix   netip.Prefix
	Old, New *Route
}
