package boot

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"felloe/config"
	"felloe/manage/cli"
	"felloe/manage/show"
	"felloe/netstack/esp"
	"felloe/vpn/authz"
	"felloe/vpn/ikev2"
	"felloe/vpn/protect"
)

// baseline is what an SA pair had counted when its counters were cleared.
type baseline struct{ in, out esp.Counters }

// around tells the crypto tables what is beside the sessions. On the loop.
func (r *Router) around() show.Around {
	return show.Around{IVRF: r.interfaceVRF, Egress: r.egress, Cleared: func(spi uint32) (in, out esp.Counters) {
		b := r.cleared[spi]
		return b.in, b.out
	}}
}

// interfaceVRF is the VRF of an interface, cloned ones included.
func (r *Router) interfaceVRF(name string) string {
	if i, ok := r.dp.Interface(name); ok {
		return i.VRF().Name()
	}
	return ""
}

// egress is the interface that packets to an address leave by.
func (r *Router) egress(vrf string, to netip.Addr) (string, int) {
	v, ok := r.dp.VRF(vrf)
	if !ok || !to.IsValid() {
		return "", 0
	}
	route := v.FIB().Lookup(to)
	if route == nil || len(route.NextHops) == 0 {
		return "", 0
	}
	i, ok := r.dp.InterfaceByIndex(route.NextHops[0].Interface)
	if !ok {
		return "", 0
	}
	return i.Name(), i.IPMTU()
}

// ShowIKEv2SAs implements commands.View.
func (r *Router) ShowIKEv2SAs(only show.Only, detailed bool) cli.Result {
	return r.ikeSAs(only, detailed)
}

func (r *Router) sessions() []protect.Info {
	var out []protect.Info
	r.look(func() { out = r.protect.Sessions() })
	return out
}

// ShowIPsecSAs implements commands.View.
func (r *Router) ShowIPsecSAs(only show.Only, detail bool) cli.Result {
	var out show.IPsecSAs
	r.look(func() { out = show.NewIPsecSAs(r.protect.Sessions(), only, r.around(), detail, r.clock.Now()) })
	return out
}

// ShowCryptoSessions implements commands.View.
func (r *Router) ShowCryptoSessions(only show.Only, kind show.SessionKind) cli.Result {
	var out show.CryptoSessions
	r.look(func() {
		now := r.clock.Now()
		out = show.NewCryptoSessions(r.protect.Sessions(), r.engine.Snapshot(now), only, r.around(), kind, now)
	})
	return out
}

// ShowSessionSummary implements commands.View.
func (r *Router) ShowSessionSummary() cli.Result {
	var s show.SessionSummary
	r.look(func() {
		n := r.protect.Count()
		s = show.SessionSummary{Active: n.Up, Negotiating: n.Negotiating, Retrying: n.Retrying, Down: n.Idle, IKE: n.IKE, Idle: n.Childless, IPsec: 2 * n.Pairs}
	})
	return s
}

// ShowAccounting implements commands.View.
func (r *Router) ShowAccounting() cli.Result {
	out := show.Accounting{Open: []show.Account{}, Closed: []show.Account{}}
	r.look(func() {
		out = show.NewAccounting(&r.books.Accounting, func(sa ikev2.SAID) authz.Traffic {
			t, _ := r.protect.Traffic(sa)
			return authz.Traffic(t)
		}, r.clock.Now())
	})
	return out
}

// ShowIKEv2Stats implements commands.View.
func (r *Router) ShowIKEv2Stats() cli.Result {
	var s show.IKEv2Stats
	r.look(func() {
		p := r.protect.Counters()
		s = show.IKEv2Stats{MaxSAs: r.applied.IKEv2.Limit.MaxSA, MaxHalfOpen: r.applied.IKEv2.Limit.MaxInNegotiationSA, Counters: r.engine.Counters(), IKEUps: p.IKEUps, IKEDowns: p.IKEDowns,
			IKERekeys: p.IKERekeys, ChildUps: p.ChildUps, ChildDowns: p.ChildDowns, ChildRekeys: p.ChildRekeys, IKEFailures: p.IKEFailures, ChildFailures: p.ChildFailures}
		s.Count(r.engine.Snapshot(r.clock.Now()))
	})
	return s
}

// ShowCryptoSockets implements commands.View.
func (r *Router) ShowCryptoSockets() cli.Result {
	source := map[string]netip.Addr{}
	r.look(func() {
		for n, i := range r.ifs {
			if i.spec.Tunnel != nil {
				source[n] = i.spec.Tunnel.Source
			}
		}
	})
	return show.NewCryptoSockets(r.sessions(), func(tunnel string) netip.Addr { return source[tunnel] })
}

// ShowConfigured implements commands.View.
func (r *Router) ShowConfigured(kind, name string) (cli.Result, error) {
	var out cli.Result
	err := r.call("show", func() error {
		c, points := r.applied, r.ikeApply.Trustpoints
		if name != "" && !has(configuredNames(c, kind), name) {
			return fmt.Errorf("%% There is no %s %s", kind, name)
		}
		now := r.clock.Now()
		switch kind {
		case "ikev2 proposal":
			out = show.NewIKEv2Proposals(c, name)
		case "ikev2 policy":
			out = show.NewIKEv2Policies(c, name)
		case "ikev2 profile":
			out = show.NewIKEv2Profiles(c, name)
		case "ikev2 authorization policy":
			out = show.NewAuthorizationPolicies(c, name)
		case "ipsec transform-set":
			out = show.NewTransformSets(c, name)
		case "ipsec profile":
			out = show.NewIPsecProfiles(c, name)
		case "pki certificates":
			out = show.NewPKI(points, name, now)
		case "pki trustpoints":
			out = show.NewTrustpoints(points, name, now)
		case "pki crls":
			out = show.NewCRLs(points, now)
		default:
			return fmt.Errorf("%% nothing is known of %s", kind)
		}
		return nil
	})
	return out, err
}

func has(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// configuredNames are the names of a kind, those of the smart defaults included.
func configuredNames(c *config.Config, kind string) []string {
	smart := func(names []string) []string {
		if has(names, config.Smart) {
			return names
		}
		return append(names, config.Smart)
	}
	switch kind {
	case "ikev2 proposal":
		return smart(sorted(c.IKEv2.Proposal))
	case "ikev2 policy":
		return smart(sorted(c.IKEv2.Policy))
	case "ikev2 profile":
		return sorted(c.IKEv2.Profile)
	case "ikev2 authorization policy":
		return smart(sorted(c.IKEv2.AuthorizationPolicy))
	case "ipsec transform-set":
		return smart(sorted(c.IPsec.TransformSet))
	case "ipsec profile":
		return sorted(c.IPsec.Profile)
	case "pki certificates", "pki trustpoints":
		return sorted(c.PKI.Trustpoint)
	case "ip prefix-list", "ipv6 prefix-list":
		return sorted(c.PrefixList)
	case "route-map":
		return sorted(c.RouteMap)
	case "ip as-path-access-list":
		return sorted(c.ASPathList)
	case "ip community-list":
		return sorted(c.CommunityList)
	case "ip local pool":
		return sorted(c.Pool)
	}
	return nil
}

// maxNames is how many names are offered where there may be thousands.
const maxNames = 100

// Names implements commands.View.
func (r *Router) Names(keywords, arg string) []string {
	var out []string
	r.look(func() {
		kind := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(keywords, "show "), "crypto "), " detail")
		switch {
		case arg == "interface":
			out = r.interfaceNames()
		case arg == "fvrf", arg == "ivrf", arg == "name" && (strings.HasSuffix(keywords, "vrf") || strings.HasSuffix(keywords, "vrf detail")):
			out = sorted(r.vrfs)
		case arg == "name" && strings.Contains(keywords, "client flexvpn"):
			out = sorted(r.applied.IKEv2.Client)
		case arg == "name":
			out = configuredNames(r.applied, kind)
		case arg == "number" && strings.HasSuffix(keywords, "track"):
			for _, n := range r.applied.TrackNumbers() {
				out = append(out, strconv.Itoa(n))
			}
		case arg == "address" && strings.HasSuffix(keywords, "neighbors"), arg == "address" && strings.Contains(keywords, "clear") && strings.Contains(keywords, "bgp"):
			seen := map[string]bool{}
			for _, n := range sorted(r.bgps) {
				for _, p := range r.bgps[n].bgp.Neighbors() {
					seen[p.Address.String()] = true
				}
			}
			out = sorted(seen)
			if strings.HasPrefix(keywords, "clear") {
				out = append(out, "*")
			}
		case arg == "address" && (strings.HasSuffix(keywords, "remote") || strings.HasSuffix(keywords, "peer")):
			seen := map[string]bool{}
			for _, s := range r.protect.Sessions() {
				seen[s.NBMA.String()] = true
			}
			out = sorted(seen)
		}
	})
	if len(out) > maxNames && arg == "address" {
		return nil
	}
	return out
}

// ShowPools implements commands.View.
func (r *Router) ShowPools(name string) (cli.Result, error) {
	out := show.Pools{Pools: []show.Pool{}}
	var leases []authz.Lease
	err := r.call("show", func() error {
		for _, n := range sorted(r.applied.Pool) {
			if name != "" && !strings.EqualFold(name, n) {
				continue
			}
			p := show.Pool{Name: n, Ranges: []show.PoolRange{}, Leases: []show.PoolLease{}}
			for _, a := range r.applied.Pool[n].Addresses {
				x := show.PoolRange{Begin: a.From, End: a.To, Free: span(a.From, a.To)}
				for _, e := range r.applied.Pool[n].Exclude {
					from, to := e.From, e.To
					if from.Is4() != a.From.Is4() {
						continue
					}
					if from.Less(a.From) {
						from = a.From
					}
					if a.To.Less(to) {
						to = a.To
					}
					if !to.Less(from) {
						x.Blocked += span(from, to)
					}
				}
				x.Free -= min(x.Blocked, x.Free)
				p.Ranges = append(p.Ranges, x)
			}
			out.Pools = append(out.Pools, p)
		}
		if name != "" && len(out.Pools) == 0 {
			return fmt.Errorf("%% There is no pool %s", name)
		}
		leases = r.authz.Leases(true)
		return nil
	})
	if err != nil {
		return nil, err
	}
	now := r.clock.Now()
	for i := range out.Pools {
		p := &out.Pools[i]
		for _, l := range leases {
			if l.Pool != p.Name {
				continue
			}
			x := show.PoolLease{Address: l.Address, Owner: l.Identity.String(), Since: max(int64(now.Sub(l.Since).Seconds()), 0), Kept: len(l.SAs) == 0}
			if !x.Kept {
				x.SA = uint64(l.SAs[0])
				for j := range p.Ranges {
					if g := &p.Ranges[j]; g.Begin.Is4() == l.Address.Is4() && !l.Address.Less(g.Begin) && !g.End.Less(l.Address) {
						g.InUse++
						g.Free -= min(1, g.Free)
						break
					}
				}
			}
			p.Leases = append(p.Leases, x)
		}
	}
	if name != "" {
		out.One()
	}
	return out, nil
}

// span is how many addresses there are from one to another, as far as a number can say.
func span(from, to netip.Addr) uint64 {
	a, b := from.AsSlice(), to.AsSlice()
	n := uint64(0)
	for i := range a {
		if n > math.MaxUint64>>9 {
			return math.MaxUint64
		}
		n = n<<8 + uint64(b[i]) - uint64(a[i])
	}
	return n + 1
}
