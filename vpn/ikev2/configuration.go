package ikev2

import (
	"crypto/x509"
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/ikev2/message"
)

// CFGType is what a configuration payload is: message.CFG_REQUEST, CFG_REPLY, CFG_SET or CFG_ACK.
type CFGType = message.CFGType

// Configuration is what a configuration payload says (RFC 7296 §3.15), and what a router makes of it.
type Configuration struct {
	// Addresses are INTERNAL_IP4_ADDRESS (with INTERNAL_IP4_NETMASK as its length, /32 without) and
	// INTERNAL_IP6_ADDRESS. In a request the unspecified address means any of that family.
	Addresses []netip.Prefix
	DNS       []netip.Addr
	// Domains are INTERNAL_DNS_DOMAIN and, the first one, Unity's DEFAULT-DOMAIN. INTERNAL_DNS_DOMAIN is sent only when
	// it was asked for (RFC 8598 §3.2).
	Domains []string
	Subnets []netip.Prefix // INTERNAL_IP4_SUBNET, INTERNAL_IP6_SUBNET: what is behind the sender
	Version string         // APPLICATION_VERSION
	PFS     *uint          // Unity's PFS: 1 is "use it"
	// Asks are the attributes of a request, known ones only.
	Asks []message.CFGAttributeType
	// Unknown is how many attributes of a received payload were not understood; they are ignored.
	Unknown int

	// What is not on the wire: the authorization policy that this came from, and what it says of the peer's subnets.
	Policy string
	Accept RouteAccept
}

// RouteAccept is `route accept any [distance N] [tag N]`: whether the subnets that a peer tells become routes.
type RouteAccept struct {
	Accept   bool
	Distance uint8 // 0: 1
	Tag      uint32
	// Only bounds what a peer may have led to it by its own word, whether it tells it or its traffic selectors do. Nil: nothing
	// does. It is the same as before as long as it permits the same.
	Only PrefixFilter
}

// PrefixFilter says which prefixes pass: a prefix list.
type PrefixFilter interface{ Permit(p netip.Prefix) bool }

// IsZero reports whether there is nothing in it for the wire.
func (c Configuration) IsZero() bool {
	return len(c.Addresses) == 0 && len(c.DNS) == 0 && len(c.Domains) == 0 && len(c.Subnets) == 0 && c.Version == "" && c.PFS == nil
}

// Wants reports whether a request asks for an attribute.
func (c Configuration) Wants(t message.CFGAttributeType) bool { return slices.Contains(c.Asks, t) }

// Authorization names what an IKE profile says a peer may have: a policy, or a name mangler that makes the policy's name
// from the identity. With both, the mangled name first.
type Authorization struct{ Policy, NameMangler string }

// IsZero reports whether a profile authorizes nothing.
func (a Authorization) IsZero() bool { return a == Authorization{} }

// Authorizer decides what an authenticated peer gets and is told. It is called on the engine's loop and answers at once.
type Authorizer interface {
	// Authorize is called when both sides are authenticated, before the Child SA is made. A responder's answer goes out
	// with its IKE_AUTH response. An error that wraps ErrNoAddress leaves the IKE SA without a child
	// (INTERNAL_ADDRESS_FAILURE), every other one refuses the peer.
	Authorize(now time.Time, r AuthorizeRequest) (Configuration, error)
	// Release is called once for each SA that Authorize answered without an error, when the SA is gone.
	Release(sa SAID)
}

// AuthorizeRequest is who asks for what.
type AuthorizeRequest struct {
	SA            SAID
	Initiator     bool // we are: nobody asks us for an address
	Profile       string
	Authorization Authorization
	Peer          Identity
	Certificate   *x509.Certificate // the peer's, nil without
	VRF           string            // front VRF
	Local, Remote netip.AddrPort
	HasRequest    bool          // there was a CFG_REQUEST
	Wanted        Configuration // which said this
}

// ConfigReceived is what a peer has configured us with (CFG_REPLY, CFG_SET), or asked for (CFG_REQUEST).
type ConfigReceived struct {
	SA            SAID
	Kind          CFGType
	VRF           string
	Local, Remote netip.AddrPort
	Profile       string
	Peer          Identity
	Tag           any
	Configuration Configuration
	// Accept is what our authorization policy says of the subnets in it.
	Accept RouteAccept
}

// ConfigAcknowledged says that a peer has answered the CFG_SET of SendConfiguration. Accepted is what its CFG_ACK named; an
// answer without one completes the exchange as well. Err is ErrRefused when it answered with an error.
type ConfigAcknowledged struct {
	SA       SAID
	Accepted Configuration
	HasACK   bool
	Err      error
}

func (ConfigReceived) action()     {}
func (ConfigAcknowledged) action() {}

// SendConfiguration tells the peer by CFG_SET what it shall use from now on; for example routes that have changed.
func (e *Engine) SendConfiguration(now time.Time, id SAID, c Configuration) []Action {
	return e.with(now, id, func(s *session) { s.cur.queueConfig(c) })
}
