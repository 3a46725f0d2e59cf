package ikev2

import (
	"net/netip"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
	"felloe/vpn/pki"
)

// Config is what an Engine may do and with whom. Zero values of limits and timers mean the defaults.
type Config struct {
	Proposals []IKEProposal // named ones; a policy names them
	Policies  []Policy      // the first that matches (vrf, local address) decides; none: the smart default
	Keyrings  []Keyring
	Profiles  []Profile     // the closest match decides, then the first
	Children  []ChildPolicy // in the responder's order of preference
	// Trustpoints are for profiles with signatures; a profile may name some of them.
	Trustpoints []*pki.Trustpoint
	announced   []message.HashAlgorithm // tests: instead of ourHashes; empty: RFC 7427 is off

	CookieThreshold int // half-open SAs from which on cookies are asked for; negative: always; default 64
	MaxHalfOpen     int // half-open SAs at most, older ones stay; default 2048
	MaxHalfOpenPeer int // of one source address; default 32
	MaxSAs          int // IKE SAs at most; default 16384
	MaxSAsPeer      int // established ones that a peer may have; default 256
	HalfOpenTimeout time.Duration

	Fragmentation Fragmentation
	Retransmit    Retransmit
	NATKeepalive  time.Duration // when we are behind a NAT; default 20 s, negative: never
	KeyLog        bool          // emit KeyLog actions: for a lab's capture only
	ForceNAT      bool          // claim to be behind a NAT, so that ESP travels in UDP (RFC 7296 §2.23)

	// Authorize gives peers of profiles with an Authorization their configuration; nil: nobody gets one.
	Authorize Authorizer
	// Version is the APPLICATION_VERSION that we tell those who ask.
	Version string
	// MOBIKE (RFC 4555): peers may change their addresses.
	MOBIKE bool
	// Addresses are the router's own by front VRF, for MOBIKE's ADDITIONAL_*_ADDRESS.
	Addresses map[string][]netip.Addr

	// Redirect sends peers to other gateways (RFC 5685); nil: nobody is sent away. FollowRedirects has us, as the initiator,
	// follow such advice, to addresses only.
	Redirect        Redirector
	FollowRedirects bool

	// ChildlessTimeout ends an IKE SA that has had no Child SA for so long; default 2 min, negative: never.
	ChildlessTimeout time.Duration
}

// Fragmentation is RFC 7383.
type Fragmentation struct {
	Disabled bool
	MTU      int // largest IP datagram; default 1280 over IPv6, 576 over IPv4
}

// Retransmit is the back-off of requests: Base, Base*2, … up to Max between tries, Tries transmissions in all.
type Retransmit struct {
	Base  time.Duration // default 1 s
	Max   time.Duration // default 16 s
	Tries int           // default 8: about 1.5 minutes
}

// IKEProposal is one `crypto ikev2 proposal`: every combination of its lists is acceptable, the earlier the better.
type IKEProposal struct {
	Name       string
	Encryption []Encryption
	PRF        []suite.PRFID   // empty: the hashes of Integrity
	Integrity  []suite.IntegID // not used with an AEAD
	Groups     []suite.Group
	Accept     []suite.Group // more groups that a peer may choose, last; never offered
}

// Encryption is an algorithm with its key length.
type Encryption struct {
	ID   suite.EncrID
	Bits int
}

// Policy is one `crypto ikev2 policy`.
type Policy struct {
	Name      string
	Proposals []string
	VRF       string         // front VRF it is for; empty: any
	Local     []netip.Prefix // local addresses it is for; empty: any
}

// Keyring is one `crypto ikev2 keyring`.
type Keyring struct {
	Name  string
	Peers []KeyringPeer
}

// KeyringPeer holds the pre-shared keys of the peers that it matches: by an identity rule (the closest wins) or, after
// those, by address (the longest prefix wins).
type KeyringPeer struct {
	Name      string
	Addresses []netip.Prefix
	Identity  []IdentityMatch
	Local     suite.Key // we prove ourselves with it
	Remote    suite.Key // the peer must prove itself with it
}

// AuthMethod says how a side proves who it is.
type AuthMethod = message.AuthMethod

// Profile is one `crypto ikev2 profile`.
type Profile struct {
	Name        string
	MatchRemote []IdentityMatch // any of these
	MatchLocal  []netip.Prefix  // local address; empty: any
	MatchVRF    string          // front VRF; empty: "default"; "*": any
	Identity    Identity        // ours; zero: our address
	LocalAuth   AuthKind        // also says with which kind of key we sign
	RemoteAuth  []AuthKind      // any of these; default PreShare
	// Trustpoints hold our certificates and the authorities of the peers'; empty: all of Config.Trustpoints.
	Trustpoints []string
	// MatchCertificate: besides what is matched above, the peer's certificate must meet one of these.
	MatchCertificate []*pki.Map
	// CertificateIdentity has our certificate's subject (ID_DER_ASN1_DN) for Identity.
	CertificateIdentity bool
	// RSAPSS signs by RSASSA-PSS instead of PKCS #1 v1.5. Of peers both are accepted.
	RSAPSS  bool
	Keyring string
	// Key is the profile's own pre-shared key, for peers that the keyring has none for.
	Key      ProfileKey
	Lifetime time.Duration // of the IKE SA; default 24 h
	DPD      DPD
	// NATKeepalive is this profile's; 0: Config.NATKeepalive, negative: never.
	NATKeepalive time.Duration
	IVRF         string // for show commands
	// Authorization is what the peers of this profile may have. Zero: their requests for a configuration are not answered.
	Authorization Authorization
	// Request has us, as the initiator, ask for a configuration (CFG_REQUEST); SetSend tells the peer ours by CFG_SET when
	// it did not ask; SetAccept takes the peer's CFG_SET.
	Request, SetSend, SetAccept bool
	// NoInitialContact leaves INITIAL_CONTACT out.
	NoInitialContact bool
}

// ProfileKey is a pre-shared key for each direction.
type ProfileKey struct{ Local, Remote suite.Key }

// DPD is dead peer detection as IOS has it: `dpd INTERVAL RETRY {periodic | on-demand}`. Periodic: a probe when nothing
// was heard for Interval. OnDemand: only when there is traffic to send (NoteTraffic) and nothing was heard for
// Interval. Then again every Retry; the peer is dead when DPDTries probes stay unanswered. Interval 0: off.
type DPD struct {
	Interval, Retry time.Duration
	OnDemand        bool
}

// DPDTries is how many unanswered probes make a dead peer.
const DPDTries = 5

// ESPProposal is one transform set: every combination is acceptable, the earlier the better.
type ESPProposal struct {
	Suites []esp.Suite
	ESN    []bool        // in order of preference; empty: no ESN
	Groups []suite.Group // PFS; empty: none
}

// ChildPolicy is what a Child SA of a tunnel may look like.
type ChildPolicy struct {
	Name      string     // for example the tunnel's
	Profile   string     // the IKE profile it belongs to; empty: any
	VRF       string     // front VRF; empty: "default"
	LocalAddr netip.Addr // local address; invalid: any
	// RemoteAddr is the far end that it is for; invalid: any. CallsOnly is for what this side calls: no peer's offer is for it.
	RemoteAddr netip.Addr
	CallsOnly  bool
	Proposals  []ESPProposal
	Mode       esp.Mode
	// RequireTransport refuses a peer that answers a wish for transport mode with tunnel mode.
	RequireTransport bool
	// Protocol of the selectors, 47 for GRE, 0 for any.
	Protocol uint8
	// TSLocal and TSRemote are the selectors' addresses; both empty: host to host (the outer addresses).
	TSLocal, TSRemote []netip.Prefix
	// GREKey, when HasGREKey, tells apart tunnels between the same two addresses: it is offered as the ports of a first,
	// most specific selector, as Linux and strongSwan do, followed by the plain one. What is agreed is the plain one.
	GREKey    uint32
	HasGREKey bool

	Lifetime     time.Duration // default 1 h
	VolumeBytes  uint64        // the driver's: it calls RekeyChild
	IdleTime     time.Duration // the driver's: it calls DeleteChild
	ReplayWindow int           // the driver's
	// ResponderOnly children are never initiated by lifetime: the peer rekeys.
	ResponderOnly bool
}
