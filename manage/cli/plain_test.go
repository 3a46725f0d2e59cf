package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

type said struct {
	Version string `json:"version"`
}

func (s said) Text(w *Table) { w.Linef("version\t%s", s.Version) }

func TestNothingThatAPeerSaysReachesTheTerminalRaw(t *testing.T) {
	evil := "a\x1b[2J\x07b\u009b31m\u202ec\u2028\xff\u00e9\x7f\U000e0041"
	tree := NewTree(nil)
	tree.Add(Command{Pattern: "show it", Run: func(*Invocation) (Result, error) { return said{evil}, nil }})
	for line, want := range map[string]string{
		"show it":                   "version\ta\\x1b[2J\\x07b\\x9b31m\\u202ec\\u2028\\xff\u00e9\\x7f\\ue0041\n",
		"show it | include version": "version\ta\\x1b[2J\\x07b\\x9b31m\\u202ec\\u2028\\xff\u00e9\\x7f\\ue0041\n",
		"show it | json":            "",
	} {
		var out bytes.Buffer
		s := &Session{Tree: tree, Out: &out}
		if err := s.Exec(context.Background(), line); err != nil {
			t.Fatal(err)
		}
		if want != "" && out.String() != want {
			t.Errorf("%s: %q, want %q", line, out.String(), want)
		}
		if i := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s: %q has something raw", line, out.String())
		}
		if want == "" {
			var back said
			if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.Version != strings.ToValidUTF8(evil, "\ufffd") {
				t.Errorf("%s: %q, %v", line, back.Version, err)
			}
		}
	}
}
