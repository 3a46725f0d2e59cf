package bfd

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Info is one session, for shows and logs. It is a copy.
type Info struct {
	VRF        string     `json:"vrf"`
	Local      netip.Addr `json:"local"`
	Remote     netip.Addr `json:"remote"`
	Interface  string     `json:"interface,omitempty"`
	Multihop   bool       `json:"multihop"`
	State      State      `json:"-"`
	StateName  string     `json:"state"`
	PeerState  string     `json:"remote-state"`
	Diagnostic string     `json:"diagnostic"`
	// PeerDiagnostic is what the peer's last packet said, LastDown why the session was last down after it had been up.
	PeerDiagnostic string `json:"remote-diagnostic"`
	LastDown       string `json:"last-down,omitempty"`
	Mine           uint32 `json:"local-discriminator"`
	Yours          uint32 `json:"remote-discriminator"`
	// Interval is how often we send, before jitter; Detection the silence after which the peer is gone.
	Interval       time.Duration `json:"interval-ns"`
	Detection      time.Duration `json:"detection-ns"`
	DesiredMinTx   time.Duration `json:"desired-min-tx-ns"`
	RequiredMinRx  time.Duration `json:"required-min-rx-ns"`
	Multiplier     uint8         `json:"multiplier"`
	PeerMinTx      time.Duration `json:"remote-desired-min-tx-ns"`
	PeerMinRx      time.Duration `json:"remote-required-min-rx-ns"`
	PeerMultiplier uint8         `json:"remote-multiplier"`
	Polling        bool          `json:"polling"`
	// Clients are those who wanted the session; empty when the neighbour began it.
	Clients []string `json:"clients"`
	// Since is when the state was entered, Heard when the last packet came.
	Since    time.Time `json:"since"`
	Heard    time.Time `json:"heard,omitzero"`
	Received uint64    `json:"received"`
	Sent     uint64    `json:"sent"`
	Ups      uint64    `json:"ups"`
	Downs    uint64    `json:"downs"`
	// Remaining is how much of the detection time is left.
	Remaining time.Duration `json:"hold-down-ns"`
}

func (s *session) info(e *Engine, now time.Time) Info {
	i := Info{VRF: s.key.VRF, Local: s.key.Local, Remote: s.key.Remote, Interface: s.key.Interface, Multihop: s.key.Multihop,
		State: s.state, StateName: s.state.String(), PeerState: s.peerState.String(), Diagnostic: s.diag.String(), PeerDiagnostic: s.peerDiag.String(),
		Mine: s.mine, Yours: s.yours, Interval: s.interval(), Detection: s.detection(), DesiredMinTx: s.wantTx, RequiredMinRx: s.wantRx,
		Multiplier: s.timers.Multiplier, PeerMinTx: s.peerTx, PeerMinRx: s.peerRx, PeerMultiplier: s.peerMultiplier, Polling: s.polling,
		Clients: []string{}, Since: s.since, Heard: s.lastRx, Received: s.rxs, Sent: s.txs, Ups: s.ups, Downs: s.downs}
	if s.downs > 0 {
		i.LastDown = s.lastDown.String()
	}
	for _, c := range s.clients {
		if !slices.Contains(i.Clients, c.name) {
			i.Clients = append(i.Clients, c.name)
		}
	}
	slices.Sort(i.Clients)
	if !s.detect.IsZero() {
		i.Remaining = max(0, e.awake.Wall(s.detect).Sub(now))
	}
	return i
}

func (e *Engine) sorted() []*session {
	out := make([]*session, 0, len(e.byMine))
	for _, s := range e.byMine {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *session) int {
		return cmp.Or(cmp.Compare(a.key.VRF, b.key.VRF), a.key.Remote.Compare(b.key.Remote), a.key.Local.Compare(b.key.Local),
			cmp.Compare(a.key.Interface, b.key.Interface), cmp.Compare(a.mine, b.mine))
	})
	return out
}

// Snapshot is all sessions in the order of VRFs and addresses.
func (e *Engine) Snapshot(now time.Time) []Info {
	out := make([]Info, 0, len(e.byMine))
	for _, s := range e.sorted() {
		out = append(out, s.info(e, now))
	}
	return out
}

// ClearCounters has packets, and how often sessions went up and down, be counted from zero.
func (e *Engine) ClearCounters() {
	e.counters = Counters{}
	for _, s := range e.byMine {
		s.rxs, s.txs, s.ups, s.downs = 0, 0, 0, 0
	}
}

// Counters are what came and went since the engine was made.
func (e *Engine) Counters() Counters { return e.counters }
