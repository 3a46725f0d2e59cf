package ikev2

import (
	"net/netip"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"

	"github.com/rs/zerolog"
)

// SAID names an IKE SA for its whole life, rekeying included. It is never used twice by one Engine.
type SAID uint64

// ChildID names a pair of Child SAs. A rekeyed one has a new ChildID. It is never used twice by one Engine.
type ChildID uint64

// TrafficSelector is a selector as it is on the wire.
type TrafficSelector = message.TrafficSelector

// Action is what the driver must do, one of the types of this file by value. Actions are in order: what a peer may send
// under a new SA is installed (ChildUp) before the message that allows it to (Send).
type Action interface{ action() }

// Send is a datagram to send. Data is without the non-ESP marker: the driver puts it in front when Local has port 4500.
type Send struct{ Datagram }

// Keepalive is a NAT keepalive (RFC 3948 §2.3): one byte 0xff, without a marker, from port 4500.
type Keepalive struct {
	VRF           string
	Local, Remote netip.AddrPort
}

// IKEUp says that an IKE SA is established and both sides are authenticated.
type IKEUp struct {
	SA            SAID
	Initiator     bool
	Tag           any // of InitiateRequest
	VRF           string
	Local, Remote netip.AddrPort
	Profile       string
	PeerID        Identity
	LocalID       Identity
	Suite         suite.IKE
	NAT           NAT
	// Assigned is what the Authorizer gave: to a peer that has asked, its address too.
	Assigned Configuration
	// Childless says that there is no Child SA yet: a ChildUp may follow at any time.
	Childless bool
}

// NAT says who is behind one.
type NAT struct{ Local, Remote bool }

// IKERekeyed says that an IKE SA has new keys and SPIs; its children and its SAID stay.
type IKERekeyed struct {
	SA         SAID
	SPIi, SPIr uint64
}

// IKEDown says that an IKE SA is gone, or was never established. A ChildDown for each of its children comes before.
type IKEDown struct {
	SA          SAID
	Tag         any
	Initiator   bool
	Established bool // it was up once
	VRF         string
	Remote      netip.AddrPort
	PeerID      Identity
	Reason      string
	Err         error // one of the Err sentinels of this package
}

// IKESuperseded says that two routers initiated to each other at once and that New stays, which both have now. Send on
// New's child from now on; Old's children receive until their ChildDown, which follows.
type IKESuperseded struct{ Old, New SAID }

// ChildUp is a new pair of Child SAs. Install the inbound one before doing the next action.
type ChildUp struct {
	Child        ChildID
	SA           SAID
	IKEInitiator bool // of the IKE SA as it began
	Initiator    bool // of the exchange that made this pair
	Policy       string
	Tag          any
	Profile      string
	Peer         Identity
	LocalID      Identity
	AuthMethod   AuthMethod // how the peer proved itself
	VRF          string
	Local        netip.AddrPort
	Remote       netip.AddrPort
	UDPEncap     bool
	NAT          NAT
	Mode         esp.Mode
	Suite        esp.Suite
	ESN          bool
	PFS          suite.Group // GROUP_NONE without
	SPIIn        uint32
	SPIOut       uint32
	KeysIn       ChildKey
	KeysOut      ChildKey
	TSLocal      []TrafficSelector // after substitution behind NAT (RFC 7296 §2.23.1)
	TSRemote     []TrafficSelector
	ReplayWindow int
	// OutboundReady: the peer surely has its inbound SA. Else it will a moment later, and when this pair replaces
	// another one, sending goes on with the old one until ChildRekeyed (or the first packet that comes in on this one).
	OutboundReady bool
	// Replaces is the pair that this one rekeys, 0 when none.
	Replaces ChildID
	// Expires is when the pair is deleted at the latest.
	Expires time.Time
	// VolumeBytes and IdleTime are the policy's, for the driver to watch: RekeyChild near the volume (unless
	// ResponderOnly), DeleteChild at it, and DeleteChild after so long without a packet. 0: no limit.
	VolumeBytes   uint64
	IdleTime      time.Duration
	ResponderOnly bool
}

// ChildKey is the key material of one direction.
type ChildKey struct{ Encr, Integ suite.Key }

// ChildRekeyed says that sending moves from Old to New now.
type ChildRekeyed struct{ Old, New ChildID }

// ChildDown says that a pair is gone: stop sending on it. Keep its inbound SA for Linger, for packets on their way.
type ChildDown struct {
	Child         ChildID
	SA            SAID
	Policy        string
	Tag           any
	SPIIn, SPIOut uint32
	ReplacedBy    ChildID // 0 when none
	Linger        time.Duration
	Reason        string
}

// ChildFailed says that a pair that we asked for was not made; the IKE SA is up.
type ChildFailed struct {
	SA     SAID
	Policy string
	Tag    any
	Reason string
	Err    error
}

// PeerMoved says that an IKE SA's addresses have changed: its children's ESP goes from Local to New from now on. Either the
// peer is behind NAT and has been seen at a new address or port, or it has said so (MOBIKE, RFC 4555).
type PeerMoved struct {
	SA       SAID
	Local    netip.AddrPort
	Old, New netip.AddrPort
	OldLocal netip.AddrPort
	// UDPEncap says whether ESP travels in UDP from now on. It can change: MOBIKE detects NAT anew.
	UDPEncap bool
	NAT      NAT
}

// Log is a line for the log. Fields never hold a secret.
type Log struct {
	Level  zerolog.Level
	SA     SAID // 0 when there is none
	VRF    string
	Local  netip.AddrPort
	Remote netip.AddrPort
	Msg    string
	Fields []Field
}

// Field is a field of a log line, with a name of the house's vocabulary.
type Field struct {
	Key   string
	Value any
}

// KeyLog is key material for a capture's reader, only when Config.KeyLog. Line is one line of Wireshark's tables.
type KeyLog struct {
	Kind KeyLogKind
	Line string
}

// KeyLogKind is the Wireshark table that a line is for.
type KeyLogKind string

const (
	KeyLogIKE KeyLogKind = "ikev2_decryption_table"
	KeyLogESP KeyLogKind = "esp_sa"
)

func (Send) action()          {}
func (Keepalive) action()     {}
func (IKEUp) action()         {}
func (IKERekeyed) action()    {}
func (IKEDown) action()       {}
func (IKESuperseded) action() {}
func (ChildUp) action()       {}
func (ChildRekeyed) action()  {}
func (ChildDown) action()     {}
func (ChildFailed) action()   {}
func (PeerMoved) action()     {}
func (Log) action()           {}
func (KeyLog) action()        {}
