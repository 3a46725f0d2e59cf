package nhrp

import (
	"io"
	"net/netip"
	"time"

	"felloe/vpn/nhrp/message"
)

// SessionID names a session: the far end of a tunnel. 0 is none.
type SessionID uint64

// Session is what the machine knows of a session. The Host answers with one; events bring new ones.
type Session struct {
	ID     SessionID
	Tunnel string
	// NBMA is the address that packets really come from, behind whatever NAT.
	NBMA netip.Addr
	// Identity is the IKE identity that the session was authenticated with, as text; SA names the IKE SA. Both are
	// empty on an unprotected tunnel.
	Identity string
	SA       uint64
	// Protected sessions are told apart by identity and SA, unprotected ones by their NBMA address.
	Protected bool
	// Up says that packets can pass.
	Up bool
	// State is a word for the operator: UP, IKE, IPSEC, ...
	State string
	// Data counts data packets in both directions, control traffic not included.
	Data uint64
	// Received counts the data packets that came in; a session that still sends is alive.
	Received uint64
}

// Route is the routed path to an address, NHRP's own routes left out.
type Route struct {
	Prefix    netip.Prefix
	Via       netip.Addr // invalid: directly connected
	Interface string
	// Others are further interfaces that share the traffic.
	Others  []string
	Local   bool // one of our own addresses
	Discard bool
}

// Host is the world around the machine.
type Host interface {
	// Open returns the session of a tunnel to an NBMA address, existing or new. When it is not Up yet, SessionUp comes
	// once it is; it is kept wanted until Close.
	Open(tunnel string, nbma netip.Addr) (Session, error)
	// OpenTemplate does the same for a point-to-point tunnel: the session is on a tunnel of its own, one that is there or a
	// new one made of a virtual template, with its configuration.
	OpenTemplate(tunnel string, template int, nbma netip.Addr) (Session, Config, error)
	// Peer is the session of a point-to-point tunnel; ok is false when it has none.
	Peer(tunnel string) (s Session, ok bool)
	// Session returns a session as it is now; ok is false when it has gone.
	Session(id SessionID) (s Session, ok bool)
	// Close ends a session, with its SAs.
	Close(id SessionID, reason string)
	// Probe has a session's peer asked whether it is alive; SessionDown comes when not.
	Probe(id SessionID)
	// Send sends an NHRP packet over a session.
	Send(id SessionID, packet []byte)

	// SetNeighbour points an overlay next hop at a session; 0 takes it away.
	SetNeighbour(tunnel string, addr netip.Addr, id SessionID)
	// SetMulticast sets the sessions that multicast is replicated to.
	SetMulticast(tunnel string, ids []SessionID)
	// SetGlean sets the session that takes packets to next hops that have none yet (the NHS); 0 takes it away.
	SetGlean(tunnel string, id SessionID)
	// SetShortcut adds or changes an NHRP route; override says that the routing table has exactly this prefix and only
	// its next hop is overridden (%), else it is a route of its own (H). Parents are the interfaces whose traffic the
	// shortcut takes over, when its tunnel is one of its own: then it stands until it is taken away, else only while the
	// routed path leaves by its tunnel.
	SetShortcut(vrf string, prefix netip.Prefix, tunnel string, nextHop netip.Addr, override bool, parents []string)
	// DeleteShortcut takes it away.
	DeleteShortcut(vrf string, prefix netip.Prefix, tunnel string)
	// Lookup is the routed path.
	Lookup(vrf string, dst netip.Addr) (r Route, ok bool)
	// Event tells what happened.
	Event(Event)
}

// NHS is a next hop server of a client.
type NHS struct {
	Address   netip.Addr // its tunnel address; invalid: learned from its first reply
	NBMA      netip.Addr
	Multicast bool
	Priority  uint8 // 0 is the best
	Cluster   uint8
	Down      bool // what is tracked for it is down: it is not used
}

// same reports whether two are the same server, as it may be used or not.
func (n NHS) same(o NHS) bool {
	n.Down = o.Down
	return n == o
}

// Map is a static mapping.
type Map struct {
	Address netip.Addr
	NBMA    netip.Addr
}

// Config is the NHRP configuration of one tunnel.
type Config struct {
	Tunnel    string
	VRF       string
	NetworkID uint32
	// Authentication is the string that every packet carries; empty: none, and none accepted.
	Authentication string
	// Holdtime is how long others may keep what we tell them (600 s).
	Holdtime time.Duration
	// RegistrationTimeout is the time between registrations (a third of Holdtime).
	RegistrationTimeout time.Duration
	// Addresses are our own in the tunnel; the first of a family is the one that we speak as.
	Addresses []netip.Addr
	// NBMA is the source address of the tunnel.
	NBMA             netip.Addr
	NHS              []NHS
	MaxConnections   map[uint8]int // per cluster; 0 or absent: all at once
	Maps             []Map
	Multicast        []netip.Addr // NBMA addresses that always get multicast
	MulticastDynamic bool         // registered clients get multicast
	Shortcut         bool         // act on redirects
	Redirect         bool         // send them
	Unique           bool         // register with the unique flag
	ServerOnly       bool         // answer, but never ask
	MaxSend          MaxSend      // of all packets sent; zero: no limit
	// PointToPoint tunnels have one far end. Their shortcuts are tunnels of their own, which are made of the virtual template
	// ShortcutTemplate; without one they make none and answer no request that came over a hub.
	PointToPoint     bool
	ShortcutTemplate int
	// Clone says that it is such a tunnel, or a hub's tunnel to a spoke: made of a template, and gone with its session.
	Clone bool
	// Instance tells two tunnels of one name apart.
	Instance uint32
	MTU      uint16 // told to peers; 0: nothing told
}

// MaxSend is how many packets a tunnel may send in how long a time.
type MaxSend struct {
	Packets int
	Every   time.Duration
}

// Limits bound what hostile or broken peers can make the machine hold and send. Zero fields mean the defaults.
type Limits struct {
	Cache   int // entries a tunnel (16,384)
	Pending int // resolutions a tunnel under way (1,024)
	Claims  int // contested registrations a tunnel (256)
	Answers int // answers a tunnel to remember for purges (8,192)
	// Requests, Indications and Errors are packets a second and tunnel that we originate (200, 500, 20).
	Requests, Indications, Errors int
}

// Timers of the machine. Zero fields mean the defaults.
type Timers struct {
	RetryMax     time.Duration // of registrations, doubling from 1 s (64 s)
	ResolveTries int           // requests per resolution, doubling from 1 s (5)
	Negative     time.Duration // how long a refused or failed destination is left alone (60 s)
	// ClaimWait is how long a contested registration waits for the probe of its owner: longer than IKE takes to find a peer
	// dead (100 s). A sign of life refuses it earlier, the owner's end accepts it at once.
	ClaimWait     time.Duration
	DirectWait    time.Duration // how long an answer waits for the direct session before it goes by the hub (5 s)
	SessionWait   time.Duration // how long a shortcut waits for its session (30 s)
	PurgeTries    int           // (3)
	UsageInterval time.Duration // between looks at the data counters near expiry (1 s)
}

// From is where a packet came from.
type From struct {
	Tunnel  string
	Session SessionID
	NBMA    netip.Addr // observed outer source
}

// EventKind is what happened. Its text is the `event` field of the log.
type EventKind string

const (
	EventNHSUp               EventKind = "nhs-up"
	EventNHSDown             EventKind = "nhs-down"
	EventRegistered          EventKind = "registered"           // a client of ours
	EventUnregistered        EventKind = "unregistered"         // a client of ours went
	EventRegistrationRefused EventKind = "registration-refused" // by us (Local) or by our NHS
	EventRegistrationClaim   EventKind = "registration-claim"   // a living registration is claimed by another session
	EventRedirectSent        EventKind = "redirect-sent"
	EventRedirectReceived    EventKind = "redirect-received"
	EventResolutionSent      EventKind = "resolution-sent"
	EventResolutionAnswered  EventKind = "resolution-answered"
	EventResolutionRefused   EventKind = "resolution-refused" // NAK sent (Local) or received
	EventResolutionFailed    EventKind = "resolution-failed"
	EventShortcutInstalled   EventKind = "shortcut-installed"
	EventShortcutRefreshed   EventKind = "shortcut-refreshed"
	EventShortcutExpired     EventKind = "shortcut-expired"
	EventShortcutRemoved     EventKind = "shortcut-removed"
	EventPurged              EventKind = "purged"
	EventAuthMismatch        EventKind = "auth-mismatch"
	EventErrorSent           EventKind = "error-sent"
	EventErrorReceived       EventKind = "error-received"
	EventLoop                EventKind = "loop"
	EventDropped             EventKind = "dropped" // malformed or not usable
	EventPacket              EventKind = "packet"  // for debug only: one packet sent or received
)

// Event is one thing that happened. Fields that do not apply are zero.
type Event struct {
	Kind    EventKind
	Tunnel  string
	VRF     string
	Session SessionID
	Peer    netip.Addr // tunnel address
	NBMA    netip.Addr
	Prefix  netip.Prefix
	NextHop netip.Addr
	// Identity of the peer's session, when it has one.
	Identity string
	Local    bool // our own decision rather than the peer's
	Reason   string
	// Packet is what EventPacket is about.
	Packet PacketInfo
}

// PacketInfo is what is told of one packet, for debugging: never the authentication string.
type PacketInfo struct {
	Type      message.Type
	RequestID uint32
	HopCount  uint8
	Size      int
	Src, Dst  netip.Addr // protocol addresses
	SrcNBMA   netip.Addr
	Code      string     // of the first entry, or of the error
	Hold      uint16     // of the first entry
	NextHop   netip.Addr // of the first entry
	NBMA      netip.Addr // of the first entry
	PrefixLen uint8
	Entries   int
}

// info describes a packet.
func info(p *message.Packet, size int) PacketInfo {
	i := PacketInfo{Type: p.Type, RequestID: p.RequestID, HopCount: p.HopCount, Size: size, Src: p.SrcProto, Dst: p.DstProto, SrcNBMA: p.SrcNBMA, Entries: len(p.CIEs)}
	switch {
	case p.Type == message.ErrorIndication:
		i.Code = p.ErrorCode.String()
	case len(p.CIEs) > 0:
		c := &p.CIEs[0]
		i.Hold, i.NextHop, i.NBMA, i.PrefixLen = c.HoldTime, c.Proto, c.NBMA, c.PrefixLen
		if p.Type.Reply() {
			i.Code = c.Code.String()
		}
	}
	return i
}

// Options of an Engine.
type Options struct {
	Host   Host
	Rand   io.Reader
	Limits Limits
	Timers Timers
}
