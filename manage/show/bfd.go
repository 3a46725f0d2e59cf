package show

import (
	"fmt"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/routing/bfd"
)

// BFDNeighbors is `show bfd neighbors`.
type BFDNeighbors struct {
	Sessions []BFDNeighbor `json:"sessions"`
	Counters bfd.Counters  `json:"counters"`
	details  bool
}

// BFDNeighbor is one session.
type BFDNeighbor struct {
	bfd.Info
	Uptime int64 `json:"uptime"` // in seconds, in its state
}

// NewBFDNeighbors makes the answer.
func NewBFDNeighbors(all []bfd.Info, c bfd.Counters, details bool, now time.Time) BFDNeighbors {
	out := BFDNeighbors{Sessions: []BFDNeighbor{}, Counters: c, details: details}
	for _, i := range all {
		out.Sessions = append(out.Sessions, BFDNeighbor{i, seconds(now.Sub(i.Since))})
	}
	return out
}

// Text implements cli.Result.
func (r BFDNeighbors) Text(w *cli.Table) {
	for _, kind := range []struct {
		title        string
		v6, multihop bool
	}{{"IPv4 Sessions", false, false}, {"IPv6 Sessions", true, false}, {"IPv4 Multihop Sessions", false, true}, {"IPv6 Multihop Sessions", true, true}} {
		var rows [][]string
		var of []*BFDNeighbor
		for i := range r.Sessions {
			s := &r.Sessions[i]
			if s.Remote.Is6() != kind.v6 || s.Multihop != kind.multihop {
				continue
			}
			name := s.Remote.String()
			if s.VRF != "default" {
				name += "[" + s.VRF + "]"
			}
			peer := title(s.PeerState)
			if s.Yours == 0 {
				peer = "Down" // it is not heard, whatever it said last
			}
			row := []string{name, fmt.Sprintf("%d/%d", s.Mine, s.Yours), peer, title(s.StateName)}
			if !kind.multihop {
				row = append(row, Short(s.Interface))
			}
			rows, of = append(rows, row), append(of, s)
		}
		if len(rows) == 0 {
			continue
		}
		head := []string{"NeighAddr", "LD/RD", "RH/RS", "State"}
		if !kind.multihop {
			head = append(head, "Int")
		}
		w.Line(kind.title)
		if !r.details {
			w.Columns(head, rows)
			w.Line("")
			continue
		}
		for i, s := range of {
			w.Columns(head, rows[i:i+1])
			s.print(w)
			w.Line("")
		}
	}
	if r.details {
		c := r.Counters
		w.Linef("Packets received %d, sent %d; dropped: hop limit %d, malformed %d, version %d, authentication %d, unknown session %d, other addresses %d, refused %d",
			c.Received, c.Sent, c.HopLimit, c.Malformed, c.Version, c.Authenticated, c.Unknown, c.Mismatch, c.Refused)
	}
}

func (s *BFDNeighbor) print(w *cli.Table) {
	us := func(d time.Duration) int64 { return d.Microseconds() }
	w.Linef("Session state is %s and not using echo function.", strings.ToUpper(s.StateName))
	w.Line("Session Host: Software")
	w.Linef("OurAddr: %s", s.Local)
	w.Linef("Handle: %d", s.Mine)
	w.Linef("Local Diag: %s, Demand mode: 0, Poll bit: %s", s.Diagnostic, map[bool]string{true: "1", false: "0"}[s.Polling])
	w.Linef("MinTxInt: %d, MinRxInt: %d, Multiplier: %d", us(s.DesiredMinTx), us(s.RequiredMinRx), s.Multiplier)
	w.Linef("Received MinTxInt: %d, Received MinRxInt: %d, Received Multiplier: %d", us(s.PeerMinTx), us(s.PeerMinRx), s.PeerMultiplier)
	w.Linef("Holddown: %d ms of %d ms, Hello: %d ms", s.Remaining.Milliseconds(), s.Detection.Milliseconds(), s.Interval.Milliseconds())
	w.Linef("Rx Count: %d, Tx Count: %d", s.Received, s.Sent)
	w.Linef("Registered protocols: %s", or(strings.Join(s.Clients, " "), "none, the neighbor began it"))
	if s.State == bfd.Up {
		w.Linef("Uptime: %s", Clock(time.Duration(s.Uptime)*time.Second))
	} else {
		w.Linef("Downtime: %s", Clock(time.Duration(s.Uptime)*time.Second))
	}
	w.Linef("Ups: %d, downs: %d%s", s.Ups, s.Downs, map[bool]string{true: ", last because of: " + s.LastDown, false: ""}[s.LastDown != ""])
	w.Linef("Last packet: State: %s, Diagnostic: %s", title(s.PeerState), s.PeerDiagnostic)
}
