package show

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/vpn/nhrp"
)

// DMVPN is `show dmvpn`.
type DMVPN struct {
	Tunnels []DMVPNTunnel `json:"tunnels"`
	detail  bool
}

// DMVPNTunnel is one tunnel with its peers.
type DMVPNTunnel struct {
	Interface string      `json:"interface"`
	VRF       string      `json:"vrf"`
	NetworkID uint32      `json:"network_id"`
	Type      string      `json:"type"`
	NBMA      string      `json:"nbma"`
	Count     int         `json:"peer_count"` // far ends, each with one entry or more
	Peers     []DMVPNPeer `json:"peers"`
	NHS       []NHS       `json:"nhs"`
}

// DMVPNPeer is one line of the table.
type DMVPNPeer struct {
	Entries  int    `json:"entries"`
	NBMA     string `json:"nbma"`
	Claimed  string `json:"claimed_nbma,omitempty"`
	Address  string `json:"tunnel_address"`
	Prefix   string `json:"prefix"`
	State    string `json:"state"`
	UpDown   int64  `json:"up_down"`
	Attr     string `json:"attributes"`
	Identity string `json:"identity,omitempty"`
}

// NHS is one next hop server.
type NHS struct {
	Interface string `json:"interface"`
	Address   string `json:"address"`
	NBMA      string `json:"nbma"`
	Flags     string `json:"flags"`
	Priority  uint8  `json:"priority"`
	Cluster   uint8  `json:"cluster"`
	Sent      uint64 `json:"requests_sent"`
	Replies   uint64 `json:"replies"`
	NAT       string `json:"nat,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// NewDMVPN makes the answer.
func NewDMVPN(tunnels []nhrp.TunnelInfo, detail bool, now time.Time) DMVPN {
	out := DMVPN{Tunnels: []DMVPNTunnel{}, detail: detail}
	for _, t := range tunnels {
		x := DMVPNTunnel{Interface: t.Name, VRF: t.VRF, NetworkID: t.NetworkID, Type: t.Type, NBMA: text(t.NBMA), Peers: []DMVPNPeer{}, NHS: newNHS(t.NHS)}
		for _, p := range t.Peers {
			if p.Entries > 0 {
				x.Count++
			}
			x.Peers = append(x.Peers, DMVPNPeer{Entries: p.Entries, NBMA: text(p.NBMA), Claimed: text(p.Claimed), Address: text(p.Address), Prefix: p.Prefix.String(),
				State: p.State, UpDown: seconds(now.Sub(p.Since)), Attr: strings.Join(p.Attrs, ""), Identity: p.Identity})
		}
		for _, c := range t.Cache {
			// What no session stands behind: our own answers, and what is being asked for or was refused.
			p := DMVPNPeer{Prefix: c.Prefix.String(), UpDown: seconds(now.Sub(c.Created))}
			switch {
			case !c.NoSocket:
				continue
			case slices.Contains(c.Flags, "local"):
				if !detail {
					continue
				}
				p.Entries, p.NBMA, p.Address, p.State, p.Attr = 1, text(c.NBMA), text(c.NextHop), "UP", "DLX"
			default:
				p.Entries, p.NBMA, p.Address, p.State, p.Attr = 1, "UNKNOWN", text(c.NextHop), "NHRP", "IX"
			}
			x.Peers = append(x.Peers, p)
		}
		if t.PointToPoint && len(x.Peers) == 0 && len(x.NHS) == 0 {
			continue // it hands redirects on and holds nothing: one for each session of a hub
		}
		out.Tunnels = append(out.Tunnels, x)
	}
	return out
}

func newNHS(list []nhrp.NHSInfo) []NHS {
	out := []NHS{}
	for _, n := range list {
		out = append(out, NHS{n.Tunnel, text(n.Address), text(n.NBMA), n.Flags, n.Priority, n.Cluster, n.Sent, n.Replies, text(n.NAT), n.Reason})
	}
	return out
}

const dmvpnLegend = `Legend: Attrb --> S - Static, D - Dynamic, I - Incomplete
        N - NATed, L - Local, X - No Socket
        T1 - Route Installed, T2 - Nexthop-override, C - CTS Capable
        # Ent --> Number of NHRP entries with same NBMA peer
        NHS Status: E --> Expecting Replies, R --> Responding, W --> Waiting
        UpDn Time --> Up or Down Time for a Tunnel
==========================================================================`

// Text implements cli.Result.
func (d DMVPN) Text(w *cli.Table) {
	w.Line(dmvpnLegend)
	for _, t := range d.Tunnels {
		w.Line("")
		w.Linef("Interface: %s, IPv4/IPv6 NHRP Details", t.Interface)
		w.Linef("Type:%s, NHRP Peers:%d,", t.Type, t.Count)
		if d.detail {
			w.Linef("Network-id: %d, VRF: %s, Tunnel source: %s", t.NetworkID, t.VRF, t.NBMA)
			if len(t.NHS) > 0 {
				w.Line("NHS:")
			}
			for _, n := range t.NHS {
				w.Linef("%s  %s NBMA Address: %s priority = %d cluster = %d", n.Address, n.Flags, n.NBMA, n.Priority, n.Cluster)
			}
		}
		w.Line("")
		var rows [][]string
		for _, p := range t.Peers {
			row := []string{fmt.Sprint(p.Entries), p.NBMA, p.Address, p.State, Clock(time.Duration(p.UpDown) * time.Second), p.Attr}
			if d.detail {
				row = append(row, p.Prefix, p.Identity)
			}
			rows = append(rows, row)
		}
		head := []string{">Ent", "Peer NBMA Addr", "Peer Tunnel Add", "State", "UpDn Tm", "Attrb"}
		if d.detail {
			head = append(head, "Target Network", "Identity")
		}
		head[0] = ">#Ent"
		w.Columns(head, rows)
	}
}

// NHRPCache is `show ip nhrp` and `show ip nhrp shortcut`.
type NHRPCache struct {
	Entries []NHRPEntry `json:"entries"`
}

// NHRPEntry is one cache entry.
type NHRPEntry struct {
	Prefix     string   `json:"prefix"`
	NextHop    string   `json:"next_hop"`
	Interface  string   `json:"interface"`
	NBMA       string   `json:"nbma"`
	Claimed    string   `json:"claimed_nbma,omitempty"`
	Type       string   `json:"type"`
	Flags      []string `json:"flags"`
	Created    int64    `json:"created"`
	Expires    int64    `json:"expires"` // -1: never
	Reason     string   `json:"reason,omitempty"`
	Requesters []string `json:"requesters,omitempty"`
	Shortcut   bool     `json:"shortcut"`
	Identity   string   `json:"identity,omitempty"`
}

func family(p netip.Prefix, v6 bool) bool { return !p.IsValid() || p.Addr().Is6() == v6 }

// NewNHRPCache makes the answer; shortcuts keeps those entries that changed the routing table.
func NewNHRPCache(tunnels []nhrp.TunnelInfo, v6, shortcuts bool, now time.Time) NHRPCache {
	out := NHRPCache{Entries: []NHRPEntry{}}
	for _, t := range tunnels {
		for _, c := range t.Cache {
			is := c.Kind == nhrp.KindResolved && (c.Route != nhrp.RouteNone || t.Clone) // a tunnel of its own may have its routes by IKEv2
			if !family(c.Prefix, v6) || shortcuts && !is {
				continue
			}
			e := NHRPEntry{Prefix: c.Prefix.String(), NextHop: text(c.NextHop), Interface: c.Tunnel, NBMA: text(c.NBMA), Claimed: text(c.Claimed), Type: c.Type,
				Flags: append([]string{}, c.Flags...), Created: seconds(now.Sub(c.Created)), Expires: -1, Reason: c.Reason, Shortcut: is, Identity: c.Identity}
			if !c.Expires.IsZero() {
				e.Expires = seconds(c.Expires.Sub(now))
			}
			for _, r := range c.Requesters {
				e.Requesters = append(e.Requesters, r.String())
			}
			out.Entries = append(out.Entries, e)
		}
	}
	return out
}

// Text implements cli.Result.
func (n NHRPCache) Text(w *cli.Table) {
	for _, e := range n.Entries {
		w.Linef("%s via %s", e.Prefix, or(e.NextHop, "-"))
		expire := "never expire"
		if e.Expires >= 0 {
			expire = "expire " + Clock(time.Duration(e.Expires)*time.Second)
		}
		w.Linef("   %s created %s, %s", e.Interface, Clock(time.Duration(e.Created)*time.Second), expire)
		w.Linef("   Type: %s, Flags: %s", e.Type, strings.Join(e.Flags, " "))
		if e.NBMA != "" {
			w.Linef("   NBMA address: %s", e.NBMA)
		}
		if e.Claimed != "" {
			w.Linef("   (Claimed NBMA address: %s)", e.Claimed)
		}
		if e.Reason != "" {
			w.Linef("   Reason: %s", e.Reason)
		}
		if len(e.Requesters) > 0 {
			w.Linef("   Requester: %s", strings.Join(e.Requesters, ", "))
		}
	}
}

// NHRPServers is `show ip nhrp nhs`.
type NHRPServers struct {
	Servers []NHS `json:"servers"`
}

// NewNHRPServers makes the answer.
func NewNHRPServers(tunnels []nhrp.TunnelInfo, v6 bool) NHRPServers {
	out := NHRPServers{Servers: []NHS{}}
	for _, t := range tunnels {
		for i, n := range newNHS(t.NHS) {
			if a := t.NHS[i].Address; !a.IsValid() || a.Is6() == v6 {
				out.Servers = append(out.Servers, n)
			}
		}
	}
	return out
}

// Text implements cli.Result.
func (n NHRPServers) Text(w *cli.Table) {
	w.Line("Legend: E=Expecting replies, R=Responding, W=Waiting, D=Dynamic")
	last := ""
	for _, s := range n.Servers {
		if s.Interface != last {
			w.Linef("%s:", s.Interface)
			last = s.Interface
		}
		line := fmt.Sprintf("%-16s %-3s  NBMA Address: %s  priority = %d cluster = %d", s.Address, s.Flags, s.NBMA, s.Priority, s.Cluster)
		if s.Reason != "" {
			line += "  (" + s.Reason + ")"
		}
		w.Line(line)
	}
}

// NHRPTraffic is `show ip nhrp traffic`.
type NHRPTraffic struct {
	Tunnels map[string]nhrp.Traffic `json:"tunnels"`
}

// NewNHRPTraffic makes the answer.
func NewNHRPTraffic(tunnels []nhrp.TunnelInfo) NHRPTraffic {
	out := NHRPTraffic{Tunnels: map[string]nhrp.Traffic{}}
	for _, t := range tunnels {
		out.Tunnels[t.Name] = t.Traffic
	}
	return out
}

// Text implements cli.Result.
func (n NHRPTraffic) Text(w *cli.Table) {
	names := nhrp.TypeNames()
	for _, k := range sortedKeys(n.Tunnels) {
		t := n.Tunnels[k]
		sent, received := uint64(0), uint64(0)
		for i := range t.Sent {
			sent += t.Sent[i]
			received += t.Received[i]
		}
		w.Linef("%s:", k)
		for _, d := range []struct {
			word  string
			total uint64
			by    [9]uint64
		}{{"Sent", sent, t.Sent}, {"Rcvd", received, t.Received}} {
			w.Linef("   %s: Total %d", d.word, d.total)
			for i, name := range names {
				if name != "" {
					w.Linef("         %d %s", d.by[i], name)
				}
			}
		}
		w.Linef("   Forwarded %d, malformed %d, authentication failures %d, dropped %d, limited %d, no path %d, unsendable %d",
			t.Forwarded, t.Malformed, t.AuthFailures, t.Dropped, t.Limited, t.NoPath, t.Unsendable)
	}
}

// NHRPMulticast is `show ip nhrp multicast`.
type NHRPMulticast struct {
	Entries []MulticastEntry `json:"entries"`
}

// MulticastEntry is one far end that multicast is copied to.
type MulticastEntry struct {
	Interface string `json:"interface"`
	NBMA      string `json:"nbma"`
	Flags     string `json:"flags"`
	Up        bool   `json:"up"`
}

// NewNHRPMulticast makes the answer.
func NewNHRPMulticast(tunnels []nhrp.TunnelInfo) NHRPMulticast {
	out := NHRPMulticast{Entries: []MulticastEntry{}}
	for _, t := range tunnels {
		for _, m := range t.Multicast {
			out.Entries = append(out.Entries, MulticastEntry{m.Tunnel, text(m.NBMA), m.Flags, m.Up})
		}
	}
	return out
}

// Text implements cli.Result.
func (n NHRPMulticast) Text(w *cli.Table) {
	var rows [][]string
	for _, e := range n.Entries {
		rows = append(rows, []string{e.Interface, e.NBMA, e.Flags, map[bool]string{true: "up", false: "down"}[e.Up]})
	}
	w.Columns([]string{"I/F", "NBMA address", "Flags", "State"}, rows)
}
