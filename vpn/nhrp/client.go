package nhrp

import (
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
	if !t.cfg.Shortcut || t.cfg.ServerOnly || t.cfg.PointToPoint || dst.IsMulticast() || t.ours(dst) {
		return
	}
	// Only who forwards our packets to that address may redirect them.
	w, _, id, _ := t.path(dst, 0, false)
	if w != wayHop || id != from.Session && !t.isServer(from.Session) {
		t.drop(from, p, "redirect from somebody who is not on the path")
		return
	}
	if t.covering(dst) != nil || t.pending[dst] != nil {
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
	switch w {
	case wayHop:
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
			t.withdraw(now, q.target, "refused: "+why)
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
	// A direct answer (no transit record on the way back) binds to the session that it came on: whatever NAT is between,
	// that session leads there. Otherwise we open one.
	direct := transitEmpty(p, message.ExtReverseTransit) && !(t.isServer(s.ID) && !t.isNHSAddress(hop))
	if en := t.cache[hostPrefix(hop)]; en != nil && en.session != 0 && (en.kind == KindStatic || en.kind == KindNHS || en.kind == KindRegistered) {
		if known, ok := t.e.host.Session(en.session); ok {
			s, direct = known, true
		}
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
				t.event(Event{Kind: EventResolutionFailed, Peer: q.target, NBMA: nbma, Reason: err.Error()})
				t.negative(now, q.target, err.Error())
				return
			}
			s = opened
			if nbma != c.NBMA && t.otherwise(s.ID, hop) {
				// Several spokes behind one NAT have one address: whoever is known there already is somebody else.
				t.event(Event{Kind: EventResolutionFailed, Peer: q.target, NBMA: nbma, Reason: "another spoke is known behind that NAT"})
				t.negative(now, q.target, "another spoke is known behind that NAT")
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
		t.bind(now, prefix, n)
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
