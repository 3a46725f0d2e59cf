package cli

import (
	"context"
	"fmt"
	"strings"
)

// Result is what a command answers. Text prints it as IOS would; "| json" marshals the value itself.
type Result interface {
	Text(w *Table)
}

// Invocation is one run of a command.
type Invocation struct {
	context.Context
	// Session is who asks; never nil.
	Session *Session
	// Args holds the arguments by the names of their patterns, and each chosen keyword under its own word.
	Args map[string]string
}

// Has reports whether the line contained the keyword or argument.
func (i *Invocation) Has(name string) bool { _, ok := i.Args[name]; return ok }

// Command is one pattern and what it does.
type Command struct {
	Pattern string
	// Help says in a few words what the command's last keyword is for.
	Help string
	// Run does it. A nil Result prints nothing. What takes long writes to Session.Out as it goes and ends with ctx.
	Run func(*Invocation) (Result, error)
}

// Tree is a set of commands. Build it once with Add; then it is safe for concurrent reading.
type Tree struct {
	root     node
	words    map[string]string
	patterns []Command
	// Names tells what names there are for an <argument> now, given the keywords before it: ("show route-map", "name").
	// They are completed and helped with; any other word is taken too. It may be nil.
	Names func(keywords, arg string) []string
}

// NewTree returns an empty tree; help gives the texts shown beside keywords and <arguments>.
func NewTree(help map[string]string) *Tree { return &Tree{words: help} }

// Commands lists what was added, in order.
func (t *Tree) Commands() []Command { return t.patterns }

type node struct {
	edges []edge
	cmd   *Command
}

type edge struct {
	word string // keyword, or the argument's name
	arg  bool
	to   *node
	// least is how many of the keyword's letters must be typed.
	least int
}

// Add registers a command. A malformed or doubled pattern panics: it is an error of the program.
func (t *Tree) Add(c Command) {
	t.patterns = append(t.patterns, c)
	cmd := &c
	p := &patternParser{tokens: tokenize(c.Pattern), pattern: c.Pattern}
	ends := p.sequence([]*node{&t.root}, "")
	if len(p.tokens) > 0 {
		panic("cli: trailing " + strings.Join(p.tokens, " ") + " in pattern " + c.Pattern)
	}
	for _, n := range ends {
		if n.cmd != nil && n.cmd.Pattern != c.Pattern {
			panic(fmt.Sprintf("cli: %q and %q mean the same line", n.cmd.Pattern, c.Pattern))
		}
		n.cmd = cmd
	}
}

// Spell makes a first keyword need that many letters, so that it does not stand in the way of an older one's
// abbreviation: "sh" is show, not shutdown.
func (t *Tree) Spell(keyword string, least int) {
	for i := range t.root.edges {
		if e := &t.root.edges[i]; !e.arg && e.word == keyword {
			e.least = least
		}
	}
}

func tokenize(pattern string) []string {
	for _, c := range []string{"[", "]", "{", "}*", "|"} {
		pattern = strings.ReplaceAll(pattern, c, " "+c+" ")
	}
	return strings.Fields(pattern)
}

type patternParser struct {
	tokens  []string
	pattern string
}

func (p *patternParser) next() string {
	if len(p.tokens) == 0 {
		panic("cli: pattern ends early: " + p.pattern)
	}
	tok := p.tokens[0]
	p.tokens = p.tokens[1:]
	return tok
}

// sequence grows the graph from every node of from and returns where it ends.
func (p *patternParser) sequence(from []*node, until string) []*node {
	for len(p.tokens) > 0 {
		if tok := p.tokens[0]; tok == "|" || tok == "]" || tok == "}*" {
			return from
		}
		switch tok := p.next(); tok {
		case "[":
			ends := from
			for more := true; more; {
				ends = append(ends[:len(ends):len(ends)], p.sequence(from, "]")...)
				more = p.next() == "|"
			}
			from = dedupe(ends)
		case "{":
			// Each alternative leads back to where it began, so that it may be followed by any other.
			saved := p.tokens
			for _, start := range from {
				p.tokens = saved
				for more := true; more; {
					p.loop(start)
					more = p.next() == "|"
				}
			}
		default:
			from = step(from, tok)
		}
	}
	return from
}

// loop adds one alternative of a repeated group: its last word's edge returns to start.
func (p *patternParser) loop(start *node) {
	at := start
	for {
		tok := p.next()
		if last := p.tokens[0]; last == "|" || last == "}*" {
			at.edges = append(at.edges, edge{word: name(tok), arg: isArg(tok), to: start})
			return
		}
		at = step([]*node{at}, tok)[0]
	}
}

func step(from []*node, tok string) []*node {
	var shared *node
	out := make([]*node, 0, len(from))
	for _, n := range from {
		to := n.find(tok)
		if to == nil {
			if shared == nil {
				shared = &node{}
			}
			to = shared
			n.edges = append(n.edges, edge{word: name(tok), arg: isArg(tok), to: to})
		}
		out = append(out, to)
	}
	return dedupe(out)
}

func (n *node) find(tok string) *node {
	for _, e := range n.edges {
		if e.word == name(tok) && e.arg == isArg(tok) {
			return e.to
		}
	}
	return nil
}

func isArg(tok string) bool  { return strings.HasPrefix(tok, "<") }
func name(tok string) string { return strings.Trim(tok, "<>") }
func dedupe(ns []*node) []*node {
	var out []*node
	seen := map[*node]bool{}
	for _, n := range ns {
		if !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}
