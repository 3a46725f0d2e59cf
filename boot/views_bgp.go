package boot

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"felloe/config"
	"felloe/manage/cli"
	"felloe/manage/commands"
	"felloe/manage/show"
	"felloe/routing/bgp"
	"felloe/routing/policy"
)

// bgpScope names a table. On the loop.
func (r *Router) bgpScope(name string, q commands.BGPTables) show.BGPScope {
	s := show.BGPScope{VRF: name, VPN: q.VPN}
	if v := r.applied.VRF[name]; v != nil {
		s.RD = v.RD
	}
	return s
}

func family(q commands.BGPTables) bgp.Family {
	if q.V6 {
		return bgp.IPv6
	}
	return bgp.IPv4
}

// errNoBGP says that a VRF has none.
func errNoBGP(name string) error {
	if name == config.DefaultVRF {
		return errors.New("% BGP not active")
	}
	return fmt.Errorf("%% BGP is not configured in VRF %s", name)
}

// inBGP runs f with the BGP of each VRF that is meant. On the control loop.
func (r *Router) inBGP(q commands.BGPTables, f func(name string, b *bgp.BGP) error) error {
	return r.call("show", func() error {
		if q.All {
			for _, name := range sorted(r.bgps) {
				if name == config.DefaultVRF {
					continue
				}
				if err := f(name, r.bgps[name].bgp); err != nil {
					return err
				}
			}
			return nil
		}
		if r.vrfs[q.VRF] == nil {
			return fmt.Errorf("%% VRF %s does not exist; there are %s", q.VRF, strings.Join(sorted(r.vrfs), ", "))
		}
		s := r.bgps[q.VRF]
		if s == nil {
			return errNoBGP(q.VRF)
		}
		return f(q.VRF, s.bgp)
	})
}

func (r *Router) bgpTable(name string, q commands.BGPTables, b *bgp.BGP, entries []bgp.Entry) show.BGPTable {
	if entries == nil {
		entries = []bgp.Entry{}
	}
	return show.BGPTable{BGPScope: r.bgpScope(name, q), RouterID: b.Config().RouterID, Version: b.Version(), Entries: entries}
}

// bgpPiece is how much of a table is read at once: between pieces others on the control loop have their turn.
const bgpPiece = 2000

// bgpTables are the tables that are meant, with those of their prefixes that are wanted (nil: all). Not on the control
// loop.
func (r *Router) bgpTables(q commands.BGPTables, want func(netip.Prefix) bool) ([]show.BGPTable, error) {
	tables := []show.BGPTable{}
	var speakers []*bgp.BGP
	var prefixes [][]netip.Prefix
	err := r.inBGP(q, func(name string, b *bgp.BGP) error {
		tables = append(tables, r.bgpTable(name, q, b, nil))
		speakers, prefixes = append(speakers, b), append(prefixes, b.Prefixes(family(q)))
		return nil
	})
	for i := range tables {
		list := slices.DeleteFunc(prefixes[i], func(p netip.Prefix) bool { return want != nil && !want(p) })
		slices.SortFunc(list, netip.Prefix.Compare)
		for piece := range slices.Chunk(list, bgpPiece) {
			err = errors.Join(err, r.call("show", func() error {
				tables[i].Entries = append(tables[i].Entries, speakers[i].Entries(piece)...)
				return nil
			}))
		}
	}
	return tables, err
}

// tablesOf is one table, or all when they were asked for.
func tablesOf(q commands.BGPTables, tables []show.BGPTable) cli.Result {
	if q.All || q.VPN {
		return show.BGPTables{Tables: tables}
	}
	return tables[0]
}

// ShowBGP implements commands.View.
func (r *Router) ShowBGP(q commands.BGPTables) (cli.Result, error) {
	tables, err := r.bgpTables(q, nil)
	if err != nil {
		return nil, err
	}
	return tablesOf(q, tables), nil
}

// prefixes are the answers about prefixes, of several VRFs maybe.
type prefixes []show.BGPPrefix

// Text implements cli.Result.
func (p prefixes) Text(w *cli.Table) {
	for i := range p {
		p[i].Text(w)
	}
}

var errNotInTable = errors.New("% Network not in table")

// ShowBGPPrefix implements commands.View.
func (r *Router) ShowBGPPrefix(q commands.BGPTables, p netip.Prefix, longer bool) (cli.Result, error) {
	var found prefixes
	q.V6 = p.Addr().Is6()
	if longer {
		tables, err := r.bgpTables(q, func(x netip.Prefix) bool { return x.Bits() >= p.Bits() && p.Contains(x.Addr()) })
		if err != nil {
			return nil, err
		}
		return tablesOf(q, tables), nil
	}
	err := r.inBGP(q, func(name string, b *bgp.BGP) error {
		if e, ok := b.Prefix(p); ok {
			found = append(found, show.BGPPrefix{BGPScope: r.bgpScope(name, q), Version: b.Version(), Entry: e})
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, errNotInTable
	case len(found) == 1:
		return found[0], nil
	}
	return found, nil
}

// ShowBGPTo implements commands.View.
func (r *Router) ShowBGPTo(q commands.BGPTables, a netip.Addr) (cli.Result, error) {
	var found prefixes
	q.V6 = a.Is6()
	err := r.inBGP(q, func(name string, b *bgp.BGP) error {
		for bits := a.BitLen(); bits >= 0; bits-- {
			if e, ok := b.Prefix(netip.PrefixFrom(a, bits).Masked()); ok {
				found = append(found, show.BGPPrefix{BGPScope: r.bgpScope(name, q), Version: b.Version(), Entry: e})
				break
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, errNotInTable
	case len(found) == 1:
		return found[0], nil
	}
	return found, nil
}

// bgpTotals counts the dynamic neighbours of all VRFs. On the loop.
func (r *Router) bgpTotals(s *show.BGPSummary) {
	if r.applied.BGP == nil {
		return
	}
	s.TotalLimit = r.applied.BGP.ListenLimit
	for _, x := range r.bgps {
		s.TotalDynamic += x.bgp.Summary().Dynamic
		s.TotalRanges += len(x.bgp.Config().Listen)
	}
}

// ShowBGPSummary implements commands.View.
func (r *Router) ShowBGPSummary(q commands.BGPTables) (cli.Result, error) {
	all := []show.BGPSummary{}
	if err := r.call("show", func() error {
		// The process may have neighbours in VRFs only: then the default table has none, and that is no mistake.
		if q.VRF == config.DefaultVRF && !q.All && r.bgps[q.VRF] == nil && r.applied.BGP != nil {
			s := show.NewBGPSummary(show.BGPScope{VRF: q.VRF}, bgp.Summary{AS: r.applied.BGP.AS, RouterID: r.applied.BGP.RouterID, Neighbors: []bgp.NeighborInfo{}})
			for _, x := range r.bgps {
				if !s.RouterID.IsValid() {
					s.RouterID = x.bgp.Config().RouterID
				}
			}
			r.bgpTotals(&s)
			all = append(all, s)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if len(all) == 1 {
		return all[0], nil
	}
	err := r.inBGP(q, func(name string, b *bgp.BGP) error {
		s := show.NewBGPSummary(r.bgpScope(name, q), b.Summary())
		r.bgpTotals(&s)
		all = append(all, s)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case q.All:
		return show.BGPSummaries{Summaries: all}, nil
	}
	return all[0], nil
}

// ShowBGPNeighbors implements commands.View.
func (r *Router) ShowBGPNeighbors(q commands.BGPTables, only netip.Addr) (cli.Result, error) {
	all := []show.BGPNeighbors{}
	err := r.inBGP(q, func(name string, b *bgp.BGP) error {
		cfg := b.Config()
		out := show.BGPNeighbors{BGPScope: r.bgpScope(name, q), Neighbors: []bgp.NeighborInfo{}, AS: cfg.AS, Ranges: cfg.Listen}
		for _, n := range b.Neighbors() {
			if !only.IsValid() || n.Address == only {
				out.Neighbors = append(out.Neighbors, n)
			}
		}
		if len(out.Neighbors) > 0 || !only.IsValid() {
			all = append(all, out)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, fmt.Errorf("%% No such neighbor or address family: %s", only)
	case q.All:
		return show.BGPAllNeighbors{VRFs: all}, nil
	}
	return all[0], nil
}

// ShowBGPRoutesOf implements commands.View.
func (r *Router) ShowBGPRoutesOf(q commands.BGPTables, neighbor netip.Addr, part string) (cli.Result, error) {
	tables := []show.BGPTable{}
	err := r.inBGP(q, func(name string, b *bgp.BGP) error {
		if !slices.ContainsFunc(b.Neighbors(), func(n bgp.NeighborInfo) bool { return n.Address == neighbor }) {
			return nil
		}
		entries := b.PathsOf(neighbor)
		var err error
		switch part {
		case "advertised-routes":
			entries, err = b.Advertised(neighbor)
		case "received-routes":
			entries, err = b.Received(neighbor)
		}
		if err != nil {
			return fmt.Errorf("%% %w", err)
		}
		entries = slices.DeleteFunc(entries, func(e bgp.Entry) bool { return e.Prefix.Addr().Is6() != q.V6 })
		t := r.bgpTable(name, q, b, entries)
		t.Count = true
		tables = append(tables, t)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(tables) == 0:
		return nil, fmt.Errorf("%% No such neighbor or address family: %s", neighbor)
	}
	return tables[0], nil
}

// ShowPolicy implements commands.View.
func (r *Router) ShowPolicy(kind, name string, detail bool) (cli.Result, error) {
	var p *policy.Policies
	err := r.call("show", func() error {
		p = r.policies
		if name != "" && !has(configuredNames(r.applied, kind), name) {
			return fmt.Errorf("%% There is no %s %s", kind, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	switch kind {
	case "route-map":
		return show.NewRouteMaps(p, name), nil
	case "ip as-path-access-list":
		return show.NewASPathLists(p, name), nil
	case "ip community-list":
		return show.NewCommunityLists(p, name), nil
	}
	return show.NewPrefixLists(p, kind == "ipv6 prefix-list", name, detail), nil
}
