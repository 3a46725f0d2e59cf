package track

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/rs/zerolog"
)

// Object is the definition of an object. At most one of Boolean, Percentage and Weight is set; without one it is a leaf.
type Object struct {
	ID int
	// Kind is the key of the configuration ("icmp-echo"), What the object in words ("icmp-echo 172.25.1.1").
	Kind, What  string
	Description string
	// Leaf is what the one who reports needs to know; another one is another object.
	Leaf       any
	Boolean    *Boolean
	Percentage *Percentage
	Weight     *Weight
	Delay      Delay
}

// Delay is how long a change must last before it counts.
type Delay struct {
	Up   time.Duration `json:"up-ns"`
	Down time.Duration `json:"down-ns"`
}

// Term is an object in a list, or its opposite.
type Term struct {
	ID  int
	Not bool
}

// Boolean is up while all of its terms are, or with Or while any is.
type Boolean struct {
	Or    bool
	Terms []Term
}

// Percentage goes up when at least Up per cent of its objects are up, and down when at most Down per cent are.
type Percentage struct {
	Objects  []int
	Up, Down int
}

// Weight is Percentage with weights.
type Weight struct {
	Objects  []Weighed
	Up, Down int
}

// Weighed is an object with its weight.
type Weighed struct{ ID, Weight int }

// ErrCycle says that an object depends on itself.
var ErrCycle = errors.New("a tracked object depends on itself")

// Manager keeps the objects. It belongs to the control loop.
type Manager struct {
	now      func() time.Time
	log      zerolog.Logger
	objects  map[int]*object
	watchers map[int][]*watcher
	order    []*object // members of lists before the lists
	settling bool
	again    bool
}

type object struct {
	Object
	list bool
	// raw is what was reported, or follows from the members; up is what counts.
	rawKnown, raw bool
	known, up     bool
	reason        string
	since         time.Time
	changes       uint64
	pending       time.Time // when raw will count
	changed       time.Time
	hasty         int // changes without calm between them
}

// What changes again and again is held back: after so many hasty changes without calm between them, each waits until some
// time after the one before. An object may depend on what follows from itself (a static route that it makes come and go), and
// would otherwise leave the router no time for anything else.
const (
	hasty = 8
	calm  = 10 * time.Second
	pace  = time.Second
)

type watcher struct {
	f        func(up bool)
	told, up bool
}

// New makes a manager without objects.
func New(now func() time.Time, log zerolog.Logger) *Manager {
	return &Manager{now: now, log: log, objects: map[int]*object{}, watchers: map[int][]*watcher{}}
}

// Set makes the objects be these. Objects that did not change are not touched. Those that depend on themselves are left
// out, and the error names them.
func (m *Manager) Set(objects []Object) error {
	now := m.now()
	there := map[int]bool{}
	for _, o := range objects {
		there[o.ID] = true
		x := m.objects[o.ID]
		if x == nil {
			x = &object{since: now}
			m.objects[o.ID] = x
		}
		if x.Kind != o.Kind || !reflect.DeepEqual(x.Leaf, o.Leaf) {
			x.rawKnown, x.pending = false, time.Time{}
		}
		x.Object = o
		x.list = o.Boolean != nil || o.Percentage != nil || o.Weight != nil
	}
	for id := range m.objects {
		if !there[id] {
			delete(m.objects, id)
		}
	}
	err := m.sort()
	m.settle(now)
	return err
}

// sort puts members before the lists that they are in, and takes out what is in a cycle.
func (m *Manager) sort() error {
	m.order = m.order[:0]
	const visiting, done = 1, 2
	state := map[int]int{}
	var errs []error
	var visit func(x *object) bool
	visit = func(x *object) bool {
		switch state[x.ID] {
		case visiting:
			return false
		case done:
			return true
		}
		state[x.ID] = visiting
		ok := true
		for _, id := range x.members() {
			if o := m.objects[id]; o != nil && !visit(o) {
				ok = false
			}
		}
		if !ok {
			return false
		}
		state[x.ID] = done
		m.order = append(m.order, x)
		return true
	}
	for _, id := range slices.Sorted(maps.Keys(m.objects)) {
		if x := m.objects[id]; !visit(x) {
			delete(m.objects, id)
			clear(state)
			m.order = m.order[:0]
			errs = append(errs, fmt.Errorf("[track.%d]: %w: take one of its objects out of it", id, ErrCycle))
			return errors.Join(append(errs, m.sort())...)
		}
	}
	return nil
}

func (o *Object) members() (ids []int) {
	switch {
	case o.Boolean != nil:
		for _, t := range o.Boolean.Terms {
			ids = append(ids, t.ID)
		}
	case o.Percentage != nil:
		ids = o.Percentage.Objects
	case o.Weight != nil:
		for _, w := range o.Weight.Objects {
			ids = append(ids, w.ID)
		}
	}
	return ids
}

// Report says that a leaf is up or down, and why.
func (m *Manager) Report(id int, up bool, reason string) {
	x := m.objects[id]
	if x == nil || x.list {
		return
	}
	x.rawKnown, x.raw = true, up
	if !up || reason != "" {
		x.reason = reason
	}
	m.settle(m.now())
}

// Watch calls f with the state of an object: now if it is known, when it becomes known, and at each change. The function
// returned ends that. An object that is not there yet may come.
func (m *Manager) Watch(id int, f func(up bool)) (stop func()) {
	w := &watcher{f: f}
	m.watchers[id] = append(m.watchers[id], w)
	if x := m.objects[id]; x != nil && x.known {
		w.tell(x.up)
	}
	return func() {
		w.f = nil
		list := slices.DeleteFunc(slices.Clone(m.watchers[id]), func(o *watcher) bool { return o == w })
		if len(list) == 0 {
			delete(m.watchers, id)
			return
		}
		m.watchers[id] = list
	}
}

func (w *watcher) tell(up bool) {
	if w.f == nil || w.told && w.up == up {
		return
	}
	w.told, w.up = true, up
	w.f(up)
}

// State is whether an object is up, and whether that is known.
func (m *Manager) State(id int) (up, known bool) {
	if x := m.objects[id]; x != nil {
		return x.up, x.known
	}
	return false, false
}

// settle brings every object up to date, members first. What watchers cause meanwhile is done before it returns.
func (m *Manager) settle(now time.Time) {
	if m.settling {
		m.again = true
		return
	}
	m.settling = true
	defer func() { m.settling = false }()
	for m.again = true; m.again; {
		m.again = false
		for _, x := range m.order {
			if x.list {
				x.rawKnown, x.raw = m.evaluate(x)
			}
			m.advance(now, x)
			if m.again {
				break
			}
		}
	}
}

// advance lets what was found count, when its delay is over.
func (m *Manager) advance(now time.Time, x *object) {
	if !x.rawKnown || x.known && x.raw == x.up {
		x.pending = time.Time{}
		return
	}
	delay := x.Delay.Down
	if x.raw {
		delay = x.Delay.Up
	}
	if !x.known && !x.raw {
		delay = 0 // nobody has thought that it was up
	}
	due := now.Add(delay)
	if at := x.changed.Add(pace); x.hasty >= hasty && at.After(due) {
		due = at
	}
	if x.pending.IsZero() || due.Before(x.pending) {
		x.pending = due
	}
	if x.pending.After(now) {
		return
	}
	if now.Sub(x.changed) >= calm {
		x.hasty = 0
	}
	if x.hasty++; x.hasty == hasty {
		m.log.Warn().Str("event", "track-flapping").Int("track", x.ID).Msgf("track %d changes too often: it does once a second until it has been calm for %v", x.ID, calm)
	}
	first := !x.known
	x.pending, x.changed, x.known, x.up = time.Time{}, now, true, x.raw
	if !first || x.up {
		x.since = now
		x.changes++
		m.tellChange(x)
	}
	for _, w := range slices.Clone(m.watchers[x.ID]) {
		w.tell(x.up)
	}
}

func (m *Manager) tellChange(x *object) {
	was, is := "Down", "Up"
	if !x.up {
		was, is = is, was
	}
	e := m.log.Info().Str("event", "track").Str("mnemonic", "TRACK-6-STATE").Int("track", x.ID).Str("state", map[bool]string{true: "up", false: "down"}[x.up])
	if x.reason != "" && !x.up {
		e = e.Str("reason", x.reason)
	}
	e.Msgf("%d %s %s -> %s", x.ID, x.What, was, is)
}

// evaluate is what the members of a list come to. What is not known of them matters only if it could change the answer.
func (m *Manager) evaluate(x *object) (known, up bool) {
	state := func(t Term) (up, known bool) {
		up, known = m.State(t.ID)
		return up != t.Not && known, known
	}
	if b := x.Boolean; b != nil {
		all := true
		for _, t := range b.Terms {
			up, known := state(t)
			if known && up == b.Or {
				return true, b.Or
			}
			all = all && known
		}
		return all, !b.Or
	}
	// The sum lies between what is up and what could be.
	var least, most, total, high, low int
	add := func(id, weight int) {
		up, known := state(Term{ID: id})
		total += weight
		if up {
			least += weight
		}
		if up || !known {
			most += weight
		}
	}
	if p := x.Percentage; p != nil {
		for _, id := range p.Objects {
			add(id, 100)
		}
		high, low = p.Up*len(p.Objects), p.Down*len(p.Objects)
	} else {
		for _, w := range x.Weight.Objects {
			add(w.ID, w.Weight)
		}
		high, low = x.Weight.Up, x.Weight.Down
	}
	switch {
	case least >= high:
		return true, true
	case most <= low:
		return true, false
	case x.rawKnown:
		return true, x.raw // between the thresholds nothing changes
	}
	return least == most, false
}

// Tick lets delays end.
func (m *Manager) Tick() { m.settle(m.now()) }

// Deadline is when Tick is to be called; it must be asked after every call.
func (m *Manager) Deadline() (at time.Time, ok bool) {
	for _, x := range m.objects {
		if !x.pending.IsZero() && (!ok || x.pending.Before(at)) {
			at, ok = x.pending, true
		}
	}
	return at, ok
}

// Info is one object, for shows. It is a copy.
type Info struct {
	ID          int    `json:"track"`
	Kind        string `json:"kind"`
	What        string `json:"what"`
	Description string `json:"description,omitempty"`
	Up          bool   `json:"up"`
	Known       bool   `json:"known"`
	// Reason is why it was last found down, if somebody said so.
	Reason  string    `json:"reason,omitempty"`
	Since   time.Time `json:"since"`
	Changes uint64    `json:"changes"`
	Delay   Delay     `json:"delay"`
	// Pending is when it will change, if what was found lasts.
	Pending time.Time `json:"pending,omitzero"`
	Members []Member  `json:"members,omitempty"`
	// Threshold is what a list of that kind compares with.
	Threshold *Threshold `json:"threshold,omitempty"`
	// TrackedBy is who heeds it, filled by who knows.
	TrackedBy []string `json:"tracked-by,omitempty"`
	// Probe is the account of what is asked, for objects that ask.
	Probe *ProbeInfo `json:"probe,omitempty"`
}

// Member is one object of a list.
type Member struct {
	ID     int  `json:"track"`
	Not    bool `json:"not,omitempty"`
	Weight int  `json:"weight,omitempty"`
	Up     bool `json:"up"`
	Known  bool `json:"known"`
}

// Threshold is when a list goes up and down, in per cent or by weight, and where it is.
type Threshold struct {
	Up   int `json:"up"`
	Down int `json:"down"`
	Is   int `json:"is"`
}

// Snapshot is all objects by number.
func (m *Manager) Snapshot() []Info {
	out := make([]Info, 0, len(m.objects))
	for _, id := range slices.Sorted(maps.Keys(m.objects)) {
		x := m.objects[id]
		i := Info{ID: id, Kind: x.Kind, What: x.What, Description: x.Description, Up: x.up, Known: x.known, Since: x.since, Changes: x.changes,
			Delay: x.Delay, Pending: x.pending}
		if !x.up {
			i.Reason = x.reason
		}
		sum := 0
		member := func(t Term, weight int) {
			up, known := m.State(t.ID)
			i.Members = append(i.Members, Member{ID: t.ID, Not: t.Not, Weight: weight, Up: up, Known: known})
			if up {
				sum += max(weight, 1)
			}
		}
		switch {
		case x.Boolean != nil:
			for _, t := range x.Boolean.Terms {
				member(t, 0)
			}
		case x.Percentage != nil:
			for _, id := range x.Percentage.Objects {
				member(Term{ID: id}, 0)
			}
			i.Threshold = &Threshold{Up: x.Percentage.Up, Down: x.Percentage.Down, Is: sum * 100 / max(len(x.Percentage.Objects), 1)}
		case x.Weight != nil:
			for _, w := range x.Weight.Objects {
				member(Term{ID: w.ID}, w.Weight)
			}
			i.Threshold = &Threshold{Up: x.Weight.Up, Down: x.Weight.Down, Is: sum}
		}
		out = append(out, i)
	}
	return out
}
