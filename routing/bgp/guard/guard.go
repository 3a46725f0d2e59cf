package guard

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"felloe/routing/bgp"
)

// Config is what a Guard checks against.
type Config struct {
	LocalAS uint32
	LocalID netip.Addr
	// ClusterID is ours as a route reflector; paths that hold it are loops.
	ClusterID netip.Addr
	// RemoteAS is the AS that the peer must have; 0 takes any other than ours.
	RemoteAS uint32
	// StandIn is the AS that the engine reads in the peer's OPEN; 0 is the true one.
	StandIn uint32
	// AllowASIn is how often a path may hold our AS.
	AllowASIn int
	// Hold is the hold time that our OPEN says, in seconds. The engine hears of none: it keeps no time.
	Hold uint16
	// IPv4 and IPv6 say which unicast families the session may carry.
	IPv4, IPv6 bool
	// Graceful is what our OPEN says of graceful restart; its families are those of the session. Nil says nothing.
	Graceful *Graceful
}

// PeerOpen is what the peer's OPEN says.
type PeerOpen struct {
	AS        uint32
	ID        netip.Addr
	Hold      uint16 // seconds
	FourOctet bool
	IPv4      bool
	IPv6      bool
	Refresh   bool
	Graceful  *Graceful // nil: it does not know graceful restart
}

// Counters count messages, and what was wrong with them.
type Counters struct {
	In, Out [6]uint64 // by message type
	// Withdrawn counts UPDATEs that were treated as withdrawn, Discarded attributes that were left out, Looped paths
	// that hold us.
	Withdrawn, Discarded, Looped uint64
}

// Guard checks the messages of one connection.
type Guard struct {
	cfg  Config
	open *PeerOpen
	up   bool // the first KEEPALIVE has come

	known map[string]*bgp.Attributes // of the attributes that came last, by their bytes
	size  int                        // of the keys

	in, out                      [6]atomic.Uint64
	withdrawn, discarded, looped atomic.Uint64

	// Fault says what was wrong with the last UPDATE that was not passed on as it was; empty when nothing was.
	Fault string
	// Looped says that it was withdrawn because it has been here.
	Looped bool
}

// New returns a guard for a new connection.
func New(cfg Config) *Guard { return &Guard{cfg: cfg} }

// Open is what the peer's OPEN said, nil before it came. It belongs to FromPeer's side.
func (g *Guard) Open() *PeerOpen { return g.open }

// Established says that the peer has acknowledged our OPEN.
func (g *Guard) Established() bool { return g.up }

// External says whether the peer is in another AS; it is known after the OPEN.
func (g *Guard) External() bool { return g.open != nil && g.open.AS != g.cfg.LocalAS }

// Counters are the counters; safe to call at any time.
func (g *Guard) Counters() Counters {
	var c Counters
	for i := range c.In {
		c.In[i], c.Out[i] = g.in[i].Load(), g.out[i].Load()
	}
	c.Withdrawn, c.Discarded, c.Looped = g.withdrawn.Load(), g.discarded.Load(), g.looped.Load()
	return c
}

// Received is what a message of the peer comes to.
type Received struct {
	// Engine is what the engine gets: an OPEN of ours, the message itself, or nothing.
	Engine []byte
	// Update is what an UPDATE says, Refresh the family that the peer wants to be told again.
	Update  *Update
	Refresh bgp.Family
}

// FromPeer takes a message of the peer. An error is a *Notification; the session is over then.
func (g *Guard) FromPeer(msg []byte) (r Received, err error) {
	if len(msg) < HeaderLen {
		return r, fail(MessageHeaderError, 2, nil, "a message of %d bytes", len(msg))
	}
	if n, err := checkHeader(msg); err != nil {
		return r, err
	} else if n != len(msg) {
		return r, fail(MessageHeaderError, 2, msg[16:18], "a message of %d bytes says that it has %d", len(msg), n)
	}
	kind := msg[18]
	if int(kind) < len(g.in) {
		g.in[kind].Add(1)
	}
	g.Fault, g.Looped = "", false
	switch {
	case kind == NotificationType:
		r.Engine = slices.Clone(msg)
	case g.open == nil && kind != Open, g.open != nil && kind == Open:
		err = fail(FSMError, 0, nil, "message type %d out of turn", kind)
	case kind == Open:
		r.Engine, err = g.fromOpen(msg)
	case kind == Keepalive:
		g.up = true
		r.Engine = slices.Clone(msg)
	case !g.up:
		err = fail(FSMError, 0, nil, "message type %d before the session is up", kind)
	case kind == UpdateType:
		r.Update, err = g.fromUpdate(msg)
	case kind == RouteRefresh:
		r.Refresh = g.fromRefresh(msg)
	} // and the pre-standard route refresh (128), which nobody offered
	return r, err
}

func (g *Guard) fromRefresh(msg []byte) bgp.Family {
	if len(msg) != 23 || msg[21] != 0 {
		return 0 // with outbound filters, or of enhanced route refresh: neither was agreed on
	}
	v6, ok := g.family(msg[19:21], msg[22])
	switch {
	case !ok:
		return 0
	case v6:
		return bgp.IPv6
	}
	return bgp.IPv4
}

// family says whether the session carries an AFI and SAFI, and which it is.
func (g *Guard) family(afi []byte, safi uint8) (v6, ok bool) {
	if safi != 1 || afi[0] != 0 {
		return false, false
	}
	switch afi[1] {
	case 1:
		return false, g.open.IPv4
	case 2:
		return true, g.open.IPv6
	}
	return false, false
}

// RefreshRequests are ROUTE-REFRESH messages for the families of the session, if the peer understands them. They are not
// of the engine; they are counted as sent.
func (g *Guard) RefreshRequests() [][]byte {
	if g.open == nil || !g.up || !g.open.Refresh {
		return nil
	}
	var out [][]byte
	for afi, on := range [...]bool{1: g.open.IPv4, 2: g.open.IPv6} {
		if on {
			out = append(out, finish(append(header(RouteRefresh), 0, byte(afi), 0, 1)))
			g.out[RouteRefresh].Add(1)
		}
	}
	return out
}

// ToPeer takes a message of the engine and returns what the peer gets for it; nothing, when it is not for the peer. Routes
// do not come from the engine.
func (g *Guard) ToPeer(msg []byte) ([]byte, error) {
	out := msg
	var err error
	switch msg[18] {
	case Open:
		out, err = g.toOpen(msg)
	case UpdateType, RouteRefresh:
		return nil, nil
	}
	if kind := msg[18]; int(kind) < len(g.out) && out != nil {
		g.out[kind].Add(1)
	}
	return out, err
}

// Sent counts an UPDATE that went to the peer.
func (g *Guard) Sent() { g.out[UpdateType].Add(1) }
