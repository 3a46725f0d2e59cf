package bgp

import (
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
	// Dynamic is how many dynamic neighbours there are, Limit how many there may be.
	Dynamic int      `json:"dynamic"`
	Limit   int      `json:"limit"`
	Ranges  []Listen `json:"-"`
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
	s := Summary{RouterID: b.cfg.RouterID, AS: b.cfg.AS, Version: b.version + 1, Prefixes: len(b.table), Ranges: b.cfg.Listen,
		Neighbors: b.Neighbors()}
	for _, d := range b.table {
		s.Paths += len(d.paths)
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
	var list []NeighborInfo
	for _, p := range b.speaker.Peers() {
		n := NeighborInfo{Peer: p, UpDown: -1}
		if !p.Since.IsZero() {
			n.UpDown = max(now.Sub(p.Since), 0)
		}
		if x := b.peers[p.Address]; x != nil {
			n.Prefixes = len(x.paths)
		}
		if i := slices.IndexFunc(b.cfg.Neighbors, func(c Neighbor) bool { return c.Address == p.Address }); i >= 0 {
			c := b.cfg.Neighbors[i]
			n.Config, n.Description, n.Timers, n.MaxPrefix = &c, c.Description, c.Timers.WithDefaults(), c.MaximumPrefix
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
	Weight      uint32     `json:"weight"`
	Metric      uint32     `json:"next-hop-metric"`
	Received    time.Time  `json:"received"`
	*Attributes `json:"attributes"`
}

// Flags are the status codes in front of the path, as IOS prints them in three columns.
func (p *TablePath) Flags() string {
	f := []byte("   ")
	switch {
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

// Table is `show ip bgp` for a family, in the order of prefixes.
func (b *BGP) Table(f Family) []Entry {
	var list []Entry
	for p, d := range b.table {
		if FamilyOf(p.Addr()) == f {
			list = append(list, b.show(d))
		}
	}
	slices.SortFunc(list, func(a, b Entry) int {
		if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
			return c
		}
		return a.Prefix.Bits() - b.Prefix.Bits()
	})
	return list
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
	return slices.DeleteFunc(append(b.Table(IPv4), b.Table(IPv6)...), func(e Entry) bool {
		return !slices.ContainsFunc(e.Paths, func(p TablePath) bool { return p.Peer == peer })
	})
}

func (b *BGP) show(d *dest) Entry {
	e := Entry{Prefix: d.prefix}
	for i, x := range d.paths {
		p := TablePath{Valid: x.usable(), Best: x == d.best, Multipath: i > 0 && i < d.multipath, Received: x.received,
			Attributes: x.attrs}
		if x.peer == nil {
			p.Local, p.Weight, p.RouterID = true, 32768, b.cfg.RouterID
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
