package nhrp

import (
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/nhrp/message"
)

// claim is a registration for an address whose owner may still be alive: it waits while the owner is probed.
type claim struct {
	addr    netip.Addr
	session SessionID // who claims
	owner   SessionID
	from    From
	packet  *message.Packet // to be judged again; nil once refused
	until   time.Time       // waiting, or once refused: refused at once until then
	rx      uint64          // the owner's counter of received data at the first look
	looked  bool
	timer   timer
}

// refusedFor is how long a refused claim is refused without another probe.
const refusedFor = 30 * time.Second

type verdict uint8

const (
	accept verdict = iota
	refuse
	contested
)

func (t *tunnel) registrationRequest(now time.Time, from From, s Session, p *message.Packet) {
	own := t.own(p.SrcProto)
	if !own.IsValid() || !p.SrcProto.IsValid() || p.SrcProto.IsUnspecified() || p.SrcProto.IsMulticast() {
		t.drop(from, p, "registration without an address of ours in its family")
		return
	}
	if d := p.DstProto; d.IsValid() && !d.IsUnspecified() && d != p.SrcProto && !t.ours(d) {
		t.sendError(now, from, p, message.ErrorUnreachable)
		return
	}
	if len(p.CIEs) == 0 {
		t.sendError(now, from, p, message.ErrorProtocol)
		return
	}
	codes := make([]message.Code, len(p.CIEs))
	wait := false
	for i := range p.CIEs {
		c := &p.CIEs[i]
		v, code, owner := t.judge(s, p, c)
		switch v {
		case refuse:
			codes[i] = code
			t.event(Event{Kind: EventRegistrationRefused, Session: s.ID, Peer: c.Prefix(p.SrcProto).Addr(), Local: true, Reason: code.String()})
		case contested:
			addr := c.Prefix(p.SrcProto).Addr()
			if t.contest(now, addr, owner, from, s, p) {
				wait = true
			} else {
				codes[i] = message.CodeProhibited
				if p.Flags&message.FlagUnique != 0 {
					codes[i] = message.CodeAlreadyRegistered
				}
			}
		}
	}
	if wait {
		return
	}
	natted := p.SrcNBMA.IsValid() && p.SrcNBMA != s.NBMA
	changed := false
	for i := range p.CIEs {
		c := &p.CIEs[i]
		if codes[i] != message.CodeSuccess {
			continue
		}
		addr := c.Prefix(p.SrcProto).Addr()
		if t.register(now, s, p, c, addr, natted) {
			changed = true
		}
		if cl := t.claims[addr]; cl != nil && cl.session == s.ID {
			t.dropClaim(addr)
		}
	}
	if changed {
		t.tellMulticast()
	}
	t.replyRegistration(from, s, p, codes, own, natted)
}

// judge says whether a session may register an address.
func (t *tunnel) judge(s Session, p *message.Packet, c *message.CIE) (verdict, message.Code, SessionID) {
	prefix := c.Prefix(p.SrcProto)
	addr := prefix.Addr()
	switch {
	case !prefix.IsSingleIP(), addr.IsUnspecified(), addr.IsMulticast(), t.ours(addr):
		// Whole networks are not registered but routed.
		return refuse, message.CodeProhibited, 0
	case p.Flags&message.FlagUnique != 0 && len(p.CIEs) > 1:
		return refuse, message.CodeNotUnique, 0
	}
	en := t.cache[prefix]
	if en == nil || en.kind == KindNegative {
		if en == nil && t.full() {
			return refuse, message.CodeInsufficientResources, 0
		}
		return accept, 0, 0
	}
	if en.session == s.ID {
		return accept, 0, 0
	}
	if en.kind == KindStatic || en.kind == KindNHS {
		if en.nbma == s.NBMA && !s.Protected || !t.e.up(en.session) && en.nbma == s.NBMA {
			return accept, 0, 0
		}
		return refuse, message.CodeProhibited, 0
	}
	owner, ok := t.e.host.Session(en.session)
	switch {
	case !ok || !owner.Up:
		return accept, 0, 0
	case en.kind != KindRegistered:
		// Hearsay of a resolution: the one who registers here knows better, unless that one lives as somebody else.
		if s.Protected && owner.Identity != s.Identity {
			return contested, 0, owner.ID
		}
		return accept, 0, 0
	case s.Protected:
		return contested, 0, owner.ID
	case en.unique && en.nbma != s.NBMA:
		return refuse, message.CodeAlreadyRegistered, 0
	}
	return accept, 0, 0
}

// contest has the owner of an address probed and keeps the claim until its fate is known. It reports false when the
// claim is refused.
func (t *tunnel) contest(now time.Time, addr netip.Addr, owner SessionID, from From, s Session, p *message.Packet) bool {
	c := t.claims[addr]
	if c != nil && c.session == s.ID && c.owner == owner {
		if c.packet == nil {
			if now.Before(c.until) {
				return false
			}
			t.dropClaim(addr)
			c = nil
		} else {
			c.packet, c.from = p, from
			return true
		}
	}
	if c != nil && c.packet != nil {
		return false // one claimant at a time
	}
	if c == nil && len(t.claims) >= t.e.limits.Claims {
		return false
	}
	t.dropClaim(addr)
	c = &claim{addr: addr, session: s.ID, owner: owner, from: from, packet: p, until: now.Add(t.e.timers.ClaimWait)}
	t.claims[addr] = c
	t.event(Event{Kind: EventRegistrationClaim, Session: s.ID, Peer: addr, Reason: "asking the present owner's session for a sign of life"})
	t.e.host.Probe(owner)
	t.e.set(&c.timer, now.Add(time.Second), func(now time.Time) { t.lookAtClaim(now, c) })
	return true
}

// lookAtClaim refuses a claim when its owner has shown life, or when the probe's time is over and it was not found
// dead.
func (t *tunnel) lookAtClaim(now time.Time, c *claim) {
	if c.packet == nil {
		t.dropClaim(c.addr)
		return
	}
	s, ok := t.e.host.Session(c.owner)
	switch {
	case !ok || !s.Up:
		t.retryClaims(now)
	case c.looked && s.Received != c.rx:
		t.refuseClaim(now, c, "its owner's session is alive")
	case !now.Before(c.until):
		t.refuseClaim(now, c, "its owner's session was not found dead")
	default:
		c.rx, c.looked = s.Received, true
		t.e.set(&c.timer, now.Add(time.Second), func(now time.Time) { t.lookAtClaim(now, c) })
	}
}

func (t *tunnel) refuseClaim(now time.Time, c *claim, why string) {
	p, from := c.packet, c.from
	c.packet, c.until = nil, now.Add(refusedFor)
	t.e.set(&c.timer, c.until, func(now time.Time) { t.lookAtClaim(now, c) })
	t.event(Event{Kind: EventRegistrationRefused, Session: c.session, Peer: c.addr, Local: true, Reason: why})
	if s, ok := t.e.host.Session(c.session); ok && s.Up {
		t.registrationRequest(now, from, s, p)
	}
}

// alive is told when a session registers what it owns: a sign of life that refuses whoever claims it.
func (t *tunnel) alive(now time.Time, addr netip.Addr, id SessionID) {
	if c := t.claims[addr]; c != nil && c.packet != nil && c.owner == id {
		t.refuseClaim(now, c, "its owner registers it")
	}
}

// retryClaims judges claims again whose owner has gone.
func (t *tunnel) retryClaims(now time.Time) {
	var free []*claim
	for addr, c := range t.claims {
		if en := t.cache[hostPrefix(addr)]; en == nil || en.session != c.owner || !t.e.up(c.owner) {
			free = append(free, c)
		}
	}
	slices.SortFunc(free, func(a, b *claim) int { return a.addr.Compare(b.addr) })
	for _, c := range free {
		if t.claims[c.addr] != c {
			continue
		}
		t.dropClaim(c.addr)
		if s, ok := t.e.host.Session(c.session); ok && s.Up && c.packet != nil {
			t.registrationRequest(now, c.from, s, c.packet)
		}
	}
}

func (t *tunnel) dropClaim(addr netip.Addr) {
	if c := t.claims[addr]; c != nil {
		t.e.unset(&c.timer)
		delete(t.claims, addr)
	}
}

// register enters a client; it reports whether that is news.
func (t *tunnel) register(now time.Time, s Session, p *message.Packet, c *message.CIE, addr netip.Addr, natted bool) bool {
	prefix := hostPrefix(addr)
	old := t.cache[prefix]
	if old != nil && (old.kind == KindStatic || old.kind == KindNHS) {
		return false // configured knowledge stays as it is
	}
	hold := time.Duration(c.HoldTime) * time.Second
	if hold == 0 {
		hold = t.cfg.Holdtime
	}
	n := entry{kind: KindRegistered, nextHop: addr, session: s.ID, nbma: s.NBMA, identity: s.Identity, sa: s.SA,
		unique: p.Flags&message.FlagUnique != 0, mtu: c.MTU, hold: hold}
	if natted {
		n.claimed = p.SrcNBMA
	}
	news := old == nil || old.kind != KindRegistered || old.session != s.ID
	var left SessionID
	if old != nil && old.session != s.ID {
		left = old.session
	}
	t.bind(now, prefix, n)
	t.alive(now, addr, s.ID)
	if left != 0 {
		t.release(now, left, "replaced by a new registration")
	}
	if news {
		t.event(Event{Kind: EventRegistered, Session: s.ID, Peer: addr, NBMA: s.NBMA, Identity: s.Identity})
	}
	return news
}

func (t *tunnel) replyRegistration(from From, s Session, p *message.Packet, codes []message.Code, own netip.Addr, natted bool) {
	r := &message.Packet{AFN: p.AFN, Protocol: p.Protocol, HopCount: 64, Type: message.RegistrationReply,
		Flags: p.Flags & (message.FlagUnique | message.FlagNAT), RequestID: p.RequestID,
		SrcNBMA: p.SrcNBMA, SrcProto: p.SrcProto, DstProto: own}
	r.CIEs = slices.Clone(p.CIEs)
	for i := range r.CIEs {
		r.CIEs[i].Code = codes[i]
	}
	r.Extensions = t.replyExtensions(p, own)
	if nat := r.Extension(message.ExtNATAddress); nat != nil {
		nat.CIEs = slices.Clone(p.Extension(message.ExtNATAddress).CIEs)
		if natted {
			nat.CIEs = append(nat.CIEs, message.CIE{PrefixLen: uint8(own.BitLen()), MTU: t.cfg.MTU, NBMA: s.NBMA, Proto: p.SrcProto})
		}
	}
	t.send(from.Session, r)
}

// replyExtensions are the extensions of an answer: the request's, in its order, with the transit records as they came,
// ourselves as the responder and an empty NAT extension.
func (t *tunnel) replyExtensions(p *message.Packet, own netip.Addr) []message.Extension {
	var list []message.Extension
	for _, x := range p.Extensions {
		switch x.Type {
		case message.ExtForwardTransit:
			list = append(list, x)
		case message.ExtReverseTransit:
			x.CIEs = nil
			list = append(list, x)
		case message.ExtResponder:
			x.CIEs = []message.CIE{t.selfCIE(own)}
			list = append(list, x)
		case message.ExtNATAddress:
			x.CIEs = nil
			list = append(list, x)
		case message.ExtAuthentication:
			list = append(list, x) // send puts ours in its place
		}
	}
	return list
}
