package protect

import (
	"slices"

	"felloe/netstack"
	"felloe/vpn/ikev2"
)

// ResetChildren deletes the session's Child SAs and leaves the IKE SA: what "clear crypto sa" does. A wanted session gets
// new ones at once.
func (m *Manager) ResetChildren(n *netstack.Session, reason string) {
	s := m.byNet[n]
	if s == nil {
		return
	}
	s.failures, s.atOnce, s.downWhy = 0, true, reason
	for _, p := range slices.Clone(s.pairs) {
		m.run(m.o.Engine.DeleteChild(m.now(), p.up.Child, reason))
	}
	m.mark(s)
	m.run(nil)
}

// DeleteIKE deletes an IKE SA with all its children. Sessions that are wanted begin anew.
func (m *Manager) DeleteIKE(id ikev2.SAID, reason string) { m.deleteIKE(id, reason) }
