package config

import (
	"net/netip"
	"time"
)

// BGP is the speaker of one autonomous system, in the routing table `default` and in those of VRF.
type BGP struct {
	// The router's autonomous system.
	AS uint32 `toml:"as" required:"true" range:"1..4294967295" example:"65012"`
	// Write a log line when a neighbour comes or goes.
	LogNeighborChanges bool `toml:"log-neighbor-changes" default:"true"`
	// How many neighbours that are not listed may be connected at once, in all routing tables together.
	ListenLimit int `toml:"listen-limit" default:"100" range:"1..5000"`
	// Compare the MED of paths from different neighbouring autonomous systems, too.
	AlwaysCompareMED bool `toml:"always-compare-med"`
	// Compare the MED of all paths from one neighbouring autonomous system before anything else is compared, so that the
	// order in which they came does not matter.
	DeterministicMED bool `toml:"deterministic-med"`
	// Between equal external paths prefer the lower router ID rather than the older path.
	CompareRouterID bool `toml:"compare-routerid"`
	BGPInstance
	// The same autonomous system in other routing tables, by the VRF's name. Nothing passes from one to another.
	VRF map[string]*BGPInstance `toml:"vrf" key:"NAME"`
}

// BGPInstance is BGP in one routing table.
type BGPInstance struct {
	Name string `toml:"-"` // the VRF; empty for `default`
	// Router ID. When not given: that of `[bgp]` (for a VRF), then the highest Loopback IPv4 address of the routing table, then
	// the highest of its other interfaces.
	RouterID netip.Addr `toml:"router-id" family:"4" example:"\"192.168.33.3\""`
	// Prefixes to announce while the routing table has exactly them. IPv4 and IPv6.
	Network []netip.Prefix `toml:"network" example:"[\"192.168.33.3/32\"]"`
	// What else is announced.
	Redistribute Redistribute `toml:"redistribute" layout:"inline"`
	// Summaries: announced while the BGP table has something within them.
	Aggregate []*Aggregate `toml:"aggregate" layout:"inline" example:"[{ prefix = \"10.0.0.0/8\", summary-only = true }]"`
	// Let default routes be redistributed, too.
	DefaultInformationOriginate bool `toml:"default-information-originate"`
	// Timers of neighbours that have none of their own.
	Timers BGPTimers `toml:"timers" layout:"inline"`
	// How many equal paths of external neighbours are used.
	MaximumPaths int `toml:"maximum-paths" default:"1" range:"1..32"`
	// How many equal paths of internal neighbours are used.
	MaximumPathsIBGP int `toml:"maximum-paths-ibgp" default:"1" range:"1..32" example:"2"`
	// The cluster that this route reflector belongs to; the router ID when not given.
	ClusterID netip.Addr `toml:"cluster-id" family:"4" example:"\"10.1.1.1\""`
	// Keep the routes of a neighbour that is gone for a while, and ask neighbours to do the same (RFC 4724). One that a NOTIFICATION
	// was sent to or came from, as when the hold time runs out, keeps none (RFC 8538 is left out).
	GracefulRestart GracefulRestart `toml:"graceful-restart" layout:"inline" example:"true"`
	// Settings shared by neighbours, by name. Each routing table has its own groups.
	PeerGroup map[string]*PeerGroup `toml:"peer-group" key:"NAME"`
	// Neighbours by address.
	Neighbor map[netip.Addr]*Neighbor `toml:"neighbor" key:"ADDRESS"`
	// Who may connect without being listed.
	Listen []*Listen `toml:"listen"`
}

// VRFName is the routing table that the instance speaks for.
func (b *BGPInstance) VRFName() string {
	if b.Name == "" {
		return DefaultVRF
	}
	return b.Name
}

// Instance is the BGP of a routing table, or nil.
func (b *BGP) Instance(vrf string) *BGPInstance {
	if b == nil {
		return nil
	}
	if vrf == DefaultVRF {
		return &b.BGPInstance
	}
	return b.VRF[vrf]
}

// Instances lists the BGP of every routing table, `default` first.
func (b *BGP) Instances() []*BGPInstance {
	if b == nil {
		return nil
	}
	out := []*BGPInstance{&b.BGPInstance}
	for _, name := range Names(b.VRF) {
		out = append(out, b.VRF[name])
	}
	return out
}

// Redistribute announces routes of other sources.
type Redistribute struct {
	// Connected prefixes.
	Connected RedistributeSource `toml:"connected" layout:"inline" example:"{ route-map = \"LOOPBACKS\" }"`
	// Static routes, and those that IKE has installed.
	Static RedistributeSource `toml:"static" layout:"inline" example:"true"`
}

// RedistributeSource is `true`, or a table that says more.
type RedistributeSource struct {
	Enabled bool `toml:"-"`
	// Announce only what this route map permits, with what it sets.
	RouteMap string `toml:"route-map" ref:"route-map" example:"\"LOOPBACKS\""`
	// MED of what is announced.
	Metric *uint32 `toml:"metric" example:"5"`
}

func (RedistributeSource) short() string { return "Enabled" }

// Aggregate is one summary.
type Aggregate struct {
	// The prefix that is announced.
	Prefix netip.Prefix `toml:"prefix" required:"true" example:"\"10.0.0.0/8\""`
	// Do not announce what lies within it.
	SummaryOnly bool `toml:"summary-only"`
	// Tell the autonomous systems of what lies within it, as a set.
	ASSet bool `toml:"as-set"`
	// What this route map sets becomes the summary's.
	AttributeMap string `toml:"attribute-map" ref:"route-map" example:"\"SUMMARY\""`
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
	// What to do when it announces more prefixes than this: the number alone closes the session. 0 takes any number.
	MaximumPrefix *MaximumPrefix `toml:"maximum-prefix" layout:"inline" example:"{ limit = 1000, threshold = 80, restart = \"5m\" }"`
	// Prefixes that may pass.
	PrefixList PeerPrefixList `toml:"prefix-list" layout:"inline" example:"{ in = \"FROM-SPOKES\", out = \"TO-SPOKES\" }"`
	// Route maps that what passes goes through.
	RouteMap PeerRouteMap `toml:"route-map" layout:"inline" example:"{ out = \"TO-SPOKES\" }"`
	// Announce a default route, whether the routing table has one or not.
	DefaultOriginate *DefaultOriginate `toml:"default-originate" layout:"inline" example:"true"`
	// Keep what the neighbour announces as it came, so that it can be shown, and policies can change without asking again.
	SoftReconfigurationInbound *bool `toml:"soft-reconfiguration-inbound" implied:"false"`
	// Families to talk about. When not given: that of the session's addresses, and for a listed neighbour
	// both when `network` has prefixes of the other.
	AddressFamily []AddressFamily `toml:"address-family" example:"[\"ipv4\", \"ipv6\"]"`
	// Send communities.
	SendCommunity *bool `toml:"send-community" implied:"false"`
	// Weight of paths from this neighbour: the highest wins, before anything else is compared. It stays in this router.
	Weight *uint16 `toml:"weight" implied:"0" example:"100"`
	// Take private AS numbers out of what is announced to an external neighbour.
	RemovePrivateAS *bool `toml:"remove-private-as" implied:"false"`
	// Like `next-hop-self`, for routes that are reflected as well.
	NextHopSelfAll *bool `toml:"next-hop-self-all" implied:"false"`
	// Let an external neighbour with `ebgp-multihop = 1` have an address of no connected subnet, such as its Loopback's.
	DisableConnectedCheck *bool `toml:"disable-connected-check" implied:"false"`
	// Announce what this route map permits in spite of a summary with `summary-only`.
	UnsuppressMap string `toml:"unsuppress-map" ref:"route-map" example:"\"ALL\""`
	// Let BFD find out that the neighbour is gone (IOS: `fall-over bfd`): `true`, or which kind of session.
	BFD PeerBFD `toml:"bfd" implied:"false" example:"true"`
}

// MaximumPrefix is a limit of what a neighbour may announce: a number, or a table that says more.
type MaximumPrefix struct {
	// How many prefixes; 0 takes any number.
	Limit uint32 `toml:"limit" required:"true" zero:"allowed" example:"1000"`
	// Write a log line at this part of the limit.
	Threshold uint8 `toml:"threshold" default:"75" unit:"per cent" range:"1..100"`
	// Let the neighbour come back after this time; 0 leaves the session closed until it is cleared.
	Restart time.Duration `toml:"restart" default:"0s" range:"0s,1m..65535m" example:"\"5m\""`
	// Only write the log lines.
	WarningOnly bool `toml:"warning-only"`
}

func (MaximumPrefix) short() string { return "Limit" }

// GracefulRestart is `true`, or a table that says more.
type GracefulRestart struct {
	Enabled bool `toml:"-"`
	// How long neighbours wait for this router to come back.
	RestartTime time.Duration `toml:"restart-time" default:"2m" range:"1s..4095s"`
	// How long a neighbour's old routes are kept at most.
	StalepathTime time.Duration `toml:"stalepath-time" default:"6m" range:"1s..1h"`
}

func (GracefulRestart) short() string { return "Enabled" }

// PeerBFD says whether BFD watches a neighbour.
type PeerBFD string

const (
	BFDOff       PeerBFD = "off"  // false
	BFDAuto      PeerBFD = "auto" // true: multihop for a neighbour that is not on a connected subnet
	BFDSingleHop PeerBFD = "single-hop"
	BFDMultiHop  PeerBFD = "multihop"
)

// Values lists what may be written.
func (PeerBFD) Values() []string {
	return []string{string(BFDOff), string(BFDAuto), string(BFDSingleHop), string(BFDMultiHop)}
}

func (PeerBFD) bools() (no, yes string) { return string(BFDOff), string(BFDAuto) }

// On reports whether there is a session.
func (b PeerBFD) On() bool { return b != "" && b != BFDOff }

// PeerPrefixList names the prefix lists of both directions.
type PeerPrefixList struct {
	// What is accepted.
	In string `toml:"in" ref:"prefix-list" example:"\"FROM-SPOKES\""`
	// What is announced.
	Out string `toml:"out" ref:"prefix-list" example:"\"TO-SPOKES\""`
}

// PeerRouteMap names the route maps of both directions.
type PeerRouteMap struct {
	// For what is accepted.
	In string `toml:"in" ref:"route-map" example:"\"FROM-SPOKES\""`
	// For what is announced.
	Out string `toml:"out" ref:"route-map" example:"\"TO-SPOKES\""`
}

// DefaultOriginate is `true`, or a table that says more.
type DefaultOriginate struct {
	Enabled bool `toml:"-"`
	// Announce it only while the BGP table has a route that this route map permits, with what the map sets.
	RouteMap string `toml:"route-map" ref:"route-map" example:"\"WHEN\""`
}

func (DefaultOriginate) short() string { return "Enabled" }

// AddressFamily is a family that a session talks about.
type AddressFamily string

const (
	FamilyIPv4 AddressFamily = "ipv4"
	FamilyIPv6 AddressFamily = "ipv6"
)

// Values lists what may be written.
func (AddressFamily) Values() []string { return []string{string(FamilyIPv4), string(FamilyIPv6)} }

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
	// How many at once from this range; `[bgp] listen-limit` counts, too.
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
	MaximumPrefix        MaximumPrefix // Limit 0 is none
	PrefixList           PeerPrefixList
	RouteMap             PeerRouteMap
	DefaultOriginate     DefaultOriginate
	AddressFamily        []AddressFamily // empty: what the addresses and networks need

	SoftReconfigurationInbound bool
	SendCommunity              bool
	Weight                     uint16
	RemovePrivateAS            bool
	NextHopSelfAll             bool
	DisableConnectedCheck      bool
	UnsuppressMap              string
	BFD                        PeerBFD // BFDOff when nothing is said
}

// Peer resolves a listed neighbour.
func (b *BGPInstance) Peer(n *Neighbor) Peer {
	p := b.GroupPeer(n.PeerGroup)
	p.Address = n.Address
	p.apply(&n.PeerSettings)
	return p
}

// GroupPeer resolves a group alone: what a neighbour accepted by a listen range gets.
func (b *BGPInstance) GroupPeer(group string) Peer {
	p := Peer{Group: group, EBGPMultihop: 1, Timers: b.Timers, BFD: BFDOff}
	if g := b.PeerGroup[group]; g != nil {
		p.apply(&g.PeerSettings)
	}
	return p
}

// apply puts what a group or neighbour says over what counts so far.
func (p *Peer) apply(s *PeerSettings) {
	over(&p.RemoteAS, s.RemoteAS)
	over(&p.Description, s.Description)
	over(&p.UpdateSource, s.UpdateSource)
	over(&p.EBGPMultihop, s.EBGPMultihop)
	over(&p.TTLSecurity, s.TTLSecurity)
	over(&p.Password, s.Password)
	over(&p.PrefixList.In, s.PrefixList.In)
	over(&p.PrefixList.Out, s.PrefixList.Out)
	over(&p.RouteMap.In, s.RouteMap.In)
	over(&p.RouteMap.Out, s.RouteMap.Out)
	over(&p.UnsuppressMap, s.UnsuppressMap)
	over(&p.BFD, s.BFD)
	if t := s.Timers; t != nil {
		set(&p.Timers.Keepalive, t.Keepalive)
		set(&p.Timers.Hold, t.Hold)
		set(&p.Timers.ConnectRetry, t.ConnectRetry)
	}
	set(&p.NextHopSelf, s.NextHopSelf)
	set(&p.NextHopUnchanged, s.NextHopUnchanged)
	set(&p.NextHopSelfAll, s.NextHopSelfAll)
	set(&p.RouteReflectorClient, s.RouteReflectorClient)
	set(&p.AllowASIn, s.AllowASIn)
	set(&p.ASOverride, s.ASOverride)
	set(&p.Passive, s.Passive)
	set(&p.Shutdown, s.Shutdown)
	set(&p.MaximumPrefix, s.MaximumPrefix)
	set(&p.DefaultOriginate, s.DefaultOriginate)
	set(&p.SoftReconfigurationInbound, s.SoftReconfigurationInbound)
	set(&p.SendCommunity, s.SendCommunity)
	set(&p.Weight, s.Weight)
	set(&p.RemovePrivateAS, s.RemovePrivateAS)
	set(&p.DisableConnectedCheck, s.DisableConnectedCheck)
	if len(s.AddressFamily) > 0 {
		p.AddressFamily = s.AddressFamily
	}
}

// set is for values of which each, zero too, may be meant.
func set[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}

// over is for values whose zero says nothing.
func over[T comparable](dst *T, src T) {
	var zero T
	if src != zero {
		*dst = src
	}
}
