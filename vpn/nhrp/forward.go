package nhrp

import (
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
		case x.Type == message.ExtNATAddress && t.cfg.PointToPoint:
			t.tellNAT(p, x, from, record)
		case x.Type == message.ExtNATAddress && len(x.CIEs) == 0:
			// The server that a client registered with knows how the world sees it.
			proto := p.SrcProto
			if p.Type == message.ResolutionReply && len(p.CIEs) > 0 {
				proto = p.CIEs[0].Proto
			} else if !p.Type.Request() {
				continue
			}
			if en := t.cache[hostPrefix(proto)]; proto.IsValid() && en != nil && en.kind == KindRegistered && en.claimed.IsValid() {
				x.CIEs = []message.CIE{{PrefixLen: uint8(proto.BitLen()), MTU: en.mtu, NBMA: en.nbma, Proto: proto}}
			}
		}
	}
	t.traffic.Forwarded++
	out.send(id, &q)
}

// tellNAT enters how the sender of a request or reply looks from here, when a NAT is between. Nobody registers over
// point-to-point tunnels: the first hop sees it on the session.
func (t *tunnel) tellNAT(p *message.Packet, x *message.Extension, from From, record message.ExtensionType) {
	proto, claimed := p.SrcProto, p.SrcNBMA
	if p.Type == message.ResolutionReply && len(p.CIEs) > 0 {
		proto, claimed = p.CIEs[0].Proto, p.CIEs[0].NBMA
	} else if !p.Type.Request() {
		return
	}
	s, ok := t.e.host.Session(from.Session)
	if !ok || !transitEmpty(p, record) || !proto.IsValid() || !claimed.IsValid() || s.NBMA == claimed || natOf(p, proto).IsValid() {
		return
	}
	x.CIEs = append(slices.Clone(x.CIEs), message.CIE{PrefixLen: uint8(proto.BitLen()), NBMA: s.NBMA, Proto: proto})
}

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
