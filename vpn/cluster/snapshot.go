package cluster

import (
	"net/netip"
	"slices"
	"time"
)

// Info is a cluster for show commands.
type Info struct {
	Virtual     netip.Addr
	State       State
	Since       time.Time
	Master      netip.Addr // invalid: none is known
	Preempt     bool
	Hello, Hold time.Duration
	Refused     uint64 // callers that came when all were full
	Counters    Counters
	Members     []MemberInfo // this router first, then by address
}

// MemberInfo is a hub of it.
type MemberInfo struct {
	Address    netip.Addr
	Self       bool
	State      string // master, backup, init, down
	Since      time.Time
	Priority   uint8
	RedirectTo netip.Addr
	Load       Load
	Expected   int // callers that were sent there and do not count as its sessions yet
	Percent    int // of Max; 0 without a limit
	Full       bool
	Redirected uint64 // callers that this router has sent there
}

// Snapshot is all that there is to show.
func (m *Machine) Snapshot(now time.Time) Info {
	m.begin(now)
	i := Info{Virtual: m.cfg.Virtual, State: m.state, Since: m.since, Preempt: m.cfg.Preempt, Hello: m.cfg.Hello, Hold: m.cfg.Hold, Refused: m.refused, Counters: m.counters}
	switch x := m.master(); {
	case m.state == Master:
		i.Master = m.cfg.Self
	case x != nil:
		i.Master = x.addr
	}
	add := func(x *member, l Load, v MemberInfo) {
		v.Address, v.Load, v.Redirected = x.addr, l, x.total
		v.Full = m.full(x, l)
		v.Expected = m.coming(x)
		if l.Max > 0 {
			v.Percent = int(uint64(l.Sessions) * 100 / uint64(l.Max))
		}
		i.Members = append(i.Members, v)
	}
	add(&m.own, m.load(), MemberInfo{Self: true, State: m.state.String(), Since: m.since, Priority: m.cfg.Priority, RedirectTo: m.cfg.RedirectTo})
	for _, x := range m.members {
		v := MemberInfo{State: "down", Since: x.since, Priority: x.last.priority, RedirectTo: x.last.redirectTo}
		switch {
		case !x.alive:
		case !x.last.able:
			v.State = Init.String()
		case x.last.master:
			v.State = Master.String()
		default:
			v.State = Backup.String()
		}
		add(x, x.last.load, v)
	}
	slices.SortFunc(i.Members[1:], func(a, b MemberInfo) int { return a.Address.Compare(b.Address) })
	return i
}

// Counters count messages since the beginning.
func (m *Machine) Counters() Counters { return m.counters }
