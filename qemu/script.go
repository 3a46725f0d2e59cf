package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	"felloe/manage/agent"
	"felloe/netstack/clock"
)

// Script works through a lab's checks and steps.
type Script struct {
	Lab     *Lab
	Backend Backend
	Clock   clock.Clock
	Say     Say
	Out     io.Writer // printed output of commands

	saved      map[string]string
	background map[string]*backgroundRun
	captures   []func() error
}

// Result is how a check or step ended.
type Result struct {
	Step    *Step
	Passed  bool
	Took    time.Duration
	Tries   int
	Problem string // what is missing, empty when passed
	Output  string // of the last try
}

// defaults of a step's times.
const (
	tryTimeout   = 60 * time.Second
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
)

type backgroundRun struct {
	done   chan struct{}
	flow   *Flow
	out    string
	err    error
	cancel context.CancelFunc
}

// Run works through everything until the first failure. The results of all that ran are returned, the failure last.
func (s *Script) Run(ctx context.Context) ([]Result, error) {
	s.Begin()
	defer s.cleanUp()
	var results []Result
	for _, step := range s.Lab.Steps {
		r := s.Do(ctx, step)
		results = append(results, r)
		if !r.Passed {
			return results, fmt.Errorf("%s: %s", step.Pos, r.Problem)
		}
	}
	return results, s.endCaptures()
}

// Begin, Do for each of the lab's steps, and End are what Run does.
func (s *Script) Begin() {
	if s.Clock == nil {
		s.Clock = clock.Real
	}
	if s.Say == nil {
		s.Say = func(string, ...any) {}
	}
	if s.Out == nil {
		s.Out = io.Discard
	}
	s.saved = map[string]string{}
	maps.Copy(s.saved, s.Lab.Set)
	s.background = map[string]*backgroundRun{}
}

// End ends what still runs.
func (s *Script) End() { s.cleanUp() }

func (s *Script) cleanUp() {
	for _, b := range s.background {
		b.cancel()
		<-b.done
	}
	_ = s.endCaptures()
}

func (s *Script) endCaptures() error {
	var errs []error
	for _, stop := range s.captures {
		errs = append(errs, stop())
	}
	s.captures = nil
	return errors.Join(errs...)
}

// Title of a step in progress lines and tables.
func (st *Step) Title() string {
	if st.Description != "" {
		return st.Description
	}
	switch {
	case st.Command != "":
		return st.Node + ": " + st.Command
	case st.Flow != nil:
		return fmt.Sprintf("%s: %s of %s packets a second to %s", st.Node, st.Flow.For, cmp.Or(st.Flow.Pace, strconv.Itoa(st.Flow.Rate)), st.Flow.To)
	case st.Wait != "":
		return "wait for " + st.Wait
	case st.Kill != "":
		return "kill " + st.Kill
	case st.PowerDown != "":
		return "power down " + st.PowerDown
	case st.Start != "":
		return "start " + st.Start
	case st.Apply != "":
		return "apply " + st.Config + " to " + st.Apply
	case st.Cut != "":
		return "cut " + st.Cut
	case st.Join != "":
		return "join " + st.Join
	case st.Impair != "":
		return "impair " + st.Impair
	case st.Capture != "":
		return "capture " + st.Capture + " into " + st.File
	}
	return "pause " + st.Pause.String()
}

// Do works on one step.
func (s *Script) Do(ctx context.Context, st *Step) Result {
	start := s.Clock.Now()
	r := Result{Step: st}
	for pause := firstPause; ; pause = min(pause*2, longestPause) {
		r.Tries++
		out, err := s.try(ctx, st)
		if st.Fails != nil {
			out, err = s.failure(st, out, err)
		}
		r.Output = out
		if err == nil {
			err = s.look(st, out)
		}
		r.Took = s.Clock.Now().Sub(start)
		if err == nil {
			r.Passed, r.Problem = true, ""
			break
		}
		r.Problem = err.Error()
		if ctx.Err() != nil {
			r.Problem = context.Cause(ctx).Error()
			break
		}
		left := st.Within - r.Took
		if left <= 0 || st.Wait != "" {
			break
		}
		s.sleep(ctx, min(pause, left))
	}
	s.tell(st, r)
	return r
}

// failure is the output of a command that must fail, with what it says of it.
func (s *Script) failure(st *Step, out string, failed error) (string, error) {
	if failed == nil {
		return out, fmt.Errorf("it did not fail, expected %s", st.Fails.Text)
	}
	out += failed.Error() + "\n"
	_, _, ok, err := st.Fails.find(out, s.saved)
	if err == nil && !ok {
		err = fmt.Errorf("it failed, but did not say %s", st.Fails.Text)
	}
	return out, err
}

func (s *Script) tell(st *Step, r Result) {
	switch {
	case !r.Passed:
		s.Say("FAIL  %s (after %.1f s): %s", st.Title(), r.Took.Seconds(), r.Problem)
		if strings.TrimSpace(r.Output) != "" {
			fmt.Fprintln(s.Out, indent(st.commandLine(), r.Output))
		}
	case st.Check:
		s.Say("ok    %s (%.1f s)", st.Title(), r.Took.Seconds())
	default:
		s.Say("      %s", st.Title())
	}
	if r.Passed && st.Print {
		fmt.Fprintln(s.Out, indent(st.commandLine(), r.Output))
	}
}

func (st *Step) commandLine() string {
	switch {
	case st.Node == "":
		return ""
	case st.Flow != nil:
		return st.Node + "# flow to " + st.Flow.To
	}
	return st.Node + "# " + st.Command
}

// indent shows a command and its output as a block.
func indent(head, text string) string {
	var b strings.Builder
	if head != "" {
		b.WriteString("\n    " + head + "\n")
	}
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		b.WriteString("    " + line)
	}
	return b.String()
}

func (s *Script) sleep(ctx context.Context, d time.Duration) {
	done := make(chan struct{})
	t := s.Clock.AfterFunc(d, func() { close(done) })
	select {
	case <-done:
	case <-ctx.Done():
		t.Stop()
	}
}

// try acts once and returns a command's output.
func (s *Script) try(ctx context.Context, st *Step) (string, error) {
	limit := st.Timeout
	if limit == 0 {
		limit = tryTimeout
		flow := st.Flow
		if b := s.background[st.Wait]; b != nil {
			flow = b.flow
		}
		if flow != nil {
			length, err := flow.length(s.saved)
			if err != nil {
				return "", err
			}
			limit += 2 * length // a busy machine keeps no pace
		}
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	switch {
	case st.Run != "":
		return "", s.start(ctx, st)
	case st.Command != "" || st.Flow != nil:
		return s.execute(bounded, st)
	case st.Wait != "":
		b := s.background[st.Wait]
		select {
		case <-b.done:
			return b.out, b.err
		case <-bounded.Done():
			return "", fmt.Errorf("%s did not end within %v", st.Wait, limit)
		}
	case st.Kill != "":
		return "", s.Backend.Kill(st.Kill)
	case st.PowerDown != "":
		return "", s.Backend.PowerDown(bounded, st.PowerDown)
	case st.Start != "":
		return "", s.Backend.StartNode(bounded, st.Start)
	case st.Apply != "":
		return "", s.Backend.Apply(bounded, st.Apply, st.Config)
	case st.Cut != "":
		return "", s.Backend.SetLink(st.Cut, false, nil)
	case st.Join != "":
		return "", s.Backend.SetLink(st.Join, true, nil)
	case st.Impair != "":
		return "", s.Backend.SetLink(st.Impair, true, &st.Impairment)
	case st.Capture != "":
		return "", s.capture(st)
	}
	s.sleep(ctx, st.Pause)
	return "", ctx.Err()
}

// execute runs a step's command, or its flow, and returns what it says.
func (s *Script) execute(ctx context.Context, st *Step) (string, error) {
	run, err := s.prepare(st)
	if err != nil {
		return "", err
	}
	return run(ctx)
}

// prepare fills saved values in and returns what runs the command.
func (s *Script) prepare(st *Step) (func(context.Context) (string, error), error) {
	text, flow := st.Command, st.Flow
	if flow != nil {
		var length time.Duration
		var err error
		if flow, length, err = flow.filled(s.saved); err != nil {
			return nil, err
		}
		text = flow.command(length)
	}
	line, err := expand(text, s.saved, func(v string) string { return v })
	return func(ctx context.Context) (string, error) {
		if st.JSON {
			ctx = agent.WithJSON(ctx)
		}
		out, err := s.Backend.Exec(ctx, st.Node, line)
		if flow == nil || err != nil {
			return out, err
		}
		return flow.account(out)
	}, err
}

func (s *Script) start(ctx context.Context, st *Step) error {
	command, err := s.prepare(st)
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(ctx)
	b := &backgroundRun{done: make(chan struct{}), flow: st.Flow, cancel: cancel}
	s.background[st.Run] = b
	go func() {
		defer close(b.done)
		defer cancel()
		b.out, b.err = command(run)
	}()
	return nil
}

func (s *Script) capture(st *Step) error {
	f, err := os.Create(st.File)
	if err != nil {
		return err
	}
	stop, err := s.Backend.Capture(st.Capture, f)
	if err != nil {
		f.Close()
		return err
	}
	s.captures = append(s.captures, func() error { return errors.Join(stop(), f.Close()) })
	return nil
}

// look compares output with what is expected and keeps what is to be saved.
func (s *Script) look(st *Step, out string) error {
	text := strings.ReplaceAll(out, "\r\n", "\n")
	for _, p := range st.Expect {
		_, _, ok, err := p.find(text, s.saved)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("expected %s", p.Text)
		}
	}
	for _, p := range st.Reject {
		match, _, ok, err := p.find(text, s.saved)
		if err != nil {
			return err
		}
		if ok {
			return fmt.Errorf("found %q, which must not be there (%s)", match, p.Text)
		}
	}
	if st.Number != nil {
		if err := s.number(st.Number, text); err != nil {
			return err
		}
	}
	for name, expr := range st.Save {
		p, err := newPattern(expr)
		if err != nil {
			return err
		}
		_, group, ok, err := p.find(text, s.saved)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("nothing to save as %s: expected %s", name, expr)
		}
		s.saved[name] = group
	}
	return nil
}

func (s *Script) number(n *Number, text string) error {
	p, err := newPattern(n.Pattern)
	if err != nil {
		return err
	}
	_, group, ok, err := p.find(text, s.saved)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("expected a number at %s", n.Pattern)
	}
	value, err := strconv.ParseFloat(group, 64)
	if err != nil {
		return fmt.Errorf("%q at %s is not a number", group, n.Pattern)
	}
	for _, bound := range []struct {
		text string
		bad  func(v, b float64) bool
		word string
	}{{n.Min, func(v, b float64) bool { return v < b }, "at least"}, {n.Max, func(v, b float64) bool { return v > b }, "at most"}} {
		if bound.text == "" {
			continue
		}
		limit, err := s.value(bound.text)
		if err != nil {
			return err
		}
		if bound.bad(value, limit) {
			return fmt.Errorf("%s is %v, expected %s %v", n.Pattern, value, bound.word, limit)
		}
	}
	return nil
}

// value is a number, ${saved}, or ${saved}+5.
func (s *Script) value(text string) (float64, error) {
	plain, err := expand(text, s.saved, func(v string) string { return v })
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for part := range strings.SplitSeq(plain, "+") {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number or a sum", plain)
		}
		sum += v
	}
	return sum, nil
}

// Table shows the checks among results.
func Table(results []Result) string {
	width := 5
	for _, r := range results {
		if r.Step.Check || !r.Passed {
			width = max(width, len(r.Step.Title()))
		}
	}
	var b strings.Builder
	line := strings.Repeat("-", width)
	fmt.Fprintf(&b, "+-%s-+--------+---------+\n| %-*s | result |    time |\n+-%s-+--------+---------+\n", line, width, "check", line)
	for _, r := range results {
		if !r.Step.Check && r.Passed {
			continue
		}
		word := "passed"
		if !r.Passed {
			word = "FAILED"
		}
		fmt.Fprintf(&b, "| %-*s | %s | %5.1f s |\n", width, r.Step.Title(), word, r.Took.Seconds())
	}
	fmt.Fprintf(&b, "+-%s-+--------+---------+\n", line)
	return b.String()
}
