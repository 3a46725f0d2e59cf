package boot

import (
	"math/bits"
	"net/netip"
	"slices"

	"felloe/config"
	"felloe/routing/policy"
	"felloe/vpn/authz"
	"felloe/vpn/ikev2"
)

// applicationVersion is what peers are told that ask what we are (APPLICATION_VERSION).
const applicationVersion = "Felloe"

// protectedBy are the interfaces that an IKEv2 profile protects, in order.
func protectedBy(c *config.Config, profile string) []*config.Interface {
	var out []*config.Interface
	for _, n := range c.InterfaceNames() {
		i := c.Interface[n]
		if p := c.IPsec.Profile[i.Protection]; p != nil && p.IKEv2Profile == profile {
			out = append(out, i)
		}
	}
	return out
}

// addressesOf are an interface's own addresses, or those that it borrows.
func addressesOf(c *config.Config, i *config.Interface) []netip.Prefix {
	if o := c.Interface[i.Unnumbered]; o != nil {
		return o.Address
	}
	return i.Address
}

// outerAddresses are, by VRF, the addresses that peers may reach the router by (MOBIKE).
func outerAddresses(c *config.Config) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for _, n := range c.InterfaceNames() {
		i := c.Interface[n]
		if i.Kind() != config.Ethernet || i.Shutdown {
			continue
		}
		for _, p := range i.Address {
			out[i.VRF] = append(out[i.VRF], p.Addr())
		}
	}
	return out
}

// authzConfig translates what peers may have. lists are the compiled policies that it names.
func authzConfig(c *config.Config, lists *policy.Policies) authz.Config {
	out := authz.Config{Policies: map[string]authz.Policy{}, Manglers: map[string]authz.Mangler{}, Pools: map[string]authz.Pool{}, Self: map[string][]netip.Prefix{}}
	for _, n := range append(sorted(c.IKEv2.AuthorizationPolicy), config.Smart) {
		out.Policies[n] = authzPolicy(c, c.IKEv2.Authorization(n), lists)
	}
	for n, m := range c.IKEv2.NameMangler {
		out.Manglers[n] = authz.Mangler{FQDN: string(m.FQDN), Email: string(m.Email), DN: string(m.DN)}
	}
	for n, p := range c.Pool {
		out.Pools[n] = authz.Pool{Ranges: poolRanges(p.Addresses), Exclude: poolRanges(p.Exclude)}
	}
	for n := range c.IKEv2.Profile {
		for _, i := range protectedBy(c, n) {
			for _, a := range addressesOf(c, i) {
				if !slices.Contains(out.Self[n], a) {
					out.Self[n] = append(out.Self[n], a)
				}
			}
		}
	}
	return out
}

// nothing permits no prefix.
var nothing = &policy.PrefixList{}

func authzPolicy(c *config.Config, p *config.AuthorizationPolicy, lists *policy.Policies) authz.Policy {
	out := authz.Policy{Pool: p.Pool, Pool6: p.IPv6Pool, DNS: p.DNS, Domain: p.DefDomain, PFS: p.PFS,
		Accept: ikev2.RouteAccept{Accept: p.Route.Accept, Distance: p.Route.Distance, Tag: p.Route.Tag}}
	if name := p.Route.AcceptPrefixList; name != "" {
		out.Accept.Only = nothing // a list that is not there must not let everything in
		if lists != nil && lists.PrefixLists[name] != nil {
			out.Accept.Only = lists.PrefixLists[name]
		}
	}
	if p.Netmask.Is4() {
		for _, v := range p.Netmask.As4() {
			out.Netmask += bits.OnesCount8(v)
		}
	}
	for _, name := range p.Route.SetInterface {
		if name == config.Self {
			out.Self = true
			continue
		}
		if i := c.Interface[name]; i != nil {
			for _, a := range addressesOf(c, i) {
				out.Subnets = append(out.Subnets, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
			}
		}
	}
	for _, name := range p.Route.SetAccessList {
		if l := c.AccessList[name]; l != nil {
			out.Subnets = append(out.Subnets, l.Permit...)
		}
	}
	out.Subnets = append(out.Subnets, p.Route.SetRemote...)
	return out
}

func poolRanges(list []config.AddressRange) []authz.Range {
	var out []authz.Range
	for _, r := range list {
		out = append(out, authz.Range{From: r.From, To: r.To})
	}
	return out
}
