package protect

import (
	"net/netip"
	"time"

	"felloe/netstack"
	"felloe/netstack/esp"
	"felloe/netstack/packet"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"
)

// State is what a session is doing.
type State uint8

const (
	StateIdle        State = iota // nothing: a passive one, or one that waits for traffic
	StateNegotiating              // IKE is at it
	StateRetrying                 // the last attempt failed, RetryAt says when the next is
	StateUp                       // SAs are there
)

func (s State) String() string {
	switch s {
	case StateNegotiating:
		return "negotiating"
	case StateRetrying:
		return "retrying"
	case StateUp:
		return "up"
	}
	return "idle"
}

// Info is a session as it stands, for show commands and for who must know whom it talks to.
type Info struct {
	Tunnel     string
	Template   string // that the tunnel was cloned from
	VRF        string // front
	Profile    string // IKE
	Policy     string // child
	Session    *netstack.Session
	NBMA       netip.Addr
	Local      netip.AddrPort
	Remote     netip.AddrPort // of IKE; invalid before the peer answered
	Peer       ikev2.Identity // authenticated; zero before
	LocalID    ikev2.Identity
	IKE        ikev2.SAID
	AuthMethod ikev2.AuthMethod
	State      State
	Since      time.Time
	Wanted     bool // opened here
	SharedWith string
	UDPEncap   bool
	NAT        ikev2.NAT
	Failures   int // in a row
	LastError  error
	LastReason string
	LastFailed time.Time
	RetryAt    time.Time
	Totals     Totals
	Pairs      []PairInfo
}

// PairInfo is one pair of Child SAs.
type PairInfo struct {
	Child         ikev2.ChildID
	IKE           ikev2.SAID
	SPIIn, SPIOut uint32
	Mode          esp.Mode
	Suite         esp.Suite
	ESN           bool
	PFS           suite.Group
	UDPEncap      bool
	Sending       bool // the session sends on it
	Initiator     bool
	Local, Remote netip.AddrPort
	TSLocal       []ikev2.TrafficSelector
	TSRemote      []ikev2.TrafficSelector
	Made, Expires time.Time
	PathMTU       int
	PlainMTU      int // the longest packet that fits the path once it is sealed
	VolumeBytes   uint64
	ReplayWindow  int
	In, Out       esp.Counters
	SequenceIn    uint64
	SequenceOut   uint64
}

// Sessions are all sessions, by tunnel and in the order of their beginning.
func (m *Manager) Sessions() []Info {
	var out []Info
	for _, t := range m.ordered() {
		for _, s := range t.ordered() {
			out = append(out, m.info(s))
		}
	}
	return out
}

// SessionInfo is the state of one session; false when it is not one of ours (any more).
func (m *Manager) SessionInfo(n *netstack.Session) (Info, bool) {
	s := m.byNet[n]
	if s == nil {
		return Info{}, false
	}
	return m.info(s), true
}

// SAInfo tells whose SA opened a packet: the IKE SA and the identity that a registration is bound to.
func (m *Manager) SAInfo(sa packet.SA) (id ikev2.SAID, peer ikev2.Identity, ok bool) {
	if sa == nil {
		return 0, ikev2.Identity{}, false
	}
	p := m.bySPI[sa.SPI()]
	if p == nil {
		p = m.lingering[sa.SPI()]
	}
	if p == nil || packet.SA(p.in) != sa {
		return 0, ikev2.Identity{}, false
	}
	return p.up.SA, p.up.Peer, true
}

func (m *Manager) info(s *session) Info {
	i := Info{
		Tunnel: s.t.name, VRF: s.t.cfg.VRF, Profile: s.t.cfg.IKEProfile, Policy: s.t.cfg.ChildPolicy,
		Session: s.net, NBMA: s.nbma, Remote: s.remote, Peer: s.peer, LocalID: s.self, IKE: s.ike, NAT: s.nat,
		State: s.state(), Since: s.since, Wanted: s.wanted, Failures: s.failures, LastError: s.lastErr, LastReason: s.lastWhy,
		LastFailed: s.lastAt, RetryAt: s.retryAt, Totals: s.total,
	}
	if s.t.template != nil {
		i.Template = s.t.template.Name
	}
	if p := s.live(); p != nil {
		i.Local, i.UDPEncap, i.AuthMethod = p.up.Local, p.up.UDPEncap, p.up.AuthMethod
	}
	pairs := s.pairs
	if s.shared != nil {
		i.SharedWith, pairs = s.shared.t.name, s.shared.pairs
	}
	for _, p := range pairs {
		outer := 20
		if p.up.Remote.Addr().Is6() {
			outer = 40
		}
		path := s.net.PathMTU()
		i.Pairs = append(i.Pairs, PairInfo{
			Child: p.up.Child, IKE: p.up.SA, SPIIn: p.up.SPIIn, SPIOut: p.up.SPIOut, Mode: p.up.Mode, Suite: p.up.Suite, ESN: p.up.ESN,
			PFS: p.up.PFS, UDPEncap: p.up.UDPEncap, Sending: p.slot.tx == p, Initiator: p.up.Initiator, Local: p.up.Local, Remote: p.up.Remote,
			TSLocal: p.up.TSLocal, TSRemote: p.up.TSRemote, Made: p.made, Expires: p.up.Expires, VolumeBytes: p.s.t.cfg.VolumeBytes,
			PathMTU: path, PlainMTU: p.out.MaxPayload(path - outer),
			ReplayWindow: p.in.Window(), In: p.in.Counters(), Out: p.out.Counters(), SequenceIn: p.in.Sequence(), SequenceOut: p.out.Sequence(),
		})
	}
	return i
}

func (s *session) state() State {
	switch {
	case s.live() != nil && (s.told || s.live().ready):
		return StateUp
	case s.attempt != 0, s.live() != nil:
		return StateNegotiating
	case s.retry != nil:
		return StateRetrying
	}
	return StateIdle
}

// Counters count what the Manager did and refused.
type Counters struct {
	IKEUps, IKEDowns, IKEFailures, IKERekeys uint64
	ChildUps, ChildDowns, ChildFailures      uint64
	ChildRekeys, VolumeRekeys, IdleDeletes   uint64
	VolumeDeletes                            uint64 // lifetimes that no rekey came in time for
	Superseded, Moves, Failures              uint64
	NoSA, UnknownSPI                         uint64
	Homeless                                 uint64 // child SAs of peers that no tunnel is for
	CloneFailures                            uint64 // of those, when a template could not make a tunnel
	Unsent                                   uint64 // datagrams that no route or interface took
	Contained                                uint64 // SAs dropped after a panic
	Refused                                  uint64 // datagrams and punts that the loop had no room for
}

// Counters are the counts since the beginning.
func (m *Manager) Counters() Counters {
	c := m.counters
	c.Refused = m.refused.Load()
	return c
}
