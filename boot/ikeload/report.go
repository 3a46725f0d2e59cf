package ikeload

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Report is what came of a load. Times are in milliseconds.
type Report struct {
	Target       string         `json:"target"`
	Peers        int            `json:"peers"`
	Parallel     int            `json:"parallel"`
	Phases       []Phase        `json:"phases"`
	Up           int            `json:"up"` // before deleting
	Lost         map[string]int `json:"lost"`
	RekeyedIKE   int            `json:"rekeyed_ike"` // by either side
	RekeyedChild int            `json:"rekeyed_child"`
	Stopped      bool           `json:"stopped"`

	Sent          uint64 `json:"sent"` // messages of IKE
	Received      uint64 `json:"received"`
	Retransmitted uint64 `json:"retransmitted"`
	Probes        uint64 `json:"probes_sent"`
	UnknownSPI    uint64 `json:"unknown_spi"`
	ESPErrors     uint64 `json:"esp_errors"`
}

// Phase is what came of one. The latencies are of the sessions that came through.
type Phase struct {
	Name     string         `json:"name"`
	Sessions int            `json:"sessions"`
	OK       int            `json:"ok"`
	Failed   int            `json:"failed"`
	Failures map[string]int `json:"failures"`
	Seconds  float64        `json:"seconds"`
	Rate     float64        `json:"rate"` // of those that came through, a second
	P50      float64        `json:"p50_ms"`
	P90      float64        `json:"p90_ms"`
	P99      float64        `json:"p99_ms"`
	Max      float64        `json:"max_ms"`

	took []time.Duration
}

func (p *Phase) fail(why string) {
	p.Failed++
	p.Failures[why]++
}

func (p *Phase) close(d time.Duration) {
	p.OK, p.Seconds = len(p.took), d.Seconds()
	if d > 0 {
		p.Rate = float64(p.OK) / d.Seconds()
	}
	slices.Sort(p.took)
	p.P50, p.P90, p.P99, p.Max = percentile(p.took, 50), percentile(p.took, 90), percentile(p.took, 99), percentile(p.took, 100)
}

// percentile is by nearest rank.
func percentile(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := (len(sorted)*percent + 99) / 100
	return float64(sorted[max(at, 1)-1]) / float64(time.Millisecond)
}

const columns = "%-12s %8s %6s %7s %9s %8s %9s %9s %9s %9s"

// Header is of the lines that a Phase's String makes.
func Header() string {
	return fmt.Sprintf(columns, "phase", "sessions", "ok", "failed", "seconds", "per s", "p50 ms", "p90 ms", "p99 ms", "max ms")
}

func (p Phase) String() string {
	f := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	line := fmt.Sprintf(columns, p.Name, fmt.Sprint(p.Sessions), fmt.Sprint(p.OK), fmt.Sprint(p.Failed), fmt.Sprintf("%.2f", p.Seconds), f(p.Rate), f(p.P50), f(p.P90), f(p.P99), f(p.Max))
	return line + reasons(p.Failures)
}

func reasons(m map[string]int) string {
	var lines []string
	for why, n := range m {
		lines = append(lines, fmt.Sprintf("\n    %d: %s", n, why))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// Good says whether every session came through everything.
func (r *Report) Good() bool {
	return !r.Stopped && len(r.Lost) == 0 && !slices.ContainsFunc(r.Phases, func(p Phase) bool { return p.Failed > 0 })
}

// Sums writes what the phases' lines do not say.
func (r *Report) Sums(w io.Writer) {
	lost := 0
	for _, n := range r.Lost {
		lost += n
	}
	fmt.Fprintf(w, "%d of %d sessions were up at the end, %d lost%s\n", r.Up, r.Peers, lost, reasons(r.Lost))
	fmt.Fprintf(w, "rekeyed by either side: %d IKE SAs, %d Child SAs\n", r.RekeyedIKE, r.RekeyedChild)
	fmt.Fprintf(w, "IKE messages: %d sent (%d again), %d received; echo requests: %d sent; ESP: %d not authentic or replayed, %d with unknown SPI\n",
		r.Sent, r.Retransmitted, r.Received, r.Probes, r.ESPErrors, r.UnknownSPI)
}
