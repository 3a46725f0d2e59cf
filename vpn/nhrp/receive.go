package nhrp

import (
	"crypto/subtle"
	"maps"
	"time"

	"felloe/vpn/nhrp/message"
)

// mismatchInterval is how often an authentication mismatch of one session is told.
const mismatchInterval = time.Minute

// Receive takes an NHRP packet that came in over a session of a tunnel.
func (e *Engine) Receive(now time.Time, from From, data []byte) {
	e.now = now
	t := e.tunnels[from.Tunnel]
	if t == nil {
		return
	}
	p, err := message.Decode(data)
	if err != nil {
		t.traffic.Malformed++
		t.event(Event{Kind: EventDropped, Session: from.Session, NBMA: from.NBMA, Reason: err.Error()})
		return
	}
	t.traffic.Received[p.Type]++
	t.event(Event{Kind: EventPacket, Session: from.Session, Peer: t.behind(from.Session, p.SrcProto), NBMA: from.NBMA, Reason: p.Type.String(), Packet: info(p, len(data))})
	s, ok := e.host.Session(from.Session)
	if !ok || s.Tunnel != from.Tunnel {
		t.drop(from, p, "it came in over no session of the tunnel")
		return
	}
	if !s.Up {
		t.drop(from, p, "its session is not up")
		return
	}
	// Before anything else, on every type.
	if !t.authentic(p) {
		t.mismatch(now, from, s, p)
		return
	}
	if t.cfg.NetworkID == 0 {
		t.drop(from, p, "the tunnel has no network ID")
		return
	}
	switch p.Type {
	case message.RegistrationRequest:
		if _, unknown := unknownCompulsory(p); unknown {
			t.sendError(now, from, p, message.ErrorUnrecognizedExtension)
			return
		}
		t.registrationRequest(now, from, s, p)
	case message.RegistrationReply:
		t.registrationReply(now, from, p)
	case message.ResolutionRequest:
		t.answerResolution(now, from, s, p)
	case message.ResolutionReply, message.PurgeReply:
		switch {
		case !p.SrcProto.IsValid():
			t.drop(from, p, "no source")
		case !t.ours(p.SrcProto):
			t.passReply(now, from, p)
		case p.Type == message.ResolutionReply:
			t.resolutionReply(now, from, s, p)
		default:
			t.purgeReply(from, p)
		}
	case message.PurgeRequest:
		t.purgeRequest(now, from, s, p)
	case message.ErrorIndication:
		t.errorIndication(now, from, s, p)
	case message.TrafficIndication:
		t.trafficIndication(now, from, p)
	}
}

// authentic checks the authentication extension: exactly one with the tunnel's string, or none at all when the tunnel
// has no string. A router that has none does not take part in a network that has one.
func (t *tunnel) authentic(p *message.Packet) bool {
	count, match := 0, true
	for i := range p.Extensions {
		x := &p.Extensions[i]
		if x.Type != message.ExtAuthentication {
			continue
		}
		count++
		secret, ok := x.Secret()
		if !ok || subtle.ConstantTimeCompare(secret, []byte(t.cfg.Authentication)) != 1 {
			match = false
		}
	}
	if t.cfg.Authentication == "" {
		return count == 0
	}
	return count == 1 && match
}

// mismatch counts and tells an authentication failure; to whom has it, but not oftener than once a minute a session.
func (t *tunnel) mismatch(now time.Time, from From, s Session, p *message.Packet) {
	t.traffic.AuthFailures++
	last, seen := t.e.mismatches[from.Session]
	tell := !seen || now.Sub(last) >= mismatchInterval
	if !seen && len(t.e.mismatches) >= t.e.limits.Cache {
		maps.DeleteFunc(t.e.mismatches, func(_ SessionID, at time.Time) bool { return now.Sub(at) >= mismatchInterval })
	}
	if tell && (seen || len(t.e.mismatches) < t.e.limits.Cache) {
		t.e.mismatches[from.Session] = now
		if p.Type == message.ErrorIndication {
			// Hearsay: it changes nothing, but the operator of a router with the wrong string wants to know what the other side says.
			reason := p.ErrorCode.String() + " (not authenticated)"
			for _, n := range t.nhs {
				if n.session == s.ID && !n.up {
					n.reason = reason
				}
			}
			t.event(Event{Kind: EventErrorReceived, Session: s.ID, Peer: p.SrcProto, NBMA: from.NBMA, Reason: reason})
			return
		}
		t.event(Event{Kind: EventAuthMismatch, Session: s.ID, Peer: p.SrcProto, NBMA: from.NBMA, Reason: p.Type.String()})
	}
	t.sendError(now, from, p, message.ErrorAuthentication)
}
