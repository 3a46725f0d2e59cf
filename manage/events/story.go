package events

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// quiet ends a story: nothing happened for so long.
	quiet = 30 * time.Second
	// settled ends a story that has come to a good end when something else begins.
	settled = time.Second
)

// Story is what belongs together of what happened.
type Story struct {
	Begin time.Time `json:"begin"`
	End   time.Time `json:"end"`
	// Title is the story in a line.
	Title string `json:"title"`
	// Noticed is how it began; By says who or what noticed it.
	Noticed string `json:"noticed"`
	By      string `json:"by"`
	// Lost and Gained are the peers that a session ended and began with.
	Lost   []string `json:"lost"`
	Gained []string `json:"gained"`
	// Seconds are from the first notice until the tunnel, or what the story is about, was up again; -1 when it was not.
	Seconds float64 `json:"seconds"`
	// Beside says that the new session was up before the old one ended: nothing was down.
	Beside bool `json:"make_before_break,omitempty"`
	// Moved is what is elsewhere now.
	Moved  []string `json:"moved"`
	Events []Event  `json:"events"`

	things map[string]bool
	well   bool      // its last word was a good one
	calm   time.Time // when it was said
	closed bool      // another one goes on about the same
}

// Stories makes stories of events, in the order in which they began.
func Stories(events []Event) []Story {
	var all []*Story
	open := map[string]*Story{} // the latest that is about a thing
	for i := range events {
		e := &events[i]
		e.place = i
		var s *Story
		switch {
		case slices.Contains(routine, e.Kind):
			all = append(all, &Story{Events: []Event{*e}})
			continue
		case e.Routes != nil:
			// Routes are a story's only when there is one.
			for _, name := range (move{from: e.Routes.From, to: e.Routes.To}).names() {
				for _, kind := range []string{"link ", "interface "} {
					if o := open[kind+name]; name != "" && o != nil && e.Time.Sub(o.last()) <= near && (s == nil || o.last().After(s.last())) {
						s = o
					}
				}
			}
			if s != nil {
				s.Events = append(s.Events, *e)
			}
			continue
		}
		about := e.about()
		var resting *Story // one that had come to a good end
		for _, thing := range slices.Clone(about) {
			o := open[thing]
			switch {
			case o == nil, o == s, !o.mayHold(thing, e):
				continue
			case o.over(e):
				// Whatever it was about is known to belong together: so does what happens to it next.
				o.closed = true
				for thing := range o.things {
					if open[thing] == o && !slices.Contains(about, thing) {
						about = append(about, thing)
					}
				}
				continue
			case o.rests(e):
				if resting == nil || o.last().After(resting.last()) {
					resting = o
				}
				continue
			case s == nil:
				s = o
				continue
			}
			// The event is about both: they are one.
			if o.Events[0].Time.Before(s.Events[0].Time) {
				s, o = o, s
			}
			s.join(o)
			for thing := range o.things {
				if open[thing] == o {
					open[thing] = s
				}
			}
			all = slices.DeleteFunc(all, func(x *Story) bool { return x == o })
		}
		if s == nil {
			s = resting
		}
		if s == nil {
			s = &Story{things: map[string]bool{}}
			all = append(all, s)
		}
		if e.phase != aside && !s.outlived(e) {
			s.well, s.calm = e.phase == good, e.end()
		} else if p := s.preparing(e); p != nil && strings.HasPrefix(e.Kind, "gateway-") && !e.end().Before(p.end()) {
			s.well, s.calm = true, e.end() // the one that the client block has is there all the time
		}
		s.Events = append(s.Events, *e)
		for _, thing := range about {
			s.things[thing], open[thing] = true, s
		}
	}
	out := make([]Story, 0, len(all))
	for _, s := range all {
		s.tell()
		out = append(out, *s)
	}
	slices.SortStableFunc(out, func(a, b Story) int { return a.Begin.Compare(b.Begin) })
	return out
}

func (s *Story) last() time.Time {
	last := s.Events[len(s.Events)-1].end()
	for i := range s.Events {
		if at := s.Events[i].end(); at.After(last) {
			last = at
		}
	}
	return last
}

// over reports whether an event comes too late for the story, or begins another one.
func (s *Story) over(e *Event) bool {
	return s.closed || e.Time.Sub(s.last()) > quiet || s.rests(e) && e.begins() && !s.said(e.Reason)
}

// rests reports whether the story had come to a good end some time before an event.
func (s *Story) rests(e *Event) bool { return s.well && e.Time.Sub(s.calm) > settled }

// said reports whether the story has had a reason already: an old session's end, for instance, is announced by its move.
func (s *Story) said(reason string) bool {
	return reason != "" && slices.ContainsFunc(s.Events, func(e Event) bool { return e.Reason == reason && e.phase != aside })
}

// outlived reports whether an event is the end of a session that the client block has left for another hub's: all is as well as
// before.
func (s *Story) outlived(e *Event) bool {
	if e.phase != notice || !e.is("ike", notice) && !e.is("child", notice) {
		return false
	}
	for _, x := range slices.Backward(s.Events) {
		if strings.HasPrefix(x.Kind, "flexvpn-") {
			return x.phase == good && x.Peer != e.Peer
		}
	}
	return false
}

// preparing is the attempt at a better hub that an event's client block is making, or nil.
func (s *Story) preparing(e *Event) *Event {
	for i := len(s.Events) - 1; i >= 0 && e.Client != ""; i-- {
		switch x := &s.Events[i]; {
		case x.Client != e.Client:
		case x.Kind == "preparing":
			return x
		case strings.HasPrefix(x.Kind, "flexvpn-"):
			return nil
		}
	}
	return nil
}

// mayHold reports whether an event about a thing that the story is about belongs to it: an interface that is made for a peer
// is made for another one when that has gone.
func (s *Story) mayHold(thing string, e *Event) bool {
	name, is := strings.CutPrefix(thing, "link ")
	if !is || !strings.HasPrefix(name, "Virtual-Access") || !e.ofSession() || s.things["session "+e.Peer] {
		return true
	}
	for thing := range s.things {
		if strings.HasPrefix(thing, "session ") {
			return false
		}
	}
	return true
}

// join takes another story in.
func (s *Story) join(o *Story) {
	later := o.last().After(s.last())
	s.Events = append(s.Events, o.Events...)
	s.sort()
	for thing := range o.things {
		s.things[thing] = true
	}
	if later {
		s.well, s.calm = o.well, o.calm
	}
}

// sort puts the story's events into the order in which they happened.
func (s *Story) sort() {
	slices.SortFunc(s.Events, func(a, b Event) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.place, b.place)) })
}

// list is names without repetition, in their order.
type list []string

func (l *list) add(s string) {
	if s != "" && !slices.Contains(*l, s) {
		*l = append(*l, s)
	}
}

// tell finds out what the events come to.
func (s *Story) tell() {
	s.sort()
	s.Begin, s.End = s.Events[0].Time, s.last()
	s.Seconds = -1
	var lost, gained, anew, clients, links, inside, bgpDown, bgpUp, tracks, lines, shortcuts list
	was, is := map[string]string{}, map[string]string{} // addresses assigned
	moved := map[move]int{}
	upNow := map[string]bool{} // of peers whose sessions came or went
	var first *Event
	trying := false // it is an attempt at a better hub
	var again time.Time
	// A client block knows which hub it has; its IKE SAs with others may end later.
	byClient := slices.ContainsFunc(s.Events, func(e Event) bool { return strings.HasPrefix(e.Kind, "flexvpn-") })
	for i := range s.Events {
		e := &s.Events[i]
		clients.add(e.Client)
		links.add(e.link)
		if e.phase == notice {
			switch {
			case first == nil, trying && e.Kind == "preparing", trying && e.by() != first.by(): // the attempt that came to something, or did not
				first = e
			}
			trying = first.Kind == "preparing" && (first == e || trying && !strings.HasPrefix(e.Kind, "flexvpn-"))
		}
		if e.Assigned != "" {
			at := cmp.Or(e.Interface, e.Client)
			if was[at] == "" {
				was[at] = e.before
			}
			if e.phase != notice {
				is[at] = e.Assigned
			} else if was[at] == "" {
				was[at] = e.Assigned
			}
		}
		switch {
		case e.Routes != nil:
			moved[move{e.VRF, e.Routes.From, e.Routes.To}] += e.Routes.Count
		case e.is("flexvpn", notice), !byClient && e.is("ike", notice):
			lost.add(e.Peer)
			upNow[e.Peer] = false
		case e.is("flexvpn", good), !byClient && e.is("ike", good):
			gained.add(e.Peer)
			upNow[e.Peer] = true
			again = e.Time
		case e.Kind == "initial-contact":
			anew.add(e.Peer)
		case e.is("child", good):
			again = e.Time
		case e.is("bgp", notice):
			bgpDown.add(e.Peer)
		case e.is("bgp", good):
			bgpUp.add(e.Peer)
		case strings.HasPrefix(e.Kind, "track"):
			tracks.add(e.Track)
		case e.Kind == "line-protocol":
			lines.add(e.Interface)
			if e.phase == good && e.link != "" {
				again = e.Time
			}
		case strings.HasPrefix(e.Kind, "shortcut"):
			shortcuts.add(e.Text)
		case e.Inside != "":
			inside.add(e.Inside)
		}
	}
	if len(links) == 0 {
		for _, thing := range sorted(s.things) { // known of the story before
			if name, is := strings.CutPrefix(thing, "link "); is {
				links.add(name)
			}
		}
	}
	if first == nil {
		first = &s.Events[0]
		s.By = ""
	} else {
		s.By, s.Beside = first.by(), first.Kind == "preparing"
		if again.IsZero() && s.well && len(bgpUp)+len(tracks)+len(lines) > 0 {
			again = s.End
		}
		if !again.IsZero() && !again.Before(first.end()) {
			s.Seconds = again.Sub(first.end()).Seconds()
		}
	}
	s.Noticed = first.Line()
	s.Lost, s.Gained = append([]string{}, lost...), append([]string{}, gained...)
	s.Title = title(s, upNow, clients, links, tracks, lines, bgpDown, bgpUp)
	if len(lost) == 0 && len(anew) > 0 {
		s.Title = "The session with " + strings.Join(anew, ", ") + " began anew"
	}
	s.Moved = append([]string{}, whatMoved(s, was, is, moved, bgpDown, bgpUp)...)
}

// whatMoved says what is elsewhere after the story.
func whatMoved(s *Story, was, is map[string]string, moved map[move]int, bgpDown, bgpUp list) (out []string) {
	for _, at := range sorted(is) {
		switch {
		case was[at] == "":
			out = append(out, fmt.Sprintf("%s has %s", at, is[at]))
		case was[at] != is[at]:
			out = append(out, fmt.Sprintf("the address of %s from %s to %s", at, was[at], is[at]))
		default:
			out = append(out, fmt.Sprintf("%s kept %s", at, is[at]))
		}
	}
	for _, at := range sorted(was) {
		if is[at] == "" {
			out = append(out, fmt.Sprintf("%s has no address (it had %s)", at, was[at]))
		}
	}
	keys := make([]move, 0, len(moved))
	for m := range moved {
		keys = append(keys, m)
	}
	slices.SortFunc(keys, func(a, b move) int {
		return cmp.Or(cmp.Compare(a.vrf, b.vrf), cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	for _, m := range keys {
		text := (&Event{Routes: &RoutesMoved{From: m.from, To: m.to, Count: moved[m]}}).Line()
		if m.vrf != "" && m.vrf != "default" {
			text += " in vrf " + m.vrf
		}
		out = append(out, text)
	}
	for _, p := range bgpUp {
		if slices.Contains(bgpDown, p) {
			out = append(out, "BGP with "+p+" is up again")
		} else {
			out = append(out, "BGP with "+p+" came up")
		}
	}
	for _, p := range bgpDown {
		if !slices.Contains(bgpUp, p) {
			out = append(out, "BGP with "+p+" went down")
		}
	}
	return out
}

// title is the story in a line.
func title(s *Story, upNow map[string]bool, clients, links, tracks, lines, bgpDown, bgpUp list) string {
	and := func(l []string) string {
		if n := len(l) - 3; n > 1 {
			return fmt.Sprintf("%s and %d more", strings.Join(l[:3], ", "), n)
		}
		return strings.Join(l, ", ")
	}
	on := ""
	if len(links) > 0 {
		on = " (" + and(links) + ")"
	}
	who := "The session"
	if len(clients) > 0 {
		who = and(clients)
	}
	now := slices.DeleteFunc(slices.Clone(s.Gained), func(p string) bool { return !upNow[p] })
	left := slices.DeleteFunc(slices.Clone(s.Lost), func(p string) bool { return upNow[p] })
	switch {
	case len(left) > 0 && len(now) > 0:
		return fmt.Sprintf("%s moved from %s to %s%s", who, and(left), and(now), on)
	case len(s.Lost) > 0 && len(now) > 0:
		return fmt.Sprintf("%s with %s was lost and is back%s", who, and(s.Lost), on)
	case len(s.Lost) > 0 && len(s.Gained) > 0 && s.Events[0].phase != notice:
		return fmt.Sprintf("%s with %s came up and ended%s", who, and(s.Gained), on)
	case len(s.Lost) > 0 && s.well && len(clients) > 0:
		return fmt.Sprintf("%s lost %s%s", who, and(s.Lost), on)
	case len(s.Lost) > 0:
		return fmt.Sprintf("%s with %s ended%s", who, and(s.Lost), on)
	case len(s.Gained) > 0:
		return fmt.Sprintf("%s with %s came up%s", who, and(s.Gained), on)
	case len(bgpDown) > 0 && len(bgpUp) > 0:
		return fmt.Sprintf("BGP with %s was lost and is back%s", and(bgpDown), on)
	case len(bgpDown) > 0:
		return fmt.Sprintf("BGP with %s went down%s", and(bgpDown), on)
	case len(bgpUp) > 0:
		return fmt.Sprintf("BGP with %s came up%s", and(bgpUp), on)
	case len(lines) > 0:
		return fmt.Sprintf("%s went %s", and(lines), s.state("line-protocol"))
	case len(tracks) > 0:
		return fmt.Sprintf("track %s went %s", and(tracks), s.state("track"))
	}
	return s.Events[0].Line()
}

// state is the last state that an event of a kind told.
func (s *Story) state(kind string) string {
	out := ""
	for _, e := range s.Events {
		if strings.HasPrefix(e.Kind, kind) {
			out = cmp.Or(e.State, out)
		}
	}
	return cmp.Or(strings.ToLower(out), "elsewhere")
}

// Has reports whether a story is about an address.
func (s *Story) Has(a netip.Addr) bool {
	text := a.Unmap().String()
	return slices.ContainsFunc(s.Events, func(e Event) bool {
		return slices.Contains([]string{host(e.Peer), e.Inside, host(e.From), host(e.To)}, text) ||
			slices.Contains(strings.Split(e.Assigned, both), text) || slices.Contains(strings.Split(e.before, both), text)
	})
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
