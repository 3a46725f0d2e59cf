package probe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// PingOptions tell what to send. The zero value of a field has IOS's default.
type PingOptions struct {
	Destination netip.Addr
	Source      netip.Addr
	// Count of echo requests, 5.
	Count int
	// Size of the IP packet in bytes, 100.
	Size int
	// Timeout for one answer, 2 s.
	Timeout time.Duration
	// Interval between requests. 0 sends the next when the last was answered or is lost; else requests leave at this
	// pace whatever comes back.
	Interval time.Duration
	DF       bool
	TOS, TTL uint8
}

// PingResult is the account of a ping.
type PingResult struct {
	Destination netip.Addr      `json:"destination"`
	Source      netip.Addr      `json:"source"`
	Sent        int             `json:"sent"`
	Received    int             `json:"received"`
	Lost        []int           `json:"lost,omitempty"` // sequence numbers, from 0
	RTT         []time.Duration `json:"-"`
	Min         time.Duration   `json:"min_ns"`
	Avg         time.Duration   `json:"avg_ns"`
	Max         time.Duration   `json:"max_ns"`
	// Errors counts the ICMP errors that came back, by what they say.
	Errors map[string]int `json:"errors,omitempty"`
}

// Mark is IOS's sign for an answer.
func (k Kind) Mark() byte { return "!TUUAM."[k] }

func (k Kind) String() string {
	return [...]string{"reply", "time exceeded", "unreachable", "port unreachable", "prohibited", "packet too big", "timeout"}[k]
}

// Ping sends echo requests and waits for the answers. progress, when not nil, gets a sign for each as it is settled, in
// the order of settling.
func (p *Prober) Ping(ctx context.Context, o PingOptions, progress func(mark byte)) (*PingResult, error) {
	if o.Count <= 0 {
		o.Count = 5
	}
	if o.Size <= 0 {
		o.Size = 100
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	if o.TTL == 0 {
		o.TTL = 255
	}
	head := header.IPv4MinimumSize
	if o.Destination.Is6() {
		head = header.IPv6MinimumSize
	}
	body := max(o.Size-head, header.ICMPv4MinimumSize)
	if o.Size > 65535-head {
		return nil, fmt.Errorf("size %d is more than an IP packet holds", o.Size)
	}
	src, err := p.source(o.Source, o.Destination)
	if err != nil {
		return nil, err
	}
	id, answers := p.open(min(o.Count, 4096) * 2)
	defer p.close(id)
	r := &PingResult{Destination: o.Destination, Source: src, Errors: map[string]int{}}
	sentAt := make(map[uint16]time.Time)
	number := make(map[uint16]int)
	settle := func(seq uint16, k Kind) {
		delete(sentAt, seq)
		if k != Reply {
			r.Lost = append(r.Lost, number[seq])
			if k != Timeout {
				r.Errors[k.String()]++
			}
		}
		delete(number, seq)
		if progress != nil {
			progress(k.Mark())
		}
	}
	start := p.clock.Now()
	for r.Sent < o.Count || len(sentAt) > 0 {
		now := p.clock.Now()
		for r.Sent < o.Count && (o.Interval > 0 && !now.Before(start.Add(time.Duration(r.Sent)*o.Interval)) || o.Interval == 0 && len(sentAt) == 0) {
			seq := uint16(r.Sent)
			sentAt[seq], number[seq] = now, r.Sent
			r.Sent++
			if err := p.echo(src, o, id, seq, body); err != nil {
				settle(seq, Unreachable)
				if o.Interval == 0 {
					break
				}
			}
		}
		wake := now.Add(o.Timeout)
		for seq, at := range sentAt {
			if end := at.Add(o.Timeout); !end.After(now) {
				settle(seq, Timeout)
			} else if end.Before(wake) {
				wake = end
			}
		}
		if r.Sent < o.Count {
			if o.Interval > 0 {
				if next := start.Add(time.Duration(r.Sent) * o.Interval); next.Before(wake) {
					wake = next
				}
			} else if len(sentAt) == 0 {
				if done(ctx) {
					break
				}
				continue
			}
		} else if len(sentAt) == 0 {
			break
		}
		tick, timer := p.after(wake.Sub(now))
		select {
		case a := <-answers:
			if at, waiting := sentAt[a.seq]; waiting {
				if a.kind == Reply {
					r.Received++
					r.RTT = append(r.RTT, a.at.Sub(at))
				}
				settle(a.seq, a.kind)
			}
		case <-tick:
		case <-ctx.Done():
			timer.Stop()
			r.finish()
			return r, nil
		}
		timer.Stop()
	}
	r.finish()
	return r, nil
}

func (r *PingResult) finish() {
	slices.Sort(r.Lost)
	if len(r.RTT) == 0 {
		return
	}
	r.Min, r.Max = slices.Min(r.RTT), slices.Max(r.RTT)
	var total time.Duration
	for _, d := range r.RTT {
		total += d
	}
	r.Avg = total / time.Duration(len(r.RTT))
}

func (p *Prober) echo(src netip.Addr, o PingOptions, id, seq uint16, size int) error {
	if o.Destination.Is4() {
		pkt, b := build(src, o.Destination, header.ICMPv4ProtocolNumber, o.TTL, o.TOS, o.DF, seq, size)
		h := header.ICMPv4(b)
		fill(b[header.ICMPv4MinimumSize:])
		h.SetType(header.ICMPv4Echo)
		h.SetIdent(id)
		h.SetSequence(seq)
		h.SetChecksum(header.ICMPv4Checksum(h, 0))
		return p.host.SendIP(pkt)
	}
	pkt, b := build(src, o.Destination, header.ICMPv6ProtocolNumber, o.TTL, o.TOS, o.DF, seq, size)
	h := header.ICMPv6(b)
	fill(b[header.ICMPv6EchoMinimumSize:])
	h.SetType(header.ICMPv6EchoRequest)
	h.SetIdent(id)
	h.SetSequence(seq)
	h.SetChecksum(0)
	h.SetChecksum(^sum(src, o.Destination, header.ICMPv6ProtocolNumber, b))
	return p.host.SendIP(pkt)
}
