package show

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/routing/bgp"
)

// BGPScope is which BGP table an answer is of.
type BGPScope struct {
	VRF string `json:"vrf"`
	RD  string `json:"rd,omitempty"`
	// VPN prints as `show ip bgp vpnv4` does: with the route distinguisher.
	VPN bool `json:"-"`
}

// String is the table's name in IOS's headings.
func (s BGPScope) String() string {
	if s.VRF == "default" || s.VRF == "" {
		return "default"
	}
	return s.VRF
}

// heading is the line above the prefixes of a VRF.
func (s BGPScope) heading() string {
	if s.RD == "" {
		return fmt.Sprintf("Route Distinguisher: <not set> (default for vrf %s)", s)
	}
	return fmt.Sprintf("Route Distinguisher: %s (default for vrf %s)", s.RD, s)
}

// BGPSummary is `show ip bgp summary`.
type BGPSummary struct {
	bgp.Summary
	Scope BGPScope `json:"-"`
	VRF   string   `json:"vrf"`
	RD    string   `json:"rd,omitempty"`
	// Groups are the listen ranges by peer group.
	Groups []BGPListenGroup `json:"listen_groups,omitempty"`
	// TotalDynamic and TotalLimit are of all routing tables together.
	TotalDynamic int `json:"total_dynamic"`
	TotalLimit   int `json:"total_limit"`
	TotalRanges  int `json:"total_ranges"`
}

// BGPListenGroup is a peer group with the ranges that let its members in.
type BGPListenGroup struct {
	Group  string         `json:"group"`
	Ranges []netip.Prefix `json:"ranges"`
}

// NewBGPSummary makes the answer of one table. Totals are the caller's.
func NewBGPSummary(scope BGPScope, s bgp.Summary) BGPSummary {
	out := BGPSummary{Summary: s, Scope: scope, VRF: scope.String(), RD: scope.RD}
	for i := range s.Ranges {
		l := &s.Ranges[i]
		at := slices.IndexFunc(out.Groups, func(g BGPListenGroup) bool { return g.Group == l.Template.Group })
		if at < 0 {
			out.Groups = append(out.Groups, BGPListenGroup{Group: l.Template.Group})
			at = len(out.Groups) - 1
		}
		out.Groups[at].Ranges = append(out.Groups[at].Ranges, l.Range)
	}
	return out
}

// Text implements cli.Result.
func (s BGPSummary) Text(w *cli.Table) {
	s.head(w)
	s.neighbors(w)
	s.dynamic(w)
	s.total(w)
}

func (s *BGPSummary) head(w *cli.Table) {
	w.Linef("BGP router identifier %s, local AS number %d", s.RouterID, s.AS)
	w.Linef("BGP table version is %d, main routing table version %d", s.Version, s.Version)
	w.Linef("%d network entries and %d paths", s.Prefixes, s.Paths)
	w.Line("")
}

func (s *BGPSummary) neighbors(w *cli.Table) {
	width := 15
	name := func(n *bgp.NeighborInfo) string {
		if n.Dynamic {
			return "*" + n.Address.String()
		}
		return n.Address.String()
	}
	for i := range s.Neighbors {
		width = max(width, len(name(&s.Neighbors[i])))
	}
	w.Linef("%-*s V %12s %7s %7s %8s %4s %4s %-8s %8s", width, "Neighbor", "AS", "MsgRcvd", "MsgSent", "TblVer", "InQ", "OutQ", "Up/Down", "State/PfxRcd")
	for i := range s.Neighbors {
		n := &s.Neighbors[i]
		state, version := n.StateText(), uint64(1)
		if state == "" {
			state, version = fmt.Sprint(n.Prefixes), s.Version
		}
		up := "never"
		if n.UpDown >= 0 {
			up = Clock(n.UpDown)
		}
		w.Linef("%-*s 4 %12d %7d %7d %8d %4d %4d %-8s %8s", width, name(n), n.RemoteAS, n.Received.Total(), n.Sent.Total(), version, 0, 0, up, state)
	}
}

func (s *BGPSummary) dynamic(w *cli.Table) {
	if len(s.Ranges) == 0 && s.Limit == 0 {
		return
	}
	w.Line("* Dynamically created based on a listen range command")
	w.Linef("Dynamically created neighbors: %d/(%d max), Subnet ranges: %d", s.Dynamic, s.Limit, len(s.Ranges))
	for _, g := range s.Groups {
		w.Line("")
		w.Linef("BGP peergroup %s listen range group members: ", g.Group)
		for _, p := range g.Ranges {
			w.Linef("  %s ", p)
		}
	}
}

func (s *BGPSummary) total(w *cli.Table) {
	if s.TotalRanges > 0 {
		w.Line("")
		w.Linef("Total dynamically created neighbors: %d/(%d max), Subnet ranges: %d", s.TotalDynamic, s.TotalLimit, s.TotalRanges)
	}
}

// BGPSummaries is `show ip bgp vpnv4 all summary`: the tables of all VRFs.
type BGPSummaries struct {
	Summaries []BGPSummary `json:"summaries"`
}

// Text implements cli.Result.
func (s BGPSummaries) Text(w *cli.Table) {
	for i := range s.Summaries {
		x := &s.Summaries[i]
		if i > 0 {
			w.Line("")
		}
		w.Linef("For address family: VPNv4 Unicast, vrf %s", x.Scope)
		x.head(w)
		x.neighbors(w)
		x.dynamic(w)
	}
	if len(s.Summaries) > 0 {
		s.Summaries[0].total(w)
	}
}

// BGPTable is `show ip bgp`.
type BGPTable struct {
	BGPScope
	RouterID netip.Addr  `json:"router_id"`
	Version  uint64      `json:"table_version"`
	Entries  []bgp.Entry `json:"entries"`
	// Count adds the number of prefixes at the end, as for what a neighbour is told.
	Count bool `json:"-"`
}

const bgpLegend = `Status codes: s suppressed, d damped, h history, * valid, > best, i - internal,
              r RIB-failure, S Stale, m multipath
Origin codes: i - IGP, e - EGP, ? - incomplete
`

// Text implements cli.Result.
func (t BGPTable) Text(w *cli.Table) {
	w.Linef("BGP table version is %d, local router ID is %s", t.Version, t.RouterID)
	w.Line(bgpLegend)
	network, next := t.widths()
	bgpHead(w, network, next)
	t.rows(w, network, next)
	if t.Count {
		w.Line("")
		w.Linef("Total number of prefixes %d ", len(t.Entries))
	}
}

// widths are those of the columns that addresses fill.
func (t *BGPTable) widths() (network, next int) {
	network, next = 16, 15
	for _, e := range t.Entries {
		network = max(network, len(e.Prefix.String()))
		for i := range e.Paths {
			next = max(next, len(e.Paths[i].NextHop.String()))
		}
	}
	return network, next
}

func bgpHead(w *cli.Table, network, next int) {
	w.Linef("     %-*s %-*s %10s %6s %6s %s", network, "Network", next, "Next Hop", "Metric", "LocPrf", "Weight", "Path")
}

func (t *BGPTable) rows(w *cli.Table, network, next int) {
	if t.VPN {
		w.Line(t.heading())
	}
	for _, e := range t.Entries {
		name := e.Prefix.String()
		for i := range e.Paths {
			p := &e.Paths[i]
			med, pref := "", ""
			if p.HasMED || p.Local {
				med = fmt.Sprint(p.MED)
			}
			if p.HasLocalPref {
				pref = fmt.Sprint(p.LocalPref)
			}
			path := p.PathString()
			if path != "" {
				path += " "
			}
			w.Linef(" %s %-*s %-*s %10s %6s %6d %s%s", p.Flags(), network, name, next, nextHop(p, e.Prefix), med, pref, p.Weight, path, p.Origin.Letter())
			name = ""
		}
	}
}

// nextHop is the path's next hop; ours is the unspecified address.
func nextHop(p *bgp.TablePath, prefix netip.Prefix) string {
	switch {
	case p.NextHop.IsValid():
		return p.NextHop.String()
	case prefix.Addr().Is6():
		return "::"
	}
	return "0.0.0.0"
}

// BGPTables is `show ip bgp vpnv4 all`.
type BGPTables struct {
	Tables []BGPTable `json:"tables"`
}

// Text implements cli.Result.
func (t BGPTables) Text(w *cli.Table) {
	if len(t.Tables) == 0 {
		return
	}
	w.Linef("BGP table version is %d, local router ID is %s", t.Tables[0].Version, t.Tables[0].RouterID)
	w.Line(bgpLegend)
	network, next := 0, 0
	for i := range t.Tables {
		n, h := t.Tables[i].widths()
		network, next = max(network, n), max(next, h)
	}
	bgpHead(w, network, next)
	for i := range t.Tables {
		t.Tables[i].rows(w, network, next)
	}
}

// BGPPrefix is `show ip bgp PREFIX`.
type BGPPrefix struct {
	BGPScope
	Version uint64    `json:"table_version"`
	Entry   bgp.Entry `json:"entry"`
}

// Text implements cli.Result.
func (b BGPPrefix) Text(w *cli.Table) {
	rd := ""
	if b.VPN {
		rd = or(b.RD, "<no RD>") + ":"
	}
	best := "no best path"
	for i := range b.Entry.Paths {
		if b.Entry.Paths[i].Best {
			best = fmt.Sprintf("best #%d", i+1)
		}
	}
	w.Linef("BGP routing table entry for %s%s, version %d", rd, b.Entry.Prefix, b.Version)
	w.Linef("Paths: (%d available, %s, table %s)", len(b.Entry.Paths), best, b.BGPScope)
	for i := range b.Entry.Paths {
		p := &b.Entry.Paths[i]
		w.Linef("  %s", or(p.PathString(), "Local"))
		metric, from := "", "0.0.0.0"
		if !p.Valid {
			metric = " (inaccessible)"
		} else if p.Metric > 0 {
			metric = fmt.Sprintf(" (metric %d)", p.Metric)
		}
		if p.Peer.IsValid() {
			from = p.Peer.String()
		}
		w.Linef("    %s%s from %s (%s)", nextHop(p, b.Entry.Prefix), metric, from, text(p.RouterID))
		origin := map[string]string{"i": "IGP", "e": "EGP"}[p.Origin.Letter()]
		pref := uint32(100)
		if p.HasLocalPref {
			pref = p.LocalPref
		}
		line := fmt.Sprintf("      Origin %s, metric %d, localpref %d", or(origin, "incomplete"), p.MED, pref)
		if p.Weight > 0 {
			line += fmt.Sprintf(", weight %d", p.Weight)
		}
		if p.Valid {
			line += ", valid"
		}
		switch {
		case p.Local:
			line += ", sourced"
		case p.Internal:
			line += ", internal"
		default:
			line += ", external"
		}
		for _, f := range []struct {
			has  bool
			word string
		}{{p.Multipath, "multipath"}, {p.AtomicAggregate, "atomic-aggregate"}, {p.Aggregate, "aggregated"}, {p.Suppressed, "suppressed"}, {p.Best, "best"}, {p.RIBFailure, "RIB-failure"}, {p.Stale, "stale"}} {
			if f.has {
				line += ", " + f.word
			}
		}
		w.Line(line)
		if len(p.Communities) > 0 {
			var list []string
			for _, c := range p.Communities {
				list = append(list, community(c))
			}
			w.Linef("      Community: %s", strings.Join(list, " "))
		}
		if len(p.LargeCommunities) > 0 {
			var list []string
			for _, c := range p.LargeCommunities {
				list = append(list, fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2]))
			}
			w.Linef("      Large Community: %s", strings.Join(list, " "))
		}
		if p.OriginatorID.IsValid() {
			var list []string
			for _, c := range p.ClusterList {
				list = append(list, c.String())
			}
			w.Linef("      Originator: %s, Cluster list: %s", p.OriginatorID, strings.Join(list, ", "))
		}
		w.Linef("      Updated on %s", p.Received.UTC().Format("Jan 2 2006 15:04:05 MST"))
	}
}

// BGPNeighbors is `show ip bgp neighbors`.
type BGPNeighbors struct {
	BGPScope
	Neighbors []bgp.NeighborInfo `json:"neighbors"`
	AS        uint32             `json:"as"`
	// Ranges are the listen ranges, for the members' group.
	Ranges []bgp.Listen `json:"-"`
}

// Text implements cli.Result.
func (b BGPNeighbors) Text(w *cli.Table) {
	for i := range b.Neighbors {
		b.neighbor(w, &b.Neighbors[i])
	}
}

func (b *BGPNeighbors) neighbor(w *cli.Table, n *bgp.NeighborInfo) {
	link := map[bool]string{true: "external", false: "internal"}[n.External]
	star, vrf := "", ""
	if n.Dynamic {
		star = "*"
	}
	if b.BGPScope.String() != "default" {
		vrf = "  vrf " + b.VRF + ","
	}
	w.Linef("BGP neighbor is %s%s,%s  remote AS %d, %s link", star, n.Address, vrf, n.RemoteAS, link)
	if n.Description != "" {
		w.Linef(" Description: %s", n.Description)
	}
	if n.Group != "" {
		w.Linef(" Member of peer-group %s for session parameters", n.Group)
	}
	if n.Dynamic {
		best := -1
		for i := range b.Ranges {
			if l := &b.Ranges[i]; l.Range.Contains(n.Address) && (best < 0 || l.Range.Bits() > b.Ranges[best].Range.Bits()) {
				best = i
			}
		}
		if best >= 0 {
			w.Linef(" Belongs to the subnet range group: %s", b.Ranges[best].Range)
		} else {
			w.Line(" Dynamic neighbor of a listen range")
		}
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
	}
	if n.Timers.Hold > 0 {
		w.Linef("  Configured hold time is %d, keepalive interval is %d seconds", n.Timers.Hold/time.Second, n.Timers.Keepalive/time.Second)
	}
	if n.State == bgp.Established {
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
	for _, f := range n.Families {
		w.Linef("  For address family: %s", f)
	}
	graceful(w, n)
	peerPolicies(w, &n.Settings)
	w.Linef("  Prefixes received: %d", n.Prefixes)
	if n.Stale > 0 {
		w.Linef("  Stale paths of the session before: %d", n.Stale)
	}
	if n.Refused > 0 {
		w.Linef("  Prefixes received and refused by policy: %d", n.Refused)
	}
	if n.State == bgp.Established {
		w.Linef("  Prefixes advertised: %d", n.Advertised)
	}
	w.Linef("  Connections established %d; dropped %d", n.Established, n.Dropped)
	if n.LastReset != "" {
		w.Linef("  Last reset due to %s", n.LastReset)
	}
	if n.Malformed > 0 {
		w.Linef("  Malformed messages handled: %d", n.Malformed)
	}
	w.Line("")
}

// graceful says what a neighbour can do when it, or we, begin anew.
func graceful(w *cli.Table, n *bgp.NeighborInfo) {
	g := n.Graceful
	if g == nil {
		return
	}
	var kept []string
	for _, f := range g.Kept {
		kept = append(kept, f.String())
	}
	w.Line("  Graceful Restart Capability: received")
	w.Linef("    Remote Restart timer is %d seconds", g.Time/time.Second)
	if g.Restarting {
		w.Line("    The neighbor has just restarted")
	}
	w.Linef("    Forwarding state preserved by the neighbor for: %s", or(strings.Join(kept, ", "), "none"))
}

// peerPolicies says what passes between a neighbour and us.
func peerPolicies(w *cli.Table, n *bgp.Neighbor) {
	for _, d := range []struct {
		in, which string
		p         bgp.Policy
	}{{"Incoming", "incoming", n.In}, {"Outgoing", "outgoing", n.Out}} {
		if d.p.PrefixList != nil {
			w.Linef("  %s update prefix filter list is %s", d.in, d.p.PrefixList.Name)
		}
		if d.p.RouteMap != nil {
			w.Linef("  Route map for %s advertisements is %s", d.which, d.p.RouteMap.Name)
		}
	}
	if n.UnsuppressMap != nil {
		w.Linef("  Route map that unsuppresses advertisements is %s", n.UnsuppressMap.Name)
	}
	if n.BFD != bgp.BFDOff {
		w.Linef("  BFD is configured. Using BFD to detect fast fallover (%s)", n.BFD)
	}
	for _, f := range []struct {
		on   bool
		text string
	}{{n.SoftReconfiguration, "Inbound soft reconfiguration allowed"}, {n.DefaultOriginate, "Default information originate"}, {n.SendCommunity, "Community attribute sent to this neighbor"},
		{n.NextHopSelfAll, "NEXT_HOP is always this router, for reflected routes too"}, {n.NextHopSelf && !n.NextHopSelfAll, "NEXT_HOP is always this router"}, {n.RemovePrivateAS, "Private AS number removed from updates to this neighbor"},
		{n.RouteReflectorClient, "Route-Reflector Client"}, {n.EBGPMultihop > 1, fmt.Sprintf("External BGP neighbor may be up to %d hops away.", n.EBGPMultihop)},
		{n.MaximumPrefix.Limit > 0, fmt.Sprintf("Maximum prefixes allowed %d%s", n.MaximumPrefix.Limit, map[bool]string{true: " (warning-only)", false: ""}[n.MaximumPrefix.WarningOnly])}} {
		if f.on {
			w.Linef("  %s", f.text)
		}
	}
}

// BGPAllNeighbors is `show ip bgp vpnv4 all neighbors`.
type BGPAllNeighbors struct {
	VRFs []BGPNeighbors `json:"vrfs"`
}

// Text implements cli.Result.
func (b BGPAllNeighbors) Text(w *cli.Table) {
	for i := range b.VRFs {
		b.VRFs[i].Text(w)
	}
}
