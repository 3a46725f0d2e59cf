package client

import (
	"net/netip"
	"time"
)

// Config is a client block.
type Config struct {
	Name   string
	Tunnel string
	// Off says why the block has nothing to do, whatever else is said: its tunnel is shut. Empty: it has.
	Off   string
	Peers []Peer // the best first
	// Manual: only while Connect was said. Wanted: only while this holds.
	Manual             bool
	Wanted             Condition
	Sources            []Source // the best first; none: the tunnel knows its own
	IPv6               bool     // the family of the outer packets
	Reactivate         bool
	ReactivateInterval time.Duration
	BackupGroup        string
	BackupInterface    string
}

// Condition is a tracked object in a state; the zero value always holds.
type Condition struct {
	Track int
	Down  bool
}

// Peer is a hub, by address or by name.
type Peer struct {
	Seq     uint32
	Address netip.Addr
	FQDN    string
	IPv6    bool // which addresses of the name
	While   Condition
}

// Source is an interface that sessions may come from.
type Source struct {
	Seq       uint32
	Interface string
	Track     int // it must be up; 0: none
}

// Call is a session that is to be, or is there. Its number never comes twice.
type Call struct {
	ID             uint64
	Client, Tunnel string
	Seq            uint32
	Peer           netip.Addr
	FQDN           string
	Source         string     // interface; empty: the tunnel's own source
	Local          netip.Addr // its address
	RedirectedFrom netip.Addr
}

// Query is a name to resolve.
type Query struct {
	ID     uint64
	Client string
	Name   string
	IPv6   bool
}

// Host does what the clients decide.
type Host interface {
	// Dial ends what the call's tunnel has and calls. Up or Failed answers, and later Down.
	Dial(c Call)
	// Hangup ends what a tunnel has, and what is prepared.
	Hangup(client, tunnel, reason string)
	// Prepare calls beside what the tunnel has. Prepared or Failed answers.
	Prepare(c Call)
	// Commit moves the tunnel to a call that is prepared; Up follows.
	Commit(c Call, reason string) error
	// Abandon gives up what was prepared or is being.
	Abandon(c Call, reason string)
	// Resolve asks for the addresses of a name; Resolved answers.
	Resolve(q Query)
	// Backup brings the interface of a dial backup up or takes it down.
	Backup(ifname string, up bool, client string)
	// Event is something for the log.
	Event(e Event)
}

// EventKind is what an Event tells.
type EventKind uint8

const (
	Dialing    EventKind = iota + 1 // a peer is called
	Connected                       // the session is up
	Lost                            // the session has ended
	Failed                          // an attempt has failed
	Preparing                       // a better peer is called, beside the session
	Moved                           // the tunnel goes to what was prepared
	Unresolved                      // a name has no address
	Exhausted                       // no peer is left; Wait says how long until the next round
	Idle                            // there is nothing to try; Reason says why
	Redirected                      // Peer has sent us to To
)

func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return "unknown"
}

var eventNames = [...]string{"unknown", "dialing", "connected", "lost", "failed", "preparing", "moved", "unresolved", "exhausted", "idle", "redirected"}

// Event is something for the log.
type Event struct {
	Kind           EventKind
	Client, Tunnel string
	Call           Call
	Assigned       []netip.Prefix
	Reason         string
	Wait           time.Duration
	To             netip.Addr
}

// Up is what a session that has come up is.
type Up struct {
	Local    netip.Addr
	Assigned []netip.Prefix
}

// State is what a client is doing.
type State string

const (
	StateIdle        State = "IDLE"        // not wanted, or no source or peer can be used
	StateTracking    State = "TRACKING"    // waits for the object that says when to connect
	StateNegotiation State = "NEGOTIATION" // a peer is being called
	StateWaiting     State = "WAITING"     // between two rounds
	StateActive      State = "ACTIVE"      // the session is up
)

// The machine's times.
const (
	// AttemptTime is how long one attempt may take.
	AttemptTime = 10 * time.Second
	// ResolveTime is how long an answer to Resolve may take.
	ResolveTime = 30 * time.Second
	// RetryBase and RetryMax are the pause after a round in which nobody answered; it doubles.
	RetryBase = time.Second
	RetryMax  = 30 * time.Second
	// Stable is how long a session must have lasted for the next to be tried without a pause.
	Stable = 10 * time.Second
	// BackupDelay is how long a session may be away before its dial backup comes up although peers are left to try, and how
	// long the backup stays when it is back.
	BackupDelay = 5 * time.Second
	// maxRedirects bounds how often one attempt is sent on.
	maxRedirects = 5
)
