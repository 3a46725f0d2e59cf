package config

import (
	"net/netip"
	"time"
)

// IKEv2 holds the objects of IOS's `crypto ikev2`.
type IKEv2 struct {
	// Sets of algorithms for IKE SAs. One that no policy names is not offered.
	Proposal map[string]*IKEProposal `toml:"proposal" key:"NAME"`
	// Which proposals are offered and accepted, by local address and VRF. Without a matching policy the smart defaults are.
	Policy map[string]*IKEPolicy `toml:"policy" key:"NAME"`
	// Pre-shared keys.
	Keyring map[string]*Keyring `toml:"keyring" key:"NAME"`
	// What is done with whom.
	Profile map[string]*IKEProfile `toml:"profile" key:"NAME"`
	// What a peer is given, by name.
	AuthorizationPolicy map[string]*AuthorizationPolicy `toml:"authorization-policy" key:"NAME"`
	// How the name of a peer's authorization policy is made of its identity.
	NameMangler map[string]*NameMangler `toml:"name-mangler" key:"NAME"`
	// Client blocks: which hub a tunnel is connected to, by name.
	Client map[string]*FlexClient `toml:"client" key:"NAME"`
	// The cluster of hubs that this router is one of.
	Cluster *IKECluster `toml:"cluster"`
	// Follow a hub that sends this router to another (RFC 5685).
	RedirectClient bool `toml:"redirect-client" default:"true"`
	// Let peers move to another address without a new SA (RFC 4555).
	MOBIKE bool `toml:"mobike" default:"true"`
	// Ask for a cookie when this many IKE SAs are half open; 0 never asks.
	CookieChallenge int `toml:"cookie-challenge" default:"100" range:"0..1000"`
	// Limits.
	Limit IKELimit `toml:"limit" layout:"inline"`
	// Fragmentation of IKE messages (RFC 7383).
	Fragmentation IKEFragmentation `toml:"fragmentation" layout:"inline"`
	// How often a router behind NAT says that it is still there; 0 never does.
	NATKeepalive time.Duration `toml:"nat-keepalive" default:"20s" range:"0s,5s..1h"`
	// Dead peer detection for profiles that have none of their own. Off without this table, as on IOS.
	DPD *DPD `toml:"dpd" layout:"inline"`
}

// IKELimit bounds what strangers can make the router do.
type IKELimit struct {
	// IKE SAs being negotiated at once; further ones are not answered. 0 is no limit.
	MaxInNegotiationSA int `toml:"max-in-negotiation-sa" default:"1000" range:"0..100000"`
	// IKE SAs at once; 0 is no limit.
	MaxSA int `toml:"max-sa" default:"0" range:"0..1000000"`
}

// IKEFragmentation is RFC 7383.
type IKEFragmentation struct {
	// IP packets with a fragment are no longer than this; 0 switches fragmentation off.
	MTU int `toml:"mtu" default:"1280" unit:"bytes" range:"0,576..1500"`
}

// DPD is dead peer detection.
type DPD struct {
	// How long nothing must have been heard before a probe is sent.
	Interval time.Duration `toml:"interval" required:"true" range:"1s..1h" example:"30"`
	// How long to wait before an unanswered probe is repeated; after five of them the peer is dead.
	Retry time.Duration `toml:"retry" default:"5s" range:"1s..1m"`
	// `periodic` probes always, `on-demand` only when there is traffic to send.
	Mode DPDMode `toml:"mode" default:"periodic"`
}

// DPDMode is when probes are sent.
type DPDMode string

const (
	DPDPeriodic DPDMode = "periodic"
	DPDOnDemand DPDMode = "on-demand"
)

// Values lists what may be written.
func (DPDMode) Values() []string { return []string{string(DPDPeriodic), string(DPDOnDemand)} }

// IKEProposal is a set of algorithms for IKE SAs, in order of preference.
type IKEProposal struct {
	Name string `toml:"-"`
	// Encryption. Either CBC or GCM in one proposal, not both: they differ in what else must be said.
	Encryption []Encryption `toml:"encryption" required:"true" example:"[\"aes-cbc-256\"]"`
	// Integrity; not with GCM, which has its own.
	Integrity []Hash `toml:"integrity" example:"[\"sha256\"]"`
	// Pseudo-random function; the same as `integrity` when not given. GCM needs it.
	PRF []Hash `toml:"prf" example:"[\"sha256\"]"`
	// Diffie-Hellman groups.
	Group []Group `toml:"group" required:"true" example:"[14]"`
	// Groups that are accepted from a peer, but never offered: only the smart defaults have any.
	AcceptGroup []Group `toml:"-"`
}

// PRFs is PRF, or what follows from Integrity.
func (p *IKEProposal) PRFs() []Hash {
	if len(p.PRF) > 0 {
		return p.PRF
	}
	return p.Integrity
}

// IKEPolicy says which proposals are used where.
type IKEPolicy struct {
	Name string `toml:"-"`
	// Proposals in order of preference. `"default"` is the smart default.
	Proposal []string `toml:"proposal" required:"true" ref:"ikev2.proposal" example:"[\"DMVPN\"]"`
	// When the policy is used.
	Match IKEPolicyMatch `toml:"match" layout:"inline"`
}

// IKEPolicyMatch is when a policy is used. All that is given must fit.
type IKEPolicyMatch struct {
	// The VRF of the outer packets; `"any"` is every one.
	FVRF string `toml:"fvrf" default:"default" ref:"vrf" words:"any"`
	// The local address.
	Address MatchAddress `toml:"address" layout:"inline"`
}

// MatchAddress matches the router's end.
type MatchAddress struct {
	// Any of these: names of interfaces or addresses. None given is every one.
	Local []Local `toml:"local" example:"[\"GigabitEthernet1\"]"`
}

// Keyring holds pre-shared keys.
type Keyring struct {
	Name string `toml:"-"`
	// Entries by name. The one that fits best is used: identity before address, the longest prefix first.
	Peer map[string]*KeyringPeer `toml:"peer" key:"NAME"`
}

// KeyringPeer is a key and who it is for.
type KeyringPeer struct {
	Name string `toml:"-"`
	// Free text.
	Description string `toml:"description"`
	// The peer's transport address is in one of these.
	Address []netip.Prefix `toml:"address" prefix:"bare" example:"\"0.0.0.0/0\""`
	// The peer's IKE identity is one of these.
	Identity IdentityMatch `toml:"identity" layout:"inline"`
	// The key: one for both directions, or `{ local = …, remote = … }`. Each is a string or `{ file = "psk.txt" }`,
	// a file beside the configuration, whose last line break does not count.
	PreSharedKey PreSharedKey `toml:"pre-shared-key" required:"true" example:"{ file = \"psk.txt\" }"`
}

// IdentityMatch matches an IKE identity: one that fits any of what is listed.
type IdentityMatch struct {
	// ID_IPV4_ADDR or ID_IPV6_ADDR in one of these prefixes (an address alone is itself).
	Address []netip.Prefix `toml:"address" prefix:"bare" example:"\"0.0.0.0/0\""`
	// ID_FQDN equal to one of these, case apart.
	FQDN []string `toml:"fqdn" example:"\"spoke1.example.com\""`
	// ID_FQDN in one of these domains (IOS: `fqdn domain`).
	FQDNDomain []string `toml:"fqdn-domain" example:"\"example.com\""`
	// ID_RFC822_ADDR equal to one of these.
	Email []string `toml:"email" example:"\"spoke1@example.com\""`
	// ID_RFC822_ADDR in one of these domains.
	EmailDomain []string `toml:"email-domain" example:"\"example.com\""`
	// ID_KEY_ID equal to one of these.
	KeyID []string `toml:"key-id" example:"\"site-17\""`
	// Everybody.
	Any bool `toml:"any"`
}

// IsZero reports whether nothing is listed.
func (m *IdentityMatch) IsZero() bool {
	return len(m.Address)+len(m.FQDN)+len(m.FQDNDomain)+len(m.Email)+len(m.EmailDomain)+len(m.KeyID) == 0 && !m.Any
}

// IKEProfile says what is done with a peer.
type IKEProfile struct {
	Name string `toml:"-"`
	// Free text.
	Description string `toml:"description"`
	// Which peers the profile is for.
	Match IKEProfileMatch `toml:"match" layout:"inline"`
	// Who the router says it is.
	Identity IKEIdentity `toml:"identity" layout:"inline"`
	// How both sides prove who they are.
	Authentication IKEAuthentication `toml:"authentication" layout:"inline"`
	// Where the pre-shared keys are.
	Keyring string `toml:"keyring" ref:"ikev2.keyring" example:"\"IKEV2-KEYRING\""`
	// The key of peers that the keyring has none for (IOS: `authentication … pre-share key`); as in a keyring.
	PreSharedKey PreSharedKey `toml:"pre-shared-key" example:"{ file = \"psk.txt\" }"`
	// Where this router's certificate is, and who may sign the peer's. All trustpoints when none is given.
	Trustpoint []string `toml:"trustpoint" ref:"pki.trustpoint" example:"[\"CA\"]"`
	// Number of the Virtual-Template that an interface is made of for each peer; 0 is none.
	VirtualTemplate int `toml:"virtual-template" default:"0" range:"0..2147483647" example:"1"`
	// `auto` takes GRE or IPsec tunnel mode from what the peer offers, `tunnel` only the template's own mode.
	VirtualTemplateMode VirtualTemplateMode `toml:"virtual-template-mode" default:"auto"`
	// Which authorization policy a peer gets. Without it the peer's questions about its configuration are not answered.
	Authorization IKEAuthorization `toml:"authorization" layout:"inline"`
	// Write log lines with the bytes, packets and duration of each session (IOS: `aaa accounting`).
	Accounting bool `toml:"accounting"`
	// What is exchanged of addresses and routes.
	ConfigExchange ConfigExchange `toml:"config-exchange" layout:"inline"`
	// Dead peer detection; `[ikev2.dpd]` when not given.
	DPD *DPD `toml:"dpd" layout:"inline" example:"{ interval = 30, retry = 5, mode = \"on-demand\" }"`
	// How long an IKE SA lives; it is rekeyed before.
	Lifetime time.Duration `toml:"lifetime" default:"24h" range:"10s..24h"`
	// NAT keepalive of this profile; `[ikev2] nat-keepalive` when not given.
	NATKeepalive *time.Duration `toml:"nat-keepalive" range:"0s,5s..1h" example:"20"`
}

// IKEProfileMatch says which peers a profile is for. All that is given must fit.
type IKEProfileMatch struct {
	// The peer's identity.
	Identity MatchIdentity `toml:"identity" layout:"inline"`
	// The local address.
	Address MatchAddress `toml:"address" layout:"inline"`
	// The VRF of the outer packets; `"any"` is every one.
	FVRF string `toml:"fvrf" default:"default" ref:"vrf" words:"any"`
	// Certificate maps; the peer's certificate must fit one of them.
	Certificate []string `toml:"certificate" ref:"pki.certificate-map" example:"[\"SPOKES\"]"`
}

// MatchIdentity matches identities.
type MatchIdentity struct {
	// The peer's.
	Remote IdentityMatch `toml:"remote" layout:"inline"`
}

// IKEIdentity is the router's identity.
type IKEIdentity struct {
	// One of the keys below; the address that the packets come from when none is given.
	Local Identity `toml:"local" layout:"inline"`
}

// Identity is one IKE identity; at most one field is set.
type Identity struct {
	// ID_IPV4_ADDR or ID_IPV6_ADDR.
	Address netip.Addr `toml:"address" example:"\"172.16.3.3\""`
	// ID_FQDN.
	FQDN string `toml:"fqdn" example:"\"spoke2.example.com\""`
	// ID_RFC822_ADDR.
	Email string `toml:"email" example:"\"spoke2@example.com\""`
	// ID_KEY_ID.
	KeyID string `toml:"key-id" example:"\"site-17\""`
	// ID_DER_ASN1_DN: the subject of this router's certificate (IOS: `identity local dn`).
	Certificate bool `toml:"certificate"`
}

// IKEAuthentication is how both sides prove who they are.
type IKEAuthentication struct {
	// This router.
	Local AuthMethod `toml:"local" default:"pre-share"`
	// The peer: any of these.
	Remote []AuthMethod `toml:"remote" default:"pre-share"`
	// How an RSA key signs. Of peers both are accepted.
	RSAPadding RSAPadding `toml:"rsa-padding" default:"pkcs1"`
}

// AuthMethod is a proof of identity.
type AuthMethod string

const (
	PreShare   AuthMethod = "pre-share"
	RSASig     AuthMethod = "rsa-sig"
	ECDSASig   AuthMethod = "ecdsa-sig"
	Ed25519Sig AuthMethod = "ed25519-sig"
)

// Values lists what may be written.
func (AuthMethod) Values() []string {
	return []string{string(PreShare), string(RSASig), string(ECDSASig), string(Ed25519Sig)}
}

// Signature reports whether a certificate is needed.
func (m AuthMethod) Signature() bool { return m != PreShare }

// RSAPadding is how RSA signs.
type RSAPadding string

const (
	PKCS1 RSAPadding = "pkcs1"
	PSS   RSAPadding = "pss"
)

// Values lists what may be written.
func (RSAPadding) Values() []string { return []string{string(PKCS1), string(PSS)} }

// VirtualTemplateMode says what a template's interfaces may be.
type VirtualTemplateMode string

const (
	TemplateAuto   VirtualTemplateMode = "auto"
	TemplateTunnel VirtualTemplateMode = "tunnel"
)

// Values lists what may be written.
func (VirtualTemplateMode) Values() []string {
	return []string{string(TemplateAuto), string(TemplateTunnel)}
}

// PreSharedKey is the key of each direction; most often the same one.
type PreSharedKey struct {
	Local  Secret // proves this router
	Remote Secret // proves the peer
}

// IsZero reports whether there is no key.
func (k PreSharedKey) IsZero() bool { return k.Local.IsZero() && k.Remote.IsZero() }

// ProfileDPD is the dead peer detection that a profile has: its own, the general one, or nil.
func (k *IKEv2) ProfileDPD(p *IKEProfile) *DPD {
	if p != nil && p.DPD != nil {
		return p.DPD
	}
	return k.DPD
}

// ProfileNATKeepalive is the keepalive interval of a profile; 0 is none.
func (k *IKEv2) ProfileNATKeepalive(p *IKEProfile) time.Duration {
	if p != nil && p.NATKeepalive != nil {
		return *p.NATKeepalive
	}
	return k.NATKeepalive
}
