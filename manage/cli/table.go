package cli

import (
	"fmt"
	"strings"
)

// Table collects a command's text. It is a strings.Builder with the two shapes that shows need: lines and columns.
type Table struct{ b strings.Builder }

// Linef adds one line.
func (t *Table) Linef(format string, args ...any) {
	fmt.Fprintf(&t.b, format, args...)
	t.b.WriteByte('\n')
}

// Line adds its words as one line.
func (t *Table) Line(s string) { t.b.WriteString(s); t.b.WriteByte('\n') }

// Columns adds a heading and rows, each column as wide as its widest cell. A cell that begins with '>' is aligned right
// in the heading's column.
func (t *Table) Columns(head []string, rows [][]string) {
	width := make([]int, len(head))
	right := make([]bool, len(head))
	clean := make([]string, len(head))
	for i, h := range head {
		clean[i], right[i] = strings.TrimPrefix(h, ">"), strings.HasPrefix(h, ">")
		width[i] = len(clean[i])
	}
	for _, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], len(c))
		}
	}
	put := func(cells []string) {
		var line strings.Builder
		for i, c := range cells {
			if i > 0 {
				line.WriteString("  ")
			}
			if right[i] {
				fmt.Fprintf(&line, "%*s", width[i], c)
			} else {
				fmt.Fprintf(&line, "%-*s", width[i], c)
			}
		}
		t.Line(strings.TrimRight(line.String(), " "))
	}
	put(clean)
	for _, r := range rows {
		put(r)
	}
}

// String is all the text so far.
func (t *Table) String() string { return t.b.String() }

// Text is a Result that is just words.
type Text string

// Text implements Result.
func (s Text) Text(w *Table) { w.Line(strings.TrimRight(string(s), "\n")) }
