package qemu

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Flow is a stream of echo requests at a steady pace, whatever comes back, and the account of what did not.
type Flow struct {
	To     string // may hold ${name}
	Source string // interface or address; "" for the way out's
	VRF    string
	Rate   int    // packets a second; 0 while only Pace says it
	Pace   string // ${name} of the rate; "" when Rate says it
	For    string // how long, or ${name}
	Size   int    // bytes of an IP packet
	Late   int    // seconds after which an answer is lost; 0 is lateAfter
}

// lateAfter are seconds: what comes late is not lost.
const lateAfter = 2

// length is how long it goes on.
func (f *Flow) length(saved map[string]string) (time.Duration, error) {
	text, err := expand(f.For, saved, func(v string) string { return v })
	if err != nil {
		return 0, err
	}
	if text == "" {
		return 0, fmt.Errorf("flow: for: how long?")
	}
	var d duration
	if err := d.UnmarshalText([]byte(text)); err != nil {
		return 0, fmt.Errorf("flow: for: %w", err)
	}
	if d < duration(time.Second) {
		return 0, fmt.Errorf("flow: for: how long? A second at least, not %q", text)
	}
	return time.Duration(d), nil
}

// filled is the flow with the rate that its ${name} stands for, and how long it goes on.
func (f *Flow) filled(saved map[string]string) (*Flow, time.Duration, error) {
	length, err := f.length(saved)
	if err != nil || f.Pace == "" {
		return f, length, err
	}
	text, err := expand(f.Pace, saved, func(v string) string { return v })
	if err != nil {
		return nil, 0, err
	}
	out := *f
	out.Pace = ""
	out.Rate, err = packetRate(text)
	return &out, length, err
}

// packetRate reads packets a second.
func packetRate(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1000 {
		return 1, fmt.Errorf("flow: rate: %s packets a second is out of range (1 to 1000)", text)
	}
	return n, nil
}

// command is what the router is asked for.
func (f *Flow) command(length time.Duration) string {
	var b strings.Builder
	b.WriteString("ping ")
	if f.VRF != "" {
		b.WriteString("vrf " + f.VRF + " ")
	}
	b.WriteString(f.To)
	if f.Source != "" {
		b.WriteString(" source " + f.Source)
	}
	fmt.Fprintf(&b, " repeat %d interval %d timeout %d size %d | json", max(int(length/f.interval()), 1), f.interval().Milliseconds(), cmp.Or(f.Late, lateAfter), f.Size)
	return b.String()
}

func (f *Flow) interval() time.Duration { return time.Second / time.Duration(f.Rate) }

// account reads what the router says of its echoes.
func (f *Flow) account(out string) (string, error) {
	var r struct {
		Sent     int
		Received int
		Lost     []int
		Avg      time.Duration `json:"avg_ns"`
		Max      time.Duration `json:"max_ns"`
		Errors   map[string]int
	}
	i := strings.Index(out, "{")
	if i < 0 {
		return out, fmt.Errorf("the flow has no account")
	}
	if err := json.Unmarshal([]byte(out[i:]), &r); err != nil {
		return out, fmt.Errorf("the flow's account: %w", err)
	}
	if r.Sent == 0 {
		return out, fmt.Errorf("the flow sent nothing")
	}
	// A gap is a run of lost packets; two gaps with fewer than a second's packets between them are still two.
	type gap struct{ first, packets int }
	var gaps []gap
	for _, n := range r.Lost {
		if l := len(gaps); l > 0 && gaps[l-1].first+gaps[l-1].packets == n {
			gaps[l-1].packets++
			continue
		}
		gaps = append(gaps, gap{n, 1})
	}
	seconds := func(packets int) float64 { return (time.Duration(packets) * f.interval()).Seconds() }
	var b strings.Builder
	longest := gap{}
	for _, g := range gaps {
		if g.packets > longest.packets {
			longest = g
		}
	}
	fmt.Fprintf(&b, "packets sent %d, received %d, lost %d\n", r.Sent, r.Received, r.Sent-r.Received)
	fmt.Fprintf(&b, "longest gap %.2f s (%d packets), %d gaps\n", seconds(longest.packets), longest.packets, len(gaps))
	for i, g := range gaps {
		if i == 20 {
			fmt.Fprintf(&b, "  … %d more\n", len(gaps)-i)
			break
		}
		fmt.Fprintf(&b, "  gap of %.2f s after %.2f s\n", seconds(g.packets), seconds(g.first))
	}
	fmt.Fprintf(&b, "round trip %d ms on average, %d ms at most\n", r.Avg.Milliseconds(), r.Max.Milliseconds())
	for what, n := range r.Errors {
		fmt.Fprintf(&b, "%d times: %s\n", n, what)
	}
	return b.String(), nil
}

// flow reads a step's flow.
func (p *parser) flow(f *flowFile, fail func(string, ...any)) *Flow {
	out := &Flow{To: f.To, Source: f.Source, VRF: f.VRF, For: f.For, Size: f.Size}
	if f.To == "" {
		fail("flow: to: which address do the packets go to?")
	} else if _, err := netip.ParseAddr(f.To); err != nil && !variable.MatchString(f.To) {
		fail("flow: to: %q is not an address", f.To)
	}
	switch rate := string(f.Rate); {
	case rate == "":
		out.Rate = 100
	case variable.MatchString(rate):
		out.Pace = rate
	default:
		var err error
		if out.Rate, err = packetRate(rate); err != nil {
			fail("%v", err)
		}
	}
	if out.Size == 0 {
		out.Size = 100
	}
	if out.Size < 36 || out.Size > 9000 {
		fail("flow: size: %d bytes is out of range (36 to 9000)", f.Size)
	}
	if variable.MatchString(f.For) {
		return out
	}
	if _, err := out.length(nil); err != nil {
		fail("%v", err)
	}
	return out
}
