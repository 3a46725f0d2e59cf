package matrix

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"felloe/tests/interop/peers"
)

func TestARowPassesOnlyAsExpected(t *testing.T) {
	known := &Expected{Failure: "redirect", Log: "no traffic indication", Reason: "it stops sending redirects", Reference: "#1"}
	for _, c := range []struct {
		name      string
		expected  *Expected
		err       error
		testimony string
		want      Verdict
	}{
		{"success", nil, nil, "", Passed},
		{"failure", nil, errors.New("x"), "", Failed},
		{"an expected failure that passes", known, nil, "no traffic indication", PassedUnexpectedly},
		{"another failure than the expected one", known, errors.New("no BGP"), "no traffic indication", Failed},
		{"the expected failure without the peer's word for it", known, errors.New("no redirect"), "", Failed},
		{"the expected failure", known, errors.New("no redirect"), "12:00 no traffic indication\n", FailedAsExpected},
	} {
		if got, _ := verdict(c.expected, c.err, c.testimony); got != c.want {
			t.Errorf("%s: %v, not %v", c.name, got, c.want)
		}
	}
}

func TestACaseThatSaysTooLittleIsRefused(t *testing.T) {
	good := Case{Name: "a", Group: "g", Peer: "p", Title: "t", Run: func(*Run) {}}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Case){
		"no run":      func(c *Case) { c.Run = nil },
		"row twice":   func(c *Case) { c.Rows = []Row{{ID: "a", What: "x"}, {ID: "a", What: "y"}} },
		"mute row":    func(c *Case) { c.Rows = []Row{{ID: "a"}} },
		"no evidence": func(c *Case) { c.Expected = &Expected{Failure: "x", Reason: "y"} },
		"bad pattern": func(c *Case) { c.Expected = &Expected{Failure: "(", Reason: "y", Log: "z"} },
	} {
		c := good
		spoil(&c)
		if c.check() == nil {
			t.Errorf("%s: it is accepted", name)
		}
	}
}

func TestEveryRowThatWasNotReachedHasFailed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("labs need root")
	}
	c := Case{
		Name: "a", Group: "g", Peer: "p", Title: "t",
		Rows: []Row{{ID: "one", What: "it works"}, {ID: "two", What: "it works too"}, {ID: "three", What: "and this"}},
		Run: func(r *Run) {
			r.Check("one", func() {})
			r.Must("two", func() { r.Fatalf("broken") })
			r.Check("three", func() {})
		},
	}
	s := Settings{Dir: t.TempDir(), Out: io.Discard}
	results, _ := runCase(context.Background(), s, c, func(string) {})
	want := []Verdict{Passed, Failed, Failed}
	for i, r := range results {
		if r.Verdict != want[i] {
			t.Errorf("row %s: %v (%v), not %v", r.Row.ID, r.Verdict, r.Err, want[i])
		}
	}
	if msg := results[2].Err.Error(); !strings.Contains(msg, "not reached") || !strings.Contains(msg, "broken") {
		t.Errorf("the row that was not reached does not say why: %v", msg)
	}
	c.Run = func(r *Run) { panic("oh") }
	results, _ = runCase(context.Background(), s, c, func(string) {})
	for _, r := range results {
		if r.Verdict != Failed || !strings.Contains(r.Err.Error(), "oh") {
			t.Errorf("after a panic row %s: %v, %v", r.Row.ID, r.Verdict, r.Err)
		}
	}
}

func TestTheDocumentNamesExpectedFailures(t *testing.T) {
	e := &Expected{Failure: "x", Log: "peer says no", Reason: "The peer stops.", Reference: "#7"}
	c := Case{Name: "a", Group: "Group", Peer: "peer", Title: "one | two", Rows: []Row{{ID: "r", What: "goes", Expected: e}, {ID: "s", What: "stays"}}}
	var b strings.Builder
	err := Document(&b, []Result{{Case: c, Row: c.Rows[0], Verdict: FailedAsExpected}, {Case: c, Row: c.Rows[1]}}, map[string]string{"peer": "1.2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := peers.Match(b.String(), `^\| peer \| 1\.2 \|$`, `one \\\| two \| peer \| goes \| fails as expected \[1\]`, `^1\. The peer stops\. \(#7\) Its log: .peer says no.`,
		`1 passed, 1 failed as expected`); err != nil {
		t.Error(err)
	}
}
