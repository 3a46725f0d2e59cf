package show

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"felloe/manage/cli"
)

// Interfaces is `show interfaces`.
type Interfaces struct {
	Interfaces []Interface `json:"interfaces"`
}

// Interface is one interface as it is.
type Interface struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	VRF         string            `json:"vrf"`
	Kind        string            `json:"kind"`
	Status      string            `json:"status"`   // up, down, administratively down, not present
	Protocol    string            `json:"protocol"` // up, down
	MAC         string            `json:"mac,omitempty"`
	NIC         string            `json:"nic,omitempty"`
	MTU         int               `json:"mtu"`
	IPMTU       int               `json:"ip_mtu"`
	WantedIPMTU int               `json:"ip_mtu_configured,omitempty"`
	Addresses   []netip.Prefix    `json:"addresses"`
	Negotiated  bool              `json:"negotiated,omitempty"` // a peer gives an address
	Unnumbered  string            `json:"unnumbered,omitempty"` // whose addresses these are
	Template    string            `json:"template,omitempty"`   // that it was cloned from
	Peer        string            `json:"peer,omitempty"`       // for whom
	Tunnel      *TunnelDetail     `json:"tunnel,omitempty"`
	RxPackets   uint64            `json:"rx_packets"`
	RxBytes     uint64            `json:"rx_bytes"`
	TxPackets   uint64            `json:"tx_packets"`
	TxBytes     uint64            `json:"tx_bytes"`
	Drops       map[string]uint64 `json:"drops"`
}

// TunnelDetail is the tunnel part of an interface.
type TunnelDetail struct {
	Mode        string `json:"mode"`
	Source      string `json:"source"`
	Destination string `json:"destination,omitempty"`
	Key         string `json:"key,omitempty"`
	Protection  string `json:"protection,omitempty"`
	UnderlayVRF string `json:"underlay_vrf"`
	TTL         uint8  `json:"ttl"`
}

// Text implements cli.Result.
func (r Interfaces) Text(w *cli.Table) {
	for _, i := range r.Interfaces {
		w.Linef("%s is %s, line protocol is %s", i.Name, i.Status, i.Protocol)
		hw := "  Hardware is " + i.Kind
		if i.MAC != "" {
			hw += ", address is " + i.MAC
		}
		if i.NIC != "" {
			hw += " (" + i.NIC + ")"
		}
		w.Line(hw)
		if i.Description != "" {
			w.Linef("  Description: %s", i.Description)
		}
		if i.VRF != "default" {
			w.Linef("  VRF is %s", i.VRF)
		}
		if i.Unnumbered != "" {
			var addrs []string
			for _, a := range i.Addresses {
				addrs = append(addrs, a.Addr().String())
			}
			w.Linef("  Interface is unnumbered. Using address of %s (%s)", i.Unnumbered, or(strings.Join(addrs, ", "), "none"))
		} else {
			for _, a := range i.Addresses {
				w.Linef("  Internet address is %s", a)
			}
			if i.Negotiated && len(i.Addresses) == 0 {
				w.Line("  Internet address will be negotiated using IKEv2")
			}
		}
		wanted := ""
		if i.WantedIPMTU > i.IPMTU {
			wanted = fmt.Sprintf(" (%d is configured, which is more than it carries)", i.WantedIPMTU)
		}
		w.Linef("  MTU %d bytes, IP MTU %d bytes%s", i.MTU, i.IPMTU, wanted)
		if i.Template != "" {
			w.Linef("  Tunnel vaccess, cloned from %s for %s", i.Template, i.Peer)
		}
		if t := i.Tunnel; t != nil {
			w.Linef("  Tunnel source %s, destination %s", t.Source, or(t.Destination, "UNKNOWN"))
			w.Linef("  Tunnel protocol/transport %s, TTL %d, key %s", t.Mode, t.TTL, or(t.Key, "disabled"))
			if t.UnderlayVRF != "default" {
				w.Linef("  Tunnel transport VRF is %s", t.UnderlayVRF)
			}
			if t.Protection != "" {
				w.Linef("  Tunnel protection via IPSec (profile %q)", t.Protection)
			}
		}
		w.Linef("     %d packets input, %d bytes", i.RxPackets, i.RxBytes)
		w.Linef("     %d packets output, %d bytes", i.TxPackets, i.TxBytes)
		total := uint64(0)
		for _, n := range i.Drops {
			total += n
		}
		w.Linef("     %d packets dropped%s", total, reasons(i.Drops))
	}
}

func reasons(drops map[string]uint64) string {
	var out []string
	for _, k := range sortedKeys(drops) {
		if drops[k] > 0 {
			out = append(out, fmt.Sprintf("%d %s", drops[k], k))
		}
	}
	if len(out) == 0 {
		return ""
	}
	return ": " + strings.Join(out, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Brief is `show ip interface brief`.
type Brief struct {
	Interfaces []Interface `json:"interfaces"`
	v6         bool
}

// NewBrief makes the short table of one family.
func NewBrief(all []Interface, v6 bool) Brief { return Brief{all, v6} }

// Text implements cli.Result.
func (r Brief) Text(w *cli.Table) {
	var rows [][]string
	for _, i := range r.Interfaces {
		var addrs []string
		for _, a := range i.Addresses {
			if a.Addr().Is6() == r.v6 {
				addrs = append(addrs, a.Addr().String())
			}
		}
		if len(addrs) == 0 {
			addrs = []string{"unassigned"}
		}
		method := "manual"
		if addrs[0] == "unassigned" {
			method = "unset"
		}
		for n, a := range addrs {
			name := i.Name
			if n > 0 {
				name = ""
			}
			rows = append(rows, []string{name, a, "YES", method, i.Status, i.Protocol})
		}
	}
	head := "IP-Address"
	if r.v6 {
		head = "IPv6-Address"
	}
	w.Columns([]string{"Interface", head, "OK?", "Method", "Status", "Protocol"}, rows)
}

// Neighbours is `show arp` and `show ipv6 neighbors`.
type Neighbours struct {
	Neighbours []Neighbour `json:"neighbours"`
	V6         bool        `json:"-"`
}

// Neighbour is one resolved address.
type Neighbour struct {
	Address   netip.Addr `json:"address"`
	MAC       string     `json:"mac"`
	Interface string     `json:"interface"`
	State     string     `json:"state"`
	Age       int64      `json:"age"`
}

// Text implements cli.Result.
func (r Neighbours) Text(w *cli.Table) {
	var rows [][]string
	for _, n := range r.Neighbours {
		if n.Address.Is6() != r.V6 {
			continue
		}
		rows = append(rows, []string{map[bool]string{true: "IPv6", false: "Internet"}[r.V6], n.Address.String(), fmt.Sprint(n.Age / 60), or(n.MAC, "Incomplete"), n.State, n.Interface})
	}
	w.Columns([]string{"Protocol", "Address", ">Age (min)", "Hardware Addr", "State", "Interface"}, rows)
}

// Counters is `show counters`: every drop with its reason, and what else is counted.
type Counters struct {
	Drops  map[string]uint64 `json:"drops"`
	Events map[string]uint64 `json:"events"`
}

// Text implements cli.Result.
func (r Counters) Text(w *cli.Table) {
	var rows [][]string
	for _, k := range sortedKeys(r.Drops) {
		rows = append(rows, []string{"drop", k, fmt.Sprint(r.Drops[k])})
	}
	for _, k := range sortedKeys(r.Events) {
		rows = append(rows, []string{"event", k, fmt.Sprint(r.Events[k])})
	}
	w.Columns([]string{"Kind", "Name", ">Count"}, rows)
}
