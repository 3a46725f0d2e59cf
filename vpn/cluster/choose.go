package cluster

import (
	"net/netip"
	"time"
)

// settling is how long a caller that was sent to a member counts as its session, besides those that it tells of.
const settling = 4 * time.Second

// Choice is what becomes of a caller.
type Choice struct {
	Gateway netip.Addr // send it there; invalid: serve it here
	Refuse  bool       // every hub is full
}

// Choose decides for a caller of one of our addresses, local; sentHere says that a gateway has sent it. follows says that it
// goes where it is sent.
func (m *Machine) Choose(now time.Time, local netip.Addr, follows, sentHere bool) Choice {
	m.begin(now)
	local = local.Unmap()
	virtual := local == m.cfg.Virtual
	if !virtual && (sentHere || !follows || !m.full(&m.own, m.load())) {
		return Choice{}
	}
	best := m.least(virtual, local)
	switch {
	case best == nil:
		if virtual {
			m.refused++
		}
		return Choice{Refuse: virtual}
	case !follows, best == &m.own && m.cfg.RedirectTo == local:
		return Choice{}
	}
	best.sent = append(best.sent, m.now)
	best.total++
	if best == &m.own {
		return Choice{Gateway: m.cfg.RedirectTo}
	}
	return Choice{Gateway: best.last.redirectTo}
}

// Another is the member that a session of ours goes to when this hub leaves: the one with the least load.
func (m *Machine) Another(now time.Time) (netip.Addr, bool) {
	m.begin(now)
	best := m.least(false, m.cfg.Self)
	if best == nil {
		return netip.Addr{}, false
	}
	best.sent = append(best.sent, m.now)
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

// expected is how many sessions a member has, and is about to have.
func (m *Machine) expected(x *member, l Load) int {
	i := 0
	for i < len(x.sent) && m.now.Sub(x.sent[i]) >= settling {
		i++
	}
	x.sent = x.sent[i:]
	return int(l.Sessions) + len(x.sent)
}

// full says whether a member takes no more callers.
func (m *Machine) full(x *member, l Load) bool {
	return l.Max > 0 && uint64(m.expected(x, l))*100 >= uint64(l.Max)*uint64(l.Limit)
}
