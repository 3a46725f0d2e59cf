package cluster

import (
	"net/netip"
	"time"

	"github.com/rs/zerolog"
)

// better says whether a goes before b: by priority, then by address.
func better(pa uint8, a netip.Addr, pb uint8, b netip.Addr) bool {
	return pa > pb || pa == pb && b.Less(a)
}

// elect is called after everything that may matter.
func (m *Machine) elect() {
	all := true
	for _, x := range m.members {
		if x.alive && m.now.Sub(x.heard) >= m.cfg.Hold {
			x.alive, x.since, x.sent = false, m.now, nil
			m.log(zerolog.WarnLevel, "cluster member is down", Field{"peer", x.addr.String()}, Field{"state", "down"},
				Field{"reason", "nothing heard for " + m.cfg.Hold.String()})
		}
		all = all && x.alive
	}
	if !m.up || m.leaving {
		if m.state != Init {
			reason := "interface is down"
			if m.leaving {
				reason = "it leaves the cluster"
			}
			m.become(Init, reason)
		}
		return
	}
	if m.state == Init {
		m.listen = m.now.Add(m.cfg.Hold)
		m.become(Backup, "interface is up")
	}
	master, best := m.master(), true
	for _, x := range m.members {
		if x.alive && x.last.able && better(x.last.priority, x.addr, m.cfg.Priority, m.cfg.Self) {
			best = false
		}
	}
	listening := m.now.Before(m.listen) && !all
	switch {
	case m.state == Master:
		if master != nil && better(master.last.priority, master.addr, m.cfg.Priority, m.cfg.Self) {
			m.become(Backup, master.addr.String()+" is master and goes before us")
		}
	case master != nil:
		m.vacant = time.Time{}
		if m.cfg.Preempt && best && !listening && m.cfg.Priority > master.last.priority {
			m.become(Master, "priority is higher than the master's")
		}
	default:
		if m.vacant.IsZero() {
			m.vacant = m.now
		}
		switch {
		case listening:
		case best:
			m.become(Master, "no master, and nobody goes before us")
		case m.now.Sub(m.vacant) >= 2*m.cfg.Hold:
			m.become(Master, "no master, and who goes before us does not become it")
		}
	}
}

// master is the best of the others that are master.
func (m *Machine) master() *member {
	var found *member
	for _, x := range m.members {
		if x.alive && x.last.able && x.last.master && (found == nil || better(x.last.priority, x.addr, found.last.priority, found.addr)) {
			found = x
		}
	}
	return found
}

func (m *Machine) become(s State, reason string) {
	old := m.state
	m.state, m.since, m.vacant = s, m.now, time.Time{}
	m.log(zerolog.InfoLevel, "cluster state is "+s.String(), Field{"state", s.String()}, Field{"from", old.String()}, Field{"reason", reason})
	switch {
	case s == Master:
		m.counters.Elections++
		m.again = true
		m.hello() // whoever has the address lets go of it before it hears us announce it
		m.emit(Own{m.cfg.Virtual, true})
	case old == Master:
		m.emit(Own{m.cfg.Virtual, false})
		m.hello()
	}
}
