package show

import (
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/manage/syslog"
)

// Version is `show version`.
type Version struct {
	Version  string           `json:"version"`
	Go       string           `json:"go"`
	Kernel   string           `json:"kernel,omitempty"`
	Hostname string           `json:"hostname"`
	Uptime   int64            `json:"uptime"`
	Memory   uint64           `json:"memory_bytes"`
	NICs     []string         `json:"nics"`
	Boot     map[string]int64 `json:"boot_ms,omitempty"`
	Problems []string         `json:"problems"`
}

// Text implements cli.Result.
func (v Version) Text(w *cli.Table) {
	w.Linef("Felloe %s (%s)", v.Version, v.Go)
	if v.Kernel != "" {
		w.Linef("Kernel: %s", v.Kernel)
	}
	w.Linef("%s uptime is %s", v.Hostname, Clock(time.Duration(v.Uptime)*time.Second))
	w.Linef("%d KiB of memory in use", v.Memory/1024)
	w.Linef("%d network interfaces: %s", len(v.NICs), strings.Join(v.NICs, ", "))
	for _, k := range sortedKeys(v.Boot) {
		w.Linef("Boot: %s after %d ms", k, v.Boot[k])
	}
	for _, p := range v.Problems {
		w.Linef("Problem: %s", p)
	}
}

// Memory is `show processes memory`: of the router's process, right after garbage was collected and given back. Sizes are in
// bytes.
type Memory struct {
	Heap        uint64 `json:"heap_bytes"` // what is in use
	Objects     uint64 `json:"objects"`
	Reserved    uint64 `json:"reserved_bytes"` // of the system, heap and all else
	Resident    uint64 `json:"resident_bytes"` // 0 where the system does not say
	Goroutines  int    `json:"goroutines"`
	Collections uint32 `json:"collections"`
}

// Text implements cli.Result.
func (m Memory) Text(w *cli.Table) {
	w.Linef("Heap: %d KiB in %d objects", m.Heap/1024, m.Objects)
	w.Linef("Of the system: %d KiB, resident %d KiB", m.Reserved/1024, m.Resident/1024)
	w.Linef("Goroutines: %d", m.Goroutines)
	w.Linef("Collections of garbage: %d", m.Collections)
}

// Logging is `show logging`.
type Logging struct {
	Logged     uint64         `json:"logged"`
	Debug      []string       `json:"debug"`
	Conditions []string       `json:"conditions"`
	Entries    []syslog.Entry `json:"entries"`
}

// NewLogging makes the answer of a log.
func NewLogging(l *syslog.Log) Logging {
	out := Logging{Logged: l.Logged(), Entries: l.Entries(), Debug: []string{}, Conditions: []string{}}
	topics, conditions := l.Debugs()
	out.Debug = append(out.Debug, topics...)
	for _, c := range conditions {
		out.Conditions = append(out.Conditions, c.Field+" "+c.Value)
	}
	return out
}

// Text implements cli.Result.
func (l Logging) Text(w *cli.Table) {
	w.Linef("Syslog logging: enabled (%d messages logged, %d in the buffer)", l.Logged, len(l.Entries))
	for _, d := range l.Debug {
		w.Linef("    debugging: %s", d)
	}
	for _, c := range l.Conditions {
		w.Linef("    condition: %s", c)
	}
	w.Line("")
	for _, e := range l.Entries {
		w.Line(e.String())
	}
}
