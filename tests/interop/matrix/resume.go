package matrix

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
)

var rowLine = regexp.MustCompile(`^(passed|failed as expected) +(\S+/\S+) (\S+) +[0-9.]+ s  `)

// Earlier reads what an earlier run has printed: the verdicts of the rows that came out as they must, by case and row.
func Earlier(r io.Reader) (map[string]Verdict, error) {
	out := map[string]Verdict{}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if m := rowLine.FindStringSubmatch(s.Text()); m != nil {
			v := Passed
			if m[1] == FailedAsExpected.String() {
				v = FailedAsExpected
			}
			out[m[2]+" "+m[3]] = v
		}
	}
	return out, s.Err()
}

// Complete adds the rows of an earlier run to those of this one. It fails when a row is in neither.
func Complete(now []Result, earlier map[string]Verdict) ([]Result, error) {
	have := map[string]Result{}
	for _, r := range now {
		have[r.Case.Name+" "+r.Row.ID] = r
	}
	var out []Result
	for _, c := range Cases() {
		for _, row := range c.rows() {
			key := c.Name + " " + row.ID
			if r, ok := have[key]; ok {
				out = append(out, r)
			} else if v, ok := earlier[key]; ok {
				out = append(out, Result{Case: c, Row: row, Verdict: v})
			} else {
				return nil, fmt.Errorf("no run has a result of %s", key)
			}
		}
	}
	return out, nil
}
