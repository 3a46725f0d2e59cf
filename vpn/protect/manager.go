package protect

import (
	"errors"
	"io"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/netstack/esp"
	"felloe/netstack/loop"
	"felloe/vpn/ikev2"

	"github.com/rs/zerolog"
)

// Engine is the IKEv2 machine. *ikev2.Engine is one.
type Engine interface {
	Receive(now time.Time, d ikev2.Datagram) []ikev2.Action
	Initiate(now time.Time, r ikev2.InitiateRequest) (ikev2.SAID, []ikev2.Action)
	Tick(now time.Time) []ikev2.Action
	Deadline() (time.Time, bool)
	CreateChild(now time.Time, id ikev2.SAID, policy string, tag any) []ikev2.Action
	RekeyIKE(now time.Time, id ikev2.SAID) []ikev2.Action
	RekeyChild(now time.Time, id ikev2.ChildID) []ikev2.Action
	DeleteIKE(now time.Time, id ikev2.SAID, reason string) []ikev2.Action
	DeleteChild(now time.Time, id ikev2.ChildID, reason string) []ikev2.Action
	DeleteAll(now time.Time, reason string) []ikev2.Action
	Probe(now time.Time, id ikev2.SAID) []ikev2.Action
	NoteTraffic(now time.Time, id ikev2.SAID, received, sent bool) []ikev2.Action
	NoteMoved(now time.Time, id ikev2.SAID, remote netip.AddrPort) []ikev2.Action
	UnknownSPI(now time.Time, vrf string, local, remote netip.Addr, spi uint32) []ikev2.Action
	DropSA(id ikev2.SAID)
	SendConfiguration(now time.Time, id ikev2.SAID, c ikev2.Configuration) []ikev2.Action
	Reauthorize(now time.Time) []ikev2.Action
	Snapshot(now time.Time) []ikev2.SAInfo
}

// Dataplane is where SAs go and datagrams come from. *netstack.Dataplane is one.
type Dataplane interface {
	VRF(name string) (*netstack.VRF, bool)
	AddInboundFor(in *esp.Inbound, s *netstack.Session, sel *netstack.Selectors) error
	RemoveInbound(spi uint32)
}

// Options are what a Manager is made of. Loop, Dataplane and Engine are needed.
type Options struct {
	Loop      *loop.Loop
	Dataplane Dataplane
	Engine    Engine
	Log       zerolog.Logger
	// Events hears of sessions, on the loop, after the actions of the same moment were carried out. It may call the
	// Manager.
	Events func(Event)
	// Exchanged hears of what concerns an IKE SA as a whole: ikev2.IKEUp, PeerMoved, IKEDown, ConfigReceived and ConfigAcknowledged,
	// on the loop, in their order with the events of sessions: an IKEUp before its sessions' Up, an IKEDown after their Down.
	Exchanged func(ikev2.Action)
	// Carried is told once what an IKE SA that was up has carried, when it is gone and before Exchanged hears of it.
	Carried func(ikev2.SAID, Traffic)
	// Way is the way that an IKE message takes to its peer when it must not be the FIB's: into a tunnel, for instance, that
	// the peer is to be called outside of. A nil interface is the FIB's. It may be nil.
	Way func(vrf string, to netip.Addr) (i *netstack.Interface, via netip.Addr)
	// KeyLog gets key material when the engine is configured to emit it: only ever in a lab.
	KeyLog KeyLog
	// Rand makes back-off jitter and CBC's IVs; nil means crypto/rand.
	Rand io.Reader
	// Retry is how failed negotiations are repeated.
	Retry Retry
}

// Retry is the back-off of a wanted session: Base, Base*2, … up to Max, each with up to a fifth of jitter.
type Retry struct {
	Base time.Duration // default 1 s; five times that after a failure that only configuration mends
	Max  time.Duration // default 30 s
}

// EventKind is what happened to a session.
type EventKind uint8

const (
	// Up: packets can be sent and received.
	Up EventKind = iota + 1
	// Down: they cannot any more. A session that a peer began is closed right after.
	Down
	// Moved: the far end has a new outer address or port.
	Moved
	// Replaced: another IKE SA with the same identity serves the session now (both sides had initiated at once).
	Replaced
	// Changed: a VTI's session has SAs for other packets than before; see SessionInfo for their selectors.
	Changed
	// Answering: what answers the peer's packets can be sent. It comes before Up to the responder, which begins to send
	// by itself a moment later: routes to the peer that its own packets need belong here.
	Answering
	// Lapsed: an Answering session has ended without Up.
	Lapsed
	// Failed: what Reconnect or Prepare has begun was not to be had. It is not tried again, and the session is closed.
	Failed
	// Prepared: what Prepare has begun can be sent on: Commit moves the tunnel there.
	Prepared
	// Redirected: the peer sends us to another gateway, To (RFC 5685). The session ends when that is done.
	Redirected
)

func (k EventKind) String() string {
	switch k {
	case Up:
		return "up"
	case Down:
		return "down"
	case Moved:
		return "moved"
	case Replaced:
		return "replaced"
	case Changed:
		return "changed"
	case Answering:
		return "answering"
	case Lapsed:
		return "lapsed"
	case Failed:
		return "failed"
	case Prepared:
		return "prepared"
	case Redirected:
		return "redirected"
	}
	return "unknown"
}

// Event tells of a session.
type Event struct {
	Kind    EventKind
	Session *netstack.Session
	Tunnel  *netstack.Tunnel
	Peer    ikev2.Identity
	IKE     ikev2.SAID
	OldIKE  ikev2.SAID // Replaced: the one that goes
	Remote  netip.AddrPort
	Reason  string // Down, Failed
	Err     error  // Down, Failed: one of ikev2's sentinels, when it is known
	// Successor is the session that the tunnel goes on with (Down by Commit). Its Up follows at once.
	Successor *netstack.Session
	To        netip.Addr     // Redirected
	From      netip.AddrPort // Moved: where it was

	released  *tunnel
	exchanged ikev2.Action
}

// TunnelProtection says how a tunnel is protected.
type TunnelProtection struct {
	IKEProfile  string     // name in the engine's configuration
	ChildPolicy string     // name in the engine's configuration: one a tunnel, or one for all that share an SA
	VRF         string     // front VRF; empty: "default"
	Local       netip.Addr // tunnel source; invalid: the tunnel's, or else the VRF's choice towards the peer
	// Passive never initiates: it waits for the peer.
	Passive bool
	// OnTraffic initiates for a configured destination at the first packet, not at once.
	OnTraffic bool
	// VolumeBytes is the lifetime of a pair of SAs in bytes sent or received, 0 for none: at four fifths it is rekeyed.
	VolumeBytes uint64
	// IdleTime ends a session that carried no data for so long, 0 for never. A Dynamic tunnel's stays: who chooses the far end
	// would take it for dead, and call another one.
	IdleTime time.Duration
	// Ask has the peer asked for addresses of our own: the unspecified address of each family that is wanted. Such a
	// tunnel's sessions have IKE SAs of their own.
	Ask []netip.Addr
	// Dynamic: the far end is chosen by Reconnect and Prepare while the tunnel runs, nobody else may come, and what fails
	// is told (Failed) and not tried again. Such a tunnel's sessions have IKE SAs of their own.
	Dynamic bool
}

// Manager protects tunnels. All methods must be called on the control loop, unless they say otherwise.
type Manager struct {
	o     Options
	loop  *loop.Loop
	clock clock.Clock

	logSessions bool

	seq        uint64 // of tunnels and sessions
	tunnels    map[*tunnel]struct{}
	byNet      map[*netstack.Session]*session
	byTunnel   map[*netstack.Tunnel]*tunnel
	byPolicy   map[string][]*tunnel // configured ones
	templates  map[string]*template
	templateOf map[string]*template // by child policy
	attempts   map[ikev2.SAID]map[*session]struct{}
	ikes       map[ikev2.SAID]*ikeSA
	ikesAt     map[netip.Addr]map[*ikeSA]struct{}
	ikesIn     map[string]int // by front VRF
	pairs      map[ikev2.ChildID]*pair
	bySPI      map[uint32]*pair
	linger     map[uint32]clock.Timer
	lingering  map[uint32]*pair
	sockets    map[string]*sockets
	// idleSockets: some VRF has no tunnel any more, its ports are to be closed.
	idleSockets bool

	queue  []ikev2.Action
	events []Event
	late   []Event // told when no session has anything left to settle
	dirty  []*session
	busy   bool

	timer    clock.Timer
	timerAt  time.Time
	poll     clock.Timer
	quiet    *quiet
	asked    asked
	counters Counters
	refused  atomic.Uint64 // by data workers

	closing *shutdown
}

// New makes a Manager. It sends and hears nothing before AddTunnel.
func New(o Options) (*Manager, error) {
	if o.Loop == nil || o.Dataplane == nil || o.Engine == nil {
		return nil, errors.New("protect: Options need Loop, Dataplane and Engine")
	}
	if o.Rand == nil {
		o.Rand = randReader
	}
	if o.Retry.Base <= 0 {
		o.Retry.Base = time.Second
	}
	if o.Retry.Max <= 0 {
		o.Retry.Max = 30 * time.Second
	}
	return &Manager{
		o: o, loop: o.Loop, clock: o.Loop.Clock(),
		byNet: map[*netstack.Session]*session{}, byTunnel: map[*netstack.Tunnel]*tunnel{}, byPolicy: map[string][]*tunnel{},
		tunnels: map[*tunnel]struct{}{}, templates: map[string]*template{}, templateOf: map[string]*template{},
		attempts: map[ikev2.SAID]map[*session]struct{}{}, ikesAt: map[netip.Addr]map[*ikeSA]struct{}{}, ikesIn: map[string]int{},
		ikes: map[ikev2.SAID]*ikeSA{}, pairs: map[ikev2.ChildID]*pair{}, bySPI: map[uint32]*pair{},
		linger: map[uint32]clock.Timer{}, lingering: map[uint32]*pair{}, sockets: map[string]*sockets{},
		quiet: newQuiet(), asked: asked{open: map[[16]byte]question{}},
	}, nil
}

func (m *Manager) now() time.Time { return m.clock.Now() }

// run carries out actions, settles the sessions that they touched, tells the events, and sets the timer. What Events
// does in turn (Open, Close) is queued behind.
func (m *Manager) run(acts []ikev2.Action) {
	m.queue = append(m.queue, acts...)
	if m.busy {
		return
	}
	m.busy = true
	finished := false
	defer func() {
		m.busy = false
		if !finished {
			// The panic goes up to the loop, which counts it; what is left of the queue is not its fault.
			m.loop.Post("ike actions after a panic", func() { m.run(nil) })
		}
	}()
	for len(m.queue) > 0 || len(m.dirty) > 0 || len(m.events) > 0 || len(m.late) > 0 {
		switch {
		case len(m.queue) > 0:
			a := m.queue[0]
			m.queue[0] = nil
			m.queue = m.queue[1:]
			m.guard(func() ikev2.SAID { return saOf(a) }, func() { m.apply(a) })
		case len(m.dirty) > 0:
			s := m.dirty[0]
			m.dirty = m.dirty[1:]
			s.dirty = false
			m.settle(s)
		case len(m.events) == 0:
			m.events, m.late = m.late, nil
		default:
			e := m.events[0]
			m.events = m.events[1:]
			switch {
			case e.Kind == gone:
				e.Session.Close()
				if e.released != nil {
					m.release(e.released)
				}
			case e.exchanged != nil:
				if m.o.Exchanged != nil {
					m.o.Exchanged(e.exchanged)
				}
			case m.o.Events != nil:
				m.o.Events(e)
			}
		}
	}
	m.queue, m.events, m.dirty = m.queue[:0:0], m.events[:0:0], m.dirty[:0:0]
	finished = true
	m.rearm()
	m.closeSockets()
	m.watchShutdown()
}

// guard runs f. When it panics the SA to blame is dropped without a word; the panic goes on to the loop.
func (m *Manager) guard(blame func() ikev2.SAID, f func()) {
	finished := false
	defer func() {
		if !finished {
			m.contain(blame())
		}
	}()
	f()
	finished = true
}

// contain drops an IKE SA and what hangs on it after a panic in its code: its peer will find out by DPD.
func (m *Manager) contain(id ikev2.SAID) {
	if id == 0 {
		return
	}
	m.counters.Contained++
	m.o.Engine.DropSA(id)
	defer m.loop.Post("ike actions after a panic", func() { m.run(nil) })
	ike := m.ikes[id]
	if ike == nil {
		return
	}
	for _, p := range slices.Collect(maps.Values(ike.pairs)) {
		m.dropPair(p, "contained a panic")
	}
	for _, s := range m.sessionsOf(id) {
		m.failed(s, errContained, "contained a panic")
	}
	m.dropIKE(ike)
	m.afterSettling(ikev2.IKEDown{SA: id, Established: ike.established, Reason: "contained a panic", Err: errContained})
}

var errContained = errors.New("contained a panic")

// rearm sets the timer to the engine's deadline.
func (m *Manager) rearm() {
	at, ok := m.o.Engine.Deadline()
	switch {
	case !ok:
		if m.timer != nil {
			m.timer.Stop()
			m.timer = nil
		}
		return
	case m.timer != nil && at.Equal(m.timerAt):
		return
	case m.timer != nil:
		m.timer.Stop()
	}
	m.timerAt = at
	m.timer = m.loop.After("ike timer", max(at.Sub(m.now()), 0), m.tick)
}

func (m *Manager) tick() {
	m.timer = nil
	m.run(m.o.Engine.Tick(m.now()))
}

// markAll marks a session and those that share its SAs.
func (m *Manager) markAll(s *session) {
	for _, x := range append(m.followers(s), s) {
		m.mark(x)
	}
}

// mark puts a session on the list of those whose state is looked at when the actions of this moment are done.
func (m *Manager) mark(s *session) {
	if !s.dirty {
		s.dirty = true
		m.dirty = append(m.dirty, s)
	}
}
