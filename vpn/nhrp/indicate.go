package nhrp

import (
	"encoding/binary"
	"net/netip"
	"time"

	"felloe/vpn/nhrp/message"
)

// maxCopied bounds how much of a packet travels inside an indication.
const maxCopied = 512

// Redirect is told of a packet that came in over a session and left over a tunnel. When both belong to one network and
// the ingress tunnel has redirect on, the session's far end is told that there is a better way. The packet itself has
// been forwarded; the data plane limits how often we are called for one flow.
func (e *Engine) Redirect(now time.Time, from From, egress string, packet []byte) {
	e.now = now
	t := e.tunnels[from.Tunnel]
	if t == nil || !t.cfg.Redirect || from.Session == 0 || t.network(egress) == nil {
		return
	}
	src, dst, ok := addresses(packet)
	if !ok || src.IsUnspecified() || src.IsMulticast() || dst.IsMulticast() || dst.IsLinkLocalUnicast() || t.ours(src) || t.ours(dst) {
		return
	}
	own := t.own(src)
	if !own.IsValid() {
		return
	}
	if w, _, id, _ := t.path(dst, 0, false); w != wayHop || id == from.Session {
		return // out of the network, or straight back: nothing better to offer
	}
	if !t.indications.take(now, e.limits.Indications) {
		t.traffic.Limited++
		return
	}
	t.event(Event{Kind: EventRedirectSent, Session: from.Session, Peer: src, Prefix: hostPrefix(dst)})
	t.send(from.Session, &message.Packet{HopCount: 1, Type: message.TrafficIndication, SrcNBMA: t.cfg.NBMA, SrcProto: own, DstProto: src,
		Payload: packet[:min(len(packet), maxCopied)]})
}

// sendError tells the sender of a packet why it was dropped. Nothing answers an indication (RFC 2332 §5.2.7).
func (t *tunnel) sendError(now time.Time, from From, p *message.Packet, code message.ErrorCode) {
	if p.Type.Indication() || p.Type.Reply() {
		t.drop(from, p, code.String())
		return
	}
	if !t.errors.take(now, t.e.limits.Errors) {
		t.traffic.Limited++
		return
	}
	offending, err := p.Encode()
	if err != nil {
		return
	}
	t.event(Event{Kind: EventErrorSent, Session: from.Session, Peer: p.SrcProto, Local: true, Reason: code.String()})
	own := t.own(p.SrcProto)
	if !own.IsValid() {
		own = unspecified(p.SrcProto)
	}
	t.send(from.Session, &message.Packet{AFN: p.AFN, Protocol: p.Protocol, HopCount: 64, Type: message.ErrorIndication, ErrorCode: code,
		SrcNBMA: t.cfg.NBMA, SrcProto: own, DstProto: p.SrcProto, Payload: offending[:min(len(offending), maxCopied)]})
}

// errorIndication takes an authenticated error: what it is about fails, or it travels on.
func (t *tunnel) errorIndication(now time.Time, from From, s Session, p *message.Packet) {
	if d := p.DstProto; d.IsValid() && !d.IsUnspecified() && !t.ours(d) {
		if w, out, id, _ := t.path(d, from.Session, false); w == wayHop && p.HopCount > 1 {
			t.forward(now, from, p, out, id)
		}
		return
	}
	kind, id, ok := offender(p.Payload)
	reason := p.ErrorCode.String()
	t.event(Event{Kind: EventErrorReceived, Session: s.ID, Peer: p.SrcProto, Reason: reason})
	if !ok {
		return
	}
	switch kind {
	case message.ResolutionRequest:
		if q := t.e.byID[id]; q != nil && t.network(q.t.cfg.Tunnel) != nil && !q.refresh {
			q.fail(now, reason)
		}
	case message.RegistrationRequest:
		for _, n := range t.nhs {
			if n.id == id && n.session == s.ID {
				n.reason = reason
			}
		}
	}
}

// offender reads type and request ID of the packet in an error indication, which may be cut off.
func offender(b []byte) (message.Type, uint32, bool) {
	if len(b) < 28 || b[16] != message.Version {
		return 0, 0, false
	}
	return message.Type(b[17]), binary.BigEndian.Uint32(b[24:]), true
}

// drop counts a packet that is not usable and tells why.
func (t *tunnel) drop(from From, p *message.Packet, reason string) {
	t.traffic.Dropped++
	var peer netip.Addr
	if p != nil {
		peer = p.SrcProto
		reason = p.Type.String() + ": " + reason
	}
	t.event(Event{Kind: EventDropped, Session: from.Session, Peer: peer, NBMA: from.NBMA, Reason: reason})
}
