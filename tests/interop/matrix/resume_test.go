package matrix

import (
	"strings"
	"testing"
)

func TestGoodRowsOfAnEarlierRunAreReadAndOthersAreNot(t *testing.T) {
	good := describe(&Result{Case: Case{Name: "a/b"}, Row: Row{ID: "up", What: "it comes up"}, Took: 1500000000})
	expected := describe(&Result{Case: Case{Name: "a/b"}, Row: Row{ID: "esn", What: "long numbers"}, Verdict: FailedAsExpected})
	bad := describe(&Result{Case: Case{Name: "a/b"}, Row: Row{ID: "down", What: "it goes"}, Verdict: Failed, Err: errTest})
	got, err := Earlier(strings.NewReader("== building\n" + good + "\n" + bad + "\n" + expected + "\n"))
	if err != nil || len(got) != 2 || got["a/b up"] != Passed || got["a/b esn"] != FailedAsExpected {
		t.Fatal(got, err)
	}
	if _, bad := got["a/b down"]; bad {
		t.Error("a failure was taken for a result")
	}
}

type testError string

func (e testError) Error() string { return string(e) }

const errTest = testError("it stays")
