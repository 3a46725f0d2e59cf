package bgp

import (
	"net/netip"
	"time"
)

// Speaker keeps the sessions with the peers. Its methods return at once and are safe for concurrent use; what comes of
// them arrives as events.
type Speaker interface {
	// Apply makes the sessions what cfg says. Sessions whose settings are the same stay up. It fails only for what
	// cannot be tried at all.
	Apply(cfg Config) error
	// Advertise tells a peer of routes. The last word about a prefix counts; nothing is sent if the session is not the
	// one that is named.
	Advertise(peer netip.Addr, session uint64, list []Advertisement)
	// EndOfRIB ends the first telling of everything, behind what was advertised before (RFC 4724 §2). Peers that know
	// nothing of it hear nothing.
	EndOfRIB(peer netip.Addr, session uint64)
	// Lost ends a session that has no way to its peer any more, without a word. A listed peer is tried again at once, a
	// dynamic one is forgotten; with graceful restart its paths may stay.
	Lost(peer netip.Addr, session uint64, reason string)
	// Nudge says that there is a new way to a peer: it is tried at once, and often for a few seconds.
	Nudge(peer netip.Addr)
	// Recovered says that the router has heard what its peers have since it began: from now on it does not tell them that
	// it has restarted.
	Recovered()
	// Forget lets a dynamic peer come again that was to stay away.
	Forget(peer netip.Addr)
	// Clear resets the sessions with a peer (ClearHard), or asks for its paths again (ClearSoftIn). An address that is
	// not valid means all peers.
	Clear(peer netip.Addr, how Clear)
	// TooMany ends a session whose peer announced more prefixes than it may. A listed peer is tried again after a while, or,
	// when that is 0, when it is cleared; a dynamic one is refused until Forget.
	TooMany(peer netip.Addr, session uint64, text string, again time.Duration)
	// Connected says whether a peer at one hop is on one of our subnets now: sessions with others are not tried.
	Connected(peer netip.Addr, ok bool)
	// Peers is the state of all peers, dynamic ones included, by address.
	Peers() []Peer
	// Close ends all sessions with a CEASE. No event comes after it.
	Close()
}

// Advertisement is a route for a peer; no attributes withdraw it. Its next hop is what the peer is to get.
type Advertisement struct {
	Prefix     netip.Prefix
	Attributes *Attributes
}

// Clear is how sessions are cleared.
type Clear uint8

// The ways to clear.
const (
	ClearHard    Clear = iota // reset the session
	ClearSoftIn               // ask for the peer's paths again (route refresh)
	ClearSoftOut              // tell ours again
	ClearSoft                 // both
)

// State is the state of a session (RFC 4271 §8).
type State uint8

// The states.
const (
	Idle State = iota
	Connect
	Active
	OpenSent
	OpenConfirm
	Established
)

func (s State) String() string {
	if s > Established {
		return "Unknown"
	}
	return [...]string{"Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"}[s]
}

// Messages count messages.
type Messages struct {
	Opens, Updates, Notifications, Keepalives, Refreshes uint64
}

// Total is the sum.
func (m Messages) Total() uint64 {
	return m.Opens + m.Updates + m.Notifications + m.Keepalives + m.Refreshes
}

// Peer is the observed state of a peer.
type Peer struct {
	Address  netip.Addr `json:"address"`
	Group    string     `json:"group,omitempty"`
	RemoteAS uint32     `json:"remote-as"`
	Dynamic  bool       `json:"dynamic,omitempty"`
	External bool       `json:"external"`
	State    State      `json:"state"`
	// Why is what stands in the way, in a word: "Admin", "PfxCt", "no route"; empty when nothing does.
	Why      string         `json:"why,omitempty"`
	Since    time.Time      `json:"since,omitzero"` // of being established, or not
	RouterID netip.Addr     `json:"router-id,omitzero"`
	Local    netip.AddrPort `json:"local,omitzero"`
	Remote   netip.AddrPort `json:"remote,omitzero"`
	Hold     time.Duration  `json:"hold"` // agreed on
	Received Messages       `json:"received"`
	Sent     Messages       `json:"sent"`
	// Established counts how often the session came up, Dropped how often it went down.
	Established uint64 `json:"established"`
	Dropped     uint64 `json:"dropped"`
	// LastReset says why the session last went down or did not come up.
	LastReset   string    `json:"last-reset,omitempty"`
	LastResetAt time.Time `json:"last-reset-at,omitzero"`
	Families    []Family  `json:"-"`
	Signed      bool      `json:"signed,omitempty"`
	// Malformed counts messages that the guard withdrew, repaired or refused.
	Malformed uint64 `json:"malformed,omitempty"`
	// Graceful is what the peer says of graceful restart, nil when it knows nothing of it.
	Graceful *Graceful `json:"graceful-restart,omitempty"`
}

// Graceful is what a peer's OPEN says of graceful restart (RFC 4724 §3).
type Graceful struct {
	// Restarting says that the peer has just restarted.
	Restarting bool `json:"restarting,omitempty"`
	// Time is how long it may take to come back.
	Time time.Duration `json:"restart-time"`
	// Families are those whose paths may be kept, Kept those for which the peer still forwards as before.
	Families []Family `json:"-"`
	Kept     []Family `json:"-"`
}

// Event is what a Speaker reports: *PathEvent, *EndOfRIBEvent, *StateEvent, *RefreshEvent or *Notice. Those of one peer are in order.
type Event any

// PathEvent is a path that a peer announces for some prefixes (Attributes set), or withdraws.
type PathEvent struct {
	Peer       netip.Addr
	Session    uint64
	Prefixes   []netip.Prefix
	Attributes *Attributes
	Received   time.Time
}

// EndOfRIBEvent says that a peer has announced all that it has of a family (RFC 4724 §2).
type EndOfRIBEvent struct {
	Peer    netip.Addr
	Session uint64
	Family  Family
}

// StateEvent says that a session came up or went down. Going down withdraws all paths of the peer, unless it was Lost.
type StateEvent struct {
	Peer     netip.Addr
	Up       bool
	Reason   string // of going down
	Session  uint64 // each has its own number
	RouterID netip.Addr
	RemoteAS uint32
	External bool
	Dynamic  bool
	// Local is our address. Families are what both sides agreed on; none means that of the address. Refresh says that
	// the peer can be asked for its paths again.
	Local    netip.Addr
	Families []Family
	Refresh  bool
	// Graceful is what the peer says of graceful restart, when we do it too.
	Graceful *Graceful
	// Lost says that the session went down without a NOTIFICATION of either side, and both know graceful restart.
	Lost bool
}

// RefreshEvent says that a peer wants to be told everything of a family again (RFC 2918).
type RefreshEvent struct {
	Peer    netip.Addr
	Session uint64
	Family  Family
}

// Notice is something that the operator should read once: a wrong AS, a refused connection, a notification.
type Notice struct {
	Peer     netip.Addr
	Severity int    // as in IOS: 3 error, 4 warning, 5 notification, 6 informational
	Mnemonic string // "NOTIFICATION", "MAXPFX", "BADAS"
	Text     string
}
