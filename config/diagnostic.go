package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a configuration can be used in spite of a Diagnostic.
type Severity uint8

const (
	Error   Severity = iota // it cannot
	Warning                 // it can, but probably does not do what was meant
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Position is a place in a file. Line and Column count from 1, Column in characters; a zero Line is no place in particular.
type Position struct {
	File   string
	Line   int
	Column int
}

func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.File == "":
		return fmt.Sprintf("%d:%d", p.Line, p.Column)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Diagnostic is one thing that is wrong: where, which key, and what would be right.
type Diagnostic struct {
	Severity Severity
	Position Position
	Table    string // the table, such as "interface.Tunnel0"; empty at the top
	Key      string // the key in it, such as "protection" or "nhs[0].nbma"; may be empty
	Message  string
}

// String is `FILE:LINE:COLUMN: [TABLE] KEY: MESSAGE`; a warning says so before the table.
func (d Diagnostic) String() string {
	var b strings.Builder
	if pos := d.Position.String(); pos != "" {
		b.WriteString(pos + ": ")
	}
	if d.Severity == Warning {
		b.WriteString("warning: ")
	}
	if d.Table != "" {
		b.WriteString("[" + d.Table + "] ")
	}
	if d.Key != "" {
		b.WriteString(d.Key + ": ")
	}
	b.WriteString(d.Message)
	return b.String()
}

// Diagnostics is all that is wrong, in file order.
type Diagnostics []Diagnostic

// Errors are those that make the configuration unusable.
func (ds Diagnostics) Errors() Diagnostics { return ds.only(Error) }

// Warnings are the others.
func (ds Diagnostics) Warnings() Diagnostics { return ds.only(Warning) }

// HasErrors reports whether the configuration is unusable.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// Err is an error with a line for every Error, or nil.
func (ds Diagnostics) Err() error {
	if errs := ds.Errors(); len(errs) > 0 {
		return diagnosticError{errs}
	}
	return nil
}

// String has one line for each.
func (ds Diagnostics) String() string {
	var b strings.Builder
	for _, d := range ds {
		b.WriteString(d.String() + "\n")
	}
	return b.String()
}

func (ds Diagnostics) only(s Severity) Diagnostics {
	var out Diagnostics
	for _, d := range ds {
		if d.Severity == s {
			out = append(out, d)
		}
	}
	return out
}

// diagnosticError is Diagnostics as an error.
type diagnosticError struct{ Diagnostics }

func (e diagnosticError) Error() string {
	lines := make([]string, len(e.Diagnostics))
	for i, d := range e.Diagnostics {
		lines[i] = "config: " + d.String()
	}
	return strings.Join(lines, "\n")
}

// sort puts diagnostics in file order, files in the order given.
func (ds Diagnostics) sort(files []string) {
	rank := func(f string) int { return slices.Index(files, f) }
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(rank(a.Position.File), rank(b.Position.File)),
			cmp.Compare(a.Position.Line, b.Position.Line), cmp.Compare(a.Position.Column, b.Position.Column),
			cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Key, b.Key),
			cmp.Compare(a.Message, b.Message))
	})
}
