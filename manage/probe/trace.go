package probe

import (
	"context"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// TraceOptions tell what to trace. The zero value of a field has IOS's default.
type TraceOptions struct {
	Destination, Source netip.Addr
	// Probes a hop, 3.
	Probes int
	// MaxHops, 30.
	MaxHops int
	// Timeout for one answer, 3 s.
	Timeout time.Duration
}

// TraceHop is what answered at one distance.
type TraceHop struct {
	TTL    int           `json:"ttl"`
	Probes []TraceAnswer `json:"probes"`
}

// TraceAnswer is one probe's outcome. From is invalid after a time-out.
type TraceAnswer struct {
	From netip.Addr    `json:"from"`
	RTT  time.Duration `json:"rtt_ns"`
	Kind string        `json:"kind"`
}

// TraceResult is the way to a destination.
type TraceResult struct {
	Destination netip.Addr `json:"destination"`
	Source      netip.Addr `json:"source"`
	Hops        []TraceHop `json:"hops"`
	Reached     bool       `json:"reached"`
}

// Trace sends UDP probes of growing hop limit until the destination answers, one after the other. progress, when not nil,
// gets each hop when it is complete.
func (p *Prober) Trace(ctx context.Context, o TraceOptions, progress func(TraceHop)) (*TraceResult, error) {
	if o.Probes <= 0 {
		o.Probes = 3
	}
	if o.MaxHops <= 0 {
		o.MaxHops = 30
	}
	if o.Timeout <= 0 {
		o.Timeout = 3 * time.Second
	}
	src, err := p.source(o.Source, o.Destination)
	if err != nil {
		return nil, err
	}
	id, answers := p.open(o.Probes * o.MaxHops)
	defer p.close(id)
	r := &TraceResult{Destination: o.Destination, Source: src}
	seq := uint16(0)
	for ttl := 1; ttl <= o.MaxHops && !r.Reached && !done(ctx); ttl++ {
		hop := TraceHop{TTL: ttl}
		refused := false
		for range o.Probes {
			a, rtt := p.traceOne(ctx, src, o, id, seq, ttl, answers)
			seq++
			hop.Probes = append(hop.Probes, TraceAnswer{From: a.from, RTT: rtt, Kind: a.kind.String()})
			switch a.kind {
			case PortUnreachable, Reply:
				r.Reached = true
			case Unreachable, Prohibited:
				refused = true
			}
			if done(ctx) {
				break
			}
		}
		r.Hops = append(r.Hops, hop)
		if progress != nil {
			progress(hop)
		}
		if refused {
			break
		}
	}
	return r, nil
}

func (p *Prober) traceOne(ctx context.Context, src netip.Addr, o TraceOptions, id, seq uint16, ttl int, answers <-chan answer) (answer, time.Duration) {
	const body = header.UDPMinimumSize + 20
	pkt, b := build(src, o.Destination, header.UDPProtocolNumber, uint8(ttl), 0, false, seq, body)
	u := header.UDP(b)
	u.Encode(&header.UDPFields{SrcPort: id, DstPort: tracePort + seq, Length: body})
	fill(b[header.UDPMinimumSize:])
	u.SetChecksum(^sum(src, o.Destination, header.UDPProtocolNumber, b))
	sent := p.clock.Now()
	if err := p.host.SendIP(pkt); err != nil {
		return answer{kind: Unreachable, from: src}, 0
	}
	tick, timer := p.after(o.Timeout)
	defer timer.Stop()
	for {
		select {
		case a := <-answers:
			if a.seq == seq {
				return a, a.at.Sub(sent)
			}
		case <-tick:
			return answer{kind: Timeout}, 0
		case <-ctx.Done():
			return answer{kind: Timeout}, 0
		}
	}
}
