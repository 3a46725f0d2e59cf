package boot

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"felloe/config"
	"felloe/netstack"
	"felloe/netstack/tcpmd5"
	"felloe/routing/bgp"
	"felloe/routing/bgp/gobgp"
	"felloe/routing/bgp/tcpnet"
	"felloe/routing/policy"
	"felloe/routing/rib"
	"felloe/vpn/nhrp"
	"felloe/vpn/protect"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// speaker is the BGP of one VRF.
type speaker struct {
	cfg bgp.Config
	bgp *bgp.BGP
}

// bgpConfig translates the BGP table, by VRF. It resolves groups, sources, policies and router IDs to values; policies
// that are the same as before are the same objects. A VRF of which nothing is said has no speaker.
func bgpConfig(c *config.Config, old *policy.Policies, up func(object int) bool) (map[string]bgp.Config, *policy.Policies, error) {
	policies, err := policy.Compile(policyDefinitions(c, up), old)
	if err != nil {
		return nil, old, err
	}
	out := map[string]bgp.Config{}
	for _, b := range c.BGP.Instances() {
		if b.VRFName() == config.DefaultVRF && len(c.BGP.VRF) > 0 && len(b.Neighbor)+len(b.Listen)+len(b.Network)+len(b.Aggregate) == 0 {
			continue
		}
		if out[b.VRFName()], err = bgpInstance(c, b, policies); err != nil {
			return nil, old, err
		}
	}
	return out, policies, nil
}

// bgpTable is the name of the table of a VRF's BGP.
func bgpTable(vrf string) string {
	if vrf == config.DefaultVRF {
		return "bgp"
	}
	return "bgp.vrf." + vrf
}

func bgpInstance(c *config.Config, b *config.BGPInstance, policies *policy.Policies) (bgp.Config, error) {
	where := bgpTable(b.VRFName())
	out := bgp.Config{AS: c.BGP.AS, RouterID: routerID(c, b), ClusterID: b.ClusterID, Networks: b.Network, MaximumPaths: b.MaximumPaths,
		MaximumPathsIBGP: b.MaximumPathsIBGP, GracefulRestart: bgp.GracefulRestart{Enabled: b.GracefulRestart.Enabled,
			RestartTime: b.GracefulRestart.RestartTime, StalePathTime: b.GracefulRestart.StalepathTime},
		DefaultInformation: b.DefaultInformationOriginate, ListenLimit: c.BGP.ListenLimit, Quiet: !c.BGP.LogNeighborChanges,
		BestPath: bgp.BestPath{AlwaysCompareMED: c.BGP.AlwaysCompareMED, NoDeterministicMED: !c.BGP.DeterministicMED, CompareRouterID: c.BGP.CompareRouterID}}
	if v := c.VRF[b.VRFName()]; v != nil {
		out.RD = v.RD
	}
	redistribute := func(r config.RedistributeSource, sources ...rib.Source) {
		for _, s := range sources {
			if r.Enabled {
				out.Redistribute = append(out.Redistribute, bgp.Redistribution{Source: s, RouteMap: policies.RouteMaps[r.RouteMap], Metric: r.Metric})
			}
		}
	}
	redistribute(b.Redistribute.Connected, rib.Connected)
	redistribute(b.Redistribute.Static, rib.Static, rib.IKE)
	for _, a := range b.Aggregate {
		out.Aggregates = append(out.Aggregates, bgp.Aggregate{Prefix: a.Prefix, SummaryOnly: a.SummaryOnly, ASSet: a.ASSet,
			AttributeMap: policies.RouteMaps[a.AttributeMap]})
	}
	for _, n := range b.Neighbor {
		p := b.Peer(n)
		x, err := bgpNeighbor(c, &p, policies)
		if err != nil {
			return out, fmt.Errorf("[%s.neighbor.%q]: %w", where, n.Address, err)
		}
		// An IPv6 prefix needs the family on the session, whatever address the session has.
		for _, p := range b.Network {
			if len(x.Families) == 0 && bgp.FamilyOf(p.Addr()) != bgp.FamilyOf(n.Address) {
				x.Families = []bgp.Family{bgp.IPv4, bgp.IPv6}
			}
		}
		out.Neighbors = append(out.Neighbors, x)
	}
	slices.SortFunc(out.Neighbors, func(a, b bgp.Neighbor) int { return a.Address.Compare(b.Address) })
	for _, l := range b.Listen {
		p := b.GroupPeer(l.PeerGroup)
		p.Address = l.Range.Addr() // for the family of update-source
		x, err := bgpNeighbor(c, &p, policies)
		if err != nil {
			return out, fmt.Errorf("[[%s.listen]] %s: %w", where, l.Range, err)
		}
		x.Address = netip.Addr{}
		out.Listen = append(out.Listen, bgp.Listen{Range: l.Range, Limit: l.Limit, Template: x})
	}
	return out, nil
}

var bfdModes = map[config.PeerBFD]bgp.BFDMode{config.BFDAuto: bgp.BFDAuto, config.BFDSingleHop: bgp.BFDSingleHop, config.BFDMultiHop: bgp.BFDMultihop}

func bgpNeighbor(c *config.Config, p *config.Peer, policies *policy.Policies) (bgp.Neighbor, error) {
	n := bgp.Neighbor{Address: p.Address, Group: p.Group, RemoteAS: p.RemoteAS, Description: p.Description, EBGPMultihop: p.EBGPMultihop,
		TTLSecurity: p.TTLSecurity, Password: p.Password.Reveal(), NextHopSelf: p.NextHopSelf, NextHopSelfAll: p.NextHopSelfAll,
		NextHopUnchanged: p.NextHopUnchanged, RouteReflectorClient: p.RouteReflectorClient, AllowASIn: p.AllowASIn, ASOverride: p.ASOverride,
		RemovePrivateAS: p.RemovePrivateAS, Passive: p.Passive, Shutdown: p.Shutdown, DisableConnectedCheck: p.DisableConnectedCheck,
		MaximumPrefix: bgp.MaximumPrefix{Limit: p.MaximumPrefix.Limit, Threshold: p.MaximumPrefix.Threshold, Restart: p.MaximumPrefix.Restart,
			WarningOnly: p.MaximumPrefix.WarningOnly},
		In:               bgp.Policy{PrefixList: policies.PrefixLists[p.PrefixList.In], RouteMap: policies.RouteMaps[p.RouteMap.In]},
		Out:              bgp.Policy{PrefixList: policies.PrefixLists[p.PrefixList.Out], RouteMap: policies.RouteMaps[p.RouteMap.Out]},
		UnsuppressMap:    policies.RouteMaps[p.UnsuppressMap],
		BFD:              bfdModes[p.BFD],
		DefaultOriginate: p.DefaultOriginate.Enabled, DefaultMap: policies.RouteMaps[p.DefaultOriginate.RouteMap],
		SoftReconfiguration: p.SoftReconfigurationInbound, SendCommunity: p.SendCommunity, Weight: uint32(p.Weight),
		Timers: bgp.Timers{Keepalive: p.Timers.Keepalive, Hold: p.Timers.Hold, ConnectRetry: p.Timers.ConnectRetry, NoHold: p.Timers.Hold == 0}}
	for _, f := range p.AddressFamily {
		n.Families = append(n.Families, map[config.AddressFamily]bgp.Family{config.FamilyIPv4: bgp.IPv4, config.FamilyIPv6: bgp.IPv6}[f])
	}
	if !p.UpdateSource.IsZero() {
		a, ok := localAddress(c, p.UpdateSource, p.Address)
		if i := c.Interface[p.UpdateSource.Interface]; !ok && i != nil && i.Negotiated {
			n.NoSource = true // until the interface has been given one
			return n, nil
		}
		if !ok {
			return n, fmt.Errorf("update-source %s has no address of the right family", p.UpdateSource)
		}
		n.UpdateSource = a
	}
	return n, nil
}

// policyDefinitions translates the lists and route maps. up says whether a tracked object is up.
func policyDefinitions(c *config.Config, up func(object int) bool) policy.Definitions {
	d := policy.Definitions{PrefixLists: map[string][]policy.PrefixEntry{}, ASPathLists: map[string][]policy.ASPathEntry{},
		CommunityLists: map[string][]policy.CommunityEntry{}, RouteMaps: map[string][]policy.MapEntry{}, Track: up}
	for name, l := range c.PrefixList {
		d.PrefixLists[name] = nil
		for _, e := range l.Ordered() {
			p, permit := e.Prefix()
			d.PrefixLists[name] = append(d.PrefixLists[name], policy.PrefixEntry{Seq: int(e.Seq), Permit: permit, Prefix: p, GE: int(e.GE), LE: int(e.LE)})
		}
	}
	for name, l := range c.ASPathList {
		d.ASPathLists[name] = nil
		for _, e := range l.Entry {
			d.ASPathLists[name] = append(d.ASPathLists[name], policy.ASPathEntry{Permit: e.Permit != "", Regexp: e.Permit + e.Deny})
		}
	}
	communities := func(list []config.Community) (out []uint32) {
		for _, c := range list {
			out = append(out, uint32(c))
		}
		return out
	}
	for name, l := range c.CommunityList {
		d.CommunityLists[name] = nil
		for _, e := range l.Entry {
			x := policy.CommunityEntry{Permit: len(e.Permit) > 0, Communities: communities(append(slices.Clone(e.Permit), e.Deny...))}
			x.Communities = slices.DeleteFunc(x.Communities, func(c uint32) bool { return c == 0 }) // "internet" is every route
			d.CommunityLists[name] = append(d.CommunityLists[name], x)
		}
	}
	for name, m := range c.RouteMap {
		d.RouteMaps[name] = nil
		for _, e := range m.Ordered() {
			x := policy.MapEntry{Seq: int(e.Seq), Permit: e.Action != config.DenyRoute, PrefixLists: e.Match.PrefixList, ASPathLists: e.Match.ASPath,
				Communities: e.Match.Community, Hops: e.Match.NextHop, Tags: e.Match.Tag, Interfaces: e.Match.Interface, Metric: e.Match.Metric,
				Tracks: e.Match.Track}
			s := &e.Set
			x.Set = policy.Set{LocalPreference: s.LocalPreference, Metric: s.Metric, Communities: communities(s.Community),
				SetCommunities: len(s.Community) > 0, Additive: s.CommunityAdditive, Prepend: s.ASPathPrepend, NextHop: s.NextHop, Tag: s.Tag}
			if s.Weight != nil {
				w := uint32(*s.Weight)
				x.Set.Weight = &w
			}
			if s.Origin != "" {
				o := uint8(bgp.OriginIGP)
				if s.Origin == config.OriginIncomplete {
					o = uint8(bgp.OriginIncomplete)
				}
				x.Set.Origin = &o
			}
			d.RouteMaps[name] = append(d.RouteMaps[name], x)
		}
	}
	return d
}

// routerID is the configured one, else the highest Loopback IPv4 address of the VRF, else the highest of its other
// interfaces.
func routerID(c *config.Config, b *config.BGPInstance) netip.Addr {
	if a := configuredID(c, b); a.IsValid() {
		return a
	}
	var best netip.Addr
	for _, loopbacks := range []bool{true, false} {
		for _, i := range c.Interface {
			if (i.Kind() == config.Loopback) != loopbacks || i.Shutdown || i.VRF != b.VRFName() {
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

func configuredID(c *config.Config, b *config.BGPInstance) netip.Addr {
	if b.RouterID.IsValid() {
		return b.RouterID
	}
	return c.BGP.RouterID
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
func (r *Router) admit(vrf string, remote netip.Addr) error {
	return r.call("admit a bgp peer", func() error {
		for _, t := range r.dmvpn.Snapshot() {
			i := r.ifs[t.Name]
			if i == nil || i.cfg == nil || i.cfg.VRF != vrf ||
				!slices.ContainsFunc(i.cfg.Address, func(p netip.Prefix) bool { return p.Masked().Contains(remote) }) {
				continue
			}
			if !slices.ContainsFunc(t.Cache, func(c nhrp.CacheEntry) bool { return c.NextHop == remote && c.Session != 0 && c.Up }) {
				return fmt.Errorf("%s has no NHRP entry on %s", remote, t.Name)
			}
		}
		return nil
	})
}

// removeBGP ends the speakers that the new configuration has no place for.
func (r *Router) removeBGP(desired *config.Config) {
	for _, name := range sorted(r.bgps) {
		if desired.BGP.Instance(name) == nil || name != config.DefaultVRF && desired.VRF[name] == nil {
			r.removeSpeaker(name)
		}
	}
}

func (r *Router) removeSpeaker(vrf string) {
	r.bgps[vrf].bgp.Close()
	delete(r.bgps, vrf)
}

// stopBGP ends BGP with the router. Peers that do graceful restart wait for it to come back.
func (r *Router) stopBGP() {
	for _, name := range sorted(r.bgps) {
		r.bgps[name].bgp.Close()
		delete(r.bgps, name)
	}
}

// movedBGP says that a tunnel leads to another router now.
func (r *Router) movedBGP(tunnel, reason string) {
	if i := r.ifs[tunnel]; i != nil && i.cfg != nil {
		if s := r.bgps[i.cfg.VRF]; s != nil {
			s.bgp.Moved(tunnel, reason)
		}
	}
}

// reached takes up who is at the other end of a tunnel. Another router than before is a move; client blocks know by
// themselves of theirs.
func (r *Router) reached(i *iface, e protect.Event) {
	if !r.oneFarEnd(i.name) || i.spec.Tunnel.Dynamic {
		return
	}
	was := i.far
	i.far = fmt.Sprintf("%v at %v", e.Peer, e.Remote.Addr())
	if was != "" && was != i.far {
		r.movedBGP(i.name, fmt.Sprintf("the tunnel leads to %s now", i.far))
	}
}

// oneFarEnd says of an interface that it leads to one router only, and nowhere without it: a point-to-point tunnel.
func (r *Router) oneFarEnd(ifname string) bool {
	if i := r.ifs[ifname]; i != nil {
		return i.tunnel != nil && i.tunnel.Config().Mode != netstack.GREMultipoint
	}
	return strings.HasPrefix(ifname, "Virtual-Access")
}

// isTunnel says whether an interface is a tunnel of any kind.
func (r *Router) isTunnel(ifname string) bool {
	i := r.ifs[ifname]
	return i != nil && i.tunnel != nil || r.oneFarEnd(ifname)
}

// compilePolicies makes the lists and route maps, before what names them is applied. Those that are the same as before are the
// same objects. If one of them cannot be, all stay as they were.
func (r *Router) compilePolicies(desired *config.Config) {
	p, err := policy.Compile(policyDefinitions(desired, r.objectUp), r.policies)
	if err != nil {
		r.problem("%v", err)
		return
	}
	r.policies = p
}

func (r *Router) applyBGP(desired *config.Config) {
	if desired.BGP == nil {
		r.judgeObjects(nil)
		return
	}
	definitions := policyDefinitions(desired, nil)
	r.judgeObjects(definitions.Objects())
	r.dynamic.Set(desired.BGP.ListenLimit)
	cfgs, policies, err := bgpConfig(desired, r.policies, r.objectUp)
	if err != nil {
		r.problem("%v", err)
		return
	}
	r.policies = policies
	for _, name := range sorted(r.bgps) {
		if _, keep := cfgs[name]; !keep {
			r.removeSpeaker(name)
		}
	}
	for _, name := range sorted(cfgs) {
		if err := r.applySpeaker(desired, name, cfgs[name]); err != nil {
			r.problem("[%s]: %v", bgpTable(name), err)
		}
	}
}

func (r *Router) applySpeaker(desired *config.Config, name string, cfg bgp.Config) error {
	v := r.vrfs[name]
	if v == nil {
		return fmt.Errorf("there is no VRF %s", name)
	}
	s := r.bgps[name]
	if s == nil {
		network := tcpnet.New(tcpnet.Options{Stack: v.net.Stack(), Table: r.tcpTable(name), Source: v.net.SourceFor})
		b, err := bgp.New(cfg, bgp.Options{VRF: name, RIB: v.rib, RouterID: func() (id netip.Addr) {
			if i := r.applied.BGP.Instance(name); i != nil {
				id = routerID(r.applied, i)
			}
			return id
		},
			Speaker: r.debugBGP(name, gobgp.Speaker(gobgp.Options{Network: network, Dynamic: &r.dynamic, Trace: r.debugMessages(name),
				Admit: func(a netip.Addr) error { return r.admit(name, a) }})),
			After: func(d time.Duration, f func()) func() {
				t := r.loop.After("bgp", d, f)
				return func() { t.Stop() }
			},
			BFD: bgpBFD{r}, Follows: r.oneFarEnd, Tunnel: r.isTunnel,
			Post: func(f func()) { r.loop.Post("bgp", f) }, Now: r.clock.Now, Log: r.debugs("bgp events")})
		if err != nil {
			return err
		}
		r.bgps[name] = &speaker{cfg: cfg, bgp: b}
		return nil
	}
	if s.cfg.AS == cfg.AS && s.cfg.RouterID.IsValid() && !configuredID(desired, desired.BGP.Instance(name)).IsValid() {
		// A router ID that nobody chose stays as long as there are sessions that know it: the interface that gave it may go.
		cfg.RouterID = s.bgp.Config().RouterID
	}
	if reflect.DeepEqual(s.cfg, cfg) {
		return nil
	}
	if err := s.bgp.Apply(cfg); err != nil {
		return err
	}
	s.cfg = cfg
	return nil
}

// objectUp says whether a tracked object is up.
func (r *Router) objectUp(object int) bool {
	up, known := r.tracks.State(object)
	return known && up
}

// judgeObjects has route maps decide anew when an object that they look at changes.
func (r *Router) judgeObjects(objects []int) {
	for id, stop := range r.judging {
		if !slices.Contains(objects, id) {
			stop()
			delete(r.judging, id)
		}
	}
	if r.judging == nil {
		r.judging = map[int]func(){}
	}
	for _, id := range objects {
		if r.judging[id] != nil {
			continue
		}
		r.judging[id] = r.tracks.Watch(id, func(bool) {
			for _, name := range sorted(r.bgps) {
				r.bgps[name].bgp.ObjectsChanged()
			}
		})
	}
}
