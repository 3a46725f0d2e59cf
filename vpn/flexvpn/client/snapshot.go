package client

import (
	"net/netip"
	"time"
)

// Status is a client as it stands, for show commands.
type Status struct {
	Name, Tunnel string
	State        State
	Reason       string // of IDLE, TRACKING and WAITING; else why the last session or attempt ended
	Since        time.Time
	Mode         string // auto, manual, track
	Wanted       Condition
	Call         Call // what is there or on its way; ID 0: nothing
	Assigned     []netip.Prefix
	Beside       Call // what is being prepared
	Peers        []PeerStatus
	Sources      []SourceStatus
	Reactivate   bool
	// NextTry is when the next round begins, or a better peer is called.
	NextTry         time.Time
	BackupGroup     string
	BackupInterface string
	BackupUp        bool
	Standby         bool // it is itself the backup of another, which has its session
	Tries, Ups      uint64
}

// PeerStatus is a peer of a client.
type PeerStatus struct {
	Peer
	Usable  bool
	Current bool
}

// SourceStatus is a source of a client.
type SourceStatus struct {
	Source
	Local   netip.Addr
	Usable  bool
	Current bool
}

// Snapshot are the clients by their names.
func (m *Manager) Snapshot() []Status {
	var out []Status
	for _, c := range m.ordered() {
		out = append(out, c.status())
	}
	return out
}

// Status is one client as it stands.
func (m *Manager) Status(name string) (s Status, known bool) {
	if c := m.clients[name]; c != nil {
		return c.status(), true
	}
	return Status{}, false
}

func (c *client) status() Status {
	s := Status{Name: c.cfg.Name, Tunnel: c.cfg.Tunnel, State: c.state, Reason: c.why, Since: c.since, Mode: "auto", Wanted: c.cfg.Wanted,
		Reactivate: c.cfg.Reactivate, BackupGroup: c.cfg.BackupGroup, BackupInterface: c.cfg.BackupInterface, BackupUp: c.raised,
		Standby: c.standby(), Tries: c.tries, Ups: c.ups, NextTry: c.waits}
	switch {
	case c.cfg.Manual:
		s.Mode = "manual"
	case c.cfg.Wanted.Track != 0:
		s.Mode = "track"
	}
	if s.Reason == "" {
		s.Reason = c.last
	}
	if c.cur != nil {
		s.Call, s.Assigned = c.cur.call, c.cur.assigned
		if s.State = StateNegotiation; c.active {
			s.State = StateActive
		}
	}
	if c.beside != nil {
		s.Beside = c.beside.call
	}
	if c.active && c.beside == nil && c.cfg.Reactivate {
		for idx, p := range c.cfg.Peers[:c.cur.idx] {
			if at := c.retryAt[p.Seq]; c.usable(idx) && (s.NextTry.IsZero() || at.Before(s.NextTry)) {
				s.NextTry = at
			}
		}
	}
	for idx, p := range c.cfg.Peers {
		s.Peers = append(s.Peers, PeerStatus{p, c.usable(idx), c.cur != nil && c.cur.idx == idx})
	}
	for _, x := range c.cfg.Sources {
		a, ok := c.sourceAddr(x)
		s.Sources = append(s.Sources, SourceStatus{x, a, ok, c.cur != nil && c.cur.source == x.Interface})
	}
	return s
}

// Far are the addresses that a client's tunnel must reach outside: the one in use first, then those that it may call.
func (m *Manager) Far(name string) []netip.Addr {
	c := m.clients[name]
	if c == nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range []*attempt{c.cur, c.beside} {
		if a != nil {
			if a.call.ID != 0 {
				out = append(out, a.call.Peer)
			}
			out = append(out, a.addrs...)
		}
	}
	for _, p := range c.cfg.Peers {
		if p.Address.IsValid() {
			out = append(out, p.Address)
		}
	}
	return out
}
