package nhrp

import (
	"net/netip"
	"time"

	"felloe/vpn/nhrp/message"
)

// purge is a purge request of ours that waits for its reply.
type purge struct {
	requester netip.Addr
	prefix    netip.Prefix
	id        uint32
	tries     int
	timer     timer
}

// startPurge tells a requester that an answer of ours is not true any more.
func (t *tunnel) startPurge(now time.Time, requester netip.Addr, prefix netip.Prefix) {
	if len(t.purges) >= t.e.limits.Pending {
		t.traffic.Limited++
		return
	}
	u := &purge{requester: requester, prefix: prefix}
	for u.id == 0 || t.purges[u.id] != nil {
		u.id = t.e.requestID()
	}
	t.purges[u.id] = u
	t.event(Event{Kind: EventPurged, Peer: requester, Prefix: prefix, Local: true, Reason: "routes changed"})
	t.sendPurge(now, u)
}

func (t *tunnel) sendPurge(now time.Time, u *purge) {
	if u.tries >= t.e.timers.PurgeTries {
		t.dropPurge(u.id)
		return
	}
	t.purgeTo(u.requester, u.prefix, u.id, 0)
	wait := time.Second << u.tries
	u.tries++
	t.e.set(&u.timer, now.Add(wait), func(now time.Time) { t.sendPurge(now, u) })
}

func (t *tunnel) purgeTo(requester netip.Addr, prefix netip.Prefix, id uint32, flags uint16) {
	w, out, session, _ := t.path(requester, 0, false)
	if w != wayHop {
		t.traffic.NoPath++
		return
	}
	out.send(session, &message.Packet{HopCount: 64, Type: message.PurgeRequest, Flags: flags, RequestID: id,
		SrcNBMA: out.cfg.NBMA, SrcProto: out.own(requester), DstProto: requester,
		CIEs: []message.CIE{{PrefixLen: uint8(prefix.Bits()), Proto: prefix.Addr()}}, Extensions: standardExtensions()})
}

func (t *tunnel) dropPurge(id uint32) {
	if u := t.purges[id]; u != nil {
		t.e.unset(&u.timer)
		delete(t.purges, id)
	}
}

// purgeRequest removes what its sender told us before: its registration, or answers that lead to it.
func (t *tunnel) purgeRequest(now time.Time, from From, s Session, p *message.Packet) {
	if !p.SrcProto.IsValid() {
		t.sendError(now, from, p, message.ErrorProtocol)
		return
	}
	if !t.originFits(p, s) {
		t.drop(from, p, "purge whose source belongs to another session")
		return
	}
	if d := p.DstProto; d.IsValid() && !t.ours(d) && d != p.SrcProto {
		if t.looped(p, message.ExtForwardTransit) {
			t.event(Event{Kind: EventLoop, Session: s.ID, Peer: p.SrcProto, Reason: "a purge came back to us"})
			t.sendError(now, from, p, message.ErrorLoop)
			return
		}
		if w, out, id, _ := t.path(d, s.ID, false); w == wayHop {
			t.forward(now, from, p, out, id)
		} else {
			t.sendError(now, from, p, message.ErrorUnreachable)
		}
		return
	}
	trusted := t.isServer(s.ID)
	for i := range p.CIEs {
		c := &p.CIEs[i]
		if !c.Proto.IsValid() {
			continue
		}
		purged := c.Prefix(c.Proto)
		for _, en := range t.some(func(en *entry) bool {
			// A longer prefix of ours may be a part of the answered one.
			return purged.Overlaps(en.answered) && (purged.Bits() <= en.answered.Bits() || en.answered == purged)
		}) {
			switch en.kind {
			case KindRegistered:
				if en.session == s.ID {
					t.remove(now, en, "withdrawn by its client")
				}
			case KindResolved, KindImplicit:
				if en.nextHop == p.SrcProto && (en.session == s.ID || trusted) {
					t.event(Event{Kind: EventPurged, Session: s.ID, Peer: p.SrcProto, Prefix: en.prefix})
					t.remove(now, en, "purged")
				}
			}
		}
	}
	t.tellMulticast()
	t.retryClaims(now)
	if p.Flags&message.FlagNoReply != 0 {
		return
	}
	r := *p
	r.Type, r.HopCount = message.PurgeReply, 64
	r.Extensions = t.replyExtensions(p, t.own(p.SrcProto))
	t.send(from.Session, &r)
}

func (t *tunnel) purgeReply(from From, p *message.Packet) {
	if u := t.purges[p.RequestID]; u != nil && u.requester == p.DstProto {
		t.dropPurge(u.id)
		return
	}
	for name := range t.e.tunnels {
		if o := t.network(name); o != nil && o.purges[p.RequestID] != nil {
			o.dropPurge(p.RequestID)
			return
		}
	}
	t.drop(from, p, "purge reply to nothing that we asked")
}

// goodbye tells servers and those who keep our answers that we go.
func (t *tunnel) goodbye(time.Time) {
	for _, k := range t.answerKeys() {
		t.purgeTo(k.requester, k.prefix, t.e.requestID(), message.FlagNoReply)
	}
	for _, n := range t.nhs {
		if n.active && n.up {
			n.bye()
		}
	}
}
