package protect

import (
	"felloe/netstack"
	"felloe/vpn/ikev2"
)

// Reset deletes the session's SAs and, when it is wanted, begins anew: what "clear crypto session" does.
func (m *Manager) Reset(n *netstack.Session, reason string) {
	if s := m.byNet[n]; s != nil {
		s.failures, s.atOnce = 0, true
		m.disconnect(s, reason)
	}
}

// ResetChildren deletes the session's Child SAs and leaves the IKE SA: what "clear crypto sa" does. A wanted session gets
// new ones at once. A tunnel that shares no IKE SA loses that too, with its last child.
func (m *Manager) ResetChildren(n *netstack.Session, reason string) {
	s := m.byNet[n]
	if s == nil {
		return
	}
	s.failures, s.atOnce, s.downWhy = 0, true, reason
	var acts []ikev2.Action
	for _, p := range s.pairs {
		acts = append(acts, m.o.Engine.DeleteChild(m.now(), p.up.Child, reason)...)
	}
	m.mark(s)
	m.run(acts)
}

// DeleteIKE deletes an IKE SA with all its children. Sessions that are wanted begin anew.
func (m *Manager) DeleteIKE(id ikev2.SAID, reason string) {
	ike := m.ikes[id]
	if ike == nil {
		return
	}
	ike.going = true
	for _, p := range ike.pairs {
		p.s.failures, p.s.atOnce, p.s.downWhy = 0, true, reason
	}
	m.run(m.o.Engine.DeleteIKE(m.now(), id, reason))
}
