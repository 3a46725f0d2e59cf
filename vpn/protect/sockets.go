package protect

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"

	"felloe/netstack"
	"felloe/netstack/packet"
	"felloe/vpn/ikev2"
)

const (
	portIKE  = 500
	portNATT = 4500
	// tosControl is class selector 6, network control (RFC 4594 §3.1).
	tosControl = 0xc0
)

var marker = []byte{0, 0, 0, 0} // RFC 3948 §2.2: what is not ESP

// sockets are UDP 500 and 4500 of a front VRF.
type sockets struct {
	vrf  *netstack.VRF
	name string
	uses int
}

func (m *Manager) listen(name string) error {
	if s := m.sockets[name]; s != nil {
		s.uses++
		return nil
	}
	vrf, ok := m.o.Dataplane.VRF(name)
	if !ok {
		return fmt.Errorf("no vrf %q", name)
	}
	m.sockets[name] = &sockets{vrf: vrf, name: name, uses: 1}
	for _, port := range []uint16{portIKE, portNATT} {
		vrf.HandleUDP(port, func(u netstack.UDP) { m.receive(name, u) })
	}
	return nil
}

// unlisten lets go of the ports when the last tunnel of a VRF is gone, but not before the engine's last SA there is:
// deletes that were just sent want to be acknowledged, and the peer's last word answered.
func (m *Manager) unlisten(name string) {
	if s := m.sockets[name]; s != nil {
		s.uses--
		m.idleSockets = m.idleSockets || s.uses == 0
	}
}

func (m *Manager) closeSockets() {
	if !m.idleSockets {
		return
	}
	m.idleSockets = false
	waiting := m.asked.pending(m.now()) > 0
	for name, s := range m.sockets {
		switch {
		case s.uses > 0:
		case m.ikesIn[name] > 0, waiting:
			m.idleSockets = true
		default:
			delete(m.sockets, name)
			for _, port := range []uint16{portIKE, portNATT} {
				s.vrf.HandleUDP(port, nil)
			}
		}
	}
}

// receive runs on a data worker. On port 4500 the data plane has taken ESP, keepalives and the marker off.
func (m *Manager) receive(vrf string, u netstack.UDP) {
	data := bytes.Clone(u.Payload)
	local, remote := unmap(u.Local), unmap(u.Remote)
	if !m.loop.TryPost("ike datagram from "+remote.Addr().String(), func() { m.datagram(vrf, local, remote, data) }) {
		m.refused.Add(1)
	}
}

func (m *Manager) datagram(vrf string, local, remote netip.AddrPort, data []byte) {
	m.asked.received(data, m.closing != nil)
	if m.closing != nil && len(data) >= 16 && be64(data[8:]) == 0 {
		return // an IKE_SA_INIT: whoever begins anew finds nobody here any more
	}
	var acts []ikev2.Action
	m.guard(func() ikev2.SAID { return m.saOfMessage(data) }, func() {
		acts = m.o.Engine.Receive(m.now(), ikev2.Datagram{VRF: vrf, Local: local, Remote: remote, Data: data})
	})
	m.run(acts)
}

// saOfMessage finds the SA of a message by its SPIs, for containment.
func (m *Manager) saOfMessage(data []byte) ikev2.SAID {
	if len(data) < 16 {
		return 0
	}
	for _, sa := range m.o.Engine.Snapshot(m.now()) {
		if be64(data) == sa.SPIi && (sa.SPIr == 0 || be64(data[8:]) == sa.SPIr) {
			return sa.ID
		}
	}
	return 0
}

func (m *Manager) send(d ikev2.Datagram) {
	data := d.Data
	m.asked.sent(data, m.now())
	if d.Local.Port() == portNATT {
		data = append(bytes.Clone(marker), data...)
	}
	if !m.sendUDP(d.VRF, d.Local, d.Remote, data) && m.closing != nil && len(d.Data) >= 16 {
		delete(m.asked.open, [16]byte(d.Data)) // no way there any more: nobody will answer
	}
}

func (m *Manager) sendUDP(vrf string, local, remote netip.AddrPort, data []byte) bool {
	vrf = cmp.Or(vrf, "default")
	v, ok := m.o.Dataplane.VRF(vrf)
	if !ok {
		m.counters.Unsent++
		return false
	}
	o := netstack.SendOptions{TOS: tosControl, Flags: packet.FlagControl}
	if m.o.Way != nil {
		o.Interface, o.Via = m.o.Way(vrf, remote.Addr())
	}
	if err := v.SendUDP(local, remote, data, o); err != nil {
		// The engine sends again; until then there is nothing to do but to say so to who debugs.
		m.counters.Unsent++
		m.o.Log.Debug().Str("debug", "ikev2 error").Str("event", "unsent").Str("vrf", vrf).
			Stringer("peer", remote).Err(err).Msg("an IKE message could not be sent")
		return false
	}
	return true
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
