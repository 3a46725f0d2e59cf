package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"felloe/routing/rib"
)

// Summary is `show ip bgp summary`.
type Summary struct {
	RouterID  netip.Addr     `json:"router-id"`
	AS        uint32         `json:"as"`
	Version   uint64         `json:"table-version"`
	Prefixes  int            `json:"prefixes"`
	Paths     int            `json:"paths"`
	Neighbors []NeighborInfo `json:"neighbors"`
	// Dynamic is how many dynamic neighbours there are, Limit how many there may be; LimitAll is how many there may be in
	// all instances of the router.
	Dynamic  int      `json:"dynamic"`
	Limit    int      `json:"limit"`
	LimitAll int      `json:"limit-all,omitempty"`
	Ranges   []Listen `json:"-"`
	VRF      string   `json:"vrf,omitempty"` // empty for the default one
	RD       string   `json:"rd,omitempty"`
}

// NeighborInfo is a neighbour in `show ip bgp summary` and `show ip bgp neighbors`.
type NeighborInfo struct {
	Peer
	Description string        `json:"description,omitempty"`
	Prefixes    int           `json:"prefixes"` // that it announces
	UpDown      time.Duration `json:"up-down"`  // since it came up or went down; negative: never
	Timers      Timers        `json:"-"`
	Config      *Neighbor     `json:"-"` // nil for a dynamic one
	MaxPrefix   uint32        `json:"maximum-prefix,omitempty"`
	Advertised  int           `json:"advertised"`        // prefixes that it has been told
	Refused     int           `json:"refused,omitempty"` // of the prefixes that are kept, by policy
	Settings    Neighbor      `json:"-"`
	Stale       int           `json:"stale,omitempty"` // paths of the session before, until it is back
}

// StateText is the last column of the summary: the number of prefixes, or the state.
func (n *NeighborInfo) StateText() string {
	if n.State == Established {
		return ""
	}
	if n.Why != "" {
		return n.State.String() + " (" + n.Why + ")"
	}
	return n.State.String()
}

// Summary is a snapshot.
func (b *BGP) Summary() Summary {
	s := Summary{RouterID: b.cfg.RouterID, AS: b.cfg.AS, Version: b.Version(), Prefixes: len(b.table), Paths: b.paths, Ranges: b.cfg.Listen,
		Neighbors: b.Neighbors(), RD: b.cfg.RD, LimitAll: b.cfg.ListenLimit}
	if b.o.VRF != "default" {
		s.VRF = b.o.VRF
	}
	for i := range s.Neighbors {
		if s.Neighbors[i].Dynamic {
			s.Dynamic++
		}
	}
	for i := range b.cfg.Listen {
		s.Limit += b.cfg.Listen[i].LimitOrDefault()
	}
	return s
}

// Neighbors is a snapshot of all neighbours, by address.
func (b *BGP) Neighbors() []NeighborInfo {
	now := b.o.Now()
	configured := make(map[netip.Addr]*Neighbor, len(b.cfg.Neighbors))
	for i := range b.cfg.Neighbors {
		configured[b.cfg.Neighbors[i].Address] = &b.cfg.Neighbors[i]
	}
	var list []NeighborInfo
	for _, p := range b.speaker.Peers() {
		n := NeighborInfo{Peer: p, UpDown: -1}
		if !p.Since.IsZero() {
			n.UpDown = max(now.Sub(p.Since), 0)
		}
		if x := b.peers[p.Address]; x != nil {
			n.Prefixes, n.Advertised, n.Refused = len(x.paths), len(x.sent), len(x.refused)
		}
		if x := b.stale[p.Address]; x != nil {
			n.Stale = len(x.paths)
		}
		c, ok := Neighbor{}, false
		if own := configured[p.Address]; own != nil {
			c, ok = *own, true
			n.Config, n.Description = &c, c.Description
		} else {
			c, ok = b.cfg.listening(p.Address)
		}
		if ok {
			n.Settings, n.Timers, n.MaxPrefix = c, c.Timers.WithDefaults(), c.MaximumPrefix.Limit
		}
		list = append(list, n)
	}
	return list
}

// LimitOrDefault is the limit of a listen range.
func (l *Listen) LimitOrDefault() int {
	if l.Limit > 0 {
		return l.Limit
	}
	return 100
}

// Entry is a prefix in `show ip bgp`.
type Entry struct {
	Prefix netip.Prefix `json:"prefix"`
	Paths  []TablePath  `json:"paths"`
}

// TablePath is a path in `show ip bgp`.
type TablePath struct {
	Peer        netip.Addr `json:"peer,omitzero"` // not valid: ours
	RouterID    netip.Addr `json:"router-id,omitzero"`
	Valid       bool       `json:"valid"` // next hop reachable (*)
	Best        bool       `json:"best"`  // >
	Multipath   bool       `json:"multipath,omitempty"`
	Internal    bool       `json:"internal,omitempty"`    // i
	RIBFailure  bool       `json:"rib-failure,omitempty"` // r: best here, but the RIB has a better route
	Local       bool       `json:"local,omitempty"`
	Aggregate   bool       `json:"aggregate,omitempty"`
	Suppressed  bool       `json:"suppressed,omitempty"` // s: a summary stands for it
	Stale       bool       `json:"stale,omitempty"`      // S: of a session that was lost, and may come back
	Weight      uint32     `json:"weight"`
	Metric      uint32     `json:"next-hop-metric"`
	Received    time.Time  `json:"received"`
	*Attributes `json:"attributes"`
}

// Flags are the status codes in front of the path, as IOS prints them in three columns.
func (p *TablePath) Flags() string {
	f := []byte("   ")
	switch {
	case p.Stale:
		f[0] = 'S'
	case p.Suppressed && p.Valid:
		f[0] = 's'
	case p.RIBFailure:
		f[0] = 'r'
	case p.Valid:
		f[0] = '*'
	}
	if p.Best {
		f[1] = '>'
	} else if p.Multipath {
		f[1] = 'm'
	}
	if p.Internal {
		f[2] = 'i'
	}
	return string(f)
}

// Version is that of the table.
func (b *BGP) Version() uint64 { return b.version + 1 }

// Prefixes are those of a family in the table, in no order. Who shows many of them asks for their entries piece by piece.
func (b *BGP) Prefixes(f Family) []netip.Prefix {
	list := make([]netip.Prefix, 0, len(b.table))
	for p := range b.table {
		if FamilyOf(p.Addr()) == f {
			list = append(list, p)
		}
	}
	return list
}

// Entries are those of some prefixes; there is none for a prefix that is not in the table any more.
func (b *BGP) Entries(prefixes []netip.Prefix) []Entry {
	list := make([]Entry, 0, len(prefixes))
	for _, p := range prefixes {
		if d := b.table[p]; d != nil {
			list = append(list, b.show(d))
		}
	}
	return list
}

// Table is `show ip bgp` for a family, in the order of prefixes.
func (b *BGP) Table(f Family) []Entry {
	list := b.Prefixes(f)
	slices.SortFunc(list, netip.Prefix.Compare)
	return b.Entries(list)
}

// Prefix is `show ip bgp PREFIX`.
func (b *BGP) Prefix(p netip.Prefix) (Entry, bool) {
	if d := b.table[p.Masked()]; d != nil {
		return b.show(d), true
	}
	return Entry{}, false
}

// PathsOf is `show ip bgp neighbors PEER routes`.
func (b *BGP) PathsOf(peer netip.Addr) []Entry {
	p := b.peers[peer]
	if p == nil {
		return nil
	}
	list := make([]Entry, 0, len(p.paths))
	for prefix := range p.paths {
		list = append(list, b.show(b.table[prefix]))
	}
	slices.SortFunc(list, func(a, b Entry) int { return a.Prefix.Compare(b.Prefix) })
	return list
}

// Advertised is `show ip bgp neighbors PEER advertised-routes`: what the peer has been told.
func (b *BGP) Advertised(peer netip.Addr) ([]Entry, error) {
	p := b.peers[peer]
	if p == nil {
		return nil, b.notUp(peer)
	}
	var list []Entry
	for prefix, a := range p.sent {
		list = append(list, Entry{prefix, []TablePath{{Valid: true, Best: true, Attributes: a, RouterID: b.cfg.RouterID, Internal: !p.external}}})
	}
	slices.SortFunc(list, func(a, b Entry) int { return a.Prefix.Compare(b.Prefix) })
	return list, nil
}

// Received is `show ip bgp neighbors PEER received-routes`: what the peer said, before any policy.
func (b *BGP) Received(peer netip.Addr) ([]Entry, error) {
	p := b.peers[peer]
	if p == nil {
		return nil, b.notUp(peer)
	}
	if !p.n.SoftReconfiguration {
		return nil, fmt.Errorf("bgp: inbound soft reconfiguration is not enabled for %v", peer)
	}
	var list []Entry
	add := func(prefix netip.Prefix, a *Attributes, best, valid bool) {
		list = append(list, Entry{prefix, []TablePath{{Peer: peer, RouterID: p.routerID, Valid: valid, Best: best, Internal: !p.external, Attributes: a}}})
	}
	for prefix, x := range p.paths {
		d := b.table[prefix]
		add(prefix, x.raw, d != nil && d.best == x, x.usable())
	}
	for prefix, a := range p.refused {
		add(prefix, a, false, false)
	}
	slices.SortFunc(list, func(a, b Entry) int { return a.Prefix.Compare(b.Prefix) })
	return list, nil
}

func (b *BGP) notUp(peer netip.Addr) error {
	return fmt.Errorf("bgp: there is no session with %v", peer)
}

// RD is the header of the VRF's part of `show ip bgp vpnv4 all`; empty when the VRF has no route distinguisher.
func (b *BGP) RD() string {
	if b.cfg.RD == "" {
		return ""
	}
	return fmt.Sprintf("Route Distinguisher: %s (default for vrf %s)", b.cfg.RD, b.o.VRF)
}

func (b *BGP) show(d *dest) Entry {
	e := Entry{Prefix: d.prefix}
	suppressed := b.suppressed(d.prefix)
	for i, x := range d.paths {
		p := TablePath{Valid: x.usable(), Best: x == d.best, Multipath: i > 0 && i < d.multipath, Received: x.received,
			Attributes: x.attrs, Weight: x.attrs.Weight, Aggregate: x.peer == nil && x.rank == rankAggregate, Suppressed: suppressed, Stale: x.stale}
		if x.peer == nil {
			p.Local, p.RouterID = true, b.cfg.RouterID
		} else {
			p.Peer, p.RouterID, p.Internal, p.Metric = x.peer.address, x.peer.routerID, !x.peer.external, x.nh.metric
			if p.Best {
				r, ok := b.o.RIB.Get(d.prefix)
				p.RIBFailure = !ok || r.Source != rib.EBGP && r.Source != rib.IBGP
			}
		}
		e.Paths = append(e.Paths, p)
	}
	return e
}
