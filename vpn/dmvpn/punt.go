package dmvpn

import (
	"time"

	"felloe/netstack"
	"felloe/vpn/nhrp"
)

// HandlePunt takes what the data plane asks: NHRP packets, next hops without a session, redirects. It runs on the data
// plane's workers: it only posts to the control loop, and drops what that has no room for. It reports whether the punt
// was for us; then the packet is ours.
func (m *Manager) HandlePunt(p netstack.Punt) bool {
	var work func()
	switch p.Reason {
	case netstack.PuntNHRP:
		work = func() { m.puntedNHRP(p) }
	case netstack.PuntNoNeighbour:
		work = func() { m.noNeighbour(p) }
	case netstack.PuntRedirect:
		work = func() { m.redirect(p) }
	default:
		return false
	}
	if !m.loop.TryPost("nhrp punt", work) && p.Packet != nil {
		p.Packet.Release()
	}
	return true
}

func (m *Manager) puntedNHRP(p netstack.Punt) {
	defer p.Packet.Release()
	from, ok := m.from(p)
	if !ok {
		return
	}
	m.step("packet", from.Session, func(now time.Time) { m.engine.Receive(now, from, p.Packet.Bytes()) })
}

func (m *Manager) noNeighbour(p netstack.Punt) {
	if p.Packet != nil {
		p.Packet.Release()
	}
	name := p.Interface.Name()
	if m.tunnels[name] == nil {
		return
	}
	m.step("next hop", 0, func(now time.Time) { m.engine.ResolveNextHop(now, name, p.NextHop) })
}

func (m *Manager) redirect(p netstack.Punt) {
	defer p.Packet.Release()
	from, ok := m.from(p)
	if !ok || p.EgressInterface == nil {
		return
	}
	m.step("redirect", from.Session, func(now time.Time) { m.engine.Redirect(now, from, p.EgressInterface.Name(), p.Packet.Bytes()) })
}

// from is where a punted packet came in; ok is false when that has gone since.
func (m *Manager) from(p netstack.Punt) (nhrp.From, bool) {
	if p.Session == nil || p.Session.Closed() || p.Interface == nil {
		return nhrp.From{}, false
	}
	name := p.Interface.Name()
	t := m.tunnels[name]
	if t == nil || p.Session.Tunnel() != t.net {
		return nhrp.From{}, false
	}
	m.know(t, p.Session)
	nbma := p.Packet.OuterSrc
	if !nbma.IsValid() {
		nbma = p.Session.NBMA()
	}
	return nhrp.From{Tunnel: name, Session: nhrp.SessionID(p.Session.SessionID()), NBMA: nbma}, true
}
