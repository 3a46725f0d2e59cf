package config

import (
	"net/netip"
	"time"
)

// BGP is the speaker of one autonomous system.
type BGP struct {
	// The router's autonomous system.
	AS uint32 `toml:"as" required:"true" range:"1..4294967295" example:"65012"`
	// Router ID; the highest Loopback IPv4 address when not given, then the highest of the other interfaces.
	RouterID netip.Addr `toml:"router-id" family:"4" example:"\"192.168.33.3\""`
	// Prefixes to announce while the routing table has exactly them. IPv4 and IPv6.
	Network []netip.Prefix `toml:"network" example:"[\"192.168.33.3/32\"]"`
	// What else is announced.
	Redistribute Redistribute `toml:"redistribute" layout:"inline"`
	// Timers of neighbours that have none of their own.
	Timers BGPTimers `toml:"timers" layout:"inline"`
	// How many equal paths are used.
	MaximumPaths int `toml:"maximum-paths" default:"1" range:"1..32"`
	// Write a log line when a neighbour comes or goes.
	LogNeighborChanges bool `toml:"log-neighbor-changes" default:"true"`
	// Settings shared by neighbours, by name.
	PeerGroup map[string]*PeerGroup `toml:"peer-group" key:"NAME"`
	// Neighbours by address.
	Neighbor map[netip.Addr]*Neighbor `toml:"neighbor" key:"ADDRESS"`
	// Who may connect without being listed.
	Listen []*Listen `toml:"listen"`
}

// Redistribute announces routes of other sources.
type Redistribute struct {
	// Connected prefixes.
	Connected bool `toml:"connected"`
	// Static routes.
	Static bool `toml:"static"`
}

// BGPTimers are the timers of a session.
type BGPTimers struct {
	// Between keepalives; never more than a third of the hold time agreed on.
	Keepalive time.Duration `toml:"keepalive" default:"1m" range:"0s..65535s"`
	// A neighbour that is silent for this long is gone; 0 never is. The lower of both sides' counts.
	Hold time.Duration `toml:"hold" default:"3m" range:"0s,3s..65535s"`
	// Between attempts to connect.
	ConnectRetry time.Duration `toml:"connect-retry" default:"2m" range:"1s..65535s"`
}

// PeerGroup is what several neighbours share.
type PeerGroup struct {
	Name string `toml:"-"`
	PeerSettings
}

// Neighbor is one listed neighbour.
type Neighbor struct {
	Address netip.Addr `toml:"-"`
	// The group whose settings count where the neighbour has none of its own.
	PeerGroup string `toml:"peer-group" ref:"bgp.peer-group" example:"\"SPOKES\""`
	PeerSettings
}

// PeerSettings are the settings of a neighbour or a group. What is not set (zero, nil) comes from the group, then from the
// defaults: see BGP.Peer.
type PeerSettings struct {
	// The neighbour's autonomous system.
	RemoteAS uint32 `toml:"remote-as" range:"1..4294967295" example:"65010"`
	// Free text.
	Description string `toml:"description"`
	// Where the session's packets come from: an interface's name or one of the router's addresses.
	UpdateSource Local `toml:"update-source" example:"\"Loopback0\""`
	// How many hops away an external neighbour may be; 1 is the same subnet. Not together with `ttl-security`.
	EBGPMultihop uint8 `toml:"ebgp-multihop" implied:"1" range:"1..255" example:"10"`
	// GTSM (RFC 5082): the neighbour is at most this many hops away, and packets that came further are dropped.
	TTLSecurity uint8 `toml:"ttl-security" range:"1..254" example:"1"`
	// TCP MD5 signature (RFC 2385).
	Password Secret `toml:"password" example:"{ file = \"bgp-password.txt\" }"`
	// Timers of this neighbour.
	Timers *PeerTimers `toml:"timers" layout:"inline" example:"{ keepalive = 10, hold = 30 }"`
	// Announce this router as the next hop of everything.
	NextHopSelf *bool `toml:"next-hop-self" implied:"false"`
	// Leave next hops as they are, at external neighbours too (DMVPN phase 2).
	NextHopUnchanged *bool `toml:"next-hop-unchanged" implied:"false"`
	// Reflect routes to and from this internal neighbour.
	RouteReflectorClient *bool `toml:"route-reflector-client" implied:"false"`
	// Accept paths that hold the own AS up to this many times; 0 accepts none.
	AllowASIn *uint8 `toml:"allowas-in" implied:"0" range:"0..10" example:"1"`
	// Replace the neighbour's AS by the own one in what is announced to it.
	ASOverride *bool `toml:"as-override" implied:"false"`
	// Wait for the neighbour to connect.
	Passive *bool `toml:"passive" implied:"false"`
	// Keep the session down.
	Shutdown *bool `toml:"shutdown" implied:"false"`
	// Close the session when it announces more prefixes than this; 0 takes any number.
	MaximumPrefix *uint32 `toml:"maximum-prefix" implied:"0" example:"1000"`
}

// PeerTimers are timers of one neighbour or group; nil ones are inherited.
type PeerTimers struct {
	// See `[bgp.timers]`.
	Keepalive *time.Duration `toml:"keepalive" range:"0s..65535s" example:"10"`
	// See `[bgp.timers]`.
	Hold *time.Duration `toml:"hold" range:"0s,3s..65535s" example:"30"`
	// See `[bgp.timers]`.
	ConnectRetry *time.Duration `toml:"connect-retry" range:"1s..65535s" example:"15"`
}

// Listen accepts neighbours that are not listed.
type Listen struct {
	// Addresses that may connect.
	Range netip.Prefix `toml:"range" required:"true" example:"\"10.10.10.0/24\""`
	// The group whose settings they get.
	PeerGroup string `toml:"peer-group" required:"true" ref:"bgp.peer-group" example:"\"SPOKES\""`
	// How many at once.
	Limit int `toml:"limit" default:"100" range:"1..5000"`
}

// Peer is what counts for one neighbour after its group and the defaults: every value is concrete.
type Peer struct {
	Address              netip.Addr // not valid for a listen range's template
	Group                string
	RemoteAS             uint32
	Description          string
	UpdateSource         Local
	EBGPMultihop         uint8 // at least 1
	TTLSecurity          uint8 // 0 is off
	Password             Secret
	Timers               BGPTimers
	NextHopSelf          bool
	NextHopUnchanged     bool
	RouteReflectorClient bool
	AllowASIn            uint8
	ASOverride           bool
	Passive              bool
	Shutdown             bool
	MaximumPrefix        uint32
}

// Peer resolves a listed neighbour.
func (b *BGP) Peer(n *Neighbor) Peer {
	p := b.GroupPeer(n.PeerGroup)
	p.Address = n.Address
	p.apply(&n.PeerSettings)
	return p
}

// GroupPeer resolves a group alone: what a neighbour accepted by a listen range gets.
func (b *BGP) GroupPeer(group string) Peer {
	p := Peer{Group: group, EBGPMultihop: 1, Timers: b.Timers}
	if g := b.PeerGroup[group]; g != nil {
		p.apply(&g.PeerSettings)
	}
	return p
}

func (p *Peer) apply(s *PeerSettings) {
	if s.RemoteAS != 0 {
		p.RemoteAS = s.RemoteAS
	}
	if s.Description != "" {
		p.Description = s.Description
	}
	if !s.UpdateSource.IsZero() {
		p.UpdateSource = s.UpdateSource
	}
	if s.EBGPMultihop != 0 {
		p.EBGPMultihop = s.EBGPMultihop
	}
	if s.TTLSecurity != 0 {
		p.TTLSecurity = s.TTLSecurity
	}
	if !s.Password.IsZero() {
		p.Password = s.Password
	}
	if t := s.Timers; t != nil {
		set(&p.Timers.Keepalive, t.Keepalive)
		set(&p.Timers.Hold, t.Hold)
		set(&p.Timers.ConnectRetry, t.ConnectRetry)
	}
	set(&p.NextHopSelf, s.NextHopSelf)
	set(&p.NextHopUnchanged, s.NextHopUnchanged)
	set(&p.RouteReflectorClient, s.RouteReflectorClient)
	set(&p.AllowASIn, s.AllowASIn)
	set(&p.ASOverride, s.ASOverride)
	set(&p.Passive, s.Passive)
	set(&p.Shutdown, s.Shutdown)
	set(&p.MaximumPrefix, s.MaximumPrefix)
}

func set[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}
