package protect

import (
	"net/netip"
	"time"

	"felloe/netstack"
)

// HandlePunt takes the punts that are tunnel protection's: PuntNoSA and PuntUnknownSPI. It reports whether it took the
// punt; then it has released the packet. It runs on data workers, any number at a time, and does not block.
func (m *Manager) HandlePunt(p netstack.Punt) bool {
	var job func()
	name := "ike punt"
	switch p.Reason {
	case netstack.PuntNoSA:
		job = func() { m.noSA(p.Session) }
	case netstack.PuntUnknownSPI:
		if p.Packet == nil {
			return true
		}
		vrf, local, remote, spi := p.Packet.VRF, p.Packet.OuterDst.Unmap(), p.Packet.OuterSrc.Unmap(), p.SPI
		name = "unknown spi from " + remote.String()
		job = func() { m.unknownSPI(vrf, local, remote, spi) }
	default:
		return false
	}
	if p.Packet != nil {
		p.Packet.Release()
	}
	if !m.loop.TryPost(name, job) {
		m.refused.Add(1)
	}
	return true
}

// noSA is called when there is a packet for a session without an SA.
func (m *Manager) noSA(n *netstack.Session) {
	s := m.byNet[n]
	if s == nil || s.t.cfg.Passive {
		return
	}
	m.counters.NoSA++
	if s.permanent {
		s.wanted = true
	}
	if s.wanted {
		s.dormant = false
		m.connect(s)
		m.run(nil)
	}
}

// unknownSPI is called when a packet came in for an SA that is not there: the peer has one that we lost. The engine
// tells it so inside an IKE SA. When there is none, we are likely to have restarted: a peer that we want anyway is called
// at once, and our INITIAL_CONTACT has it forget the old SAs; all others must find out by their DPD.
func (m *Manager) unknownSPI(vrfID uint32, local, remote netip.Addr, spi uint32) {
	m.counters.UnknownSPI++
	if m.bySPI[spi] != nil || m.lingering[spi] != nil {
		return // it was installed meanwhile
	}
	now := m.now()
	if !m.quiet.allow(remote, "unknown spi", now, time.Second) {
		return
	}
	vrf := ""
	for name, s := range m.sockets {
		if s.vrf.ID() == vrfID {
			vrf = name
		}
	}
	if vrf == "" {
		return
	}
	m.logUnknownSPI(vrf, remote, spi)
	m.run(m.o.Engine.UnknownSPI(now, vrf, local, remote, spi))
	for _, t := range m.tunnels {
		for _, s := range t.sessions {
			if s.nbma == remote && s.wanted && s.live() == nil && t.cfg.VRF == vrf {
				s.stopRetry()
				m.connect(s)
			}
		}
	}
	m.run(nil)
}
