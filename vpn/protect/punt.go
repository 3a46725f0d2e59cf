package protect

import (
	"net/netip"
	"time"

	"felloe/netstack"
)

// HandlePunt takes the punts that are tunnel protection's: PuntNoSA, PuntUnknownSPI and PuntMoved. It reports whether it
// took the punt; then it has released the packet, if there was one. It runs on data workers, any number at a time, and
// does not block.
func (m *Manager) HandlePunt(p netstack.Punt) bool {
	name := "ike punt"
	var job func()
	switch p.Reason {
	case netstack.PuntNoSA:
		job = func() { m.noSA(p.Session) }
	case netstack.PuntUnknownSPI:
		name = "unknown spi from " + p.Remote.Addr().String()
		job = func() { m.unknownSPI(p.VRF.Name(), p.Local.Addr().Unmap(), p.Remote.Addr().Unmap(), p.SPI) }
	case netstack.PuntMoved:
		name = "moved to " + p.Remote.String()
		job = func() { m.noteMoved(p.SPI, unmap(p.Remote)) }
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

// noteMoved is called when an authentic packet came from another address or port than the peer's.
func (m *Manager) noteMoved(spi uint32, remote netip.AddrPort) {
	if p := m.bySPI[spi]; p != nil && p.up.Remote != remote {
		m.run(m.o.Engine.NoteMoved(m.now(), p.up.SA, remote))
	}
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
func (m *Manager) unknownSPI(vrf string, local, remote netip.Addr, spi uint32) {
	m.counters.UnknownSPI++
	if m.bySPI[spi] != nil || m.lingering[spi] != nil {
		return // it was installed meanwhile
	}
	now := m.now()
	if !m.quiet.allow(remote, "unknown spi", now, time.Second) {
		return
	}
	m.logUnknownSPI(vrf, remote, spi)
	m.run(m.o.Engine.UnknownSPI(now, vrf, local, remote, spi))
	for _, s := range m.wanting(vrf, remote) {
		s.stopRetry()
		m.connect(s)
	}
	m.run(nil)
}
