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
	return t.root.walk(line, toks)
}

// walk: a word that begins several keywords is the one behind which the rest of the line makes sense, if there is but one
// ("sh ip ro" is no shutdown).
func (n *node) walk(line string, toks []token) (*node, map[string]string, error) {
	if len(toks) == 0 {
		return n, map[string]string{}, nil
	}
	tok, rest := toks[0], toks[1:]
	found, problem := n.choose(tok.text)
	if len(found) == 0 {
		return nil, nil, &SyntaxError{line, tok.col, problem}
	}
	var at *node
	var args map[string]string
	var failed error
	for _, e := range found {
		a, x, err := e.to.walk(line, rest)
		switch {
		case err != nil:
			failed = err
			continue
		case at != nil:
			return nil, nil, &SyntaxError{line, tok.col, problem}
		}
		at, args = a, x
		if args[e.word] = e.word; e.arg {
			args[e.word] = tok.text
		}
	}
	switch {
	case at != nil && (len(found) == 1 || len(rest) > 0):
		return at, args, nil
	case len(found) == 1:
		return nil, nil, failed
	}
	return nil, nil, &SyntaxError{line, tok.col, problem}
}

// choose finds the edges for a word: the exact keyword, else the keywords that it begins, else an argument. problem is
// what to say when they are not exactly one.
func (n *node) choose(word string) (found []edge, problem string) {
	lower := strings.ToLower(word)
	for _, e := range n.edges {
		if !e.arg && e.word == lower {
			return []edge{e}, ""
		}
		if !e.arg && strings.HasPrefix(e.word, lower) {
			found = append(found, e)
		}
	}
	if len(found) > 1 {
		words := make([]string, len(found))
		for i, e := range found {
			words[i] = e.word
		}
		return found, fmt.Sprintf("%% Ambiguous command: %q may be %s", word, strings.Join(words, ", "))
	}
	if len(found) == 0 {
		for _, e := range n.edges {
			if e.arg {
				return []edge{e}, ""
			}
		}
	}
	return found, "% Invalid input detected at '^' marker."
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
		} else if !strings.HasPrefix(word, partial) {
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
