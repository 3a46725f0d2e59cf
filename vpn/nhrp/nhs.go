package nhrp

import (
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/nhrp/message"
)

// nhs is our relation to one next hop server.
//
//	waiting (W) ──active──► expecting (E) ──reply──► responding (R)
//	     ▲                      │  ▲                      │
//	     └──a better one took───┘  └─3 unanswered, session down, refused─┘
type nhs struct {
	NHS
	t       *tunnel
	address netip.Addr // configured or learned
	session SessionID
	active  bool // chosen by priority; else waiting
	up      bool // its last reply said yes
	failed  bool // it was tried without success
	since   time.Time

	id      uint32 // of the registration under way or last answered
	tries   int    // requests since the last reply
	timer   timer
	nat     netip.Addr // how the server sees us, when a NAT is between
	refused message.Code
	mapped  netip.Addr // address that has a cache entry

	sent, replies, refusals uint64
	reason                  string
}

const reasonTrack = "its tracked object is down"

// giveUp is the number of unanswered requests after which a server counts as lost.
const giveUp = 3

// changeNHS takes over the configured servers and chooses among them; those that left are let go last, so that a session
// that another entry uses as well stays.
func (t *tunnel) changeNHS(now time.Time, want []NHS) {
	var gone []*nhs
	t.nhs = slices.DeleteFunc(t.nhs, func(n *nhs) bool {
		if slices.ContainsFunc(want, n.same) {
			return false
		}
		gone = append(gone, n)
		return true
	})
	list := make([]*nhs, 0, len(want))
	for _, w := range want {
		if i := slices.IndexFunc(t.nhs, func(n *nhs) bool { return n.same(w) }); i >= 0 {
			t.nhs[i].Down = w.Down
			list = append(list, t.nhs[i])
			t.nhs = slices.Delete(t.nhs, i, i+1)
		} else {
			list = append(list, &nhs{NHS: w, t: t, address: w.Address, since: now})
		}
	}
	t.nhs = list
	t.scheduleNHS(now)
	for _, n := range gone {
		if n.active {
			n.deactivate(now, "server removed")
		}
	}
}

// scheduleNHS chooses, in each cluster, the servers to use: the best by priority, as many as may be connected. One that
// fails is replaced by the next but still tried, and takes its place again when it answers.
func (t *tunnel) scheduleNHS(now time.Time) {
	order := slices.Clone(t.nhs)
	slices.SortStableFunc(order, func(a, b *nhs) int {
		if a.Cluster != b.Cluster {
			return int(a.Cluster) - int(b.Cluster)
		}
		return int(a.Priority) - int(b.Priority)
	})
	count := map[uint8]int{}
	for _, n := range order {
		most := t.cfg.MaxConnections[n.Cluster]
		want := !n.Down && (most <= 0 || count[n.Cluster] < most)
		if want && !n.failed {
			count[n.Cluster]++
		}
		switch {
		case want && !n.active:
			n.activate(now)
		case n.Down && n.active:
			n.deactivate(now, reasonTrack)
			n.reason = reasonTrack
		case !want && n.active:
			n.deactivate(now, "a better server answers")
		}
	}
}

// server is the best responding server whose session is not the one given; nil when there is none.
func (t *tunnel) server(not SessionID) (best *nhs) {
	for _, n := range t.nhs {
		if n.active && n.up && n.session != not && (best == nil || n.Priority < best.Priority) && t.e.up(n.session) {
			best = n
		}
	}
	return best
}

// isServer reports whether a session is that of one of our servers.
func (t *tunnel) isServer(id SessionID) bool {
	return slices.ContainsFunc(t.nhs, func(n *nhs) bool { return n.active && n.session == id })
}

func (n *nhs) activate(now time.Time) {
	n.active, n.failed, n.up, n.tries, n.since = true, false, false, 0, now
	n.open(now)
}

func (n *nhs) open(now time.Time) {
	s, err := n.t.e.host.Open(n.t.cfg.Tunnel, n.NBMA)
	if err != nil {
		n.reason = err.Error()
		n.t.e.set(&n.timer, now.Add(10*time.Second), n.open)
		return
	}
	n.bind(now, s.ID)
	if s.Up {
		n.restart(now)
	} else {
		// The session's own retries go on; we only stop counting on this server after a while.
		n.t.e.set(&n.timer, now.Add(n.t.e.timers.SessionWait), n.sessionLate)
	}
}

func (n *nhs) bind(now time.Time, id SessionID) {
	n.session = id
	n.learn(now, n.address)
	n.t.tellMulticast()
}

// learn makes the server a neighbour under its tunnel address.
func (n *nhs) learn(now time.Time, a netip.Addr) {
	if !a.IsValid() {
		return
	}
	if n.mapped.IsValid() && n.mapped != a {
		n.unmap(now)
	}
	n.address, n.mapped = a, a
	n.t.bind(now, hostPrefix(a), entry{kind: KindNHS, nextHop: a, session: n.session, nbma: n.NBMA})
}

func (n *nhs) unmap(now time.Time) {
	shared := slices.ContainsFunc(n.t.nhs, func(o *nhs) bool { return o != n && o.active && o.mapped == n.mapped })
	if en := n.t.cache[hostPrefix(n.mapped)]; n.mapped.IsValid() && en != nil && en.kind == KindNHS && !shared {
		n.t.remove(now, en, "server not used")
	}
	n.mapped = netip.Addr{}
}

func (n *nhs) deactivate(now time.Time, reason string) {
	n.t.e.unset(&n.timer)
	if n.up {
		n.bye()
		n.lost(now, reason)
	}
	id := n.session
	n.active, n.failed, n.session = false, false, 0
	n.unmap(now)
	n.t.release(now, id, reason)
	n.t.tellMulticast()
}

// bye withdraws our registration.
func (n *nhs) bye() {
	own := n.t.own(n.family())
	again := slices.ContainsFunc(n.t.nhs, func(o *nhs) bool { return o != n && o.active && o.session == n.session })
	if again || !own.IsValid() || !n.t.e.up(n.session) {
		return
	}
	n.t.send(n.session, &message.Packet{HopCount: 1, Type: message.PurgeRequest, Flags: message.FlagNoReply,
		RequestID: n.t.e.random(), SrcNBMA: n.t.cfg.NBMA, SrcProto: own, DstProto: n.to(own),
		CIEs: []message.CIE{{PrefixLen: uint8(own.BitLen()), Proto: own}}, Extensions: standardExtensions()})
}

func (n *nhs) family() netip.Addr {
	if n.address.IsValid() {
		return n.address
	}
	if len(n.t.cfg.Addresses) > 0 {
		return n.t.cfg.Addresses[0]
	}
	return netip.Addr{}
}

// to is the destination of a registration: the server, or ourselves while its address is not known (RFC 2332 §5.2.3).
func (n *nhs) to(own netip.Addr) netip.Addr {
	if n.address.IsValid() {
		return n.address
	}
	return own
}

func (n *nhs) sessionUp(now time.Time) {
	n.tries = 0
	n.restart(now)
}

func (n *nhs) sessionDown(now time.Time, reason string) {
	n.failed = true
	if n.up {
		n.lost(now, reason)
	}
	n.t.e.set(&n.timer, now.Add(time.Second), n.open)
	n.t.scheduleNHS(now)
}

func (n *nhs) sessionLate(now time.Time) {
	n.failed, n.reason = true, "session did not come up"
	n.t.scheduleNHS(now)
	n.t.e.set(&n.timer, now.Add(n.t.e.timers.RetryMax), n.open)
}

// restart begins a registration.
func (n *nhs) restart(now time.Time) {
	if !n.active || n.session == 0 || !n.t.e.up(n.session) {
		return
	}
	n.id, n.tries = n.t.e.requestID(), 0
	n.register(now)
}

// register sends the request and arms the retry: 1, 2, 4 … 64 s.
func (n *nhs) register(now time.Time) {
	if !n.t.e.up(n.session) {
		n.t.e.set(&n.timer, now.Add(n.t.e.timers.SessionWait), n.sessionLate)
		return
	}
	if n.tries == giveUp {
		n.failed = true
		if n.up {
			n.lost(now, "registrations unanswered")
		} else if n.reason == "" {
			n.reason = "registrations unanswered"
		}
		n.t.e.host.Probe(n.session)
		n.t.scheduleNHS(now)
		if !n.active {
			return
		}
	}
	own := n.t.own(n.family())
	if !own.IsValid() {
		n.reason = "the tunnel has no address of this family"
		n.t.e.set(&n.timer, now.Add(10*time.Second), n.register)
		return
	}
	n.sent++
	n.t.send(n.session, n.request(own))
	wait := min(time.Second<<min(n.tries, 10), n.t.e.timers.RetryMax)
	n.tries++
	n.t.e.set(&n.timer, now.Add(wait), n.register)
}

func (n *nhs) request(own netip.Addr) *message.Packet {
	t := n.t
	p := &message.Packet{HopCount: 1, Type: message.RegistrationRequest, Flags: message.FlagNAT, RequestID: n.id,
		SrcNBMA: t.cfg.NBMA, SrcProto: own, DstProto: n.to(own), Extensions: standardExtensions()}
	length := uint8(own.BitLen())
	if t.cfg.Unique {
		p.Flags |= message.FlagUnique
		length = message.PrefixUnique
	}
	p.CIEs = []message.CIE{{PrefixLen: length, MTU: t.cfg.MTU, HoldTime: seconds(t.cfg.Holdtime)}}
	if !t.cfg.Unique {
		// RFC 2332 §5.2.0.1: a unique registration has one entry only.
		for _, a := range t.cfg.Addresses {
			if a != own && a.Is4() == own.Is4() {
				p.CIEs = append(p.CIEs, message.CIE{PrefixLen: length, MTU: t.cfg.MTU, HoldTime: seconds(t.cfg.Holdtime), Proto: a})
			}
		}
	}
	// The NAT extension names the server as we see it, so that it can tell a NAT before itself.
	server := n.address
	if !server.IsValid() {
		server = unspecified(own)
	}
	p.Extension(message.ExtNATAddress).CIEs = []message.CIE{{PrefixLen: uint8(own.BitLen()), NBMA: n.NBMA, Proto: server}}
	return p
}

// standardExtensions are those of a request, in the order in which FRR sends them.
func standardExtensions() []message.Extension {
	return []message.Extension{
		{Type: message.ExtForwardTransit, Compulsory: true},
		{Type: message.ExtReverseTransit, Compulsory: true},
		{Type: message.ExtResponder, Compulsory: true},
		{Type: message.ExtNATAddress},
	}
}

func unspecified(family netip.Addr) netip.Addr {
	if family.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// registrationReply takes the answer of a server.
func (t *tunnel) registrationReply(now time.Time, from From, p *message.Packet) {
	i := slices.IndexFunc(t.nhs, func(n *nhs) bool { return n.active && n.id != 0 && n.id == p.RequestID && n.session == from.Session })
	if i < 0 || !slices.Contains(t.cfg.Addresses, p.SrcProto) {
		t.drop(from, p, "registration reply to nothing that we asked")
		return
	}
	n := t.nhs[i]
	n.replies++
	n.tries = 0
	for _, c := range p.CIEs {
		if c.Code == message.CodeSuccess {
			continue
		}
		n.refusals++
		n.failed = true
		if n.refused != c.Code || n.up {
			n.refused = c.Code
			t.event(Event{Kind: EventRegistrationRefused, Session: n.session, Peer: n.address, NBMA: n.NBMA, Reason: c.Code.String()})
		}
		if n.up {
			n.lost(now, "registration refused: "+c.Code.String())
		}
		// Refused is not lost: whatever stands in the way may go. Ask again at the slow end of the retries' pace.
		n.reason = c.Code.String()
		n.id = t.e.requestID()
		t.e.set(&n.timer, now.Add(min(time.Second<<min(n.refusals+1, 10), t.e.timers.RetryMax)), n.register)
		t.scheduleNHS(now)
		return
	}
	n.refused, n.refusals, n.failed, n.reason = 0, 0, false, ""
	n.nat = natOf(p, p.SrcProto)
	if n.nat == t.cfg.NBMA {
		n.nat = netip.Addr{}
	}
	if server := p.DstProto; server.IsValid() && !t.ours(server) && !n.NHS.Address.IsValid() {
		n.learn(now, server)
	}
	t.e.set(&n.timer, now.Add(t.cfg.RegistrationTimeout), n.restart)
	if !n.up {
		n.up, n.since = true, now
		t.event(Event{Kind: EventNHSUp, Session: n.session, Peer: n.address, NBMA: n.NBMA})
		t.scheduleNHS(now)
		t.tellGlean()
	}
}

func (n *nhs) lost(now time.Time, reason string) {
	n.up, n.since, n.reason = false, now, reason
	n.t.event(Event{Kind: EventNHSDown, Session: n.session, Peer: n.address, NBMA: n.NBMA, Reason: reason})
	n.t.tellGlean()
}

// natOf is the NBMA address that a packet's NAT extension gives for a protocol address.
func natOf(p *message.Packet, proto netip.Addr) netip.Addr {
	for i := range p.Extensions {
		if p.Extensions[i].Type != message.ExtNATAddress {
			continue
		}
		for _, c := range p.Extensions[i].CIEs {
			if c.Proto == proto && c.NBMA.IsValid() {
				return c.NBMA
			}
		}
	}
	return netip.Addr{}
}

// natted is how the world sees our NBMA address, when a server told that a NAT is between.
func (t *tunnel) natted() netip.Addr {
	for _, n := range t.nhs {
		if n.active && n.nat.IsValid() {
			return n.nat
		}
	}
	return netip.Addr{}
}
