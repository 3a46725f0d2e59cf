package cluster

import (
	"net/netip"
	"slices"
	"time"
)

// settling is how long a caller that was sent to a member counts as its session, besides those that it tells of.
const settling = 4 * time.Second

// Limits of what callers can make us remember. More of one place, or more in all, are sent on, but do not count.
const (
	maxSentPlace = 16   // an IPv4 address, or an IPv6 /64: all of that is one host's if it likes
	maxSent      = 1024 // to one member
)

// sent is a caller that was sent to a member.
type sent struct {
	at     time.Time
	caller netip.AddrPort // invalid: a session of ours, which counts in any case
}

// Caller is who calls.
type Caller struct {
	Local    netip.Addr     // which of our addresses
	Remote   netip.AddrPort // from where
	Follows  bool           // it goes where it is sent
	SentHere bool           // a gateway has sent it
}

// Choice is what becomes of a caller.
type Choice struct {
	Gateway netip.Addr // send it there; invalid: serve it here
	Refuse  bool       // every hub is full
}

// Choose decides.
func (m *Machine) Choose(now time.Time, c Caller) Choice {
	m.begin(now)
	local := c.Local.Unmap()
	virtual := local == m.cfg.Virtual
	if !virtual && !m.leaving && (c.SentHere || !c.Follows || !m.full(&m.own, m.load())) {
		return Choice{}
	}
	m.forget(c.Remote)
	best := m.least(virtual && !m.leaving, local)
	switch {
	case best == nil:
		if virtual {
			m.refused++
		}
		return Choice{Refuse: virtual}
	case !c.Follows, best == &m.own && m.cfg.RedirectTo == local:
		return Choice{}
	}
	best.total++
	if len(best.sent) < maxSent && m.countsOf(c.Remote.Addr()) < maxSentPlace {
		best.sent = append(best.sent, sent{m.now, c.Remote})
	}
	if best == &m.own {
		return Choice{Gateway: m.cfg.RedirectTo}
	}
	return Choice{Gateway: best.last.redirectTo}
}

// forget takes back where a caller was sent, since it calls again: it did not hear of it, or found nobody there.
func (m *Machine) forget(caller netip.AddrPort) {
	for x := range m.all {
		x.sent = slices.DeleteFunc(x.sent, func(s sent) bool { return s.caller == caller })
	}
}

// countsOf is how many callers of an address's place count as sessions.
func (m *Machine) countsOf(a netip.Addr) (n int) {
	place := netip.PrefixFrom(a, min(a.BitLen(), 64))
	for x := range m.all {
		for _, s := range x.sent {
			if place.Contains(s.caller.Addr()) {
				n++
			}
		}
	}
	return n
}

// all are this router and the other members.
func (m *Machine) all(yield func(*member) bool) {
	if !yield(&m.own) {
		return
	}
	for _, x := range m.members {
		if !yield(x) {
			return
		}
	}
}

// Another is the member that a session of ours goes to when this hub leaves: the one with the least load.
func (m *Machine) Another(now time.Time) (netip.Addr, bool) {
	m.begin(now)
	best := m.least(false, m.cfg.Self)
	if best == nil {
		return netip.Addr{}, false
	}
	best.sent = append(best.sent, sent{at: m.now})
	best.total++
	return best.last.redirectTo, true
}

// least is the member with the fewest sessions for its weight of those that are not full, and have an address of the family;
// self says that we are one of them.
func (m *Machine) least(self bool, family netip.Addr) *member {
	var best *member
	var least Load
	consider := func(x *member, l Load, to netip.Addr) {
		if m.full(x, l) || !to.IsValid() || to.Is4() != family.Is4() {
			return
		}
		l.Sessions = uint32(m.expected(x, l))
		if best == nil || uint64(l.Sessions)*uint64(least.Weight) < uint64(least.Sessions)*uint64(l.Weight) {
			best, least = x, l
		}
	}
	if self {
		consider(&m.own, m.load(), m.cfg.RedirectTo)
	}
	for _, x := range m.members {
		if x.alive && x.last.able {
			consider(x, x.last.load, x.last.redirectTo)
		}
	}
	return best
}

// coming is how many callers are on their way to a member.
func (m *Machine) coming(x *member) int {
	i := 0
	for i < len(x.sent) && m.now.Sub(x.sent[i].at) >= settling {
		i++
	}
	x.sent = x.sent[i:]
	return len(x.sent)
}

// expected is how many sessions a member has, and is about to have.
func (m *Machine) expected(x *member, l Load) int { return int(l.Sessions) + m.coming(x) }

// full says whether a member takes no more callers.
func (m *Machine) full(x *member, l Load) bool {
	return l.Max > 0 && uint64(m.expected(x, l))*100 >= uint64(l.Max)*uint64(l.Limit)
}
