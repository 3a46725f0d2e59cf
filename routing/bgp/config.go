package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"felloe/routing/policy"
	"felloe/routing/rib"
)

// Port is BGP's TCP port.
const Port = 179

// Config is one BGP speaker. It holds concrete values: groups and defaults are resolved before.
type Config struct {
	AS       uint32
	RouterID netip.Addr // IPv4
	// ClusterID is the route reflector's; the router ID when not valid.
	ClusterID netip.Addr

	Neighbors []Neighbor
	Listen    []Listen

	// Networks are announced while the RIB has exactly them from another source than BGP.
	Networks []netip.Prefix
	// Redistribute names the sources whose routes are announced.
	Redistribute []Redistribution
	// DefaultInformation lets default routes be redistributed.
	DefaultInformation bool
	// Aggregates are summaries of what the BGP table has.
	Aggregates []Aggregate
	// RD is the VRF's route distinguisher, for show.
	RD string
	// ListenLimit is how many dynamic neighbours all instances of the router have at most, for show; 0 means 100.
	ListenLimit int

	// MaximumPaths is how many equal external paths are used, MaximumPathsIBGP how many internal ones; 0 means 1.
	MaximumPaths, MaximumPathsIBGP int
	BestPath                       BestPath
	GracefulRestart                GracefulRestart
	// Quiet leaves out the log lines of neighbours that come and go.
	Quiet bool
}

// GracefulRestart keeps the paths of a session that was lost until it is back, here and at the peers (RFC 4724).
type GracefulRestart struct {
	Enabled bool
	// RestartTime is how long our peers keep ours for; 0 means 2 minutes. How long we wait for one to come back, it says
	// itself.
	RestartTime time.Duration
	// StalePathTime is how long its old paths stay when it is back and does not end telling us all of the new ones; 0
	// means 6 minutes.
	StalePathTime time.Duration
}

// WithDefaults fills in what is zero.
func (g GracefulRestart) WithDefaults() GracefulRestart {
	if g.RestartTime <= 0 {
		g.RestartTime = 2 * time.Minute
	}
	if g.StalePathTime <= 0 {
		g.StalePathTime = 6 * time.Minute
	}
	return g
}

// Redistribution announces the routes of a source.
type Redistribution struct {
	Source   rib.Source
	RouteMap *policy.RouteMap
	Metric   *uint32 // MED; nil is the route's own metric
}

// Aggregate is a summary.
type Aggregate struct {
	Prefix       netip.Prefix
	SummaryOnly  bool // what it covers is not announced
	ASSet        bool
	AttributeMap *policy.RouteMap
}

// BestPath are the options of the decision process.
type BestPath struct {
	AlwaysCompareMED bool
	// NoDeterministicMED compares the paths in the order of their age, as IOS does without bgp deterministic-med.
	NoDeterministicMED bool
	IgnoreASPathLength bool
	CompareRouterID    bool
}

// Policy is what passes in one direction. The prefix list comes first.
type Policy struct {
	PrefixList *policy.PrefixList
	RouteMap   *policy.RouteMap
}

// MaximumPrefix bounds what a peer may announce.
type MaximumPrefix struct {
	Limit       uint32 // 0 is any number
	Threshold   uint8  // per cent of it at which a warning is given; 0 means 75
	Restart     time.Duration
	WarningOnly bool
}

// Neighbor is a configured peer, or what the peers of a listen range get.
type Neighbor struct {
	Address     netip.Addr // not valid in a listen range
	Group       string     // for show
	RemoteAS    uint32
	Description string

	// UpdateSource is our end's address; when it is not valid the network chooses.
	UpdateSource netip.Addr
	// NoSource says that our end's address is not there yet: there is no session until it is.
	NoSource bool
	// EBGPMultihop is how many hops away an external peer may be; 0 and 1 mean the same subnet.
	EBGPMultihop uint8
	// DisableConnectedCheck lets an external peer at one hop have an address that is on none of our subnets.
	DisableConnectedCheck bool
	// TTLSecurity is how many hops away the peer is at most (RFC 5082); 0 is off.
	TTLSecurity uint8
	// Password signs the session (RFC 2385); empty does not.
	Password string `json:"-"`

	Timers Timers

	// NextHopSelf makes us the next hop of what external peers told us. NextHopSelfAll does so for reflected routes too.
	NextHopSelf, NextHopSelfAll bool
	// NextHopUnchanged leaves next hops as they are, at external peers too (DMVPN phase 2).
	NextHopUnchanged     bool
	RouteReflectorClient bool
	// AllowASIn is how often a path may hold our own AS; 0 is never.
	AllowASIn uint8
	// ASOverride replaces the peer's AS by ours in what it is told.
	ASOverride      bool
	RemovePrivateAS bool
	Passive         bool
	Shutdown        bool
	MaximumPrefix   MaximumPrefix
	// BFD says whether BFD watches the session.
	BFD BFDMode

	In, Out Policy
	// UnsuppressMap, when set, permits what the peer is told in spite of a summary that stands for it, and may change it.
	UnsuppressMap *policy.RouteMap
	// DefaultOriginate tells the peer of a default route; with a DefaultMap while that permits a route of the table.
	DefaultOriginate bool
	DefaultMap       *policy.RouteMap
	// SoftReconfiguration keeps what In does not let pass.
	SoftReconfiguration bool
	SendCommunity       bool
	// Weight of the peer's paths.
	Weight uint32
	// Families are what the session carries; none means that of the peer's address.
	Families []Family
}

// Family is an address family; all are unicast.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string { return fmt.Sprintf("IPv%d Unicast", uint8(f)) }

// FamilyOf is the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Timers are the timers of a session. Zero values are IOS's: 60 s, 180 s, 120 s.
type Timers struct {
	Keepalive, Hold, ConnectRetry time.Duration
	// NoHold means a hold time of 0: no keepalives.
	NoHold bool
}

// WithDefaults fills in what is zero.
func (t Timers) WithDefaults() Timers {
	if t.ConnectRetry <= 0 {
		t.ConnectRetry = 2 * time.Minute
	}
	if t.NoHold {
		t.Hold, t.Keepalive = 0, 0
		return t
	}
	if t.Hold <= 0 {
		t.Hold = 3 * time.Minute
	}
	if t.Keepalive <= 0 || t.Keepalive > t.Hold/3 {
		t.Keepalive = min(time.Minute, t.Hold/3)
	}
	return t
}

// Listen accepts peers that are not configured.
type Listen struct {
	Range netip.Prefix
	// Limit is how many at once; 0 means 100.
	Limit int
	// Template is what they get. RemoteAS 0 takes any AS but our own.
	Template Neighbor
}

// External says whether a peer with these settings is in another AS.
func (n *Neighbor) External(local uint32) bool { return n.RemoteAS != local }

// FamiliesOf are the families of a session with the peer at a.
func (n *Neighbor) FamiliesOf(a netip.Addr) []Family {
	if len(n.Families) > 0 {
		return n.Families
	}
	return []Family{FamilyOf(a)}
}

// equal says whether the settings are the same.
func (n *Neighbor) equal(o *Neighbor) bool {
	a, b := *n, *o
	fa, fb := a.Families, b.Families
	a.Families, b.Families = nil, nil
	return fmt.Sprint(a) == fmt.Sprint(b) && a.Password == b.Password && slices.Equal(fa, fb)
}

// Equal says whether the settings are the same.
func (n *Neighbor) Equal(o *Neighbor) bool { return n.equal(o) }

// Settings are those of a peer: configured, or of the longest listen range that it is in.
func (c *Config) Settings(a netip.Addr) (n Neighbor, ok bool) {
	for i := range c.Neighbors {
		if c.Neighbors[i].Address == a {
			return c.Neighbors[i], true
		}
	}
	return c.listening(a)
}

// listening are the settings of the longest listen range that an address is in.
func (c *Config) listening(a netip.Addr) (n Neighbor, ok bool) {
	best := -1
	for i := range c.Listen {
		if l := &c.Listen[i]; l.Range.Contains(a) && l.Range.Bits() > best {
			best, n, ok = l.Range.Bits(), l.Template, true
		}
	}
	return n, ok
}

// ErrConfig is wrapped by the errors of Validate.
var ErrConfig = errors.New("bgp: configuration is not usable")

// Validate says what is wrong with a configuration, all of it.
func (c *Config) Validate() error {
	var errs []error
	fail := func(format string, a ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, a...)...))
	}
	if c.AS == 0 {
		fail("the AS number is missing: set bgp as")
	}
	if !c.RouterID.Is4() || c.RouterID.IsUnspecified() {
		fail("the router ID %v is not an IPv4 address: set bgp router-id or give an interface an IPv4 address", c.RouterID)
	}
	seen := map[netip.Addr]bool{}
	if g := c.GracefulRestart; g.RestartTime > maxRestart {
		fail("graceful-restart: the restart time %v is longer than %v", g.RestartTime, maxRestart)
	}
	for i := range c.Neighbors {
		n := &c.Neighbors[i]
		where := fmt.Sprintf("neighbor %v", n.Address)
		switch {
		case !n.Address.IsValid() || n.Address.IsUnspecified() || n.Address.IsMulticast() || n.Address.Is4In6():
			fail("%s: the address is not one of a host", where)
		case n.Address.Is6() && n.Address.IsLinkLocalUnicast():
			fail("%s: link-local peers are not supported, use a global address", where)
		case seen[n.Address]:
			fail("%s: is there twice", where)
		}
		seen[n.Address] = true
		if n.RemoteAS == 0 {
			fail("%s: remote-as is missing", where)
		}
		c.validatePeer(n, where, fail)
	}
	for i := range c.Listen {
		l := &c.Listen[i]
		where := fmt.Sprintf("listen range %v", l.Range)
		if !l.Range.IsValid() {
			fail("%s: is not a prefix", where)
		}
		if l.Template.RemoteAS == 0 && l.Template.ASOverride {
			fail("%s: as-override needs a remote-as", where)
		}
		c.validatePeer(&l.Template, where, fail)
	}
	for _, p := range c.Networks {
		if !p.IsValid() || p != p.Masked() {
			fail("network %v: has bits behind its mask", p)
		}
	}
	for i := range c.Aggregates {
		if p := c.Aggregates[i].Prefix; !p.IsValid() || p != p.Masked() {
			fail("aggregate %v: has bits behind its mask", p)
		}
	}
	return errors.Join(errs...)
}

// maxRestart is the longest restart time that a capability can say.
const maxRestart = 4095 * time.Second

func (c *Config) validatePeer(n *Neighbor, where string, fail func(string, ...any)) {
	internal := n.RemoteAS == c.AS
	if n.TTLSecurity > 0 && n.EBGPMultihop > 1 {
		fail("%s: ttl-security and ebgp-multihop exclude each other", where)
	}
	if internal && n.ASOverride {
		fail("%s: as-override is for external neighbours", where)
	}
	if internal && n.RemovePrivateAS {
		fail("%s: remove-private-as is for external neighbours", where)
	}
	if !internal && n.RouteReflectorClient {
		fail("%s: route-reflector-client is for internal neighbours (remote-as %d)", where, c.AS)
	}
	if n.NextHopSelf && n.NextHopUnchanged {
		fail("%s: next-hop-self and next-hop-unchanged exclude each other", where)
	}
	if len(n.Password) > 80 {
		fail("%s: the password is longer than 80 characters", where)
	}
	if h := n.Timers.Hold; h != 0 && (h < 3*time.Second || h > 65535*time.Second) {
		fail("%s: the hold time %v is not 3s to 65535s", where, h)
	}
}
