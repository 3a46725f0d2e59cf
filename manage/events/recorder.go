package events

import (
	"slices"
	"strings"
	"sync"
	"time"

	"felloe/manage/syslog"
)

const (
	// kept is how many events a recorder has.
	kept = 2000
	// breath is how long changes of routes are counted together, and how long before an event they may be to belong to it.
	breath = time.Second
	// near is how long after an event changes of routes may still be because of it.
	near = 10 * time.Second
	// within is how many events back an attempt may be that is repeated.
	within = 100
	// maxLinks bounds what is remembered of where neighbours are.
	maxLinks = 4096
)

// Recorder keeps the newest events. Its methods are safe for concurrent use.
type Recorder struct {
	// link names the interface by which an address is reached when it is an interface that serves one peer only.
	link func(vrf, address string) string
	// single reports whether an interface serves one peer only.
	single func(name string) bool

	mu    sync.Mutex
	ring  []*Event
	sas   map[string]int       // IKE SAs with a peer
	links map[string]string    // of neighbours when they were last seen there
	given map[string]string    // the addresses that interfaces have of a hub
	told  map[string]time.Time // when an event was last about an interface
	moves map[move]*Event      // routes being counted; in the ring once an event is about their interface
	swept time.Time            // when what is too old in told and moves was last thrown away
}

// move is a change of routes that is counted.
type move struct{ vrf, from, to string }

// Options tell a recorder what is behind names. Both are called with lines of the log, on any goroutine.
type Options struct {
	// Link is the interface by which an address of a VRF is reached, when that interface serves one peer only; or "".
	Link func(vrf, address string) string
	// Single reports whether an interface serves one peer only: a point-to-point tunnel.
	Single func(name string) bool
}

// New returns an empty recorder.
func New(o Options) *Recorder {
	r := &Recorder{link: o.Link, single: o.Single}
	if r.link == nil {
		r.link = func(string, string) string { return "" }
	}
	if r.single == nil {
		r.single = func(string) bool { return false }
	}
	r.Clear()
	return r
}

// Log hears of a line.
func (r *Recorder) Log(line syslog.Entry) {
	e, ok := read(&line)
	if !ok {
		return
	}
	link := ""
	switch {
	case e.Interface != "":
		if r.single(e.Interface) {
			link = e.Interface
		}
	case e.Peer != "":
		link = r.link(e.VRF, e.Peer)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := e.VRF + " " + e.Peer; e.Interface == "" && e.Peer != "" {
		if link != "" {
			if len(r.links) >= maxLinks {
				clear(r.links)
			}
			r.links[at] = link
		} else {
			link = r.links[at] // the way to it may have gone with it
		}
	}
	e.link = link
	r.count(e)
	if was := r.given[e.Interface]; e.Assigned != "" && e.Interface != "" && was != e.Assigned && len(r.given) < maxLinks {
		e.before = was
		r.given[e.Interface] = e.Assigned
	}
	if was := r.attempt(e); was != nil {
		was.Times, was.Last = max(was.Times, 1)+1, e.Time
	} else {
		r.ring = append(r.ring, e)
	}
	if name := e.link; name != "" || e.Interface != "" {
		if name == "" {
			name = e.Interface
		}
		r.told[name] = e.Time
		for m, moved := range r.moves {
			if slices.Contains(m.names(), name) && e.Time.Sub(moved.Time) <= breath {
				r.ring = append(r.ring, moved)
				delete(r.moves, m)
			}
		}
	}
	r.trim(e.Time)
}

// attempt finds what an event is the repetition of: an attempt of a client block that has done nothing but try since then. A hub
// that is away for a night does not push out what was before.
func (r *Recorder) attempt(e *Event) *Event {
	if !slices.Contains(attempts, e.Kind) {
		return nil
	}
	for i := len(r.ring) - 1; i >= max(0, len(r.ring)-within); i-- {
		switch x := r.ring[i]; {
		case x.Client != e.Client:
		case !slices.Contains(attempts, x.Kind):
			return nil
		case x.Kind == e.Kind && x.Peer == e.Peer && x.Reason == e.Reason && x.Text == e.Text && x.Interface == e.Interface:
			return x
		}
	}
	return nil
}

// count finds out whether an IKE SA that is gone was the only one with its peer: when both ends begin at once, one of two goes.
func (r *Recorder) count(e *Event) {
	at := e.VRF + " " + e.Peer
	switch was := e.VRF + " " + e.From; {
	case e.Kind == "peer-moved" && r.sas[was] > 0: // a line each of the SA's sessions: the first one counts
		r.sas[at] += r.sas[was]
		delete(r.sas, was)
	case e.Kind == "ike-up" && len(r.sas) < maxLinks:
		r.sas[at]++
	case e.Kind == "ike-down" && r.sas[at] > 1:
		r.sas[at]--
		e.phase = aside
	case e.Kind == "ike-down":
		delete(r.sas, at)
	case e.Kind == "child-down" && r.sas[at] > 1:
		e.phase = aside
	}
}

func (m move) names() []string { return strings.Split(m.from+"+"+m.to, "+") }

// trim bounds what is kept. What is too old counts nowhere: it is thrown away now and then, not for each line of a hub with a
// thousand spokes.
func (r *Recorder) trim(now time.Time) {
	if gone := len(r.ring) - kept; gone > 0 {
		r.ring = slices.Delete(r.ring, 0, gone)
	}
	if now.Sub(r.swept) < breath {
		return
	}
	r.swept = now
	for name, at := range r.told {
		if now.Sub(at) > near {
			delete(r.told, name)
		}
	}
	for m, e := range r.moves {
		if now.Sub(e.Time) > breath {
			delete(r.moves, m)
		}
	}
}

// Routes hears that routes of a VRF have left an interface for another; an empty name is no route. Several interfaces of
// one route are joined by "+".
func (r *Recorder) Routes(now time.Time, vrf, from, to string, count int) {
	if from == to || count == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := move{vrf, from, to}
	e := r.moves[m]
	if e == nil {
		// Newest first: one that is counted already may be in the ring.
		for i := len(r.ring) - 1; i >= 0 && now.Sub(r.ring[i].Time) <= breath; i-- {
			if x := r.ring[i]; x.Routes != nil && x.VRF == vrf && x.Routes.From == from && x.Routes.To == to {
				e = x
				break
			}
		}
	}
	if e != nil && now.Sub(e.Time) <= breath {
		e.Routes.Count += count
		return
	}
	e = &Event{Time: now, Kind: "routes", VRF: vrf, Routes: &RoutesMoved{From: from, To: to, Count: count}}
	for _, name := range m.names() {
		if at, ok := r.told[name]; ok && now.Sub(at) <= near {
			delete(r.moves, m)
			r.ring = append(r.ring, e)
			r.trim(now)
			return
		}
	}
	if r.trim(now); len(r.moves) >= maxLinks {
		clear(r.moves) // nobody's, most likely
	}
	r.moves[m] = e
}

// Clear forgets everything.
func (r *Recorder) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring, r.sas, r.links, r.given, r.told, r.moves = nil, map[string]int{}, map[string]string{}, map[string]string{}, map[string]time.Time{}, map[move]*Event{}
}

// Events are copies of what is kept, in the order in which it was heard of.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Event, len(r.ring))
	for i, e := range r.ring {
		out[i] = *e
		if e.Routes != nil {
			moved := *e.Routes
			out[i].Routes = &moved
		}
	}
	return out
}
