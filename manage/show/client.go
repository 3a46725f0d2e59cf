package show

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/vpn/flexvpn/client"
)

// FlexClients is `show crypto ikev2 client flexvpn`.
type FlexClients struct {
	Clients []FlexClient `json:"clients"`
}

// FlexClient is one client block.
type FlexClient struct {
	Name            string           `json:"profile"`
	State           string           `json:"state"`
	Reason          string           `json:"reason,omitempty"`
	Since           int64            `json:"since"` // seconds in this state
	Mode            string           `json:"connect"`
	Peer            string           `json:"peer"`
	PeerName        string           `json:"peer_fqdn,omitempty"`
	Sequence        uint32           `json:"peer_sequence,omitempty"`
	RedirectedFrom  string           `json:"redirected_from,omitempty"`
	Source          string           `json:"source"`
	SourceAddress   string           `json:"source_address,omitempty"`
	IVRF            string           `json:"ivrf"`
	FVRF            string           `json:"fvrf"`
	BackupGroup     string           `json:"backup_group"`
	Tunnel          string           `json:"tunnel_interface"`
	Assigned        []string         `json:"assigned"`
	Preparing       string           `json:"preparing,omitempty"`
	Reactivate      bool             `json:"peer_reactivate"`
	NextTry         int64            `json:"next_try,omitempty"` // seconds
	BackupInterface string           `json:"backup_interface,omitempty"`
	BackupUp        bool             `json:"backup_up"`
	Standby         bool             `json:"standby"` // is somebody's backup, who has a session
	Tries           uint64           `json:"tries"`   // since the last session
	Ups             uint64           `json:"sessions"`
	Peers           []FlexClientPeer `json:"peers"`
	Sources         []FlexClientPath `json:"sources"`
}

// FlexClientPeer is a peer that a client may have.
type FlexClientPeer struct {
	Sequence uint32 `json:"sequence"`
	Peer     string `json:"peer"`
	While    string `json:"while,omitempty"`
	Usable   bool   `json:"usable"`
	Current  bool   `json:"current"`
}

// FlexClientPath is an interface that a client's sessions may come from.
type FlexClientPath struct {
	Sequence  uint32 `json:"sequence"`
	Interface string `json:"interface"`
	Address   string `json:"address,omitempty"`
	Track     int    `json:"track,omitempty"`
	Usable    bool   `json:"usable"`
	Current   bool   `json:"current"`
}

// NewFlexClients makes the answer, of one client when a name is given. tunnel says what a tunnel's VRFs are, inside and outside,
// and its configured source.
func NewFlexClients(all []client.Status, only string, tunnel func(name string) (ivrf, fvrf, source string), now time.Time) FlexClients {
	out := FlexClients{Clients: []FlexClient{}}
	for i := range all {
		s := &all[i]
		if only != "" && !strings.EqualFold(only, s.Name) {
			continue
		}
		c := FlexClient{Name: s.Name, State: string(s.State), Reason: s.Reason, Mode: s.Mode, Tunnel: s.Tunnel, BackupGroup: s.BackupGroup, Assigned: []string{}, Reactivate: s.Reactivate,
			BackupInterface: s.BackupInterface, BackupUp: s.BackupUp, Standby: s.Standby, Tries: s.Tries, Ups: s.Ups, Peers: []FlexClientPeer{}, Sources: []FlexClientPath{}}
		c.IVRF, c.FVRF, c.Source = tunnel(s.Tunnel)
		if !s.Since.IsZero() {
			c.Since = seconds(now.Sub(s.Since))
		}
		if w := while(s.Wanted); w != "" {
			c.Mode = w
		}
		if s.Call.ID != 0 {
			c.Peer, c.PeerName, c.Sequence, c.SourceAddress, c.RedirectedFrom = text(s.Call.Peer), s.Call.FQDN, s.Call.Seq, text(s.Call.Local), text(s.Call.RedirectedFrom)
			c.Source = or(s.Call.Source, c.Source)
		}
		if s.Beside.ID != 0 {
			c.Preparing = text(s.Beside.Peer)
		}
		for _, p := range s.Assigned {
			c.Assigned = append(c.Assigned, p.String())
		}
		if wait := s.NextTry.Sub(now); !s.NextTry.IsZero() && wait > 0 {
			c.NextTry = seconds(wait + time.Second - 1)
		}
		for _, p := range s.Peers {
			c.Peers = append(c.Peers, FlexClientPeer{p.Seq, or(p.FQDN, text(p.Address)), while(p.While), p.Usable, p.Current})
		}
		for _, x := range s.Sources {
			c.Sources = append(c.Sources, FlexClientPath{x.Seq, x.Interface, text(x.Local), x.Track, x.Usable, x.Current})
		}
		out.Clients = append(out.Clients, c)
	}
	return out
}

// while is a condition in the words of the configuration.
func while(c client.Condition) string {
	if c.Track == 0 {
		return ""
	}
	return fmt.Sprintf("track %d %s", c.Track, map[bool]string{false: "up", true: "down"}[c.Down])
}

// ipVRF is a VRF as this command names it.
func ipVRF(name string) string {
	if name == "" || name == "default" {
		return "IP DEFAULT"
	}
	return name
}

// Text implements cli.Result.
func (r FlexClients) Text(w *cli.Table) {
	for i := range r.Clients {
		if i > 0 {
			w.Line("")
		}
		r.Clients[i].print(w)
	}
}

func (c *FlexClient) print(w *cli.Table) {
	reason := ""
	if c.Reason != "" && c.State != string(client.StateActive) {
		reason = " (" + cli.Plain(c.Reason, "") + ")"
	}
	w.Linef("  Profile : %s", c.Name)
	w.Linef("  Current state:%s%s", c.State, reason)
	peer := or(c.Peer, "none")
	if c.PeerName != "" {
		peer += " (" + c.PeerName + ")"
	}
	if c.RedirectedFrom != "" {
		peer += ", redirected from " + c.RedirectedFrom
	}
	w.Linef("  Peer : %s", peer)
	source := or(c.Source, "none")
	if c.SourceAddress != "" && c.SourceAddress != source {
		source += " (" + c.SourceAddress + ")"
	}
	w.Linef("  Source : %s", source)
	w.Linef("  ivrf : %s", ipVRF(c.IVRF))
	w.Linef("  fvrf : %s", ipVRF(c.FVRF))
	w.Linef("  Backup group: %s", or(c.BackupGroup, "Default"))
	w.Linef("  Tunnel interface : %s", c.Tunnel)
	for _, a := range c.Assigned {
		word := "IP"
		if p, err := netip.ParsePrefix(a); err == nil {
			if a = p.Addr().String(); p.Addr().Is6() {
				word = "IPv6"
			}
		}
		w.Linef("  Assigned %s address: %s", word, a)
	}
	tries := ""
	if c.Tries > 0 {
		tries = fmt.Sprintf(", %d attempts since the last", c.Tries)
	}
	w.Linef("  Connect : %s, in this state for %s, sessions so far: %d%s", c.Mode, Clock(time.Duration(c.Since)*time.Second), c.Ups, tries)
	if c.Preparing != "" {
		w.Linef("  Going back to : %s", c.Preparing)
	}
	if c.NextTry > 0 {
		w.Linef("  Next attempt in %d s", c.NextTry)
	}
	if c.Reactivate {
		w.Line("  Peer reactivate : on")
	}
	if c.BackupInterface != "" {
		w.Linef("  Backup interface : %s, %s", c.BackupInterface, map[bool]string{true: "up", false: "down"}[c.BackupUp])
	}
	if c.Standby {
		w.Line("  It waits: it is the backup of another client, which has its session")
	}
	var rows [][]string
	usable := func(is, current bool) string {
		switch {
		case current:
			return "in use"
		case is:
			return "ready"
		}
		return "not usable"
	}
	for _, p := range c.Peers {
		rows = append(rows, []string{"  peer", fmt.Sprint(p.Sequence), p.Peer, or(p.While, "-"), usable(p.Usable, p.Current)})
	}
	for _, s := range c.Sources {
		track := "-"
		if s.Track != 0 {
			track = fmt.Sprintf("track %d up", s.Track)
		}
		name := s.Interface
		if s.Address != "" {
			name += " (" + s.Address + ")"
		}
		rows = append(rows, []string{"  source", fmt.Sprint(s.Sequence), name, track, usable(s.Usable, s.Current)})
	}
	w.Columns([]string{"  List", ">Seq", "Address, name or interface", "While", "State"}, rows)
}
