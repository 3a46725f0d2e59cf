package nhrp

import (
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/nhrp/message"
)

// answer is one that we gave and that somebody keeps: when it stops being true they are told (purge).
type answer struct {
	target  netip.Addr
	routed  netip.Prefix // our route at the time
	session SessionID
	expires time.Time
	timer   timer
}

type answerKey struct {
	requester netip.Addr
	prefix    netip.Prefix
}

// deferred is an answer that waits for the direct session to its requester.
type deferred struct {
	packet *message.Packet
	timer  timer
}

// resolutionRequest answers when the address is ours or leaves the network here, and forwards otherwise.
func (t *tunnel) answerResolution(now time.Time, from From, s Session, p *message.Packet) {
	if !p.SrcProto.IsValid() || !p.DstProto.IsValid() || t.own(p.DstProto) == (netip.Addr{}) {
		t.sendError(now, from, p, message.ErrorProtocol)
		return
	}
	if t.ours(p.SrcProto) || t.looped(p, message.ExtForwardTransit) {
		t.event(Event{Kind: EventLoop, Session: s.ID, Peer: p.SrcProto, Reason: "a resolution request came back to us"})
		if !t.ours(p.SrcProto) {
			t.sendError(now, from, p, message.ErrorLoop)
		}
		return
	}
	if !t.originFits(p, s) {
		t.drop(from, p, "request whose source belongs to another session")
		return
	}
	w, out, id, r := t.path(p.DstProto, s.ID, false)
	switch w {
	case wayNone, wayDiscard:
		t.refuseResolution(now, from, p, message.CodeNoBinding)
	case wayLocal, wayOut:
		if t.cfg.PointToPoint && t.cfg.ShortcutTemplate == 0 && t.transit(p) {
			t.refuseResolution(now, from, p, message.CodeProhibited)
			return
		}
		if _, unknown := unknownCompulsory(p); unknown {
			t.sendError(now, from, p, message.ErrorUnrecognizedExtension)
			return
		}
		t.answer(now, from, s, p, w, r)
	case wayHop:
		t.forward(now, from, p, out, id)
	case wayUnknown:
		if direct, o, back, _ := t.path(p.DstProto, 0, false); direct == wayHop && o != nil && back == s.ID {
			// Our way there leads back to who asks: he is the end of it as far as we know.
			t.refuseResolution(now, from, p, message.CodeNoBinding)
			return
		}
		t.traffic.NoPath++ // the next hop may register in a moment; the requester asks again
	}
}

// transit reports whether a request came over another server.
func (t *tunnel) transit(p *message.Packet) bool { return !transitEmpty(p, message.ExtForwardTransit) }

// looped reports whether a transit record names us.
func (t *tunnel) looped(p *message.Packet, kind message.ExtensionType) bool {
	x := p.Extension(kind)
	return x != nil && slices.ContainsFunc(x.CIEs, func(c message.CIE) bool { return c.Proto.IsValid() && t.ours(c.Proto) })
}

// originFits guards against requests in somebody else's name: whoever handed the packet over (its last transit record,
// or its source) must not be known to us on another session.
func (t *tunnel) originFits(p *message.Packet, s Session) bool {
	origin := p.SrcProto
	if x := p.Extension(message.ExtForwardTransit); x != nil && len(x.CIEs) > 0 && p.Type.Request() {
		origin = x.CIEs[len(x.CIEs)-1].Proto
	}
	if !origin.IsValid() {
		return true
	}
	if t.serves() && !t.sourceFits(p) {
		return false
	}
	en := t.cache[hostPrefix(origin)]
	if en == nil || en.session == 0 || en.session == s.ID {
		return true
	}
	if en.kind != KindRegistered && en.kind != KindStatic && en.kind != KindNHS {
		return true
	}
	return !t.e.up(en.session)
}

// sourceFits is originFits for a hub's tunnel to a spoke, where nobody registers: routing tells whose an address is. What a
// spoke says for itself must be its own. A spoke hands on nothing but requests, which must name the outside address that
// their source is known by here.
func (t *tunnel) sourceFits(p *message.Packet) bool {
	r, ok := t.e.host.Lookup(t.cfg.VRF, p.SrcProto)
	if t.network(r.Interface) == nil {
		return !ok || r.Discard || r.Prefix.Bits() == 0 // nothing is known of it; else it is somebody's out of the network
	}
	if !t.transit(p) || p.Type != message.ResolutionRequest {
		return t.leads(r)
	}
	seen, known := t.outside(p.SrcProto)
	return !known || seen == p.SrcNBMA || seen == natOf(p, p.SrcProto)
}

// answer answers for the routed prefix, over a session of its own to the requester.
func (t *tunnel) answer(now time.Time, from From, s Session, p *message.Packet, w way, r Route) {
	prefix := hostPrefix(p.DstProto)
	if w == wayOut || !t.ours(p.DstProto) && r.Prefix.IsValid() {
		prefix = r.Prefix
	}
	if !prefix.Contains(p.DstProto) {
		prefix = hostPrefix(p.DstProto)
	}
	nat := natOf(p, p.SrcProto)
	keep := t.keepers(p.DstProto)
	for _, a := range []netip.Addr{p.SrcNBMA, nat, p.SrcProto, s.NBMA} {
		if a.IsValid() && a != p.DstProto {
			keep = append(keep, a)
		}
	}
	for _, kind := range []message.ExtensionType{message.ExtForwardTransit, message.ExtNATAddress} {
		if x := p.Extension(kind); x != nil {
			for _, c := range x.CIEs {
				for _, a := range []netip.Addr{c.NBMA, c.Proto} {
					if a.IsValid() && !a.IsUnspecified() && a != p.DstProto {
						keep = append(keep, a)
					}
				}
			}
		}
	}
	prefix, ok := narrow(prefix, p.DstProto, keep)
	if !ok || p.DstProto == t.cfg.NBMA {
		t.refuseResolution(now, from, p, message.CodeProhibited)
		return
	}
	reply := t.resolutionReplyTo(p)
	own := t.own(p.DstProto)
	reply.Flags |= message.FlagAuthoritative | message.FlagDestStable
	c := t.selfCIE(own)
	c.PrefixLen = uint8(prefix.Bits())
	reply.CIEs = []message.CIE{c}
	if x := reply.Extension(message.ExtNATAddress); x != nil && t.natted().IsValid() {
		x.CIEs = []message.CIE{{PrefixLen: uint8(own.BitLen()), MTU: t.cfg.MTU, NBMA: t.natted(), Proto: own}}
	}
	t.event(Event{Kind: EventResolutionAnswered, Session: s.ID, Peer: p.SrcProto, Prefix: prefix, Local: true})

	home, session, known := t, SessionID(0), false
	if t.cfg.PointToPoint && t.transit(p) {
		home, session, known = t.requesterOver(now, p, nat)
	} else {
		session, known = t.requesterSession(now, s, p, nat)
	}
	t.remember(now, p.SrcProto, prefix, p.DstProto, r.Prefix, session)
	switch {
	case !known:
		t.answerByPath(now, reply)
	case t.e.up(session):
		home.send(session, reply)
	default:
		home.deferAnswer(now, session, reply)
	}
}

// requesterOver is requesterSession for who asks over a hub's point-to-point tunnel: the session is on a tunnel of its
// own, where the requester is entered as the way back.
func (t *tunnel) requesterOver(now time.Time, p *message.Packet, nat netip.Addr) (*tunnel, SessionID, bool) {
	nbma := p.SrcNBMA
	hold := t.cfg.Holdtime
	if len(p.CIEs) > 0 && p.CIEs[0].HoldTime != 0 {
		hold = time.Duration(p.CIEs[0].HoldTime) * time.Second
	}
	natted := nat.IsValid() && nat != nbma
	if slices.Contains(t.keepers(netip.Addr{}), p.SrcProto) {
		return nil, 0, false // that is a server's, or a configured tunnel's far end's
	}
	en := t.known(p.SrcProto)
	if en != nil && !t.e.up(en.session) && en.nbma != nbma && !(natted && en.nbma == nat) {
		return nil, 0, false // he is being called elsewhere
	}
	if en != nil && t.e.up(en.session) {
		switch {
		case en.nbma == nbma, en.claimed == nbma, natted && en.nbma == nat:
			if en.kind == KindImplicit && en.expires.Before(now.Add(hold)) {
				n := *en
				n.hold = hold
				en.t.bind(now, en.prefix, n)
			}
			return en.t, en.session, true
		default:
			// Somebody else than we know, or the same one moved: until what we have is found dead the answer goes over the hub.
			t.e.host.Probe(en.session)
			return nil, 0, false
		}
	}
	switch {
	case natted:
		return nil, 0, false // he is behind a NAT that we cannot get through from here; he can come to us
	case !nbma.IsValid(), nbma.IsUnspecified(), nbma.IsMulticast():
		return nil, 0, false
	}
	home, s, err := t.open(now, nbma)
	if err != nil {
		t.event(Event{Kind: EventResolutionFailed, Peer: p.SrcProto, NBMA: nbma, Local: true, Reason: err.Error()})
		return nil, 0, false
	}
	if home.otherwise(s.ID, p.SrcProto) {
		t.event(Event{Kind: EventResolutionFailed, Peer: p.SrcProto, NBMA: nbma, Local: true, Reason: "another tunnel address is known there"})
		return nil, 0, false
	}
	home.shortcut = true
	if !home.full() {
		home.bind(now, hostPrefix(p.SrcProto), entry{kind: KindImplicit, nextHop: p.SrcProto, hold: hold, target: p.SrcProto, session: s.ID,
			nbma: s.NBMA, identity: s.Identity, sa: s.SA})
	}
	return home, s.ID, true
}

// requesterSession is the session to answer a requester directly. It enters the requester as a neighbour: the
// answers' packets come that way, and ours may go back that way.
func (t *tunnel) requesterSession(now time.Time, s Session, p *message.Packet, nat netip.Addr) (SessionID, bool) {
	host := hostPrefix(p.SrcProto)
	en := t.cache[host]
	if en != nil && (en.kind == KindStatic || en.kind == KindNHS || en.kind == KindRegistered) {
		return en.session, true
	}
	hold := t.cfg.Holdtime
	if len(p.CIEs) > 0 && p.CIEs[0].HoldTime != 0 {
		hold = time.Duration(p.CIEs[0].HoldTime) * time.Second
	}
	n := entry{kind: KindImplicit, nextHop: p.SrcProto, hold: hold, target: p.SrcProto}
	if en != nil && en.kind == KindResolved {
		n.kind, n.answered = KindResolved, en.answered
	}
	nbma := p.SrcNBMA
	switch {
	case !t.transit(p):
		// He asks directly: the session is the one that he asked on. A direct request only confirms what we know of its source: it
		// neither takes an address from a living session nor makes one known.
		if en == nil || en.session == 0 || !t.e.up(en.session) {
			return s.ID, true
		}
		if en.session != s.ID {
			t.e.host.Probe(en.session)
			return 0, false
		}
		n.session, n.nbma, n.identity, n.sa = s.ID, s.NBMA, s.Identity, s.SA
		if nbma.IsValid() && nbma != s.NBMA {
			n.claimed = nbma
		}
	case nat.IsValid() && nat != nbma && nat != t.natted():
		// He is behind a NAT that we cannot get through from here; he can come to us. A session of his that is there serves.
		if en != nil && t.e.up(en.session) {
			n.session, n.nbma, n.claimed = en.session, en.nbma, en.claimed
			break
		}
		return 0, false
	case !nbma.IsValid() || nbma.IsUnspecified() || nbma.IsMulticast() || nbma == t.cfg.NBMA:
		return 0, false
	default:
		if en != nil && en.session != 0 && t.e.up(en.session) {
			if en.nbma == nbma || en.claimed == nbma {
				n.session, n.nbma, n.claimed, n.identity, n.sa = en.session, en.nbma, en.claimed, en.identity, en.sa
				break
			}
			// Somebody else than we know, or the same one moved: what we have is asked for a sign of life, and until it is found dead the
			// answer goes over the servers.
			t.e.host.Probe(en.session)
			return 0, false
		}
		opened, err := t.e.host.Open(t.cfg.Tunnel, nbma)
		if err != nil {
			return 0, false
		}
		n.session, n.nbma, n.identity, n.sa = opened.ID, opened.NBMA, opened.Identity, opened.SA
	}
	if en == nil && t.full() {
		t.traffic.Limited++
		return n.session, true
	}
	if en != nil && en.session == n.session && en.expires.After(now.Add(n.hold)) {
		return n.session, true
	}
	t.bind(now, host, n)
	return n.session, true
}

// deferAnswer keeps an answer until the direct session is up, or for DirectWait: then it goes over the servers, so that
// a requester whom we cannot reach can try to reach us.
func (t *tunnel) deferAnswer(now time.Time, id SessionID, reply *message.Packet) {
	list := t.deferred[id]
	for _, d := range list {
		if d.packet.RequestID == reply.RequestID && d.packet.SrcProto == reply.SrcProto {
			d.packet = reply // asked again
			return
		}
	}
	if len(t.deferred) >= t.e.limits.Pending || len(list) >= 64 {
		t.traffic.Limited++
		return
	}
	d := &deferred{packet: reply}
	t.deferred[id] = append(list, d)
	t.e.set(&d.timer, now.Add(t.e.timers.DirectWait), func(now time.Time) {
		t.deferred[id] = slices.DeleteFunc(t.deferred[id], func(o *deferred) bool { return o == d })
		if len(t.deferred[id]) == 0 {
			delete(t.deferred, id)
		}
		t.answerByPath(now, d.packet)
		t.release(now, id, reasonAnswered)
	})
}

// reasonAnswered is why a session ends that was opened for an answer and that no entry leads over: there was no room for
// one, or it was cleared meanwhile.
const reasonAnswered = "the answer is given"

func (t *tunnel) sendDeferred(now time.Time, id SessionID) {
	list := t.deferred[id]
	delete(t.deferred, id)
	for _, d := range list {
		t.e.unset(&d.timer)
		t.send(id, d.packet)
	}
	if len(list) > 0 {
		t.release(now, id, reasonAnswered)
	}
}

// answerByPath sends an answer back along the routed path to its requester.
func (t *tunnel) answerByPath(_ time.Time, reply *message.Packet) {
	if w, out, id, _ := t.path(reply.SrcProto, 0, true); w == wayHop {
		out.send(id, reply)
		return
	}
	t.traffic.NoPath++
}

func (t *tunnel) resolutionReplyTo(p *message.Packet) *message.Packet {
	return &message.Packet{AFN: p.AFN, Protocol: p.Protocol, HopCount: 64, Type: message.ResolutionReply,
		Flags:     p.Flags & (message.FlagRouter | message.FlagSourceStable | message.FlagUniqueAnswer),
		RequestID: p.RequestID, SrcNBMA: p.SrcNBMA, SrcProto: p.SrcProto, DstProto: p.DstProto,
		Extensions: t.replyExtensions(p, t.own(p.SrcProto))}
}

// refuseResolution answers no, back the way that the request came.
func (t *tunnel) refuseResolution(_ time.Time, from From, p *message.Packet, code message.Code) {
	reply := t.resolutionReplyTo(p)
	reply.Flags |= message.FlagAuthoritative
	reply.CIEs = []message.CIE{{Code: code, PrefixLen: uint8(p.DstProto.BitLen()), HoldTime: seconds(t.e.timers.Negative)}}
	t.event(Event{Kind: EventResolutionRefused, Session: from.Session, Peer: p.SrcProto, Prefix: hostPrefix(p.DstProto), Local: true, Reason: code.String()})
	t.send(from.Session, reply)
}

// remember keeps an answer for a purge.
func (t *tunnel) remember(now time.Time, requester netip.Addr, prefix netip.Prefix, target netip.Addr, routed netip.Prefix, id SessionID) {
	k := answerKey{requester, prefix}
	a := t.answers[k]
	if a == nil {
		if len(t.answers) >= t.e.limits.Answers {
			t.traffic.Limited++
			return
		}
		a = &answer{}
		t.answers[k] = a
	}
	a.target, a.routed, a.session, a.expires = target, routed, id, now.Add(t.cfg.Holdtime)
	t.e.set(&a.timer, a.expires, func(time.Time) { t.dropAnswer(k) })
}

func (t *tunnel) dropAnswer(k answerKey) {
	if a := t.answers[k]; a != nil {
		t.e.unset(&a.timer)
		delete(t.answers, k)
	}
}

// checkAnswers purges the answers that are not true any more.
func (t *tunnel) checkAnswers(now time.Time) {
	for _, k := range t.answerKeys() {
		a := t.answers[k]
		w, _, _, r := t.path(a.target, 0, false)
		if (w == wayLocal || w == wayOut) && r.Prefix == a.routed {
			continue
		}
		t.dropAnswer(k)
		t.startPurge(now, k.requester, k.prefix, a.session)
	}
}

func (t *tunnel) answerKeys() []answerKey {
	keys := make([]answerKey, 0, len(t.answers))
	for k := range t.answers {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b answerKey) int {
		if c := a.requester.Compare(b.requester); c != 0 {
			return c
		}
		return a.prefix.Compare(b.prefix)
	})
	return keys
}
