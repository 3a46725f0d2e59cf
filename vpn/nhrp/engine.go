package nhrp

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"felloe/netstack/deadline"
	"felloe/vpn/nhrp/message"
)

// Engine is the NHRP of one router. It is not safe for concurrent use.
type Engine struct {
	host   Host
	rand   interface{ Read([]byte) (int, error) }
	limits Limits
	timers Timers

	queue deadline.Heap[*timer]
	seq   uint64    // for numbers when there is no entropy
	now   time.Time // of the call under way

	tunnels  map[string]*tunnel
	networks map[networkKey]*network
	byID     map[uint32]*pending

	mismatches map[SessionID]time.Time // when an authentication mismatch was last told
	lingering  map[SessionID]*linger
}

// New returns an engine without tunnels.
func New(o Options) *Engine {
	e := &Engine{host: o.Host, rand: o.Rand, limits: o.Limits, timers: o.Timers,
		tunnels: map[string]*tunnel{}, networks: map[networkKey]*network{}, byID: map[uint32]*pending{},
		mismatches: map[SessionID]time.Time{}, lingering: map[SessionID]*linger{}}
	def := func(p *int, n int) {
		if *p <= 0 {
			*p = n
		}
	}
	defd := func(p *time.Duration, d time.Duration) {
		if *p <= 0 {
			*p = d
		}
	}
	def(&e.limits.Cache, 16384)
	def(&e.limits.Pending, 1024)
	def(&e.limits.Claims, 256)
	def(&e.limits.Answers, 8192)
	def(&e.limits.Requests, 200)
	def(&e.limits.Indications, 500)
	def(&e.limits.Errors, 20)
	defd(&e.timers.RetryMax, 64*time.Second)
	def(&e.timers.ResolveTries, 5)
	defd(&e.timers.Negative, time.Minute)
	defd(&e.timers.ClaimWait, 100*time.Second)
	defd(&e.timers.DirectWait, 5*time.Second)
	defd(&e.timers.SessionWait, 30*time.Second)
	def(&e.timers.PurgeTries, 3)
	defd(&e.timers.UsageInterval, time.Second)
	return e
}

// tunnel is the state of one tunnel.
type tunnel struct {
	e   *Engine
	cfg Config
	net *network

	cache     map[netip.Prefix]*entry
	bySession map[SessionID]map[*entry]struct{}
	clients   map[SessionID]int // registered entries a session
	nhs       []*nhs
	maps      []*staticMap
	pending   map[netip.Addr]*pending
	claims    map[netip.Addr]*claim
	answers   map[answerKey]*answer
	deferred  map[SessionID][]*deferred

	always      map[netip.Addr]SessionID // static multicast
	multicast   []SessionID              // as last told to the host
	glean       SessionID                // as last told to the host
	shortcut    bool                     // a point-to-point tunnel that is one
	far         [2]netip.Addr            // the tunnel addresses of a configured far end, IPv4 and IPv6, as it told
	traffic     Traffic
	requests    bucket
	indications bucket
	errors      bucket
	sends       bucket
}

type staticMap struct {
	Map
	session SessionID
	timer   timer
}

// Apply adds a tunnel or changes it to a new configuration. What did not change is not touched.
func (e *Engine) Apply(now time.Time, cfg Config) {
	e.now = now
	if cfg.Holdtime <= 0 {
		cfg.Holdtime = 600 * time.Second
	}
	if cfg.RegistrationTimeout <= 0 {
		cfg.RegistrationTimeout = cfg.Holdtime / 3
	}
	t := e.tunnels[cfg.Tunnel]
	if t != nil {
		old := t.cfg
		if old.VRF == cfg.VRF && old.NetworkID == cfg.NetworkID && old.PointToPoint == cfg.PointToPoint && old.Clone == cfg.Clone &&
			old.Instance == cfg.Instance && (old.NBMA == cfg.NBMA || cfg.PointToPoint) {
			t.change(now, cfg)
			return
		}
		e.Remove(now, cfg.Tunnel)
	}
	t = &tunnel{e: e, cfg: cfg, cache: map[netip.Prefix]*entry{}, bySession: map[SessionID]map[*entry]struct{}{}, clients: map[SessionID]int{},
		pending: map[netip.Addr]*pending{}, claims: map[netip.Addr]*claim{}, answers: map[answerKey]*answer{},
		deferred: map[SessionID][]*deferred{}, always: map[netip.Addr]SessionID{}}
	e.tunnels[cfg.Tunnel] = t
	t.join()
	t.change(now, cfg)
}

func (t *tunnel) change(now time.Time, cfg Config) {
	old := t.cfg
	if !slices.Equal(old.Addresses, cfg.Addresses) && t.cfg.PointToPoint {
		t.readdress(now, cfg)
	} else if !slices.Equal(old.Addresses, cfg.Addresses) {
		// What we registered and answered names addresses that we no longer have.
		for _, n := range t.nhs {
			if n.active && n.up {
				n.bye()
			}
		}
		for _, k := range t.answerKeys() {
			t.dropAnswer(k)
			t.startPurge(now, k.requester, k.prefix, 0)
		}
	}
	t.unlist()
	t.cfg = cfg
	t.list()
	t.changeNHS(now, cfg.NHS)
	t.changeMaps(now, cfg.Maps)
	for a, id := range t.always {
		if !slices.Contains(cfg.Multicast, a) {
			delete(t.always, a)
			t.release(now, id, "multicast map removed")
		}
	}
	for _, a := range cfg.Multicast {
		if _, ok := t.always[a]; !ok {
			if s, err := t.e.host.Open(cfg.Tunnel, a); err == nil {
				t.always[a] = s.ID
			}
		}
	}
	if !cfg.Shortcut && old.Shortcut {
		for _, en := range t.entries() {
			if en.kind == KindResolved && (!en.host() || t.cfg.PointToPoint) {
				t.remove(now, en, "shortcuts switched off")
			}
		}
	}
	if !slices.Equal(old.Addresses, cfg.Addresses) || old.Authentication != cfg.Authentication ||
		old.Unique != cfg.Unique || old.Holdtime != cfg.Holdtime || old.RegistrationTimeout != cfg.RegistrationTimeout {
		for _, n := range t.nhs {
			n.restart(now)
		}
	}
	t.scheduleNHS(now) // MaxConnections may have changed
	t.tellMulticast()
	t.tellGlean()
}

func (t *tunnel) changeMaps(now time.Time, want []Map) {
	t.maps = slices.DeleteFunc(t.maps, func(m *staticMap) bool {
		if slices.Contains(want, m.Map) {
			return false
		}
		t.e.unset(&m.timer)
		if en := t.cache[hostPrefix(m.Address)]; en != nil && en.kind == KindStatic {
			t.remove(now, en, "map removed")
		}
		return true
	})
	for _, m := range want {
		if !m.Address.IsValid() || slices.ContainsFunc(t.maps, func(o *staticMap) bool { return o.Map == m }) {
			continue
		}
		sm := &staticMap{Map: m}
		t.maps = append(t.maps, sm)
		t.openMap(now, sm)
	}
}

func (t *tunnel) openMap(now time.Time, m *staticMap) {
	s, err := t.e.host.Open(t.cfg.Tunnel, m.NBMA)
	if err != nil {
		t.e.set(&m.timer, now.Add(10*time.Second), func(now time.Time) { t.openMap(now, m) })
		return
	}
	m.session = s.ID
	t.bind(now, hostPrefix(m.Address), entry{kind: KindStatic, nextHop: m.Address, session: s.ID, nbma: m.NBMA})
}

// Remove takes a tunnel away: its server and those who cached its answers are told, its sessions are closed.
func (e *Engine) Remove(now time.Time, name string) {
	e.now = now
	t := e.tunnels[name]
	if t == nil {
		return
	}
	if !t.cfg.Clone {
		t.goodbye(now)
	}
	sessions := map[SessionID]bool{}
	for _, n := range t.nhs {
		e.unset(&n.timer)
		sessions[n.session] = true
	}
	t.nhs = nil
	for _, m := range t.maps {
		e.unset(&m.timer)
	}
	t.maps = nil
	for _, id := range t.always {
		sessions[id] = true
	}
	clear(t.always)
	for _, p := range t.pendings() {
		p.drop()
	}
	for a := range t.claims {
		t.dropClaim(a)
	}
	for id, list := range t.deferred {
		sessions[id] = true
		for _, d := range list {
			e.unset(&d.timer)
		}
	}
	clear(t.deferred)
	for _, u := range t.net.purges {
		if u.t == t {
			u.drop()
		}
	}
	for k := range t.answers {
		t.dropAnswer(k)
	}
	for id := range t.bySession {
		sessions[id] = true
	}
	for _, en := range t.entries() {
		t.forget(en, "tunnel removed")
	}
	t.tellMulticast()
	t.tellGlean()
	delete(e.tunnels, name)
	t.leave()
	if t.cfg.PointToPoint && !t.cfg.Clone {
		e.orphaned(t.net)
	}
	for _, id := range slices.Sorted(maps.Keys(sessions)) {
		if id == 0 || !t.ends() {
			continue
		}
		if l := e.lingering[id]; l != nil {
			e.unset(&l.timer)
			delete(e.lingering, id)
		}
		delete(e.mismatches, id)
		e.close(id, "tunnel removed")
	}
	for id, l := range e.lingering {
		if l.t == t {
			e.unset(&l.timer)
			delete(e.lingering, id)
			e.close(id, "tunnel removed")
		}
	}
}

// RemoveAll takes every tunnel away, in the order of their names.
func (e *Engine) RemoveAll(now time.Time) {
	e.now = now
	for _, name := range slices.Sorted(maps.Keys(e.tunnels)) {
		e.Remove(now, name)
	}
}

// Has reports whether a tunnel is configured.
func (e *Engine) Has(name string) bool { return e.tunnels[name] != nil }

// SessionUp says that a session can carry packets.
func (e *Engine) SessionUp(now time.Time, s Session) {
	e.now = now
	t := e.tunnels[s.Tunnel]
	if t == nil {
		return
	}
	for _, n := range t.nhs {
		// A session that the far end opened is as good as the one that we wait for.
		if n.active && n.session != s.ID && n.NBMA == s.NBMA && !e.up(n.session) {
			n.bind(now, s.ID)
		}
		if n.session == s.ID && n.active {
			n.sessionUp(now)
		}
	}
	for _, m := range t.maps {
		if m.session != s.ID && m.NBMA == s.NBMA && !e.up(m.session) {
			m.session = s.ID
			t.bind(now, hostPrefix(m.Address), entry{kind: KindStatic, nextHop: m.Address, session: s.ID, nbma: m.NBMA})
		}
	}
	for a, id := range t.always {
		if id != s.ID && a == s.NBMA && !e.up(id) {
			t.always[a] = s.ID
		}
	}
	for _, en := range t.entriesOf(s.ID) {
		t.activate(now, en)
	}
	t.sendDeferred(now, s.ID)
	t.tellMulticast()
	t.tellGlean()
}

// SessionMoved says that a session's far end has another NBMA address now (NAT, MOBIKE); the session stayed.
func (e *Engine) SessionMoved(_ time.Time, s Session) {
	t := e.tunnels[s.Tunnel]
	if t == nil {
		return
	}
	for _, en := range t.entriesOf(s.ID) {
		if en.kind != KindStatic && en.kind != KindNHS {
			en.nbma = s.NBMA
		}
	}
}

// SessionDown says that a session of a tunnel has gone: what it carried goes with it.
func (e *Engine) SessionDown(now time.Time, tunnel string, id SessionID, reason string) {
	e.now = now
	if l := e.lingering[id]; l != nil {
		e.unset(&l.timer)
		delete(e.lingering, id)
	}
	delete(e.mismatches, id)
	if t := e.tunnels[tunnel]; t != nil {
		t.sessionDown(now, id, reason)
	}
}

func (t *tunnel) sessionDown(now time.Time, id SessionID, reason string) {
	for _, en := range t.entriesOf(id) {
		if en.kind != KindStatic && en.kind != KindNHS {
			t.forget(en, reason)
		}
	}
	for _, n := range t.nhs {
		if n.session == id && n.active {
			n.sessionDown(now, reason)
		}
	}
	for _, m := range t.maps {
		if m.session == id {
			t.e.set(&m.timer, now.Add(time.Second), func(now time.Time) { t.openMap(now, m) })
		}
	}
	for a, other := range t.always {
		if other == id {
			if s, err := t.e.host.Open(t.cfg.Tunnel, a); err == nil {
				t.always[a] = s.ID
			}
		}
	}
	// Answers that waited for it take the way over the hub.
	list := t.deferred[id]
	delete(t.deferred, id)
	for _, d := range list {
		t.e.unset(&d.timer)
		t.answerByPath(now, d.packet)
	}
	t.retryClaims(now)
	t.tellMulticast()
	t.tellGlean()
	// What nothing needs any more must not be negotiated anew.
	t.release(now, id, reason)
}

// RoutesChanged says that the routing table changed: shortcuts that no longer fit it go, and so do answers that we
// gave and that are not true any more.
func (e *Engine) RoutesChanged(now time.Time) {
	e.now = now
	var list []*tunnel
	for _, t := range e.tunnels {
		if len(t.cache)+len(t.answers) > 0 {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *tunnel) int { return strings.Compare(a.cfg.Tunnel, b.cfg.Tunnel) })
	for _, t := range list {
		for _, en := range t.some(t.routable) {
			if en.kind == KindNegative {
				t.forget(en, "routes changed")
			} else {
				t.reroute(now, en)
			}
		}
		t.checkAnswers(now)
	}
}

// up reports whether a session can carry packets.
func (e *Engine) up(id SessionID) bool {
	if id == 0 {
		return false
	}
	s, ok := e.host.Session(id)
	return ok && s.Up
}

// close ends a session that is still there.
func (e *Engine) close(id SessionID, reason string) {
	if _, ok := e.host.Session(id); ok {
		e.host.Close(id, reason)
	}
}

// data is a session's data counter.
func (e *Engine) data(id SessionID) uint64 {
	s, _ := e.host.Session(id)
	return s.Data
}

// network is the tunnel called name when it belongs to the same NHRP network as t: packets between two of them are
// ours to redirect and to forward. The network ID decides, not the interface.
func (t *tunnel) network(name string) *tunnel {
	o := t.e.tunnels[name]
	if o == nil || o.net != t.net {
		return nil
	}
	return o
}

// own is our address in the tunnel, of the family of a.
func (t *tunnel) own(a netip.Addr) netip.Addr {
	for _, o := range t.cfg.Addresses {
		if o.Is4() == a.Is4() {
			return o
		}
	}
	return netip.Addr{}
}

// ours reports whether a is one of our addresses in any tunnel of the network.
func (t *tunnel) ours(a netip.Addr) bool {
	return t.net.own[a] > 0
}

// random is an unpredictable number that is not 0.
func (e *Engine) random() uint32 {
	var b [4]byte
	for range 4 {
		if _, err := e.rand.Read(b[:]); err != nil {
			break
		}
		if n := binary.BigEndian.Uint32(b[:]); n != 0 {
			return n
		}
	}
	// Without entropy there are no unpredictable numbers to give; a counter at least keeps them apart.
	e.seq++
	return uint32(e.seq) | 1
}

// requestID is a random ID that no request of ours uses. It must not be guessed: it is what ties an answer to us.
func (e *Engine) requestID() uint32 {
	for {
		if id := e.random(); e.byID[id] == nil {
			return id
		}
	}
}

func (t *tunnel) event(ev Event) {
	ev.Tunnel, ev.VRF = t.cfg.Tunnel, t.cfg.VRF
	if ev.Session != 0 && (ev.Identity == "" || !ev.NBMA.IsValid()) {
		if s, ok := t.e.host.Session(ev.Session); ok {
			if ev.Identity == "" {
				ev.Identity = s.Identity
			}
			if !ev.NBMA.IsValid() {
				ev.NBMA = s.NBMA
			}
		}
	}
	t.e.host.Event(ev)
}

// behind is the tunnel address of a session's far end, or the guess when nothing is known of it.
func (t *tunnel) behind(id SessionID, guess netip.Addr) netip.Addr {
	for en := range t.bySession[id] {
		if en.host() && en.nextHop.IsValid() {
			return en.nextHop
		}
	}
	return guess
}

// send authenticates, encodes, counts and sends a packet.
func (t *tunnel) send(id SessionID, p *message.Packet) {
	if p.Type == message.ErrorIndication && p.ErrorCode == message.ErrorAuthentication {
		p.SetAuthentication("")
	} else {
		p.SetAuthentication(t.cfg.Authentication)
	}
	if !t.e.up(id) {
		t.traffic.NoPath++
		return
	}
	b, err := p.Encode()
	if err != nil {
		t.traffic.Unsendable++
		t.event(Event{Kind: EventDropped, Session: id, Peer: p.DstProto, Local: true, Reason: err.Error()})
		return
	}
	if most := t.cfg.MaxSend; most.Packets > 0 && !t.sends.takeOf(t.e.now, most.Packets, most.Every) {
		t.traffic.Limited++
		t.event(Event{Kind: EventDropped, Session: id, Peer: p.DstProto, Local: true, Reason: p.Type.String() + ": max-send is reached"})
		return
	}
	t.traffic.Sent[p.Type]++
	t.event(Event{Kind: EventPacket, Session: id, Peer: t.behind(id, p.DstProto), Local: true, Reason: p.Type.String(), Packet: info(p, len(b))})
	t.e.host.Send(id, b)
}

// family is an index for things that there is one of for IPv4 and one for IPv6.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func seconds(d time.Duration) uint16 { return uint16(min(d/time.Second, 0xffff)) }

// selfCIE is the entry that we put into transit records and answers.
func (t *tunnel) selfCIE(family netip.Addr) message.CIE {
	return message.CIE{MTU: t.cfg.MTU, HoldTime: seconds(t.cfg.Holdtime), NBMA: t.cfg.NBMA, Proto: t.own(family)}
}

func (t *tunnel) String() string { return fmt.Sprintf("tunnel %s", t.cfg.Tunnel) }
