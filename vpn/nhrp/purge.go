package nhrp

import (
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/nhrp/message"
)

// purge is a purge request of ours that waits for its reply, which may come over any tunnel of the network.
type purge struct {
	t         *tunnel
	requester netip.Addr
	prefix    netip.Prefix
	session   SessionID // that the answer went over; 0: by the routed path
	id        uint32
	tries     int
	timer     timer
}

// startPurge tells a requester that an answer of ours is not true any more.
func (t *tunnel) startPurge(now time.Time, requester netip.Addr, prefix netip.Prefix, session SessionID) {
	if len(t.net.purges) >= t.e.limits.Pending {
		t.traffic.Limited++
		return
	}
	u := &purge{t: t, requester: requester, prefix: prefix, session: session}
	for u.id == 0 || t.net.purges[u.id] != nil {
		u.id = t.e.requestID()
	}
	t.net.purges[u.id] = u
	t.event(Event{Kind: EventPurged, Peer: requester, Prefix: prefix, Local: true, Reason: "routes changed"})
	u.send(now)
}

func (u *purge) send(now time.Time) {
	if u.tries >= u.t.e.timers.PurgeTries {
		u.drop()
		return
	}
	u.t.purgeTo(u.requester, u.prefix, u.session, u.id, 0)
	wait := time.Second << u.tries
	u.tries++
	u.t.e.set(&u.timer, now.Add(wait), u.send)
}

func (u *purge) drop() {
	u.t.e.unset(&u.timer)
	delete(u.t.net.purges, u.id)
}

func (t *tunnel) purgeTo(requester netip.Addr, prefix netip.Prefix, session SessionID, id uint32, flags uint16) {
	out := t
	if s, ok := t.e.host.Session(session); t.cfg.PointToPoint && ok && s.Up && t.network(s.Tunnel) != nil {
		out = t.network(s.Tunnel) // to him directly
	} else {
		var w way
		if w, out, session, _ = t.path(requester, 0, false); w != wayHop {
			t.traffic.NoPath++
			return
		}
	}
	if !out.own(requester).IsValid() {
		t.traffic.NoPath++
		return
	}
	out.send(session, &message.Packet{HopCount: 64, Type: message.PurgeRequest, Flags: flags, RequestID: id,
		SrcNBMA: out.cfg.NBMA, SrcProto: out.own(requester), DstProto: requester,
		CIEs: []message.CIE{{PrefixLen: uint8(prefix.Bits()), Proto: prefix.Addr()}}, Extensions: standardExtensions()})
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
	// Who forwards for us is believed, too: a server, or a configured tunnel's far end.
	trusted := t.isServer(s.ID) || t.cfg.PointToPoint && !t.cfg.Clone
	removed := false
	for i := range p.CIEs {
		c := &p.CIEs[i]
		if !c.Proto.IsValid() {
			continue
		}
		purged := c.Prefix(c.Proto)
		for _, en := range t.within(purged) {
			switch en.kind {
			case KindRegistered:
				if en.session == s.ID {
					t.remove(now, en, "withdrawn by its client")
					removed = true
				}
			case KindResolved, KindImplicit:
				if en.nextHop == p.SrcProto && (en.session == s.ID || trusted) || t.cfg.PointToPoint && en.session == s.ID {
					t.event(Event{Kind: EventPurged, Session: s.ID, Peer: p.SrcProto, Prefix: en.prefix})
					en.t.remove(now, en, "purged")
					removed = true
				}
			}
		}
	}
	if removed {
		t.retryClaims(now)
	}
	if p.Flags&message.FlagNoReply != 0 {
		return
	}
	r := *p
	r.Type, r.HopCount = message.PurgeReply, 64
	r.Extensions = t.replyExtensions(p, t.own(p.SrcProto))
	t.send(from.Session, &r)
}

// within are the entries that a purge of a prefix is about. Shortcuts of a point-to-point tunnel are on others.
func (t *tunnel) within(purged netip.Prefix) []*entry {
	// A longer prefix of ours may be a part of the answered one.
	about := func(en *entry) bool {
		return purged.Overlaps(en.answered) && (purged.Bits() <= en.answered.Bits() || en.answered == purged)
	}
	if !t.cfg.PointToPoint {
		return t.some(about)
	}
	var list []*entry
	for _, all := range t.net.entries {
		for _, en := range all {
			if about(en) {
				list = append(list, en)
			}
		}
	}
	sortEntries(list)
	return list
}

// readdress withdraws what names addresses that a point-to-point tunnel is about to lose: the network behind us stays
// where it is, and so do the shortcuts to it.
func (t *tunnel) readdress(now time.Time, next Config) {
	lost := func(a netip.Addr) bool {
		return slices.Contains(t.cfg.Addresses, a) && !slices.Contains(next.Addresses, a)
	}
	for _, k := range t.answerKeys() {
		if a := t.answers[k]; lost(a.target) && k.prefix.IsSingleIP() {
			t.dropAnswer(k)
			t.startPurge(now, k.requester, k.prefix, a.session)
		}
	}
	if !t.cfg.Clone || len(t.cache) == 0 {
		return
	}
	s, ok := t.e.host.Peer(t.cfg.Tunnel)
	if !ok || !s.Up {
		return
	}
	for _, a := range t.cfg.Addresses {
		peer := t.behind(s.ID, netip.Addr{})
		if !lost(a) || !peer.IsValid() || peer.Is4() != a.Is4() {
			continue
		}
		t.send(s.ID, &message.Packet{HopCount: 64, Type: message.PurgeRequest, Flags: message.FlagNoReply, RequestID: t.e.random(), SrcNBMA: t.cfg.NBMA,
			SrcProto: a, DstProto: peer, CIEs: []message.CIE{{PrefixLen: uint8(a.BitLen()), Proto: a}}, Extensions: standardExtensions()})
	}
}

func (t *tunnel) purgeReply(from From, p *message.Packet) {
	if u := t.net.purges[p.RequestID]; u != nil && u.requester == p.DstProto {
		u.drop()
		return
	}
	t.drop(from, p, "purge reply to nothing that we asked")
}

// goodbye tells servers and those who keep our answers that we go.
func (t *tunnel) goodbye(time.Time) {
	for _, k := range t.answerKeys() {
		t.purgeTo(k.requester, k.prefix, t.answers[k].session, t.e.requestID(), message.FlagNoReply)
	}
	for _, n := range t.nhs {
		if n.active && n.up {
			n.bye()
		}
	}
}
