package config

import (
	"net/netip"
	"time"
)

// BFD are the timers of the BFD sessions of an interface (RFC 5881).
type BFD struct {
	// How often to send, at least, once the session is up.
	Interval time.Duration `toml:"interval" default:"100ms" range:"50ms..10s"`
	// How often packets can be received, at most.
	MinRx time.Duration `toml:"min-rx" default:"100ms" range:"50ms..10s"`
	// So many packets may be missing before the session is down.
	Multiplier uint8 `toml:"multiplier" default:"3" range:"1..50"`
}

// BFDSettings is what is configured of BFD beside interfaces.
type BFDSettings struct {
	// Sessions with neighbours that are not on a connected subnet (RFC 5883).
	Multihop []*BFDMultihop `toml:"multihop"`
}

// BFDMultihop are the timers of multihop sessions with some neighbours.
type BFDMultihop struct {
	// Where the neighbours are; the longest prefix counts.
	Destination netip.Prefix `toml:"destination" required:"true" prefix:"bare" example:"\"172.25.0.0/16\""`
	// This end of the sessions: an interface's name or one of the router's addresses. Without it, whatever the session uses.
	Source Local `toml:"source" example:"\"GigabitEthernet1\""`
	// The routing table.
	VRF string `toml:"vrf" default:"default" ref:"vrf"`
	BFD
	// Answer sessions that these neighbours begin, at most 1,000.
	Passive bool `toml:"passive"`
}

// MultihopBFD is what is configured for multihop sessions with an address: the longest prefix that holds it, or nil.
func (c *Config) MultihopBFD(vrf string, a netip.Addr) *BFDMultihop {
	var best *BFDMultihop
	for _, m := range c.BFD.Multihop {
		if m.VRF == vrf && m.Destination.Contains(a) && (best == nil || m.Destination.Bits() > best.Destination.Bits()) {
			best = m
		}
	}
	return best
}
