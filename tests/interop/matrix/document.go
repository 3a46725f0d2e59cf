package matrix

import (
	"fmt"
	"io"
	"sort"
	"strings"
)

// Summary is the last line of a run.
func Summary(results []Result) (line string, good bool) {
	counts := map[Verdict]int{}
	for _, r := range results {
		counts[r.Verdict]++
	}
	good = counts[Failed] == 0 && counts[PassedUnexpectedly] == 0
	line = fmt.Sprintf("%d passed, %d failed as expected", counts[Passed], counts[FailedAsExpected])
	if !good {
		line += fmt.Sprintf(", %d FAILED, %d PASSED AGAINST EXPECTATION", counts[Failed], counts[PassedUnexpectedly])
	}
	return line, good
}

// Table prints the matrix for a terminal.
func Table(w io.Writer, results []Result) {
	group, name := "", ""
	for _, r := range results {
		if r.Case.Group != group {
			group = r.Case.Group
			fmt.Fprintf(w, "\n%s\n", group)
		}
		if r.Case.Name != name && len(r.Case.Rows) > 0 {
			fmt.Fprintf(w, "  %s: %s\n", r.Case.Name, r.Case.Title)
		}
		name = r.Case.Name
		fmt.Fprintf(w, "    %-28s %s\n", r.Verdict, r.Row.What)
	}
}

// Document writes docs/interop.md.
func Document(w io.Writer, results []Result, versions map[string]string) error {
	var b strings.Builder
	b.WriteString(`# Proven against software written by others

This table is what ` + "`./build.sh interop`" + ` ran and found; it is written by that run (tests/interop). Every peer is Debian's own package,
in a network namespace or in a small virtual machine, and Felloe is the released program as a process. Nothing is skipped: a
case that cannot run fails the run, and so does an expected failure that passes.

`)
	if len(versions) > 0 {
		names := make([]string, 0, len(versions))
		for n := range versions {
			names = append(names, n)
		}
		sort.Strings(names)
		b.WriteString("| peer | version |\n| --- | --- |\n")
		for _, n := range names {
			fmt.Fprintf(&b, "| %s | %s |\n", n, versions[n])
		}
		b.WriteString("\n")
	}
	line, _ := Summary(results)
	fmt.Fprintf(&b, "%s.\n", line)
	group := ""
	var known []Result
	for _, r := range results {
		if r.Case.Group != group {
			group = r.Case.Group
			fmt.Fprintf(&b, "\n## %s\n\n| arrangement | peer | proven | |\n| --- | --- | --- | --- |\n", group)
		}
		title := r.Case.Title
		if len(r.Case.Rows) == 0 {
			title = r.Case.Name
		}
		mark := r.Verdict.String()
		if r.Verdict == FailedAsExpected {
			known = append(known, r)
			mark = fmt.Sprintf("fails as expected [%d]", len(known))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", cell(title), cell(r.Case.Peer), cell(r.Row.What), mark)
	}
	if len(known) > 0 {
		b.WriteString("\n## Expected failures\n\n")
		for i, r := range known {
			e := r.Row.Expected
			fmt.Fprintf(&b, "%d. %s", i+1, e.Reason)
			if e.Reference != "" {
				fmt.Fprintf(&b, " (%s)", e.Reference)
			}
			if e.Log != "" {
				fmt.Fprintf(&b, " Its log: `%s`", e.Log)
			}
			b.WriteString("\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
