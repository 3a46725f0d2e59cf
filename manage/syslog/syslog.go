package syslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Entry is one log line.
type Entry struct {
	Time    time.Time      `json:"time"`
	Level   string         `json:"level"`
	Message string         `json:"message"`
	Fields  map[string]any `json:"fields,omitempty"`
}

// Log is a router's log. All methods are safe for concurrent use.
type Log struct {
	now   func() time.Time
	sink  io.Writer
	level atomic.Int32 // the lowest severity kept, as a zerolog.Level

	debugging atomic.Bool
	mu        sync.Mutex
	ring      []Entry
	next      int
	full      bool
	logged    uint64
	watchers  map[int]func(line string)
	watcherID int
	debug     map[string]bool
	cond      map[Condition]bool
}

// Condition limits debug lines to those whose field has the value.
type Condition struct{ Field, Value string }

// New returns a log that keeps size lines. sink, when not nil, gets each kept line as JSON.
func New(size int, now func() time.Time, sink io.Writer) *Log {
	l := &Log{now: now, sink: sink, ring: make([]Entry, max(size, 16)), watchers: map[int]func(string){},
		debug: map[string]bool{}, cond: map[Condition]bool{}}
	l.level.Store(int32(zerolog.InfoLevel))
	return l
}

// Logger returns the logger that writes here.
func (l *Log) Logger() zerolog.Logger {
	return zerolog.New(l).Level(zerolog.DebugLevel).Sample(sampler{l})
}

type sampler struct{ l *Log }

func (s sampler) Sample(level zerolog.Level) bool {
	if level == zerolog.DebugLevel {
		return s.l.debugging.Load()
	}
	return level >= zerolog.Level(s.l.level.Load())
}

// Write implements io.Writer for zerolog: one JSON object a call.
func (l *Log) Write(p []byte) (int, error) {
	e := Entry{Time: l.now(), Fields: map[string]any{}}
	dec := json.NewDecoder(bytes.NewReader(p))
	dec.UseNumber()
	if err := dec.Decode(&e.Fields); err != nil {
		return 0, fmt.Errorf("syslog: a line that is no JSON object: %w", err)
	}
	e.Level, _ = e.Fields["level"].(string)
	e.Message, _ = e.Fields["message"].(string)
	delete(e.Fields, "level")
	delete(e.Fields, "message")
	delete(e.Fields, "time")

	l.mu.Lock()
	if e.Level == "debug" && !l.wantsLocked(e.Fields) {
		l.mu.Unlock()
		return len(p), nil
	}
	l.ring[l.next] = e
	l.next = (l.next + 1) % len(l.ring)
	l.full = l.full || l.next == 0
	l.logged++
	var call []func(string)
	for _, w := range l.watchers {
		call = append(call, w)
	}
	l.mu.Unlock()

	if l.sink != nil {
		if _, err := l.sink.Write(p); err != nil {
			return 0, err
		}
	}
	if len(call) > 0 {
		line := e.String()
		for _, w := range call {
			w(line)
		}
	}
	return len(p), nil
}

func (l *Log) wantsLocked(fields map[string]any) bool {
	category, _ := fields["debug"].(string)
	on := false
	for want := range l.debug {
		on = on || want == "all" || category == want || strings.HasPrefix(category, want+" ")
	}
	if !on || len(l.cond) == 0 {
		return on
	}
	for c := range l.cond {
		if v, has := fields[c.Field]; has {
			s := fmt.Sprint(v)
			if host, _, cut := strings.Cut(s, ":"); s == c.Value || cut && host == c.Value {
				return true
			}
		}
	}
	return false
}

// Configure sets the least severe message that is kept, as a syslog number (0 emergencies to 7 debugging; -1 keeps none).
// Debug lines need their category too.
func (l *Log) Configure(severity int) {
	level := zerolog.Disabled
	switch {
	case severity >= 5:
		level = zerolog.InfoLevel
	case severity == 4:
		level = zerolog.WarnLevel
	case severity >= 0:
		level = zerolog.ErrorLevel
	}
	l.level.Store(int32(level))
}

// SetDebug switches a category ("ikev2", "nhrp packet", "all") on or off.
func (l *Log) SetDebug(category string, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case on:
		l.debug[category] = true
	case category == "all":
		clear(l.debug)
	default:
		delete(l.debug, category)
	}
	l.debugging.Store(len(l.debug) > 0)
}

// SetCondition adds or removes a debug condition; with an empty Condition and on == false it removes all.
func (l *Log) SetCondition(c Condition, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case on:
		l.cond[c] = true
	case c == Condition{}:
		clear(l.cond)
	default:
		delete(l.cond, c)
	}
}

// Debugging lists the categories and conditions that are on, in order.
func (l *Log) Debugging() (categories []string, conditions []Condition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.debug {
		categories = append(categories, c)
	}
	for c := range l.cond {
		conditions = append(conditions, c)
	}
	slices.Sort(categories)
	slices.SortFunc(conditions, func(a, b Condition) int { return strings.Compare(a.Field+a.Value, b.Field+b.Value) })
	return categories, conditions
}

// Entries are the buffered lines, oldest first.
func (l *Log) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.full {
		return slices.Clone(l.ring[:l.next])
	}
	return append(slices.Clone(l.ring[l.next:]), l.ring[:l.next]...)
}

// Logged counts the lines since the start, those that left the buffer included.
func (l *Log) Logged() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.logged
}

// Clear empties the buffer.
func (l *Log) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.ring)
	l.next, l.full = 0, false
}

// Watch calls f with each line as it comes, until the returned function is called. f must not log.
func (l *Log) Watch(f func(line string)) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watcherID++
	id := l.watcherID
	l.watchers[id] = f
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers, id)
	}
}

// String is the entry as IOS would print it: time, mnemonic or level, message, fields.
func (e Entry) String() string {
	var b strings.Builder
	b.WriteString(e.Time.UTC().Format("Jan _2 15:04:05.000"))
	if m, ok := e.Fields["mnemonic"].(string); ok {
		b.WriteString(": %" + m)
	} else {
		b.WriteString(": " + e.Level)
	}
	b.WriteString(": " + e.Message)
	keys := make([]string, 0, len(e.Fields))
	for k := range e.Fields {
		if k != "mnemonic" && k != "stack" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, " %s=%v", k, e.Fields[k])
	}
	return b.String()
}
