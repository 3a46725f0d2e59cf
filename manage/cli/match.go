package cli

import (
	"fmt"
	"slices"
	"strings"
)

// A SyntaxError says which word of a line is wrong, as IOS does with its marker.
type SyntaxError struct {
	Line   string
	Column int
	Msg    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s\n%s^\n%s", e.Line, strings.Repeat(" ", e.Column), e.Msg)
}

type token struct {
	text string
	col  int
}

// fields splits a line at blanks; double quotes keep blanks together.
func fields(line string) []token {
	var out []token
	for i := 0; i < len(line); {
		for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
			i++
		}
		if i >= len(line) {
			break
		}
		start := i
		if line[i] == '"' {
			end := strings.IndexByte(line[i+1:], '"')
			if end < 0 {
				end = len(line) - i - 1
			}
			out = append(out, token{line[i+1 : i+1+end], start})
			i += end + 2
			continue
		}
		for i < len(line) && line[i] != ' ' && line[i] != '\t' {
			i++
		}
		out = append(out, token{line[start:i], start})
	}
	return out
}

// walk follows the tokens from the root and returns the node that they reach and the arguments.
func (t *Tree) walk(line string, toks []token) (*node, map[string]string, error) {
	at := &t.root
	args := map[string]string{}
	for _, tok := range toks {
		e, err := at.choose(tok.text)
		if err != "" {
			return nil, nil, &SyntaxError{line, tok.col, err}
		}
		if e.arg {
			args[e.word] = tok.text
		} else {
			args[e.word] = e.word
		}
		at = e.to
	}
	return at, args, nil
}

// choose finds the edge for a word: the exact keyword, else the only keyword it begins, else an argument.
func (n *node) choose(word string) (edge, string) {
	var found []edge
	lower := strings.ToLower(word)
	for _, e := range n.edges {
		if !e.arg && e.word == lower {
			return e, ""
		}
		if !e.arg && strings.HasPrefix(e.word, lower) && len(lower) >= e.least {
			found = append(found, e)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], ""
	case len(found) > 1:
		words := make([]string, len(found))
		for i, e := range found {
			words[i] = e.word
		}
		return edge{}, fmt.Sprintf("%% Ambiguous command: %q may be %s", word, strings.Join(words, ", "))
	}
	for _, e := range n.edges {
		if e.arg {
			return e, ""
		}
	}
	return edge{}, "% Invalid input detected at '^' marker."
}

// find resolves a line to its command.
func (t *Tree) find(line string) (*Command, map[string]string, error) {
	toks := fields(line)
	at, args, err := t.walk(line, toks)
	if err != nil {
		return nil, nil, err
	}
	if at.cmd == nil {
		return nil, nil, &SyntaxError{line, len(line), "% Incomplete command: next may be " + strings.Join(at.nextWords(), ", ")}
	}
	return at.cmd, args, nil
}

func (n *node) nextWords() []string {
	var out []string
	for _, e := range n.edges {
		w := e.word
		if e.arg {
			w = "<" + w + ">"
		}
		out = append(out, w)
	}
	slices.Sort(out)
	return out
}

// Choice is one possible next word with its help.
type Choice struct{ Word, Help string }

// Help lists what may follow the line: after a blank the next words, else the words that the last one begins. "<cr>"
// stands for the end of the line.
func (t *Tree) Help(line string) ([]Choice, error) {
	toks := fields(line)
	partial := ""
	if len(toks) > 0 && !strings.HasSuffix(line, " ") {
		partial = strings.ToLower(toks[len(toks)-1].text)
		toks = toks[:len(toks)-1]
	}
	at, _, err := t.walk(line, toks)
	if err != nil {
		return nil, err
	}
	var out []Choice
	for _, e := range at.edges {
		word := e.word
		if e.arg {
			word = "<" + word + ">"
		} else if !strings.HasPrefix(word, partial) || partial != "" && len(partial) < e.least {
			continue
		}
		help := t.words[word]
		if e.to.cmd != nil && e.to.cmd.Help != "" && strings.HasSuffix(e.to.cmd.Pattern, word) {
			help = e.to.cmd.Help
		}
		out = append(out, Choice{word, help})
	}
	slices.SortFunc(out, func(a, b Choice) int { return strings.Compare(a.Word, b.Word) })
	if partial == "" && at.cmd != nil {
		out = append(out, Choice{"<cr>", ""})
	}
	return out, nil
}

// Complete returns the line with its last word completed as far as it is unambiguous.
func (t *Tree) Complete(line string) string {
	choices, err := t.Help(line)
	if err != nil || strings.HasSuffix(line, " ") || line == "" {
		return line
	}
	var words []string
	for _, c := range choices {
		if !strings.HasPrefix(c.Word, "<") {
			words = append(words, c.Word)
		}
	}
	if len(words) == 0 {
		return line
	}
	common := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, common) {
			common = common[:len(common)-1]
		}
	}
	toks := fields(line)
	last := toks[len(toks)-1]
	if len(common) < len(last.text) {
		return line
	}
	line = line[:last.col] + common
	if len(words) == 1 {
		line += " "
	}
	return line
}
