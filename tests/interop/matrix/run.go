package matrix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"felloe/tests/interop/peers"
)

// Verdict is what became of a row.
type Verdict int

const (
	Passed Verdict = iota
	Failed
	FailedAsExpected
	PassedUnexpectedly
)

func (v Verdict) String() string {
	return [...]string{"passed", "FAILED", "failed as expected", "PASSED AGAINST EXPECTATION"}[v]
}

// Good says whether the run may pass with it.
func (v Verdict) Good() bool { return v == Passed || v == FailedAsExpected }

// Result is a row with its verdict.
type Result struct {
	Case    Case
	Row     Row
	Verdict Verdict
	Err     error
	Took    time.Duration
}

// Run is a case while it runs: its lab, and its rows.
type Run struct {
	*peers.Lab
	c       Case
	results map[string]*Result
	say     func(string)
}

// Check runs what proves a row. A failure ends f, and the case goes on after it.
func (r *Run) Check(id string, f func()) {
	if err := r.check(id, f); err != nil {
		r.Logf("row %s: %v", id, err)
	}
}

// Must is Check that ends the case when it fails: the rows after it were not reached.
func (r *Run) Must(id string, f func()) {
	if err := r.check(id, f); err != nil {
		r.Fatalf("after the row %q: %v", id, err)
	}
}

func (r *Run) check(id string, f func()) error {
	row := r.row(id)
	if row == nil {
		r.Fatalf("the case has no row %q", id)
	}
	if r.results[id] != nil {
		r.Fatalf("the row %q is checked twice", id)
	}
	r.Logf("row %s: %s", id, row.What)
	began := time.Now()
	err := r.Attempt(f)
	r.results[id] = r.judge(*row, err, time.Since(began))
	return err
}

func (r *Run) row(id string) *Row {
	for _, row := range r.c.rows() {
		if row.ID == id {
			return &row
		}
	}
	return nil
}

func (r *Run) judge(row Row, err error, took time.Duration) *Result {
	out := &Result{Case: r.c, Row: row, Err: err, Took: took}
	testimony := ""
	if err != nil {
		testimony = r.Testimony()
		r.Logf("what the peers say:\n%s", testimony)
	}
	out.Verdict, out.Err = verdict(row.Expected, err, testimony)
	r.say(describe(out))
	return out
}

// verdict compares a failure with the expected one.
func verdict(e *Expected, err error, testimony string) (Verdict, error) {
	switch {
	case e == nil && err == nil:
		return Passed, nil
	case e == nil:
		return Failed, err
	case err == nil:
		return PassedUnexpectedly, fmt.Errorf("this was expected to fail: %s", e.Reason)
	case !regexp.MustCompile("(?ms)" + e.Failure).MatchString(err.Error()):
		return Failed, fmt.Errorf("it failed, but not as expected (%s): %w", e.Failure, err)
	case e.Log != "" && !regexp.MustCompile("(?m)"+e.Log).MatchString(testimony):
		return Failed, fmt.Errorf("it failed as expected, but no log of the peer has %q: %w", e.Log, err)
	}
	return FailedAsExpected, err
}

func describe(r *Result) string {
	name := r.Case.Name
	if r.Row.ID != "" {
		name += " " + r.Row.ID
	}
	line := fmt.Sprintf("%-26s %-44s %5.1f s  %s", r.Verdict, name, r.Took.Seconds(), r.Row.What)
	if !r.Verdict.Good() {
		line += "\n    " + strings.ReplaceAll(strings.TrimSpace(r.Err.Error()), "\n", "\n    ")
	}
	return line
}

// Settings of a run.
type Settings struct {
	Felloe  string // the program under test
	Dir     string // folders of the labs
	Cache   string // images
	Out     io.Writer
	Verbose bool // diaries too
}

// RunCases runs cases one after the other and returns a result for each of their rows, and the versions of the peers' software
// that took part.
func RunCases(ctx context.Context, s Settings, list []Case) ([]Result, map[string]string) {
	var results []Result
	versions := map[string]string{}
	say := func(line string) { fmt.Fprintln(s.Out, line) }
	for _, c := range list {
		rows, v := runCase(ctx, s, c, say)
		results = append(results, rows...)
		for k, v := range v {
			versions[k] = v
		}
		if ctx.Err() != nil {
			break
		}
	}
	return results, versions
}

func runCase(ctx context.Context, s Settings, c Case, say func(string)) ([]Result, map[string]string) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 3 * time.Minute
	}
	began := time.Now()
	r := &Run{c: c, results: map[string]*Result{}, say: say}
	err := prepare(ctx, s, c, say)
	var versions map[string]string
	if err == nil {
		limited, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		dir := filepath.Join(s.Dir, strings.ReplaceAll(c.Name, "/", "-"))
		o := peers.Options{Name: c.Name, Dir: dir, Felloe: s.Felloe, Cache: s.Cache}
		if s.Verbose {
			o.Log = say
		}
		if err = os.RemoveAll(dir); err == nil {
			r.Lab, err = peers.New(limited, o)
		}
		if err == nil {
			err = r.protected(began)
			versions = r.Versions()
			if cerr := r.Close(); cerr != nil {
				err = errors.Join(err, fmt.Errorf("the lab does not go away: %w", cerr))
			}
		}
	}
	// Whatever was not reached has failed, and says because of what.
	var out []Result
	for _, row := range c.rows() {
		res := r.results[row.ID]
		if res == nil {
			if err == nil {
				err = errors.New("the case has ended without it")
			}
			res = &Result{Case: c, Row: row, Verdict: Failed, Err: fmt.Errorf("not reached: %s", first(err))}
			say(describe(res))
		}
		out = append(out, *res)
	}
	if err != nil && len(out) > 0 && allGood(out) { // the case failed outside its rows
		last := &out[len(out)-1]
		last.Verdict, last.Err = Failed, fmt.Errorf("after the last row: %w", err)
		say(describe(last))
	}
	return out, versions
}

// protected runs the case's function. A case without rows is its only row.
func (r *Run) protected(began time.Time) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	run := func() { r.c.Run(r) }
	if len(r.c.Rows) > 0 {
		if err = r.Attempt(run); err != nil {
			r.Logf("the case ends early: %v", err)
			if !r.reported() {
				r.Logf("what the peers say:\n%s", r.Testimony())
			}
		}
		return err
	}
	row := r.c.rows()[0]
	res := r.judge(row, r.Attempt(run), time.Since(began))
	r.results[row.ID] = res
	return nil
}

// reported says whether a row's failure has had the peers' testimony written down already.
func (r *Run) reported() bool {
	for _, res := range r.results {
		if res.Err != nil {
			return true
		}
	}
	return false
}

func allGood(results []Result) bool {
	for _, r := range results {
		if !r.Verdict.Good() {
			return false
		}
	}
	return true
}

// first is the first line of an error: the row that it belongs to has said all of it.
func first(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// prepare installs and makes what the case needs.
func prepare(ctx context.Context, s Settings, c Case, say func(string)) error {
	packages := append(append([]string{}, peers.HostPackages...), c.Packages...)
	if len(c.Images) > 0 {
		packages = append(packages, peers.MachinePackages...)
	}
	if err := peers.Install(ctx, packages...); err != nil {
		return err
	}
	for _, i := range c.Images {
		if err := i.Make(ctx, s.Cache, say); err != nil {
			return err
		}
	}
	return nil
}
