package show

import (
	"fmt"
	"net/netip"
	"time"

	"felloe/manage/cli"
	"felloe/vpn/cluster"
)

// Cluster is `show crypto ikev2 cluster`.
type Cluster struct {
	Configured bool            `json:"configured"`
	Role       string          `json:"role,omitempty"`
	Virtual    netip.Addr      `json:"cluster_ip,omitzero"`
	Interface  string          `json:"interface,omitempty"`
	Port       uint16          `json:"port,omitempty"`
	Master     string          `json:"master,omitempty"`
	Since      int64           `json:"since,omitempty"` // seconds
	Hello      time.Duration   `json:"hello_ns,omitempty"`
	Hold       time.Duration   `json:"hold_ns,omitempty"`
	Preempt    bool            `json:"preempt"`
	Refused    uint64          `json:"refused"`
	Counters   ClusterCounters `json:"counters"`
	Members    []ClusterMember `json:"members"`
}

// ClusterCounters count its messages.
type ClusterCounters struct {
	Sent      uint64 `json:"sent"`
	Received  uint64 `json:"received"`
	Refused   uint64 `json:"refused"` // malformed, of strangers, with a wrong MAC, or replayed
	Elections uint64 `json:"elections"`
}

// ClusterMember is a hub of it.
type ClusterMember struct {
	Address    string `json:"address"`
	Self       bool   `json:"self"`
	State      string `json:"state"`
	Since      int64  `json:"since"` // seconds
	Priority   uint8  `json:"priority"`
	RedirectTo string `json:"redirect_to"`
	Sessions   uint32 `json:"sessions"`
	Max        uint32 `json:"max_sessions"`
	Load       int    `json:"load_percent"`
	Weight     uint16 `json:"weight"`
	Full       bool   `json:"full"`
	Redirected uint64 `json:"redirected"`
}

// NewCluster makes the answer.
func NewCluster(i cluster.Info, ifname string, port uint16, now time.Time) Cluster {
	c := Cluster{Configured: true, Role: i.State.String(), Virtual: i.Virtual, Interface: ifname, Port: port, Master: text(i.Master), Since: seconds(now.Sub(i.Since)),
		Hello: i.Hello, Hold: i.Hold, Preempt: i.Preempt, Refused: i.Refused, Members: []ClusterMember{},
		Counters: ClusterCounters{Sent: i.Counters.Sent, Received: i.Counters.Received, Elections: i.Counters.Elections,
			Refused: i.Counters.Strangers + i.Counters.Malformed + i.Counters.BadMAC + i.Counters.Replayed + i.Counters.Foreign}}
	for _, m := range i.Members {
		x := ClusterMember{Address: m.Address.String(), Self: m.Self, State: m.State, Priority: m.Priority, RedirectTo: text(m.RedirectTo), Sessions: m.Load.Sessions, Max: m.Load.Max,
			Load: m.Percent, Weight: m.Load.Weight, Full: m.Full, Redirected: m.Redirected}
		if !m.Since.IsZero() {
			x.Since = seconds(now.Sub(m.Since))
		}
		c.Members = append(c.Members, x)
	}
	return c
}

// Text implements cli.Result.
func (c Cluster) Text(w *cli.Table) {
	if !c.Configured {
		w.Line("% No cluster is configured")
		return
	}
	w.Linef("Role            : CLB %s", title(c.Role))
	w.Linef("In it since     : %s", Clock(time.Duration(c.Since)*time.Second))
	w.Linef("Cluster IP      : %s on %s", c.Virtual, c.Interface)
	w.Linef("Master          : %s", or(c.Master, "none is known"))
	w.Linef("Hello-Interval  : %d msec, hold time %d msec, preemption %s", c.Hello.Milliseconds(), c.Hold.Milliseconds(), map[bool]string{true: "on", false: "off"}[c.Preempt])
	w.Linef("Socket port     : %d", c.Port)
	w.Linef("Hellos          : %d sent, %d received, %d refused; elected %d times", c.Counters.Sent, c.Counters.Received, c.Counters.Refused, c.Counters.Elections)
	w.Linef("Callers refused : %d, since no hub had room", c.Refused)
	w.Line("")
	var rows [][]string
	for _, m := range c.Members {
		load := fmt.Sprint(m.Sessions)
		if m.Max > 0 {
			load += fmt.Sprintf("/%d (%d %%)", m.Max, m.Load)
		}
		name := m.Address
		if m.Self {
			name += " (this)"
		}
		state := m.State
		if m.Full && m.State != "down" {
			state += ", full"
		}
		rows = append(rows, []string{name, fmt.Sprint(m.Priority), state, Clock(time.Duration(m.Since) * time.Second), load, fmt.Sprint(m.Weight), m.RedirectTo, fmt.Sprint(m.Redirected)})
	}
	w.Columns([]string{"Member", ">Priority", "State", ">Since", "Sessions", ">Weight", "Calls go to", ">Redirected"}, rows)
}
