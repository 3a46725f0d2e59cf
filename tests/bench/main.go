package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"text/tabwriter"
	"time"
)

// The target: GRE + ESP of this many bytes costs at most this many times the bare cipher, in either direction.
const (
	targetBytes = 1400
	targetRatio = 1.5
)

func main() {
	total := flag.Duration("time", time.Second, "measured time of each case")
	rounds := flag.Int("rounds", 200, "rounds of each case; they take turns")
	asJSON := flag.Bool("json", false, "print JSON")
	only := flag.String("run", "", "only cases whose name, size and routes match this expression")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	strict := flag.Bool("strict", false, "exit 1 when the target is missed")
	flag.Parse()
	all, err := cases()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if all, err = choose(all, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(2)
		}
	}
	rows, err := measure(all, *total, *rounds)
	pprof.StopCPUProfile()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	met := true
	if *asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(rows); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(2)
		}
		_, met = verdict(rows)
	} else {
		met = table(os.Stdout, rows)
	}
	if *strict && !met {
		os.Exit(1)
	}
}

// choose returns the cases that an expression matches, such as "encap.* 1400 B 10 routes".
func choose(all []*work, expr string) ([]*work, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	return slices.DeleteFunc(all, func(w *work) bool {
		return !re.MatchString(fmt.Sprintf("%s %d B %d routes", w.Name, w.Bytes, w.Routes))
	}), nil
}

// table prints the rows and whether the target is met.
func table(w io.Writer, rows []result) bool {
	fmt.Fprintf(w, "%s, %s/%s, one goroutine, vectors of %d; best window, median in brackets\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, vector)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "case\tpacket\troutes\tns/packet\t(median)\tallocs/packet\tB/packet\tMpps\tGbit/s\tto cipher\t")
	for _, r := range rows {
		routes, ratio := "", ""
		if r.Routes > 0 {
			routes = fmt.Sprint(r.Routes)
		}
		if r.Ratio > 0 {
			ratio = fmt.Sprintf("%.2fx", r.Ratio)
		}
		fmt.Fprintf(t, "%s\t%d B\t%s\t%.1f\t(%.1f)\t%.3f\t%.1f\t%.2f\t%.2f\t%s\t\n",
			r.Name, r.Bytes, routes, r.NS, r.Median, r.Allocs, r.Alloc, r.Mpps, r.Gbps, ratio)
	}
	t.Flush()
	lines, met := verdict(rows)
	fmt.Fprintln(w)
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
	return met
}

// verdict compares with the target.
func verdict(rows []result) (lines []string, met bool) {
	met = true
	say := func(ok bool, format string, args ...any) {
		word := "met   "
		if !ok {
			word, met = "MISSED", false
		}
		lines = append(lines, word+"  "+fmt.Sprintf(format, args...))
	}
	for _, r := range rows {
		if r.Ratio == 0 || r.Bytes != targetBytes {
			continue
		}
		switch r.Name {
		case encapGCM:
			say(r.Ratio <= targetRatio, "GRE+ESP of %d B with %d routes costs %.2f times the bare seal (at most %.1f)", r.Bytes, r.Routes, r.Ratio, targetRatio)
		case decapGCM:
			say(r.Ratio <= targetRatio, "the way back of %d B with %d routes costs %.2f times the bare open (at most %.1f)", r.Bytes, r.Routes, r.Ratio, targetRatio)
		}
	}
	worst := result{}
	for _, r := range rows {
		if r.Allocs > worst.Allocs {
			worst = r
		}
	}
	// A collection empties the pools; what is filled again after it is not the packets' doing.
	if worst.Allocs < 0.01 {
		say(true, "no case allocates for a packet")
	} else {
		say(false, "%s of %d B allocates %.3f times a packet", worst.Name, worst.Bytes, worst.Allocs)
	}
	return lines, met
}
