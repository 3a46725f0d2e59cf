package commands

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/manage/probe"
)

func number(i *cli.Invocation, arg string, low, high int) (int, error) {
	text, has := i.Args[arg]
	if !has {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%% %s %q is not a number from %d to %d", arg, text, low, high)
	}
	return n, nil
}

func ends(i *cli.Invocation, r Router) (dst, src netip.Addr, p *probe.Prober, err error) {
	if dst, err = address(i, "host"); err != nil {
		return
	}
	if !dst.IsValid() {
		err = fmt.Errorf("%% %q is not an address", i.Args["host"])
		return
	}
	if i.Has("source") {
		if src, err = netip.ParseAddr(i.Args["interface"]); err != nil {
			if src, err = r.SourceAddress(i.Args["interface"], dst.Is6()); err != nil {
				return
			}
		}
	}
	p, err = r.Prober(vrf(i))
	return
}

func probes(t *cli.Tree, r Router) {
	for _, pattern := range []string{"ping", "ping ip", "ping ipv6"} {
		add(t, pattern+" [vrf <name>] <host> {source <interface>|repeat <count>|size <bytes>|timeout <seconds>|interval <ms>|df-bit}*", "", func(i *cli.Invocation) (cli.Result, error) {
			return ping(i, r)
		})
	}
	add(t, "traceroute [vrf <name>] <host> {source <interface>|probe <count>|timeout <seconds>|ttl <hops>}*", "", func(i *cli.Invocation) (cli.Result, error) {
		return trace(i, r)
	})
}

// Ping is the answer of ping.
type Ping struct{ *probe.PingResult }

// Text implements cli.Result.
func (p Ping) Text(w *cli.Table) {
	rate := 0
	if p.Sent > 0 {
		rate = p.Received * 100 / p.Sent
	}
	line := fmt.Sprintf("Success rate is %d percent (%d/%d)", rate, p.Received, p.Sent)
	if p.Received > 0 {
		ms := func(d time.Duration) int64 { return max(d.Milliseconds(), 1) }
		line += fmt.Sprintf(", round-trip min/avg/max = %d/%d/%d ms", ms(p.Min), ms(p.Avg), ms(p.Max))
	}
	w.Line(line)
}

func ping(i *cli.Invocation, r Router) (cli.Result, error) {
	dst, src, p, err := ends(i, r)
	if err != nil {
		return nil, err
	}
	o := probe.PingOptions{Destination: dst, Source: src, DF: i.Has("df-bit")}
	if o.Count, err = number(i, "count", 1, 1000000); err != nil {
		return nil, err
	}
	if o.Size, err = number(i, "bytes", 36, 65535-64); err != nil {
		return nil, err
	}
	secs, err := number(i, "seconds", 1, 3600)
	if err != nil {
		return nil, err
	}
	ms, err := number(i, "ms", 1, 3600000)
	if err != nil {
		return nil, err
	}
	o.Timeout, o.Interval = time.Duration(secs)*time.Second, time.Duration(ms)*time.Millisecond
	count, size, wait := o.Count, o.Size, secs
	if count == 0 {
		count = 5
	}
	if size == 0 {
		size = 100
	}
	if wait == 0 {
		wait = 2
	}
	fmt.Fprintf(i.Session.Out, "Type escape sequence to abort.\nSending %d, %d-byte ICMP Echos to %s, timeout is %d seconds:\n", count, size, dst, wait)
	if src.IsValid() {
		fmt.Fprintf(i.Session.Out, "Packet sent with a source address of %s\n", src)
	}
	n := 0
	result, err := p.Ping(i, o, func(mark byte) {
		fmt.Fprintf(i.Session.Out, "%c", mark)
		if n++; n%70 == 0 {
			fmt.Fprintln(i.Session.Out)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%% %w", err)
	}
	fmt.Fprintln(i.Session.Out)
	return Ping{result}, nil
}

// Trace is the answer of traceroute; its hops were printed as they came.
type Trace struct{ *probe.TraceResult }

// Text implements cli.Result.
func (t Trace) Text(w *cli.Table) {
	if !t.Reached {
		w.Line("% The destination was not reached")
	}
}

func trace(i *cli.Invocation, r Router) (cli.Result, error) {
	dst, src, p, err := ends(i, r)
	if err != nil {
		return nil, err
	}
	o := probe.TraceOptions{Destination: dst, Source: src}
	if o.Probes, err = number(i, "count", 1, 100); err != nil {
		return nil, err
	}
	if o.MaxHops, err = number(i, "hops", 1, 255); err != nil {
		return nil, err
	}
	secs, err := number(i, "seconds", 1, 3600)
	if err != nil {
		return nil, err
	}
	o.Timeout = time.Duration(secs) * time.Second
	fmt.Fprintf(i.Session.Out, "Type escape sequence to abort.\nTracing the route to %s\n", dst)
	result, err := p.Trace(i, o, func(h probe.TraceHop) {
		var b strings.Builder
		fmt.Fprintf(&b, "%3d", h.TTL)
		var last netip.Addr
		for _, a := range h.Probes {
			switch {
			case !a.From.IsValid():
				b.WriteString(" *")
				continue
			case a.From != last:
				fmt.Fprintf(&b, " %s", a.From)
				last = a.From
			}
			fmt.Fprintf(&b, " %d msec", max(a.RTT.Milliseconds(), 1))
			switch a.Kind {
			case probe.Unreachable.String():
				b.WriteString(" !H")
			case probe.Prohibited.String():
				b.WriteString(" !A")
			}
		}
		fmt.Fprintln(i.Session.Out, b.String())
	})
	if err != nil {
		return nil, fmt.Errorf("%% %w", err)
	}
	return Trace{result}, nil
}
