package nhrp

import (
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/nhrp/message"
)

// forward hands a packet on to the next hop of the routed path, with a transit record of ours.
func (t *tunnel) forward(now time.Time, from From, p *message.Packet, out *tunnel, id SessionID) {
	if id == from.Session {
		t.traffic.NoPath++
		return
	}
	if p.HopCount <= 1 {
		t.sendError(now, from, p, message.ErrorHopCount)
		return
	}
	q := *p
	q.HopCount--
	q.Extensions = slices.Clone(p.Extensions)
	record := message.ExtForwardTransit
	if p.Type.Reply() {
		record = message.ExtReverseTransit
	}
	// RFC 2332 §5.3: a transit server that meets a compulsory extension that it does not know passes the packet on, but does
	// not record itself.
	_, unknown := unknownCompulsory(p)
	for i := range q.Extensions {
		x := &q.Extensions[i]
		switch {
		case x.Type == record && !unknown:
			if len(x.CIEs) >= message.MaxCIEs-1 {
				t.sendError(now, from, p, message.ErrorHopCount)
				return
			}
			x.CIEs = append(slices.Clone(x.CIEs), out.selfCIE(p.SrcProto))
		case x.Type == message.ExtNATAddress:
			x.CIEs = t.tellNAT(p, slices.Clone(x.CIEs), from, transitEmpty(p, record))
			if s, ok := t.e.host.Session(id); ok && out.serves() {
				// Who looks like the receiver is behind the same NAT: its own address is the one that may work.
				x.CIEs = slices.DeleteFunc(x.CIEs, func(c message.CIE) bool { return c.NBMA == s.NBMA })
			}
		}
	}
	t.traffic.Forwarded++
	out.send(id, &q)
}

// tellNAT is what the NAT extension of a request or reply says when it has passed us. Of who sent it only those are believed
// who have that one on a session, by its registration or by routing, or as the first hop: how it looks from there takes the
// place of what was said, and what a spoke says of others counts for nothing.
func (t *tunnel) tellNAT(p *message.Packet, said []message.CIE, from From, first bool) []message.CIE {
	proto, claimed := p.SrcProto, p.SrcNBMA
	switch {
	case p.Type == message.ResolutionReply && len(p.CIEs) > 0:
		proto, claimed = p.CIEs[0].Proto, p.CIEs[0].NBMA
	case !p.Type.Request():
		return said
	}
	if t.cfg.PointToPoint && !t.cfg.Clone && !first {
		return said // the hub there has told, of the session that it came over; the same one may look otherwise on one of ours
	}
	seen, known := t.outside(proto)
	if !known && first && t.cfg.PointToPoint {
		var s Session
		s, known = t.e.host.Session(from.Session)
		seen = s.NBMA
	}
	said = slices.DeleteFunc(said, func(c message.CIE) bool { return t.serves() || known && c.Proto == proto })
	if known && proto.IsValid() && claimed.IsValid() && claimed != seen {
		said = append(said, message.CIE{PrefixLen: uint8(proto.BitLen()), NBMA: seen, Proto: proto})
	}
	return said
}

// outside is how who has a tunnel address looks from here, when a session of ours leads to it: it has registered, or routing
// knows it behind a tunnel that serves a spoke.
func (t *tunnel) outside(a netip.Addr) (nbma netip.Addr, known bool) {
	if !a.IsValid() {
		return nbma, false
	}
	if en := t.cache[hostPrefix(a)]; en != nil && en.kind == KindRegistered {
		return en.nbma, true
	}
	r, _ := t.e.host.Lookup(t.cfg.VRF, a)
	o := t.network(r.Interface)
	if t.leads(r) {
		o = t
	}
	if o == nil || !o.serves() {
		return nbma, false
	}
	s, ok := t.e.host.Peer(o.cfg.Tunnel)
	return s.NBMA, ok
}

// serves reports whether a tunnel is a hub's to a spoke.
func (t *tunnel) serves() bool { return t.cfg.Clone && t.cfg.ShortcutTemplate == 0 }

// passReply forwards a reply that is not for us along the routed path to its requester.
func (t *tunnel) passReply(now time.Time, from From, p *message.Packet) {
	if t.looped(p, message.ExtReverseTransit) {
		t.event(Event{Kind: EventLoop, Session: from.Session, Peer: p.SrcProto, Reason: "a reply came back to us"})
		return
	}
	if w, out, id, _ := t.path(p.SrcProto, from.Session, false); w == wayHop {
		t.forward(now, from, p, out, id)
		return
	}
	t.traffic.NoPath++
}

// unknownCompulsory finds a compulsory extension that we do not understand.
func unknownCompulsory(p *message.Packet) (message.ExtensionType, bool) {
	for i := range p.Extensions {
		if x := &p.Extensions[i]; x.Compulsory && !x.Type.Known() {
			return x.Type, true
		}
	}
	return 0, false
}
