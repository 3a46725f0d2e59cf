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
	SignScheme    Scheme // what AuthSign is in full: "PSK", "RSA", "RSA-PSS", "ECDSA-256", "Ed25519", and its hash
	VerifyScheme  Scheme
	// PeerCertificate and LocalCertificate are nil where a side proved itself with a key.
	PeerCertificate, LocalCertificate *CertificateInfo
	LocalID                           Identity
	RemoteID                          Identity
	SPIi, SPIr                        uint64
	Lifetime                          time.Duration
	Created                           time.Time // of these keys
	Established                       time.Time // of the SAID
	Active                            time.Duration
	RekeyAt                           time.Time
	SendMessageID                     uint32 // next request of ours
	RecvMessageID                     uint32 // next request of the peer's
	Window                            int
	Queued                            int // requests waiting for the window
	DPD                               DPD
	NAT                               NAT
	Fragmentation                     bool
	LastHeard                         time.Time
	Children                          []ChildInfo
	Tag                               any
	MOBIKE                            bool          // both sides do RFC 4555
	UDPEncap                          bool          // children's ESP travels in UDP
	PeerAddresses                     []netip.Addr  // more addresses of the peer's (MOBIKE)
	Vendors                           []string      // vendor IDs of the peer's that we know
	Authorization                     string        // name of the authorization policy
	Assigned                          Configuration // what the peer was given and told
	Received                          Configuration // what the peer gave and told us
	SupersededBy                      SAID          // another SA, when both routers began one at once; 0 when not
	FollowsRedirects                  bool          // the initiator does (RFC 5685)
	RedirectedFrom                    netip.Addr    // the gateway that sent the initiator to the responder
	RedirectedTo                      netip.Addr    // where the responder has sent it: the SA is about to go
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
	UnknownESP       uint64 // ESP packets that the driver reported
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
	Panics           uint64
	// Configuration payloads: CFG_SETs sent, taken and not taken, and attributes ignored.
	ConfigsSent, ConfigsReceived, ConfigsIgnored, UnknownAttributes uint64
	// Redirects (RFC 5685): peers of ours that we sent elsewhere; gateways' advice that we followed and that we did not.
	RedirectsSent, RedirectsFollowed, RedirectsIgnored uint64
	RedirectsRefused                                   uint64 // peers for which no gateway had room
	HalfOpen                                           int    // now
}

// Snapshot is all IKE SAs, in the order of their SAID.
func (e *Engine) Snapshot(now time.Time) []SAInfo {
	out := make([]SAInfo, 0, len(e.sessions))
	for _, id := range sortedKeys(e.sessions) {
		out = append(out, e.sessions[id].info(now))
	}
	return out
}

func (s *session) info(now time.Time) SAInfo {
	sa := s.cur
	life := s.profile.Lifetime
	if life <= 0 {
		life = DefaultIKELifetime
	}
	i := SAInfo{
		ID: s.id, VRF: s.vrf, IVRF: s.profile.IVRF, Local: s.local, Remote: s.remote, Initiator: s.initiator, State: sa.state.String(),
		Profile: s.profile.Name, Policy: s.policy, Suite: sa.suite, AuthSign: s.signed, AuthVerify: s.verified,
		SignScheme: s.signScheme, VerifyScheme: s.verifyScheme, PeerCertificate: certificateInfo(s.peerCert, s.peerTrustpoint), LocalID: s.localID,
		RemoteID: s.remoteID, SPIi: sa.spiI, SPIr: sa.spiR, Lifetime: life, Created: sa.created, Established: s.established,
		RekeyAt: sa.rekeyAt, SendMessageID: sa.sendID, RecvMessageID: sa.recvID, Window: 1, Queued: len(sa.tasks) + len(sa.delayed),
		DPD: s.profile.DPD, NAT: s.nat, Fragmentation: s.fragments, LastHeard: s.lastHeard, Tag: s.tag,
	}
	if !s.established.IsZero() {
		i.Active = max(0, now.Sub(sa.created))
	}
	if t := s.trustpoint; t != nil {
		i.LocalCertificate = certificateInfo(t.Chain[0], t.Name)
	}
	i.MOBIKE, i.UDPEncap, i.PeerAddresses, i.Vendors = s.mobike, s.natted(), s.addresses, s.vendors.names()
	i.Authorization, i.Assigned, i.Received = s.assigned.Policy, s.assigned, s.received
	if s.supersededBy != nil {
		i.SupersededBy = s.supersededBy.id
	}
	i.FollowsRedirects, i.RedirectedFrom, i.RedirectedTo = s.redirectable, s.redirectedFrom, s.redirectedTo
	if s.initiator {
		i.FollowsRedirects = s.takesRedirects()
	}
	for _, c := range s.kids {
		state := "READY"
		switch {
		case c.state == childDeleting:
			state = "DELETE"
		case c.state == childReplaced:
			state = "REKEYED"
		case c.rekey != nil:
			state = "REKEYING"
		}
		i.Children = append(i.Children, ChildInfo{ID: c.id, Policy: c.policy.Name, State: state, SPIIn: c.spiIn, SPIOut: c.spiOut, Suite: c.suite,
			Mode: c.mode, ESN: c.esn, PFS: c.pfs, TSLocal: c.tsLocal, TSRemote: c.tsRemote, Created: c.created, RekeyAt: c.rekeyAt, Expires: c.expires})
	}
	return i
}
