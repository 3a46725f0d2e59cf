package protect

import (
	"time"

	"felloe/vpn/ikev2"
)

// pollEvery is how often counters are looked at while there is a session with SAs: for on-demand DPD, idle sessions and
// pairs that nobody sends on.
const pollEvery = time.Second

// redundantFor is how long a pair beside the one that a session sends on must have received nothing before the side
// that began it deletes it.
const redundantFor = time.Minute

func (m *Manager) armPoll() {
	if m.poll == nil {
		m.poll = m.loop.After("sa poll", pollEvery, m.pollNow)
	}
}

func (m *Manager) pollNow() {
	m.poll = nil
	now := m.now()
	var acts []ikev2.Action
	var spent []ikev2.ChildID
	for _, ike := range m.ikes {
		if !ike.established || len(ike.pairs) == 0 {
			continue
		}
		var rx, tx uint64
		for _, p := range ike.pairs {
			in := p.in.Packets()
			if in != p.seen {
				p.seen, p.lastSeen = in, now
			}
			rx += in
			tx += p.out.Packets()
			if p.spent() {
				spent = append(spent, p.up.Child)
			}
		}
		// A pair that went away takes its counts along: what is left may be less than before, and is a change too.
		received, sent := rx != ike.rx, tx != ike.tx
		ike.rx, ike.tx = rx, tx
		if received || sent {
			acts = append(acts, m.o.Engine.NoteTraffic(now, ike.id, received, sent)...)
		}
	}
	for _, id := range spent {
		m.counters.VolumeDeletes++
		acts = append(acts, m.o.Engine.DeleteChild(now, id, "volume lifetime is over")...)
	}
	m.run(acts)
	for _, s := range m.byNet {
		m.look(s, now)
	}
	if len(m.pairs) > 0 {
		m.armPoll()
	}
	m.run(nil)
}

// look ends what idles.
func (m *Manager) look(s *session, now time.Time) {
	if d := s.net.Data(); d != s.data {
		s.data, s.lastData = d, now
	}
	if idle := s.t.cfg.IdleTime; idle > 0 && !s.t.cfg.Dynamic && s.tx != nil && now.Sub(s.lastData) >= idle {
		m.counters.IdleDeletes++
		s.dormant = true
		m.disconnect(s, "idle")
		return
	}
	for _, p := range s.pairs {
		cur := p.slot.tx
		if p != cur && p.up.Initiator && cur != nil && p.up.SA == cur.up.SA && p.up.Replaces != cur.up.Child &&
			cur.up.Replaces != p.up.Child && now.Sub(p.lastSeen) >= redundantFor && now.Sub(p.made) >= redundantFor {
			m.run(m.o.Engine.DeleteChild(now, p.up.Child, "redundant"))
			return
		}
	}
}
