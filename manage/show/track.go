package show

import (
	"fmt"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/routing/track"
)

// Tracks is `show track`.
type Tracks struct {
	Tracks []Track `json:"tracks"`
	brief  bool
}

// Track is one tracked object.
type Track struct {
	track.Info
	LastChange int64 `json:"last_change"` // seconds ago; -1: never
}

// NewTracks makes the answer; one object when a number is given.
func NewTracks(all []track.Info, only int, brief bool, now time.Time) Tracks {
	out := Tracks{Tracks: []Track{}, brief: brief}
	for _, i := range all {
		if only != 0 && i.ID != only {
			continue
		}
		x := Track{Info: i, LastChange: -1}
		if !i.Since.IsZero() {
			x.LastChange = seconds(now.Sub(i.Since))
		}
		out.Tracks = append(out.Tracks, x)
	}
	return out
}

func (t *Track) state() string {
	switch {
	case !t.Known:
		return "Unknown"
	case t.Up:
		return "Up"
	}
	return "Down"
}

func (t *Track) change() string {
	if t.LastChange < 0 {
		return "never"
	}
	return Clock(time.Duration(t.LastChange) * time.Second)
}

// Text implements cli.Result.
func (r Tracks) Text(w *cli.Table) {
	if r.brief {
		var rows [][]string
		for i := range r.Tracks {
			t := &r.Tracks[i]
			rows = append(rows, []string{fmt.Sprint(t.ID), t.What, t.state(), t.change()})
		}
		w.Columns([]string{"Track", "Object", "State", "Last Change"}, rows)
		return
	}
	for i := range r.Tracks {
		r.Tracks[i].print(w)
	}
}

// aspect is what of an object is up or down, in IOS's words.
func (t *Track) aspect() string {
	switch t.Kind {
	case "interface":
		if strings.HasSuffix(t.What, "ip-routing") {
			return "IP routing"
		}
		return "Line protocol"
	case "boolean", "threshold-percentage", "threshold-weight", "bfd":
		return "State"
	}
	return "Reachability"
}

func (t *Track) print(w *cli.Table) {
	w.Linef("Track %d", t.ID)
	if t.Description != "" {
		w.Linef("  Description: %s", t.Description)
	}
	w.Linef("  %s", t.What)
	reason := ""
	if t.Reason != "" {
		reason = " (" + t.Reason + ")"
	}
	w.Linef("  %s is %s%s", t.aspect(), t.state(), reason)
	w.Linef("    %s, last change %s", changes(t.Changes), t.change())
	if t.Delay.Up > 0 || t.Delay.Down > 0 {
		w.Linef("  Delay up %s, down %s", t.Delay.Up, t.Delay.Down)
	}
	if !t.Pending.IsZero() {
		w.Linef("  It changes when what was found lasts until %s", t.Pending.UTC().Format("15:04:05.000"))
	}
	if h := t.Threshold; h != nil {
		w.Linef("  Threshold up %d, down %d; now %d", h.Up, h.Down, h.Is)
	}
	for _, m := range t.Members {
		name := fmt.Sprintf("object %d", m.ID)
		if m.Not {
			name += " not"
		}
		if m.Weight > 0 {
			name += fmt.Sprintf(" weight %d", m.Weight)
		}
		state := map[bool]string{true: "Up", false: "Down"}[m.Up]
		if !m.Known {
			state = "Unknown"
		}
		w.Linef("    %s %s", name, state)
	}
	if p := t.Probe; p != nil {
		w.Linef("  Asked %d times, answered %d, failed %d", p.Sent, p.Answered, p.Failed)
		if p.Answered > 0 {
			w.Linef("    Latest RTT %.3f ms", p.RTT.Seconds()*1000)
		}
		if p.Failure != "" {
			w.Linef("    Latest failure: %s", cli.Plain(p.Failure, ""))
		}
	}
	if len(t.TrackedBy) > 0 {
		w.Line("  Tracked by:")
		for _, by := range t.TrackedBy {
			w.Linef("    %s", by)
		}
	}
}

func changes(n uint64) string {
	if n == 1 {
		return "1 change"
	}
	return fmt.Sprintf("%d changes", n)
}
