package nhrp

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/nhrp/message"
)

// pending is a resolution under way.
type pending struct {
	t       *tunnel
	target  netip.Addr
	id      uint32
	why     string
	tries   int
	started time.Time
	refresh bool
	over    SessionID // who is asked, when not the routed path
	timer   timer
}

// ResolveNextHop asks for the session of a next hop inside a tunnel's subnet (phase 2, and third-party next hops). Its
// packets go over the server meanwhile.
func (e *Engine) ResolveNextHop(now time.Time, tunnel string, hop netip.Addr) {
	e.now = now
	t := e.tunnels[tunnel]
	if t == nil || !hop.IsValid() || hop.IsMulticast() || t.ours(hop) || t.server(0) == nil || t.cfg.PointToPoint {
		return
	}
	if en := t.cache[hostPrefix(hop)]; en != nil {
		return
	}
	t.resolve(now, hop, "next hop", nil)
}

// trafficIndication is a redirect: our packets to an address have a better way than over its sender.
func (t *tunnel) trafficIndication(now time.Time, from From, p *message.Packet) {
	_, dst, ok := addresses(p.Payload)
	if !ok {
		t.drop(from, p, "redirect without a readable packet")
		return
	}
	if !t.cfg.Shortcut || t.cfg.ServerOnly || dst.IsMulticast() || t.ours(dst) || t.cfg.PointToPoint && t.cfg.ShortcutTemplate == 0 {
		return
	}
	// Only who forwards our packets to that address may redirect them: by the routed path, or by a shortcut that we have.
	w, _, id, r := t.path(dst, 0, false)
	known := t.covering(dst)
	if known == nil && t.cfg.PointToPoint {
		known = t.net.covering(dst)
	}
	stale := known != nil && known.session == from.Session && t.cfg.PointToPoint
	if !stale && (w != wayHop || id != from.Session && !t.isServer(from.Session) && !(t.cfg.PointToPoint && t.leads(r))) {
		t.drop(from, p, "redirect from somebody who is not on the path")
		return
	}
	if t.cfg.PointToPoint && !t.cfg.Clone && !p.SrcProto.IsUnspecified() {
		t.far[family(p.SrcProto)] = p.SrcProto
	}
	if known != nil && !stale || t.pending[dst] != nil {
		return
	}
	t.event(Event{Kind: EventRedirectReceived, Session: from.Session, Peer: p.SrcProto, Prefix: hostPrefix(dst)})
	t.resolve(now, dst, "redirect", nil)
}

// resolve begins a resolution, unless one is under way.
func (t *tunnel) resolve(now time.Time, target netip.Addr, why string, refresh *entry) {
	if !target.IsValid() || t.pending[target] != nil || t.cfg.ServerOnly {
		return
	}
	if len(t.pending) >= t.e.limits.Pending || refresh == nil && t.full() {
		t.traffic.Limited++
		return
	}
	p := &pending{t: t, target: target, id: t.e.requestID(), why: why, started: now, refresh: refresh != nil}
	if refresh != nil && t.cfg.PointToPoint {
		p.over = refresh.session
	}
	t.pending[target] = p
	t.e.byID[p.id] = p
	p.send(now)
}

// send asks, 1, 2, 4 … s apart.
func (p *pending) send(now time.Time) {
	t := p.t
	if p.tries >= t.e.timers.ResolveTries {
		p.fail(now, "no answer")
		return
	}
	w, out, id, _ := t.path(p.target, 0, true)
	if p.over != 0 && t.e.up(p.over) {
		// A shortcut that is a tunnel of its own is confirmed by who is at its end, whatever becomes of the hubs; when that one
		// is not the end any more it hands the question on.
		w, out, id = wayHop, t, p.over
	}
	switch w {
	case wayHop:
		if !out.own(p.target).IsValid() {
			break // the address comes in a moment
		}
		if out.requests.take(now, t.e.limits.Requests) {
			out.send(id, out.resolutionRequest(p))
			out.event(Event{Kind: EventResolutionSent, Session: id, Peer: p.target, Reason: p.why})
		} else {
			t.traffic.Limited++
		}
	case wayUnknown:
		// Its next hop may register in a moment.
	default:
		p.fail(now, "the routed path does not lead into the network any more")
		return
	}
	wait := time.Second << p.tries
	p.tries++
	t.e.set(&p.timer, now.Add(wait), p.send)
}

func (p *pending) drop() {
	p.t.e.unset(&p.timer)
	delete(p.t.pending, p.target)
	delete(p.t.e.byID, p.id)
}

func (p *pending) fail(now time.Time, why string) {
	p.drop()
	if p.refresh {
		return // the entry's own end is in its own hands
	}
	p.t.event(Event{Kind: EventResolutionFailed, Peer: p.target, Reason: why})
	p.t.negative(now, p.target, why)
}

func (t *tunnel) pendings() []*pending {
	list := make([]*pending, 0, len(t.pending))
	for _, p := range t.pending {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *pending) int { return a.target.Compare(b.target) })
	return list
}

func (t *tunnel) resolutionRequest(p *pending) *message.Packet {
	return &message.Packet{HopCount: 64, Type: message.ResolutionRequest,
		Flags:     message.FlagRouter | message.FlagAuthoritative | message.FlagSourceStable | message.FlagNAT,
		RequestID: p.id, SrcNBMA: t.cfg.NBMA, SrcProto: t.own(p.target), DstProto: p.target,
		CIEs: []message.CIE{{PrefixLen: uint8(p.target.BitLen()), MTU: t.cfg.MTU, HoldTime: seconds(t.cfg.Holdtime)}}, Extensions: standardExtensions()}
}

// resolutionReply is the answer to a request of ours: direct from the egress router or over the servers.
func (t *tunnel) resolutionReply(now time.Time, from From, s Session, p *message.Packet) {
	q := t.e.byID[p.RequestID]
	if q == nil || t.network(q.t.cfg.Tunnel) == nil || q.target != p.DstProto || !q.t.ours(p.SrcProto) {
		t.drop(from, p, "answer to nothing that we asked")
		return
	}
	if len(p.CIEs) == 0 || p.CIEs[0].Code != message.CodeSuccess {
		why := message.CodeNoBinding.String()
		if len(p.CIEs) > 0 {
			why = p.CIEs[0].Code.String()
		}
		q.drop()
		if q.refresh {
			// It is not there any more: what we have is wrong from now on.
			q.t.withdraw(now, q.target, "refused: "+why)
		}
		t.event(Event{Kind: EventResolutionRefused, Session: s.ID, Peer: q.target, Reason: why})
		q.t.negative(now, q.target, why)
		return
	}
	c := &p.CIEs[0]
	hop := c.Proto
	if !c.NBMA.IsValid() || c.NBMA.IsUnspecified() || c.NBMA.IsMulticast() || !hop.IsValid() || hop.IsUnspecified() || hop.IsMulticast() || t.ours(hop) ||
		!(&message.CIE{PrefixLen: c.PrefixLen, Proto: q.target}).Prefix(q.target).Contains(q.target) {
		t.drop(from, p, "answer that is not usable")
		return
	}
	q.drop()
	hold := time.Duration(c.HoldTime) * time.Second
	if hold == 0 {
		hold = t.cfg.Holdtime
	}
	if t.cfg.PointToPoint {
		t.answerOver(now, q, s, p, hop, hold)
		return
	}
	// A direct answer (no transit record on the way back) binds to the session that it came on: whatever NAT is between,
	// that session leads there. Otherwise we open one.
	direct := transitEmpty(p, message.ExtReverseTransit) && !(t.isServer(s.ID) && !t.isNHSAddress(hop))
	if en := t.cache[hostPrefix(hop)]; en != nil && en.session != 0 && (en.kind == KindStatic || en.kind == KindNHS || en.kind == KindRegistered) {
		if known, ok := t.e.host.Session(en.session); ok {
			s, direct = known, true
		}
	}
	if direct && s.Protected && t.taken(t.cache[hostPrefix(hop)], s.NBMA, s.Identity) {
		t.unusable(now, q, s.NBMA, reasonTaken)
		return
	}
	if !direct {
		nbma := c.NBMA
		if nat := natOf(p, hop); nat.IsValid() && nat != c.NBMA {
			if nat != t.natted() {
				nbma = nat
			} // else behind the same NAT as we: its own address is the one that may work
		}
		if nbma == t.cfg.NBMA {
			t.drop(from, p, "answer that points at ourselves")
			return
		}
		if en := t.cache[hostPrefix(hop)]; en != nil && en.session != 0 && (en.nbma == nbma || en.claimed == c.NBMA) && t.e.up(en.session) {
			s, _ = t.e.host.Session(en.session)
		} else {
			opened, err := t.e.host.Open(t.cfg.Tunnel, nbma)
			if err != nil {
				t.unusable(now, q, nbma, err.Error())
				return
			}
			s = opened
			if nbma != c.NBMA && t.otherwise(s.ID, hop) {
				// Several spokes behind one NAT have one address: whoever is known there already is somebody else.
				t.unusable(now, q, nbma, "another spoke is known behind that NAT")
				return
			}
		}
	}
	t.learn(now, q, s, c, hop, hold, p)
}

// otherwise reports whether a session leads to a neighbour that is not hop.
func (t *tunnel) otherwise(id SessionID, hop netip.Addr) bool {
	for en := range t.bySession[id] {
		if en.host() && en.nextHop != hop {
			return true
		}
	}
	return false
}

// learn enters an answer: the next hop as a neighbour, and the answered prefix as a shortcut over it.
func (t *tunnel) learn(now time.Time, q *pending, s Session, c *message.CIE, hop netip.Addr, hold time.Duration, p *message.Packet) {
	neighbour := t.cache[hostPrefix(hop)]
	refreshed := neighbour != nil
	var left []SessionID
	if neighbour == nil || neighbour.kind == KindResolved || neighbour.kind == KindImplicit || neighbour.kind == KindNegative {
		n := entry{kind: KindResolved, nextHop: hop, session: s.ID, nbma: s.NBMA, identity: s.Identity, sa: s.SA, hold: hold, target: hop, mtu: c.MTU}
		if c.NBMA != s.NBMA {
			n.claimed = c.NBMA
		}
		if neighbour != nil {
			left = append(left, neighbour.session)
		} else if t.full() {
			t.traffic.Limited++
			return
		}
		neighbour = t.bind(now, hostPrefix(hop), n)
	}
	if _, ok := t.e.host.Session(neighbour.session); !ok {
		return // the way to it is being opened again; a later answer will do
	}
	answered, _ := q.target.Prefix(min(int(c.PrefixLen), q.target.BitLen()))
	if c.PrefixLen == 0 {
		answered = hostPrefix(q.target)
	}
	if q.target != hop {
		keep := append(t.keepers(netip.Addr{}), c.NBMA, s.NBMA, hop)
		narrowed, ok := narrow(answered, q.target, keep)
		prefix, _, _, fits := t.fit(narrowed, q.target, hop)
		if !ok || !fits {
			t.event(Event{Kind: EventResolutionFailed, Peer: q.target, NextHop: hop, Reason: "the answer covers an address that must stay outside, or the routed path changed"})
			t.negative(now, q.target, "answer not usable")
			return
		}
		n := entry{kind: KindResolved, nextHop: hop, session: neighbour.session, nbma: neighbour.nbma, claimed: neighbour.claimed,
			identity: s.Identity, sa: s.SA, hold: hold, target: q.target, answered: narrowed, mtu: c.MTU}
		old := t.cache[prefix]
		refreshed = old != nil && old.kind == KindResolved
		switch {
		case old != nil && old.kind != KindResolved && old.kind != KindNegative:
			return // what is configured or registered stands
		case old != nil:
			left = append(left, old.session)
		case t.full():
			t.traffic.Limited++
			return
		}
		bound := t.bind(now, prefix, n)
		if t.cfg.PointToPoint {
			t.supersede(now, bound)
		}
	}
	if t.cfg.PointToPoint {
		t.supersede(now, neighbour)
	}
	if refreshed && q.refresh {
		t.event(Event{Kind: EventShortcutRefreshed, Session: s.ID, Peer: q.target, NextHop: hop})
	}
	for _, id := range left {
		if id != s.ID {
			t.release(now, id, "replaced by a new answer")
		}
	}
}

// answerOver takes an answer that came over a point-to-point tunnel. The shortcut is a tunnel of its own: the one that
// the answer came on, when its end answered directly, else one that we make of the template.
func (t *tunnel) answerOver(now time.Time, q *pending, s Session, p *message.Packet, hop netip.Addr, hold time.Duration) {
	c := &p.CIEs[0]
	if slices.Contains(t.keepers(netip.Addr{}), hop) {
		t.unusable(now, q, c.NBMA, "the answer names a server's tunnel address, or that of a configured tunnel's far end")
		return
	}
	home := t
	switch direct := transitEmpty(p, message.ExtReverseTransit); {
	case direct && !t.cfg.Clone:
		t.unusable(now, q, s.NBMA, "the tunnel's far end has it: there is no shorter way")
		return
	case direct:
		if t.taken(t.known(hop), s.NBMA, s.Identity) {
			t.unusable(now, q, s.NBMA, reasonTaken)
			return
		}
	default:
		nbma := c.NBMA
		if nat := natOf(p, hop); nat.IsValid() {
			nbma = nat
		}
		if en := t.known(hop); en != nil && t.e.up(en.session) && (en.nbma == nbma || en.claimed == c.NBMA || en.nbma == c.NBMA) {
			s, _ = t.e.host.Session(en.session)
			home = en.t
			break
		}
		if t.taken(t.known(hop), nbma, "") {
			t.unusable(now, q, nbma, reasonTaken)
			return
		}
		var err error
		if home, s, err = t.open(now, nbma); err != nil {
			t.unusable(now, q, nbma, err.Error())
			return
		}
		if nbma != c.NBMA && home.otherwise(s.ID, hop) {
			t.unusable(now, q, nbma, "another spoke is known behind that NAT")
			return
		}
	}
	home.shortcut = true
	home.learn(now, q, s, c, hop, hold, p)
}

// taken reports whether a tunnel address is that of a living session of somebody else, or of the same one before he moved:
// until that is found dead it stands. Who is at the end of a session is told by his identity, for several may look the same
// from outside.
func (t *tunnel) taken(en *entry, nbma netip.Addr, identity string) bool {
	if en == nil || !t.e.up(en.session) {
		return false
	}
	same := en.nbma == nbma
	if has, _ := t.e.host.Session(en.session); identity != "" && has.Identity != "" {
		same = identity == has.Identity
	}
	if !same {
		t.e.host.Probe(en.session)
	}
	return !same
}

const reasonTaken = "another session has that tunnel address"

// unusable ends a resolution whose answer cannot be used.
func (t *tunnel) unusable(now time.Time, q *pending, nbma netip.Addr, why string) {
	t.event(Event{Kind: EventResolutionFailed, Peer: q.target, NBMA: nbma, Reason: why})
	if !q.refresh {
		q.t.negative(now, q.target, why)
	}
}

// open returns the session to an NBMA address and the tunnel that it is on: for a point-to-point tunnel one of its own.
func (t *tunnel) open(now time.Time, nbma netip.Addr) (*tunnel, Session, error) {
	if !t.cfg.PointToPoint {
		s, err := t.e.host.Open(t.cfg.Tunnel, nbma)
		return t, s, err
	}
	switch {
	case t.cfg.ShortcutTemplate == 0:
		return nil, Session{}, errNoTemplate
	case t.net.nbma[nbma] > 0:
		return nil, Session{}, errOurselves
	case t.net.farEnd(nbma):
		return nil, Session{}, errFarEnd
	}
	s, cfg, err := t.e.host.OpenTemplate(t.cfg.Tunnel, t.cfg.ShortcutTemplate, nbma)
	if err != nil {
		return nil, Session{}, err
	}
	t.e.Apply(now, cfg)
	home := t.e.tunnels[cfg.Tunnel]
	if home.net != t.net {
		t.e.close(s.ID, errOtherNetwork.Error())
		return nil, Session{}, errOtherNetwork
	}
	return home, s, nil
}

var (
	errNoTemplate   = errors.New("the tunnel has no virtual template to make shortcuts of")
	errOurselves    = errors.New("the answer points at ourselves")
	errFarEnd       = errors.New("it is the far end of the tunnel itself: there is no shorter way")
	errOtherNetwork = errors.New("the virtual template belongs to another NHRP network")
)

// supersede removes what other tunnels of the network have learned for the same prefix: there is one way to it.
func (t *tunnel) supersede(now time.Time, en *entry) {
	if en == nil {
		return
	}
	for _, old := range slices.Clone(t.net.entries[en.prefix]) {
		if old != en && old.t != t && old.t.cfg.Clone && (old.kind == KindResolved || old.kind == KindImplicit) {
			old.t.remove(now, old, "replaced by a new answer")
		}
	}
}

// withdraw removes the shortcuts that hold an address.
func (t *tunnel) withdraw(now time.Time, a netip.Addr, reason string) {
	for _, en := range t.some(func(en *entry) bool { return en.prefix.Contains(a) }) {
		if en.kind == KindResolved || en.kind == KindImplicit {
			t.remove(now, en, reason)
		}
	}
}

// reroute fits a shortcut to a changed routing table.
func (t *tunnel) reroute(now time.Time, en *entry) {
	prefix, _, _, ok := t.fit(en.answered, en.target, en.nextHop)
	switch {
	case !ok:
		t.remove(now, en, "the routed path does not lead into the network any more")
	case prefix != en.prefix:
		if other := t.cache[prefix]; other != nil {
			t.remove(now, en, "routes changed")
			return
		}
		moved := *en
		moved.hold = en.expires.Sub(now)
		t.forget(en, "routes changed")
		t.bind(now, prefix, moved)
	case en.active:
		t.route(en)
	}
}

func transitEmpty(p *message.Packet, kind message.ExtensionType) bool {
	x := p.Extension(kind)
	return x == nil || len(x.CIEs) == 0
}

func (t *tunnel) isNHSAddress(a netip.Addr) bool {
	return slices.ContainsFunc(t.nhs, func(n *nhs) bool { return n.active && n.address == a })
}

// addresses are source and destination of an IP packet, of which the header at least must be there.
func addresses(b []byte) (src, dst netip.Addr, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), true
	case len(b) >= 40 && b[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), true
	}
	return src, dst, false
}
