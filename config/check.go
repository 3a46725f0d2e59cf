package config

import (
	"fmt"
	"io"
)

// Check reads each file as a configuration of its own, writes what is wrong with it and a line of summary, and returns the
// exit status: 0, or 1 when a file has errors. Further, unless it is nil, says what is wrong with a valid configuration beyond
// its words, such as the content of certificates.
func Check(w io.Writer, further func(*Config) Diagnostics, files ...string) int {
	status := 0
	if len(files) == 0 {
		fmt.Fprintln(w, "no configuration file is named")
		return 1
	}
	for _, name := range files {
		c, diags := Load(name)
		if further != nil && !diags.HasErrors() {
			diags = append(diags, further(c)...)
		}
		io.WriteString(w, diags.String())
		errors, warnings := len(diags.Errors()), len(diags.Warnings())
		switch {
		case errors > 0:
			status = 1
			fmt.Fprintf(w, "%s: %s, %s\n", name, count(errors, "error"), count(warnings, "warning"))
		case warnings > 0:
			fmt.Fprintf(w, "%s: usable, %s\n", name, count(warnings, "warning"))
		default:
			fmt.Fprintf(w, "%s: good\n", name)
		}
	}
	return status
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
