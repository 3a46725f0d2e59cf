package nhrp

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/nhrp/message"
)

// Traffic counts packets; Sent and Received by message.Type.
type Traffic struct {
	Sent, Received [9]uint64
	Forwarded      uint64 // of other routers, included in Sent
	Malformed      uint64
	AuthFailures   uint64
	Dropped        uint64 // not usable
	Limited        uint64 // a limit or a rate was reached
	NoPath         uint64 // no session to send over
	Unsendable     uint64
}

// CacheEntry is one entry as `show ip nhrp` prints it.
type CacheEntry struct {
	Tunnel  string
	VRF     string
	Prefix  netip.Prefix
	NextHop netip.Addr
	// Type is static, dynamic or incomplete.
	Type string
	// Flags are IOS's words: unique registered used nhop implicit router rib nho local negative temporary nhs.
	Flags    []string
	NBMA     netip.Addr
	Claimed  netip.Addr // valid when the peer is behind a NAT
	Session  SessionID
	Identity string
	Created  time.Time
	Expires  time.Time // zero: never
	Reason   string    // of a negative one
	// Requesters of a local entry: who keeps this answer of ours.
	Requesters []netip.Addr
	Kind       Kind
	Route      RouteState
	Up         bool
	NoSocket   bool
}

// RouteState is what an entry did to the routing table.
type RouteState uint8

const (
	RouteNone      RouteState = iota
	RouteInstalled            // T1, H
	RouteOverride             // T2, %
)

// NHSInfo is one server as `show ip nhrp nhs` prints it.
type NHSInfo struct {
	Tunnel            string
	Address, NBMA     netip.Addr
	Priority, Cluster uint8
	// Flags: E expecting, R responding, W waiting.
	Flags                     string
	Session                   SessionID
	Since                     time.Time
	Sent, Replies, Unanswered uint64
	NAT                       netip.Addr // how it sees us, when a NAT is between
	Reason                    string     // why it does not respond
}

// PeerInfo is one line of `show dmvpn`: an NBMA peer of a tunnel with one tunnel address.
type PeerInfo struct {
	Tunnel   string
	NBMA     netip.Addr
	Claimed  netip.Addr
	Address  netip.Addr
	Prefix   netip.Prefix
	Entries  int // NHRP entries with the same peer; set on its first line
	State    string
	Since    time.Time
	Expires  time.Time
	Attrs    []string // S D I N L X T1 T2
	Session  SessionID
	Identity string
}

// TunnelInfo is one tunnel with all that the shows need.
type TunnelInfo struct {
	Name, VRF string
	NetworkID uint32
	// Type is Hub, Spoke or, for a tunnel that is both, Hub/Spoke.
	Type      string
	NBMA      netip.Addr
	Addresses []netip.Addr
	Shortcut  bool
	Redirect  bool
	// PointToPoint, Clone and Template are as in Config (Template: ShortcutTemplate).
	PointToPoint, Clone bool
	Template            int
	Cache               []CacheEntry
	NHS                 []NHSInfo
	Peers               []PeerInfo
	Multicast           []MulticastInfo
	Traffic             Traffic
}

// MulticastInfo is one far end that multicast is replicated to.
type MulticastInfo struct {
	Tunnel  string
	NBMA    netip.Addr
	Session SessionID
	Flags   string // static, dynamic, nhs
	Up      bool
}

// Snapshot is the state of all tunnels, by name.
func (e *Engine) Snapshot() []TunnelInfo {
	var list []TunnelInfo
	for _, name := range slices.Sorted(maps.Keys(e.tunnels)) {
		list = append(list, e.tunnels[name].snapshot())
	}
	return list
}

func (t *tunnel) snapshot() TunnelInfo {
	i := TunnelInfo{Name: t.cfg.Tunnel, VRF: t.cfg.VRF, NetworkID: t.cfg.NetworkID, NBMA: t.cfg.NBMA,
		Addresses: slices.Clone(t.cfg.Addresses), Shortcut: t.cfg.Shortcut, Redirect: t.cfg.Redirect, Traffic: t.traffic,
		PointToPoint: t.cfg.PointToPoint, Clone: t.cfg.Clone, Template: t.cfg.ShortcutTemplate}
	serves := t.cfg.Redirect || t.cfg.MulticastDynamic || len(t.clients) > 0
	switch {
	case len(t.nhs) > 0 && serves && !t.cfg.Shortcut:
		i.Type = "Hub/Spoke"
	case len(t.nhs) > 0, t.cfg.PointToPoint && t.cfg.Shortcut:
		i.Type = "Spoke"
	default:
		i.Type = "Hub"
	}
	for _, en := range t.entries() {
		i.Cache = append(i.Cache, t.show(en))
	}
	i.Cache = append(i.Cache, t.showAnswers()...)
	for _, p := range t.pendings() {
		if p.refresh {
			continue
		}
		c := CacheEntry{Tunnel: t.cfg.Tunnel, VRF: t.cfg.VRF, Prefix: hostPrefix(p.target), NextHop: p.target,
			Type: "incomplete", Flags: []string{"negative"}, Created: p.started, Kind: KindNegative, NoSocket: true}
		if s, ok := t.e.host.Peer(t.cfg.Tunnel); ok && t.cfg.PointToPoint {
			// Until the answer is there the hub has the packets.
			c.Flags, c.NBMA, c.NextHop = []string{"temporary"}, s.NBMA, t.far[family(p.target)]
		}
		i.Cache = append(i.Cache, c)
	}
	slices.SortStableFunc(i.Cache, func(a, b CacheEntry) int { return a.Prefix.Compare(b.Prefix) })
	for _, n := range t.nhs {
		i.NHS = append(i.NHS, n.show())
	}
	i.Peers = t.peers(i.Cache)
	for _, id := range t.multicast {
		s, _ := t.e.host.Session(id)
		m := MulticastInfo{Tunnel: t.cfg.Tunnel, NBMA: s.NBMA, Session: id, Flags: "dynamic", Up: s.Up}
		for _, other := range t.always {
			if other == id {
				m.Flags = "static"
			}
		}
		if t.isServer(id) {
			m.Flags = "nhs"
		}
		i.Multicast = append(i.Multicast, m)
	}
	return i
}

func (t *tunnel) show(en *entry) CacheEntry {
	s, _ := t.e.host.Session(en.session)
	c := CacheEntry{Tunnel: t.cfg.Tunnel, VRF: t.cfg.VRF, Prefix: en.prefix, NextHop: en.nextHop, Type: "dynamic", NBMA: en.nbma,
		Claimed: en.claimed, Session: en.session, Identity: en.identity, Created: en.created, Expires: en.expires, Reason: en.reason,
		Kind: en.kind, Up: s.Up, NoSocket: en.session == 0}
	flag := func(on bool, f string) {
		if on {
			c.Flags = append(c.Flags, f)
		}
	}
	flag(en.unique, "unique")
	switch en.kind {
	case KindStatic:
		c.Type = "static"
	case KindNHS:
		c.Type = "static"
		flag(true, "nhs")
	case KindRegistered:
		flag(true, "registered")
	case KindResolved:
		flag(true, "router")
		flag(en.host(), "nhop")
	case KindImplicit:
		flag(true, "router")
		flag(true, "implicit")
	case KindNegative:
		c.Type = "incomplete"
		flag(true, "negative")
		c.NextHop = en.prefix.Addr()
	}
	flag(en.kind != KindNegative && (en.used || s.Data != en.data), "used")
	if en.routed {
		c.Route = RouteInstalled
		if en.override {
			c.Route = RouteOverride
		}
	}
	flag(c.Route != RouteNone || en.kind == KindResolved && t.neighbour(en) && en.active, "rib")
	flag(c.Route == RouteOverride, "nho")
	flag(!en.wantedTill.IsZero(), "temporary")
	return c
}

// showAnswers are our answers as local entries, one a prefix with all who keep it.
func (t *tunnel) showAnswers() (list []CacheEntry) {
	at := map[netip.Prefix]int{}
	for _, k := range t.answerKeys() {
		a := t.answers[k]
		i, ok := at[k.prefix]
		if !ok {
			i = len(list)
			at[k.prefix] = i
			list = append(list, CacheEntry{Tunnel: t.cfg.Tunnel, VRF: t.cfg.VRF, Prefix: k.prefix, NextHop: t.own(k.prefix.Addr()), Type: "dynamic",
				Flags: []string{"router", "unique", "local"}, NBMA: t.cfg.NBMA, Created: a.expires.Add(-t.cfg.Holdtime), Expires: a.expires, NoSocket: true})
		}
		c := &list[i]
		c.Requesters = append(c.Requesters, k.requester)
		if a.expires.After(c.Expires) {
			c.Expires = a.expires
		}
		if created := a.expires.Add(-t.cfg.Holdtime); created.Before(c.Created) {
			c.Created = created
		}
	}
	return list
}

func (n *nhs) show() NHSInfo {
	i := NHSInfo{Tunnel: n.t.cfg.Tunnel, Address: n.address, NBMA: n.NBMA, Priority: n.Priority, Cluster: n.Cluster, Session: n.session,
		Since: n.since, Sent: n.sent, Replies: n.replies, NAT: n.nat, Reason: n.reason}
	i.Unanswered = n.sent - min(n.sent, n.replies)
	switch {
	case !n.active:
		i.Flags = "W"
	case n.up:
		i.Flags = "RE"
		i.Reason = ""
	default:
		i.Flags = "E"
	}
	return i
}

// peers are the lines of show dmvpn: entries grouped by the session that they point at.
func (t *tunnel) peers(cache []CacheEntry) (list []PeerInfo) {
	first := map[SessionID]int{}
	for _, c := range cache {
		if c.NoSocket {
			continue
		}
		p := PeerInfo{Tunnel: c.Tunnel, NBMA: c.NBMA, Claimed: c.Claimed, Address: c.NextHop, Prefix: c.Prefix, Since: c.Created,
			Expires: c.Expires, Session: c.Session, Identity: c.Identity}
		p.State, p.Since = t.peerState(c)
		if c.Type == "static" {
			p.Attrs = append(p.Attrs, "S")
		} else {
			p.Attrs = append(p.Attrs, "D")
		}
		if c.Claimed.IsValid() {
			p.Attrs = append(p.Attrs, "N")
		}
		if c.Kind == KindResolved {
			switch c.Route {
			case RouteInstalled:
				p.Attrs = append(p.Attrs, "T1")
			case RouteOverride:
				p.Attrs = append(p.Attrs, "T2")
			}
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b PeerInfo) int {
		if c := a.NBMA.Compare(b.NBMA); c != 0 {
			return c
		}
		if a.Session != b.Session {
			return int(int64(a.Session) - int64(b.Session))
		}
		return a.Prefix.Compare(b.Prefix)
	})
	for i := range list {
		j, ok := first[list[i].Session]
		if !ok {
			j = i
			first[list[i].Session] = i
		}
		list[j].Entries++
	}
	return list
}

func (t *tunnel) peerState(c CacheEntry) (string, time.Time) {
	s, ok := t.e.host.Session(c.Session)
	switch {
	case !ok:
		return "DOWN", c.Created
	case !s.Up && s.State != "":
		return s.State, c.Created
	case !s.Up:
		return "DOWN", c.Created
	}
	for _, n := range t.nhs {
		if n.session == c.Session && n.active && n.address == c.NextHop {
			if !n.up {
				return "NHRP", n.since
			}
			return "UP", n.since
		}
	}
	return "UP", c.Created
}

// Clear removes the learned entries that a prefix covers (an invalid one: all of them) of a tunnel (empty: all), and has
// servers asked anew.
func (e *Engine) Clear(now time.Time, tunnel string, within netip.Prefix) (n int) {
	e.now = now
	for _, name := range slices.Sorted(maps.Keys(e.tunnels)) {
		t := e.tunnels[name]
		if tunnel != "" && tunnel != name {
			continue
		}
		for _, en := range t.entries() {
			if en.kind == KindStatic || en.kind == KindNHS || within.IsValid() && !(within.Overlaps(en.prefix) && within.Bits() <= en.prefix.Bits()) {
				continue
			}
			t.end(now, en)
			n++
		}
		if !within.IsValid() || within.Bits() == 0 {
			for _, s := range t.nhs {
				s.restart(now)
			}
		}
		t.tellMulticast()
	}
	return n
}

// ClearTraffic sets the counters of a tunnel (empty: all) to zero.
func (e *Engine) ClearTraffic(tunnel string) {
	for name, t := range e.tunnels {
		if tunnel == "" || tunnel == name {
			t.traffic = Traffic{}
		}
	}
}

// TypeNames are the names of message types by their number, for the shows.
func TypeNames() []string {
	names := make([]string, 9)
	for i := message.ResolutionRequest; i <= message.TrafficIndication; i++ {
		names[i] = i.String()
	}
	return names
}

// ClearAddress removes the learned entries that an address belongs to, in every tunnel.
func (e *Engine) ClearAddress(now time.Time, a netip.Addr) (n int) {
	e.now = now
	for _, name := range slices.Sorted(maps.Keys(e.tunnels)) {
		t := e.tunnels[name]
		for _, en := range t.entries() {
			if en.kind != KindStatic && en.kind != KindNHS && en.prefix.Contains(a) {
				t.end(now, en)
				n++
			}
		}
		t.tellMulticast()
	}
	return n
}

// end removes an entry for the operator. A shortcut's own tunnel goes at once, whoever still sends on it.
func (t *tunnel) end(now time.Time, en *entry) {
	const reason = "cleared by the operator"
	id := en.session
	t.remove(now, en, reason)
	if !t.shortcut || id == 0 || t.needed(id) {
		return
	}
	if l := t.e.lingering[id]; l != nil {
		t.e.unset(&l.timer)
		delete(t.e.lingering, id)
	}
	t.e.close(id, reason)
}
