package show

import (
	"fmt"
	"net/netip"
	"time"

	"felloe/manage/cli"
	"felloe/routing/bgp"
)

// BGPSummary is `show ip bgp summary`.
type BGPSummary struct{ bgp.Summary }

// Text implements cli.Result.
func (s BGPSummary) Text(w *cli.Table) {
	w.Linef("BGP router identifier %s, local AS number %d", s.RouterID, s.AS)
	w.Linef("BGP table version is %d", s.Version)
	w.Linef("%d network entries and %d paths", s.Prefixes, s.Paths)
	w.Line("")
	var rows [][]string
	for i := range s.Neighbors {
		n := &s.Neighbors[i]
		state := n.StateText()
		if state == "" {
			state = fmt.Sprint(n.Prefixes)
		}
		up := "never"
		if n.UpDown >= 0 {
			up = Clock(n.UpDown)
		}
		name := n.Address.String()
		if n.Dynamic {
			name = "*" + name
		}
		rows = append(rows, []string{name, "4", fmt.Sprint(n.RemoteAS), fmt.Sprint(n.Received.Total()), fmt.Sprint(n.Sent.Total()), up, state})
	}
	w.Columns([]string{"Neighbor", ">V", ">AS", ">MsgRcvd", ">MsgSent", ">Up/Down", "State/PfxRcd"}, rows)
	if s.Limit > 0 {
		w.Line("* Dynamically created based on a listen range command")
		w.Linef("Dynamically created neighbors: %d/(%d max)", s.Dynamic, s.Limit)
	}
}

// BGPTable is `show ip bgp`.
type BGPTable struct {
	RouterID netip.Addr  `json:"router_id"`
	Version  uint64      `json:"table_version"`
	Entries  []bgp.Entry `json:"entries"`
}

// Text implements cli.Result.
func (t BGPTable) Text(w *cli.Table) {
	w.Linef("BGP table version is %d, local router ID is %s", t.Version, t.RouterID)
	w.Line("Status codes: * valid, > best, i internal, m multipath, r RIB-failure")
	w.Line("Origin codes: i - IGP, e - EGP, ? - incomplete")
	w.Line("")
	var rows [][]string
	for _, e := range t.Entries {
		name := e.Prefix.String()
		for i := range e.Paths {
			p := &e.Paths[i]
			med, pref := "", ""
			if p.HasMED {
				med = fmt.Sprint(p.MED)
			}
			if p.HasLocalPref {
				pref = fmt.Sprint(p.LocalPref)
			}
			next := "0.0.0.0"
			if p.NextHop.IsValid() {
				next = p.NextHop.String()
			}
			path := p.PathString()
			if path != "" {
				path += " "
			}
			rows = append(rows, []string{p.Flags(), name, next, med, pref, fmt.Sprint(p.Weight), path + p.Origin.Letter()})
			name = ""
		}
	}
	w.Columns([]string{"   ", "Network", "Next Hop", ">Metric", ">LocPrf", ">Weight", "Path"}, rows)
}

// BGPNeighbors is `show ip bgp neighbors`.
type BGPNeighbors struct {
	Neighbors []bgp.NeighborInfo `json:"neighbors"`
	AS        uint32             `json:"as"`
}

// Text implements cli.Result.
func (b BGPNeighbors) Text(w *cli.Table) {
	for i := range b.Neighbors {
		n := &b.Neighbors[i]
		link := "internal"
		if n.External {
			link = "external"
		}
		w.Linef("BGP neighbor is %s,  remote AS %d, %s link", n.Address, n.RemoteAS, link)
		if n.Description != "" {
			w.Linef(" Description: %s", n.Description)
		}
		if n.Dynamic {
			w.Line(" Dynamic neighbor of a listen range")
		}
		if n.RouterID.IsValid() {
			w.Linef("  BGP version 4, remote router ID %s", n.RouterID)
		}
		up := ""
		if n.UpDown >= 0 {
			up = ", " + map[bool]string{true: "up", false: "down"}[n.State == bgp.Established] + " for " + Clock(n.UpDown)
		}
		why := ""
		if n.Why != "" {
			why = " (" + n.Why + ")"
		}
		w.Linef("  BGP state = %s%s%s", n.State, why, up)
		if n.State == bgp.Established {
			w.Linef("  Hold time is %d, keepalive interval is %d seconds", n.Hold/time.Second, n.Hold/3/time.Second)
			w.Linef("  Local host: %s, foreign host: %s", n.Local, n.Remote)
		}
		if n.Signed {
			w.Line("  TCP MD5 signature is on")
		}
		w.Line("  Message statistics:")
		for _, m := range []struct {
			name     string
			out, inn uint64
		}{{"Opens", n.Sent.Opens, n.Received.Opens}, {"Notifications", n.Sent.Notifications, n.Received.Notifications}, {"Updates", n.Sent.Updates, n.Received.Updates},
			{"Keepalives", n.Sent.Keepalives, n.Received.Keepalives}, {"Route Refresh", n.Sent.Refreshes, n.Received.Refreshes}, {"Total", n.Sent.Total(), n.Received.Total()}} {
			w.Linef("    %-15s sent %8d   rcvd %8d", m.name+":", m.out, m.inn)
		}
		w.Linef("  Prefixes received: %d", n.Prefixes)
		w.Linef("  Connections established %d; dropped %d", n.Established, n.Dropped)
		if n.LastReset != "" {
			w.Linef("  Last reset due to %s", n.LastReset)
		}
		if n.Malformed > 0 {
			w.Linef("  Malformed messages handled: %d", n.Malformed)
		}
		w.Line("")
	}
}
