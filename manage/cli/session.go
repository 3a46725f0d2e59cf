package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync/atomic"
)

// Session is one person or program at the command line. Its methods are for one goroutine; Monitor may be read by others.
type Session struct {
	Tree *Tree
	// Out is where long-running commands write as they go.
	Out io.Writer
	// Monitor is on while the session wants the log's lines ("terminal monitor").
	Monitor atomic.Bool
	// Closed is set by "exit".
	Closed bool
}

var errFilter = errors.New("% A filter is: | {include|exclude|begin|section} REGEX, | count or | json")

// Exec runs one line and writes its output to Out. A line that begins with "!" is a comment.
func (s *Session) Exec(ctx context.Context, line string) error {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "!") {
		return nil
	}
	if body, ok := strings.CutSuffix(line, "?"); ok {
		return s.help(body)
	}
	command, filter, piped := strings.Cut(line, "|")
	command = strings.TrimSpace(command)
	if rest, ok := strings.CutPrefix(command, "do "); ok {
		command = strings.TrimSpace(rest)
	}
	var keep func(string) string
	asJSON := false
	if piped {
		var err error
		if keep, asJSON, err = parseFilter(filter); err != nil {
			return err
		}
	}
	cmd, args, err := s.Tree.find(command)
	if err != nil {
		return err
	}
	// A filtered command's own progress goes through the filter too.
	run := s
	var held strings.Builder
	if keep != nil || asJSON {
		run = &Session{Tree: s.Tree, Out: &held}
	}
	result, err := cmd.Run(&Invocation{Context: ctx, Session: run, Args: args})
	s.Closed = s.Closed || run.Closed
	if err != nil {
		return err
	}
	if asJSON {
		if result == nil {
			return errors.New("% This command has no JSON form")
		}
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(result); err != nil {
			return fmt.Errorf("%% this has no JSON form: %w", err)
		}
		_, err := io.WriteString(s.Out, plainJSON(b.String()))
		return err
	}
	var t Table
	t.b.WriteString(held.String())
	if result != nil {
		result.Text(&t)
	}
	text := Plain(t.String(), "\n\t")
	if keep != nil {
		text = keep(text)
	}
	_, err = io.WriteString(s.Out, text)
	return err
}

func (s *Session) help(line string) error {
	choices, err := s.Tree.Help(line)
	if err != nil {
		return err
	}
	width := 0
	for _, c := range choices {
		width = max(width, len(c.Word))
	}
	for _, c := range choices {
		fmt.Fprintln(s.Out, strings.TrimRight(fmt.Sprintf("  %-*s  %s", width, c.Word, c.Help), " "))
	}
	if len(choices) == 0 {
		fmt.Fprintln(s.Out, "% Unrecognized command")
	}
	return nil
}

func parseFilter(filter string) (keep func(string) string, asJSON bool, err error) {
	word, pattern, _ := strings.Cut(strings.TrimSpace(filter), " ")
	kind := ""
	for _, k := range []string{"include", "exclude", "begin", "section", "count", "json"} {
		if word != "" && strings.HasPrefix(k, word) {
			kind = k
			break
		}
	}
	switch kind {
	case "":
		return nil, false, errFilter
	case "json":
		return nil, true, nil
	case "count":
		if pattern == "" {
			return func(s string) string { return fmt.Sprintf("Number of lines = %d\n", strings.Count(s, "\n")) }, false, nil
		}
	}
	pattern = strings.Trim(strings.TrimSpace(pattern), `"`)
	if pattern == "" {
		return nil, false, errFilter
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, false, fmt.Errorf("%% %w", err)
	}
	return func(text string) string {
		var out strings.Builder
		begun, inSection, n := false, false, 0
		for line := range strings.Lines(text) {
			hit := re.MatchString(strings.TrimSuffix(line, "\n"))
			indented := strings.HasPrefix(line, " ")
			begun = begun || hit
			inSection = hit || inSection && indented
			if hit {
				n++
			}
			if kind == "include" && hit || kind == "exclude" && !hit || kind == "begin" && begun || kind == "section" && inSection {
				out.WriteString(line)
			}
		}
		if kind == "count" {
			return fmt.Sprintf("Number of lines which match regexp = %d\n", n)
		}
		return out.String()
	}, false, nil
}
