package protect

import (
	"cmp"
	"fmt"
	"net/netip"

	"felloe/netstack"
	"felloe/vpn/ikev2"
)

type tunnel struct {
	net      *netstack.Tunnel
	cfg      TunnelProtection
	name     string
	seq      uint64
	template *template // that it was cloned from, nil for a configured one
	sessions map[*session]struct{}
	byNBMA   map[netip.Addr][]*session
	removed  bool

	standby *session                    // what Prepare has begun
	had     map[netip.Addr][]netip.Addr // addresses that peers have given us, by who: they are asked for again
}

// alone tells whether a tunnel's sessions have IKE SAs that nobody else's Child SAs are made under.
func (t *tunnel) alone() bool { return t.cfg.Dynamic || len(t.cfg.Ask) > 0 }

// AddTunnel begins to protect a tunnel: peers may come, and a configured destination is called (unless Passive or
// OnTraffic). The tunnel must have been made with Protected, so that it drops until it has an SA.
func (m *Manager) AddTunnel(t *netstack.Tunnel, p TunnelProtection) error {
	c := t.Config()
	switch {
	case m.byTunnel[t] != nil:
		return fmt.Errorf("protect: tunnel %s is protected already", c.Name)
	case !c.Protected:
		return fmt.Errorf("protect: tunnel %s was not made as a protected one: it would send in clear", c.Name)
	}
	p.VRF = cmp.Or(p.VRF, "default")
	if err := m.listen(p.VRF); err != nil {
		return fmt.Errorf("protect: tunnel %s: %w", c.Name, err)
	}
	rec := &tunnel{net: t, cfg: p, name: c.Name}
	m.keepTunnel(rec)
	if c.Destination.IsValid() && !p.Dynamic {
		s := m.newSession(rec, c.Destination)
		s.wanted, s.permanent, s.dormant = !p.Passive, true, p.OnTraffic
		t.SetDefault(s.net)
		m.connect(s)
	}
	return nil
}

// RemoveTunnel deletes the tunnel's SAs and sessions and forgets it.
func (m *Manager) RemoveTunnel(t *netstack.Tunnel) {
	rec := m.byTunnel[t]
	if rec == nil || rec.template != nil {
		return
	}
	rec.removed = true
	for _, s := range rec.ordered() {
		m.shut(s, "tunnel is removed")
	}
	m.dropTunnel(rec)
	m.unlisten(rec.cfg.VRF)
}

// SetLocal tells that a tunnel's source address has changed: its SAs are deleted, and wanted sessions begin anew from
// the new address.
func (m *Manager) SetLocal(t *netstack.Tunnel, local netip.Addr) {
	rec := m.byTunnel[t]
	if rec == nil || rec.cfg.Local == local {
		return
	}
	rec.cfg.Local = local
	for _, s := range rec.ordered() {
		m.Reset(s.net, "tunnel source has changed")
	}
}

// local is the address that the tunnel talks from to a peer.
func (m *Manager) local(t *tunnel, remote netip.Addr) (netip.Addr, error) {
	if t.cfg.Local.IsValid() {
		return t.cfg.Local, nil
	}
	if a := t.net.Config().Source; a.IsValid() {
		return a, nil
	}
	vrf, ok := m.o.Dataplane.VRF(t.cfg.VRF)
	if !ok {
		return netip.Addr{}, fmt.Errorf("no vrf %q", t.cfg.VRF)
	}
	if a, ok := vrf.SourceFor(remote); ok {
		return a, nil
	}
	return netip.Addr{}, fmt.Errorf("no source address towards %s in vrf %s", remote, t.cfg.VRF)
}

// tunnelFor is the tunnel that a child of the peer's making belongs to. Its policy's name decides. Tunnels that share a
// policy share its SAs: then the one that is configured for this peer, or knows it, is first, and after it the first
// that was added.
func (m *Manager) tunnelFor(up ikev2.ChildUp) *tunnel {
	var best *tunnel
	rank := 0
	for _, t := range m.byPolicy[up.Policy] {
		if t.removed || t.cfg.VRF != cmp.Or(up.VRF, "default") {
			continue
		}
		if l := t.cfg.Local; l.IsValid() && l != up.Local.Addr() {
			continue
		}
		r := 1
		dst := t.net.Config().Destination
		switch {
		case dst.IsValid() && dst != up.Remote.Addr():
			continue
		case t.cfg.Dynamic && len(t.byNBMA[up.Remote.Addr()]) == 0:
			continue
		case dst.IsValid():
			r = 3
		case len(t.byNBMA[up.Remote.Addr()]) > 0:
			r = 2
		}
		if r > rank {
			best, rank = t, r
		}
	}
	return best
}
