package commands

import (
	"fmt"
	"net/netip"
	"strings"

	"felloe/manage/cli"
)

// BGPTables says which BGP tables a command is about.
type BGPTables struct {
	// VRF is one routing table; All are those of every VRF but the default one.
	VRF string
	All bool
	// VPN prints route distinguishers: the word was vpnv4 or vpnv6.
	VPN bool
	V6  bool
}

// What `show ip bgp` and `show bgp` may go on with before anything else.
const (
	ipTables  = "[vrf <name>|vpnv4 all|vpnv4 vrf <name>|ipv4 unicast]"
	allTables = "[ipv4 unicast|ipv6 unicast|vpnv4 unicast all|vpnv4 unicast vrf <name>|vpnv6 unicast all|vpnv6 unicast vrf <name>]"
)

func tables(i *cli.Invocation) BGPTables {
	q := BGPTables{VRF: vrf(i), VPN: i.Has("vpnv4") || i.Has("vpnv6"), V6: i.Has("ipv6") || i.Has("vpnv6")}
	q.All = q.VPN && !i.Has("name")
	return q
}

func showBGP(t *cli.Tree, r Router) {
	for _, head := range []string{"show ip bgp " + ipTables, "show bgp " + allTables} {
		add(t, head, "The BGP table", func(i *cli.Invocation) (cli.Result, error) { return r.ShowBGP(tables(i)) })
		add(t, head+" <prefix> [longer-prefixes]", "", func(i *cli.Invocation) (cli.Result, error) {
			text := i.Args["prefix"]
			p, err := netip.ParsePrefix(text)
			if err != nil {
				a, err := netip.ParseAddr(text)
				if err != nil {
					return nil, fmt.Errorf("%% %q is not a prefix such as 10.0.0.0/8", text)
				}
				return r.ShowBGPTo(tables(i), a)
			}
			return r.ShowBGPPrefix(tables(i), p.Masked(), i.Has("longer-prefixes"))
		})
		add(t, head+" summary", "", func(i *cli.Invocation) (cli.Result, error) { return r.ShowBGPSummary(tables(i)) })
		add(t, head+" neighbors [<address> [advertised-routes|received-routes|routes]]", "", func(i *cli.Invocation) (cli.Result, error) {
			a, err := address(i, "address")
			if err != nil {
				return nil, err
			}
			for _, part := range []string{"advertised-routes", "received-routes", "routes"} {
				if i.Has(part) {
					return r.ShowBGPRoutesOf(tables(i), a, part)
				}
			}
			return r.ShowBGPNeighbors(tables(i), a)
		})
	}
}

// BGPClear is what `clear ip bgp` shall do.
type BGPClear struct {
	BGPTables
	// Every clears the sessions of every routing table: `clear ip bgp *` without a VRF.
	Every    bool
	Neighbor netip.Addr // not valid: all
	// In and Out refresh without a reset; neither resets.
	In, Out bool
}

func clearBGP(t *cli.Tree, r Router) {
	const how = " <address> [soft|soft in|soft out|in|out]"
	for _, head := range []string{"clear ip bgp [vrf <name>|vpnv4 unicast|vpnv4 unicast vrf <name>|ipv4 unicast]",
		"clear bgp [ipv4 unicast|ipv6 unicast|vpnv4 unicast|vpnv4 unicast vrf <name>|vpnv6 unicast|vpnv6 unicast vrf <name>]"} {
		add(t, head+how, "", func(i *cli.Invocation) (cli.Result, error) {
			a, err := address(i, "address")
			if err != nil {
				return nil, err
			}
			c := BGPClear{BGPTables: tables(i), Neighbor: a, In: i.Has("in"), Out: i.Has("out")}
			if i.Has("soft") && !c.In && !c.Out {
				c.In, c.Out = true, true
			}
			c.Every = !a.IsValid() && !i.Has("name") && !i.Has("unicast")
			return nil, r.ClearBGP(c)
		})
	}
}

func showPolicies(t *cli.Tree, r Router) {
	for _, p := range []string{"ip prefix-list", "ip prefix-list detail", "ipv6 prefix-list", "ipv6 prefix-list detail", "route-map", "ip as-path-access-list", "ip community-list"} {
		add(t, "show "+p+" [<name>]", "", func(i *cli.Invocation) (cli.Result, error) {
			kind, detail := strings.CutSuffix(p, " detail")
			return r.ShowPolicy(kind, i.Args["name"], detail)
		})
	}
}
