//go:build !js

package gobgp

import (
	"fmt"
	"net/netip"
	"slices"

	"felloe/routing/bgp"

	api "github.com/osrg/gobgp/v3/api"
)

const (
	importPolicy = "felloe-import"
	exportPolicy = "felloe-export"
)

// policies writes the two policies that there are: in, what has an unreachable next hop is rejected; out, next hops are
// set or left as they are.
func policies(cfg *bgp.Config, unreachable []netip.Addr) *api.SetPoliciesRequest {
	r := &api.SetPoliciesRequest{}
	in := &api.Policy{Name: importPolicy}
	if len(unreachable) > 0 {
		s := &api.Statement{Name: "unreachable", Conditions: &api.Conditions{},
			Actions: &api.Actions{RouteAction: api.RouteAction_REJECT}}
		for _, a := range unreachable {
			s.Conditions.NextHopInList = append(s.Conditions.NextHopInList, netip.PrefixFrom(a, a.BitLen()).String())
		}
		in.Statements = append(in.Statements, s)
	}
	out := &api.Policy{Name: exportPolicy}
	add := func(name string, members []string, n *bgp.Neighbor) {
		set := &api.DefinedSet{DefinedType: api.DefinedType_NEIGHBOR, Name: name, List: members}
		r.DefinedSets = append(r.DefinedSets, set)
		match := func() *api.Conditions {
			return &api.Conditions{NeighborSet: &api.MatchSet{Type: api.MatchSet_ANY, Name: name}}
		}
		switch {
		case n == nil:
		case n.NextHopUnchanged:
			out.Statements = append(out.Statements, &api.Statement{Name: name + " unchanged", Conditions: match(),
				Actions: &api.Actions{RouteAction: api.RouteAction_ACCEPT, Nexthop: &api.NexthopAction{Unchanged: true}}})
			return
		case n.NextHopSelf || n.NextHopSelfAll:
			c := match()
			if !n.NextHopSelfAll {
				c.RouteType = api.Conditions_ROUTE_TYPE_EXTERNAL
			}
			out.Statements = append(out.Statements, &api.Statement{Name: name + " self", Conditions: c,
				Actions: &api.Actions{RouteAction: api.RouteAction_ACCEPT, Nexthop: &api.NexthopAction{Self: true}}})
		}
		// What the statements of these peers did not decide is not for those of a range around them to decide.
		out.Statements = append(out.Statements, &api.Statement{Name: name, Conditions: match(),
			Actions: &api.Actions{RouteAction: api.RouteAction_ACCEPT}})
	}
	var plain []string
	for i := range cfg.Neighbors {
		n := &cfg.Neighbors[i]
		host := netip.PrefixFrom(n.Address, n.Address.BitLen()).String()
		if n.NextHopSelf || n.NextHopSelfAll || n.NextHopUnchanged {
			add(fmt.Sprintf("peer %v", n.Address), []string{host}, n)
		} else {
			plain = append(plain, host)
		}
	}
	if len(plain) > 0 {
		add("peers", plain, nil)
	}
	for _, l := range ranges(cfg) {
		add(fmt.Sprintf("range %v", l.Range), []string{l.Range.Masked().String()}, &l.Template)
	}
	r.Policies = []*api.Policy{in, out}
	return r
}

// ranges are the listen ranges, the longest first.
func ranges(cfg *bgp.Config) []*bgp.Listen {
	var list []*bgp.Listen
	for i := range cfg.Listen {
		list = append(list, &cfg.Listen[i])
	}
	slices.SortStableFunc(list, func(a, b *bgp.Listen) int { return b.Range.Bits() - a.Range.Bits() })
	return list
}

func (e *engine) setPolicies(cfg *bgp.Config, unreachable []netip.Addr, first bool) error {
	if err := e.srv.SetPolicies(e.ctx, policies(cfg, unreachable)); err != nil {
		return err
	}
	if !first {
		return nil
	}
	for name, d := range map[string]api.PolicyDirection{
		importPolicy: api.PolicyDirection_IMPORT, exportPolicy: api.PolicyDirection_EXPORT,
	} {
		if err := e.srv.AddPolicyAssignment(e.ctx, &api.AddPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: d, Policies: []*api.Policy{{Name: name}}, DefaultAction: api.RouteAction_ACCEPT,
		}}); err != nil {
			return err
		}
	}
	return nil
}
