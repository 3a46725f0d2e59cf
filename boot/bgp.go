package boot

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"felloe/config"
	"felloe/netstack/tcpmd5"
	"felloe/routing/bgp"
	"felloe/routing/bgp/gobgp"
	"felloe/routing/bgp/tcpnet"
	"felloe/routing/rib"
	"felloe/vpn/nhrp"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// speaker is the BGP of one VRF.
type speaker struct {
	cfg bgp.Config
	bgp *bgp.BGP
}

// bgpConfig translates the BGP table. It resolves groups, sources and the router ID to values.
func bgpConfig(c *config.Config) (bgp.Config, error) {
	b := c.BGP
	out := bgp.Config{AS: b.AS, RouterID: routerID(c), Networks: b.Network, MaximumPaths: b.MaximumPaths, MaximumPathsIBGP: b.MaximumPaths,
		Quiet: !b.LogNeighborChanges}
	if b.Redistribute.Connected.Enabled {
		out.Redistribute = append(out.Redistribute, rib.Connected)
	}
	if b.Redistribute.Static.Enabled {
		out.Redistribute = append(out.Redistribute, rib.Static)
	}
	families := func(n *bgp.Neighbor) {
		// An IPv6 prefix needs the family on the session, whatever address the session has.
		for _, p := range b.Network {
			if f := bgp.FamilyOf(p.Addr()); n.Address.IsValid() && f != bgp.FamilyOf(n.Address) {
				n.Families = []bgp.Family{bgp.IPv4, bgp.IPv6}
			}
		}
	}
	for _, n := range b.Neighbor {
		p := b.Peer(n)
		x, err := bgpNeighbor(c, &p)
		if err != nil {
			return out, fmt.Errorf("[bgp.neighbor.%q]: %w", n.Address, err)
		}
		families(&x)
		out.Neighbors = append(out.Neighbors, x)
	}
	sortNeighbors(out.Neighbors)
	for _, l := range b.Listen {
		p := b.GroupPeer(l.PeerGroup)
		x, err := bgpNeighbor(c, &p)
		if err != nil {
			return out, fmt.Errorf("[[bgp.listen]] %s: %w", l.Range, err)
		}
		out.Listen = append(out.Listen, bgp.Listen{Range: l.Range, Limit: l.Limit, Template: x})
	}
	return out, nil
}

func bgpNeighbor(c *config.Config, p *config.Peer) (bgp.Neighbor, error) {
	n := bgp.Neighbor{Address: p.Address, Group: p.Group, RemoteAS: p.RemoteAS, Description: p.Description, EBGPMultihop: p.EBGPMultihop,
		TTLSecurity: p.TTLSecurity, Password: p.Password.Reveal(), NextHopSelf: p.NextHopSelf, NextHopUnchanged: p.NextHopUnchanged,
		RouteReflectorClient: p.RouteReflectorClient, AllowASIn: p.AllowASIn, ASOverride: p.ASOverride, Passive: p.Passive, Shutdown: p.Shutdown,
		MaximumPrefix: p.MaximumPrefix.Limit,
		Timers:        bgp.Timers{Keepalive: p.Timers.Keepalive, Hold: p.Timers.Hold, ConnectRetry: p.Timers.ConnectRetry, NoHold: p.Timers.Hold == 0}}
	if !p.UpdateSource.IsZero() {
		a, ok := localAddress(c, p.UpdateSource, p.Address)
		if !ok {
			return n, fmt.Errorf("update-source %s has no address of the right family", p.UpdateSource)
		}
		n.UpdateSource = a
	}
	return n, nil
}

// routerID is the configured one, else the highest Loopback IPv4 address, else the highest of the others.
func routerID(c *config.Config) netip.Addr {
	if c.BGP.RouterID.IsValid() {
		return c.BGP.RouterID
	}
	var best netip.Addr
	for _, loopbacks := range []bool{true, false} {
		for _, i := range c.Interface {
			if (i.Kind() == config.Loopback) != loopbacks || i.Shutdown {
				continue
			}
			for _, p := range i.Address {
				if p.Addr().Is4() && (!best.IsValid() || best.Less(p.Addr())) {
					best = p.Addr()
				}
			}
		}
		if best.IsValid() {
			break
		}
	}
	return best
}

// tcpTable holds what counts for the TCP peers of a VRF: MD5 keys and hop limits.
func (r *Router) tcpTable(vrf string) *tcpmd5.Table {
	t, _ := r.tcp.LoadOrStore(vrf, tcpmd5.NewTable(bgp.Port))
	return t.(*tcpmd5.Table)
}

// wrapHost puts the signing of TCP segments in front of a VRF's host stack.
func (r *Router) wrapHost(vrf string, ep stack.LinkEndpoint) stack.LinkEndpoint {
	return tcpmd5.New(ep, r.tcpTable(vrf))
}

// admit says whether a BGP peer that no configuration lists may come. Inside an NHRP network only a tunnel address that is
// bound to somebody (a registration, a map, an answer) may: whoever claims another's address must claim it there first.
func (r *Router) admit(remote netip.Addr) error {
	return r.call("admit a bgp peer", func() error {
		for _, t := range r.dmvpn.Snapshot() {
			i := r.ifs[t.Name]
			if i == nil || i.cfg == nil || !slices.ContainsFunc(i.cfg.Address, func(p netip.Prefix) bool { return p.Masked().Contains(remote) }) {
				continue
			}
			if !slices.ContainsFunc(t.Cache, func(c nhrp.CacheEntry) bool { return c.NextHop == remote && c.Session != 0 && c.Up }) {
				return fmt.Errorf("%s has no NHRP entry on %s", remote, t.Name)
			}
		}
		return nil
	})
}

// removeBGP ends the speaker that the new configuration has no place for.
func (r *Router) removeBGP(desired *config.Config) {
	if desired.BGP == nil {
		r.stopBGP()
	}
}

func (r *Router) stopBGP() {
	for _, name := range sorted(r.bgps) {
		r.bgps[name].bgp.Close()
		delete(r.bgps, name)
	}
}

func (r *Router) applyBGP(desired *config.Config) {
	if desired.BGP == nil {
		return
	}
	cfg, err := bgpConfig(desired)
	if err != nil {
		r.problem("%v", err)
		return
	}
	v := r.vrfs[config.DefaultVRF]
	s := r.bgps[config.DefaultVRF]
	switch {
	case s == nil:
		network := tcpnet.New(tcpnet.Options{Stack: v.net.Stack(), Table: r.tcpTable(config.DefaultVRF), Source: v.net.SourceFor})
		b, err := bgp.New(cfg, bgp.Options{VRF: config.DefaultVRF, RIB: v.rib, Speaker: gobgp.Speaker(gobgp.Options{Network: network, Admit: r.admit}),
			Post: func(f func()) { r.loop.Post("bgp", f) }, Now: r.clock.Now, Log: r.debugs("bgp")})
		if err != nil {
			r.problem("[bgp]: %v", err)
			return
		}
		r.bgps[config.DefaultVRF] = &speaker{cfg: cfg, bgp: b}
	case !reflect.DeepEqual(s.cfg, cfg):
		if err := s.bgp.Apply(cfg); err != nil {
			r.problem("[bgp]: %v", err)
			return
		}
		s.cfg = cfg
	}
}

func sortNeighbors(n []bgp.Neighbor) {
	slices.SortFunc(n, func(a, b bgp.Neighbor) int { return a.Address.Compare(b.Address) })
}
