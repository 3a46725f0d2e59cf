package syslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"felloe/manage/cli"

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
	now  func() time.Time
	sink io.Writer

	// What the sampler looks at before a line is built.
	most      atomic.Int32 // the least severe line that anybody wants, as a syslog number
	debugging atomic.Bool
	followed  atomic.Pointer[func(Entry)]

	mu        sync.Mutex
	level     int // of the buffer and the sink
	console   int // of the watchers
	buffered  int // bytes that the buffer may hold
	ring      []kept
	held      int // bytes of its lines
	logged    uint64
	watchers  map[int]func(line string)
	watcherID int
	debug     map[string]bool
	cond      map[Condition]bool
}

// kept is a line of the buffer as it came: taken apart it would be ten times as large.
type kept struct {
	at   time.Time
	line []byte
}

// Severities, as syslog numbers them (RFC 5424 §6.2.1).
const (
	Off           = -1
	Errors        = 3
	Warnings      = 4
	Informational = 6
	Debugging     = 7
)

// Condition limits debug lines to those whose field has the value.
type Condition struct{ Field, Value string }

// New returns a log whose buffer holds that many bytes. sink, when not nil, gets each kept line as JSON.
func New(buffered int, now func() time.Time, sink io.Writer) *Log {
	l := &Log{now: now, sink: sink, watchers: map[int]func(string){}, debug: map[string]bool{}, cond: map[Condition]bool{}}
	l.Configure(Levels{Buffer: Debugging, Console: Debugging, Buffered: buffered})
	return l
}

// Logger returns the logger that writes here.
func (l *Log) Logger() zerolog.Logger {
	return zerolog.New(l).Level(zerolog.DebugLevel).Sample(sampler{l})
}

type sampler struct{ l *Log }

func (s sampler) Sample(level zerolog.Level) bool {
	most := int(s.l.most.Load())
	switch level {
	case zerolog.DebugLevel:
		return most >= Debugging && s.l.debugging.Load()
	case zerolog.InfoLevel:
		return most > Warnings || s.l.followed.Load() != nil // it may be a notification: the mnemonic says so
	case zerolog.WarnLevel:
		return most >= Warnings || s.l.followed.Load() != nil
	}
	return most > Off || s.l.followed.Load() != nil
}

// parse takes a line apart.
func parse(at time.Time, line []byte) (Entry, error) {
	e := Entry{Time: at, Fields: map[string]any{}}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if err := dec.Decode(&e.Fields); err != nil {
		return e, fmt.Errorf("syslog: a line that is no JSON object: %w", err)
	}
	e.Level, _ = e.Fields["level"].(string)
	e.Message, _ = e.Fields["message"].(string)
	delete(e.Fields, "level")
	delete(e.Fields, "message")
	delete(e.Fields, "time")
	e.takeMnemonic()
	return e, nil
}

// Write implements io.Writer for zerolog: one JSON object a call.
func (l *Log) Write(p []byte) (int, error) {
	e, err := parse(l.now(), p)
	if err != nil {
		return 0, err
	}
	severity := e.severity()
	if f := l.followed.Load(); f != nil && e.Level != "debug" {
		(*f)(e)
	}

	l.mu.Lock()
	if e.Level == "debug" && !l.wantsLocked(e.Fields) {
		l.mu.Unlock()
		return len(p), nil
	}
	keep := severity <= l.level
	if keep {
		l.keepLocked(e.Time, p)
	}
	var call []func(string)
	if severity <= l.console {
		for _, w := range l.watchers {
			call = append(call, w)
		}
	}
	l.mu.Unlock()

	if l.sink != nil && keep {
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

// keepLocked appends to the buffer; the oldest lines make room.
func (l *Log) keepLocked(at time.Time, line []byte) {
	l.logged++
	l.ring = append(l.ring, kept{at, bytes.Clone(line)})
	l.held += len(line)
	l.trimLocked()
}

func (l *Log) trimLocked() {
	gone := 0
	for l.held > l.buffered && gone < len(l.ring)-1 {
		l.held -= len(l.ring[gone].line)
		l.ring[gone] = kept{}
		gone++
	}
	l.ring = l.ring[gone:]
}

// mnemonic is how IOS begins a line: %FACILITY-SEVERITY-NAME: text.
var mnemonic = regexp.MustCompile(`^%([A-Z0-9_]+(?:-[A-Z0-9_]+)*-[0-7]-[A-Z0-9_]+): `)

// takeMnemonic moves a mnemonic from the beginning of the text into its field, so that it is said once.
func (e *Entry) takeMnemonic() {
	if m := mnemonic.FindStringSubmatch(e.Message); m != nil {
		e.Message = e.Message[len(m[0]):]
		if _, has := e.Fields["mnemonic"]; !has {
			e.Fields["mnemonic"] = m[1]
		}
	}
}

// severity is what the level stands for, or the number in the mnemonic when that is more severe.
func (e *Entry) severity() int {
	n := Errors
	switch e.Level {
	case "debug", "trace":
		n = Debugging
	case "info":
		n = Informational
	case "warn":
		n = Warnings
	}
	if m, ok := e.Fields["mnemonic"].(string); ok {
		if parts := strings.Split(m, "-"); len(parts) >= 3 && len(parts[len(parts)-2]) == 1 {
			if d := parts[len(parts)-2][0]; '0' <= d && d <= '7' {
				n = min(n, int(d-'0'))
			}
		}
	}
	return n
}

func (l *Log) wantsLocked(fields map[string]any) bool {
	category, _ := fields["debug"].(string)
	on := l.debugsLocked(category)
	if !on || len(l.cond) == 0 {
		return on
	}
	for c := range l.cond {
		if v, has := fields[c.Field]; has && same(fmt.Sprint(v), c.Value) {
			return true
		}
	}
	return false
}

// debugsLocked reports whether a category, or one that it is part of, is being debugged.
func (l *Log) debugsLocked(category string) bool {
	on := false
	for want := range l.debug {
		on = on || want == "all" || category == want || strings.HasPrefix(category, want+" ")
	}
	return on
}

// Wants reports whether debug lines of a category would be kept, conditions apart: for who has much to say.
func (l *Log) Wants(category string) bool {
	if !l.debugging.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.debugsLocked(category)
}

// same compares a field with a condition's value: addresses as addresses, with or without a port; names in any case.
func same(field, value string) bool {
	if a, err := netip.ParseAddr(value); err == nil {
		if p, err := netip.ParseAddrPort(field); err == nil {
			return p.Addr().Unmap() == a
		}
		b, err := netip.ParseAddr(field)
		return err == nil && b.Unmap() == a
	}
	return strings.EqualFold(field, value)
}

// Levels say what is kept and shown: the least severe message, as a syslog number (0 emergencies to 7 debugging; -1
// none). Debug lines need their category too.
type Levels struct {
	Buffer   int // by the buffer and the sink
	Console  int // by watchers
	Buffered int // bytes that the buffer holds
}

// Configure sets the levels and the size of the buffer.
func (l *Log) Configure(c Levels) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.level, l.console, l.buffered = c.Buffer, c.Console, c.Buffered
	l.most.Store(int32(max(c.Buffer, c.Console)))
	l.trimLocked()
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

// Debugging tells whether any debugging is on.
func (l *Log) Debugging() bool { return l.debugging.Load() }

// Debugs lists the categories and conditions that are on, in order.
func (l *Log) Debugs() (categories []string, conditions []Condition) {
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
	lines := slices.Clone(l.ring)
	l.mu.Unlock()
	out := make([]Entry, len(lines))
	for i, k := range lines {
		out[i], _ = parse(k.at, k.line) // it was one when it came
	}
	return out
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
	l.ring, l.held = nil, 0
}

// Watch calls f with each line as it comes that is severe enough for the console, until the returned function is called.
// f must not log.
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

// Follow calls f with each line but debugging ones, whatever is kept or shown of them, on the goroutine that logs. f must
// not log, and must leave the fields alone.
func (l *Log) Follow(f func(Entry)) { l.followed.Store(&f) }

// String is the entry as IOS would print it: time, mnemonic or level, message, fields. It is one line, whatever a peer
// had in what it said.
func (e Entry) String() string {
	var b strings.Builder
	b.WriteString(e.Time.UTC().Format("Jan _2 15:04:05.000"))
	if m, ok := e.Fields["mnemonic"].(string); ok {
		b.WriteString(": %" + m)
	} else {
		b.WriteString(": " + e.Level)
		if category, ok := e.Fields["debug"].(string); ok {
			b.WriteString(" " + category)
		}
	}
	b.WriteString(": " + e.Message)
	keys := make([]string, 0, len(e.Fields))
	for k := range e.Fields {
		if k != "mnemonic" && k != "stack" && k != "debug" && (k != "vrf" || e.Fields[k] != "default") && e.Fields[k] != "" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, " %s=%v", k, e.Fields[k])
	}
	return cli.Plain(b.String(), "")
}
