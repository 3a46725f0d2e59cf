package ikev2

import (
	"net/netip"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/suite"
)

// SAInfo is one IKE SA for show commands.
type SAInfo struct {
	ID            SAID
	VRF           string // front
	IVRF          string
	Local, Remote netip.AddrPort
	Initiator     bool
	State         string // IOS's words: READY, IN-NEG, DELETE
	Profile       string
	Policy        string
	Suite         suite.IKE
	AuthSign      AuthMethod
	AuthVerify    AuthMethod
	LocalID       Identity
	RemoteID      Identity
	SPIi, SPIr    uint64
	Lifetime      time.Duration
	Created       time.Time // of these keys
	Established   time.Time // of the SAID
	Active        time.Duration
	RekeyAt       time.Time
	SendMessageID uint32 // next request of ours
	RecvMessageID uint32 // next request of the peer's
	Window        int
	Queued        int // requests waiting for the window
	DPD           DPD
	NAT           NAT
	Fragmentation bool
	LastHeard     time.Time
	Children      []ChildInfo
	Tag           any
}

// ChildInfo is one pair of Child SAs for show commands.
type ChildInfo struct {
	ID            ChildID
	Policy        string
	State         string // READY, REKEYING, REKEYED, DELETE
	SPIIn, SPIOut uint32
	Suite         esp.Suite
	Mode          esp.Mode
	ESN           bool
	PFS           suite.Group
	TSLocal       []TrafficSelector
	TSRemote      []TrafficSelector
	Created       time.Time
	RekeyAt       time.Time
	Expires       time.Time
}

// Counters count what the machine refused and did; for show commands and metrics.
type Counters struct {
	Received, Sent   uint64
	Malformed        uint64 // no IKE header, or payloads that do not parse
	DecryptFailed    uint64 // integrity check failed; the message is dropped
	UnknownSPI       uint64 // for no SA of ours
	WindowDropped    uint64 // message id outside the window, or a response nobody waits for
	Retransmitted    uint64 // requests of ours sent again
	Resent           uint64 // cached responses sent again
	CookiesSent      uint64
	CookiesBad       uint64
	HalfOpenRefused  uint64
	FragmentsDropped uint64
	AuthFailed       uint64
	Established      uint64
	Failed           uint64
}
