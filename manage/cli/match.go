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

// path is what the tokens of a line lead to.
type path struct {
	at       *node
	args     map[string]string
	keywords []string
}

// walk follows the tokens from the root.
func (t *Tree) walk(line string, toks []token) (path, error) {
	p := path{at: &t.root, args: map[string]string{}}
	for i := 0; i < len(toks); i++ {
		tok := toks[i]
		e, err := p.at.choose(tok.text)
		if err != "" {
			return p, &SyntaxError{line, tok.col, err}
		}
		if e.arg {
			// "GigabitEthernet 1" is one name.
			if e.word == "interface" && i+1 < len(toks) && letters(tok.text) && digit(toks[i+1].text) {
				i++
				tok.text += toks[i].text
			}
			p.args[e.word] = tok.text
		} else {
			p.args[e.word] = e.word
			p.keywords = append(p.keywords, e.word)
		}
		p.at = e.to
	}
	return p, nil
}

func letters(s string) bool { return s != "" && !strings.ContainsAny(s, "0123456789:.") }
func digit(s string) bool {
	return s != "" && s[0] >= '0' && s[0] <= '9' && !strings.ContainsAny(s, ":.")
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
	p, err := t.walk(line, toks)
	if err != nil {
		return nil, nil, err
	}
	if p.at.cmd == nil {
		return nil, nil, &SyntaxError{line, len(line), "% Incomplete command: next may be " + strings.Join(p.at.nextWords(), ", ")}
	}
	return p.at.cmd, p.args, nil
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

// Help lists what may follow the line: after a blank the next words, else the words that the last one begins, names
// that there are for an argument included. "<cr>" stands for the end of the line.
func (t *Tree) Help(line string) ([]Choice, error) {
	toks := fields(line)
	partial := ""
	if len(toks) > 0 && !strings.HasSuffix(line, " ") {
		partial = toks[len(toks)-1].text
		toks = toks[:len(toks)-1]
	}
	p, err := t.walk(line, toks)
	if err != nil {
		return nil, err
	}
	var out []Choice
	for _, e := range p.at.edges {
		word := e.word
		if e.arg {
			word = "<" + word + ">"
			for _, name := range t.names(strings.Join(p.keywords, " "), e.word) {
				if hasPrefixFold(name, partial) {
					out = append(out, Choice{name, ""})
				}
			}
		} else if !hasPrefixFold(word, partial) || partial != "" && len(partial) < e.least {
			continue
		}
		help := t.words[word]
		if e.to.cmd != nil && e.to.cmd.Help != "" && strings.HasSuffix(e.to.cmd.Pattern, word) {
			help = e.to.cmd.Help
		}
		out = append(out, Choice{word, help})
	}
	slices.SortStableFunc(out, func(a, b Choice) int { return strings.Compare(a.Word, b.Word) })
	out = slices.CompactFunc(out, func(a, b Choice) bool { return a.Word == b.Word })
	if partial == "" && p.at.cmd != nil {
		out = append(out, Choice{"<cr>", ""})
	}
	return out, nil
}

// names are those that there are for an argument, fit to be typed.
func (t *Tree) names(keywords, arg string) []string {
	if t.Names == nil {
		return nil
	}
	var out []string
	for _, n := range t.Names(keywords, arg) {
		if strings.ContainsAny(n, " \t") {
			n = `"` + n + `"`
		}
		out = append(out, n)
	}
	return out
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
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
		for !hasPrefixFold(w, common) {
			common = common[:len(common)-1]
		}
	}
	toks := fields(line)
	last := toks[len(toks)-1]
	if len(common) < len(last.text) || strings.HasPrefix(line[last.col:], `"`) {
		return line
	}
	line = line[:last.col] + common
	if len(words) == 1 {
		line += " "
	}
	return line
}
