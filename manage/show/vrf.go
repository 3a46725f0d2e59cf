package show

import (
	"fmt"
	"net/netip"
	"strings"

	"felloe/manage/cli"
)

// VRFs is `show vrf` and `show ip vrf`.
type VRFs struct {
	VRFs []VRF `json:"vrfs"`
	// IP leaves the protocols out, as `show ip vrf` does.
	IP     bool `json:"-"`
	Detail bool `json:"-"`
}

// VRF is one routing table.
type VRF struct {
	Name        string   `json:"name"`
	ID          uint32   `json:"id"`
	RD          string   `json:"rd,omitempty"`
	Description string   `json:"description,omitempty"`
	Interfaces  []string `json:"interfaces"`
	IPv4        int      `json:"ipv4_routes"`
	IPv6        int      `json:"ipv6_routes"`
	BGP         uint32   `json:"bgp_as,omitempty"`
	// Outside are the tunnels whose outer packets it carries.
	Outside []string `json:"tunnel_transport"`
}

// Text implements cli.Result.
func (r VRFs) Text(w *cli.Table) {
	if r.Detail {
		for i := range r.VRFs {
			r.VRFs[i].detail(w)
		}
		return
	}
	protocols := func(s string) string {
		if r.IP {
			return ""
		}
		return fmt.Sprintf("%-12s", s)
	}
	w.Line(strings.TrimRight(fmt.Sprintf("  %-32s %-21s %s%s", "Name", "Default RD", protocols("Protocols"), "Interfaces"), " "))
	for i := range r.VRFs {
		v := &r.VRFs[i]
		names := v.Interfaces
		if len(names) == 0 {
			names = []string{""}
		}
		for n, name := range names {
			a, b, c := v.Name, or(v.RD, "<not set>"), "ipv4,ipv6"
			if n > 0 {
				a, b, c = "", "", ""
			}
			if name != "" {
				name = Short(name)
			}
			w.Line(strings.TrimRight(fmt.Sprintf("  %-32s %-21s %s%s", a, b, protocols(c), name), " "))
		}
	}
}

func (v *VRF) detail(w *cli.Table) {
	w.Linef("VRF %s (VRF Id = %d); default RD %s; default VPNID <not set>", v.Name, v.ID, or(v.RD, "<not set>"))
	if v.Description != "" {
		w.Linef("  Description: %s", v.Description)
	}
	list := func(title string, names []string) {
		if len(names) == 0 {
			w.Linef("  No %s", strings.ToLower(title))
			return
		}
		w.Linef("  %s:", title)
		for len(names) > 0 {
			n := min(3, len(names))
			line := "   "
			for _, x := range names[:n] {
				line += fmt.Sprintf(" %-24s", Short(x))
			}
			w.Line(strings.TrimRight(line, " "))
			names = names[n:]
		}
	}
	list("Interfaces", v.Interfaces)
	list("Tunnels with their outer packets here", v.Outside)
	w.Linef("Address family ipv4 unicast: %d routes", v.IPv4)
	w.Linef("Address family ipv6 unicast: %d routes", v.IPv6)
	if v.BGP != 0 {
		w.Linef("BGP AS %d", v.BGP)
	}
	w.Line("")
}

// Pools is `show ip local pool`.
type Pools struct {
	Pools []Pool `json:"pools"`
}

// Pool is one of them, with what is lent of it.
type Pool struct {
	Name   string      `json:"name"`
	Ranges []PoolRange `json:"ranges"`
	Leases []PoolLease `json:"leases"`
	// one says that the pool was asked for by its name.
	one bool
}

// PoolRange is a range of addresses.
type PoolRange struct {
	Begin   netip.Addr `json:"begin"`
	End     netip.Addr `json:"end"`
	Free    uint64     `json:"free"`
	InUse   uint64     `json:"in_use"`
	Blocked uint64     `json:"excluded"`
}

// PoolLease is an address that somebody has.
type PoolLease struct {
	Address netip.Addr `json:"address"`
	Owner   string     `json:"owner"`
	SA      uint64     `json:"ikev2_tunnel_id"`
	Since   int64      `json:"seconds"`
	// Kept is one that is only remembered for whoever had it.
	Kept bool `json:"kept,omitempty"`
}

// One marks the only pool of an answer: it is shown with its addresses.
func (p *Pools) One() {
	for i := range p.Pools {
		p.Pools[i].one = true
	}
}

// Text implements cli.Result.
func (p Pools) Text(w *cli.Table) {
	var rows [][]string
	for i := range p.Pools {
		name := p.Pools[i].Name
		for _, r := range p.Pools[i].Ranges {
			rows = append(rows, []string{name, r.Begin.String(), r.End.String(), fmt.Sprint(r.Free), fmt.Sprint(r.InUse), fmt.Sprint(r.Blocked)})
			name = ""
		}
	}
	w.Columns([]string{"Pool", "Begin", "End", ">Free", ">In use", ">Blocked"}, rows)
	for i := range p.Pools {
		if !p.Pools[i].one {
			continue
		}
		for _, kept := range []bool{false, true} {
			w.Line(map[bool]string{false: "Inuse addresses:", true: "Remembered addresses:"}[kept])
			none := true
			for _, l := range p.Pools[i].Leases {
				if l.Kept == kept {
					none = false
					w.Linef("   %-15s  %s", l.Address, l.Owner)
				}
			}
			if none {
				w.Line("   None")
			}
		}
	}
}
