package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A node is a value of a TOML document with the place where it was written. go-toml's own decoder stops at the first value
// that does not fit; the tree is what lets all of them be reported at once.
type node struct {
	kind nodeKind
	pos  Position // of the value; of the header for a table
	key  Position // of the key
	text string   // a scalar: its text, unquoted

	names []string // a table: its keys in file order
	kids  map[string]*node
	items []*node // an array

	header bool // a table that a [header] has opened
	inline bool // { … }, or made by a dotted key: closed to headers
	tables bool // an array of [[tables]]
}

type nodeKind uint8

const (
	tableNode nodeKind = iota
	arrayNode
	stringNode
	intNode
	floatNode
	boolNode
	timeNode
)

// String says what a node is in an operator's words.
func (k nodeKind) String() string {
	return [...]string{"a table", "a list", "text", "a whole number", "a number with a fraction", "true or false", "a date or time"}[k]
}

// maxFile bounds what is read: no configuration is that long, and a disk full of noise must not fill the memory.
const maxFile = 16 << 20

// maxDepth bounds how many parts a key has.
const maxDepth = 100

// treeBuilder turns one file into a tree.
type treeBuilder struct {
	file  string
	data  []byte
	lines []int // offset of each line's first byte
	diags Diagnostics

	last struct{ offset, line, column int } // where the last position was: the next is rarely far
}

// parseTree reads a file. When the syntax is wrong the tree is nil, since what follows the mistake is anybody's guess.
func parseTree(file string, data []byte) (*node, Diagnostics) {
	b := &treeBuilder{file: file, data: data}
	if msg := notText(data); msg != "" {
		return nil, Diagnostics{{Position: Position{File: file}, Message: msg}}
	}
	b.data = trimBOM(data)
	b.data = b.data[:len(b.data):len(b.data)] // the parser finds offsets by capacity
	b.lines = append(b.lines, 0)
	for i, c := range b.data {
		if c == '\n' {
			b.lines = append(b.lines, i+1)
		}
	}
	root := newTable(Position{File: file, Line: 1, Column: 1})
	table := root
	var p unstable.Parser
	p.Reset(b.data)
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table:
			table = b.openTable(root, b.keys(e.Key()))
		case unstable.ArrayTable:
			table = b.openArrayTable(root, b.keys(e.Key()))
		case unstable.KeyValue:
			b.insert(table, b.keys(e.Key()), b.value(e.Value()))
		}
	}
	if err := p.Error(); err != nil {
		return nil, b.syntaxError(err)
	}
	if len(b.diags) == 0 {
		// The rules that the tree does not know of (how tables may be reopened, ranges of dates) are the library's.
		var any map[string]any
		if err := toml.Unmarshal(b.data, &any); err != nil {
			return nil, b.syntaxError(err)
		}
	}
	return root, b.diags
}

func newTable(pos Position) *node {
	return &node{kind: tableNode, pos: pos, key: pos, kids: map[string]*node{}}
}

func (n *node) put(name string, v *node) {
	n.names = append(n.names, name)
	n.kids[name] = v
}

type keyPart struct {
	name string
	pos  Position
}

func (b *treeBuilder) keys(it unstable.Iterator) []keyPart {
	var out []keyPart
	for it.Next() {
		n := it.Node()
		if len(out) == maxDepth {
			b.errorf(out[0].pos, "a key of more than %d parts: nothing here is that deep", maxDepth)
			break
		}
		out = append(out, keyPart{string(n.Data), b.at(int(n.Raw.Offset))})
	}
	return out
}

// at turns an offset into a position.
func (b *treeBuilder) at(offset int) Position {
	line := sort.SearchInts(b.lines, offset+1) - 1
	from, column := b.lines[line], 1
	if l := b.last; l.line == line && l.offset <= offset && l.offset > from {
		from, column = l.offset, l.column
	}
	column += utf8.RuneCount(b.data[from:offset])
	b.last.offset, b.last.line, b.last.column = offset, line, column
	return Position{File: b.file, Line: line + 1, Column: column}
}

func (b *treeBuilder) errorf(pos Position, format string, args ...any) {
	b.diags = append(b.diags, Diagnostic{Position: pos, Message: fmt.Sprintf(format, args...)})
}

// walk goes down to the table that holds the last key, opening tables on the way.
func (b *treeBuilder) walk(n *node, keys []keyPart, dotted bool) *node {
	for i, k := range keys {
		next := n.kids[k.name]
		switch {
		case next == nil:
			next = newTable(k.pos)
			next.inline = dotted
			n.put(k.name, next)
		case next.kind == arrayNode && next.tables && !dotted:
			next = next.items[len(next.items)-1]
		case next.kind != tableNode:
			b.errorf(k.pos, "%s is %s (set at %s) and cannot be a table as well", dottedName(keys[:i+1]), next.kind, next.key)
			return newTable(k.pos)
		}
		n = next
	}
	return n
}

func (b *treeBuilder) openTable(root *node, keys []keyPart) *node {
	last := keys[len(keys)-1]
	parent := b.walk(root, keys[:len(keys)-1], false)
	old := parent.kids[last.name]
	switch {
	case old == nil:
		t := newTable(last.pos)
		t.header = true
		parent.put(last.name, t)
		return t
	case old.kind == tableNode && !old.header && !old.inline:
		old.header, old.pos, old.key = true, last.pos, last.pos
		return old
	case old.kind == tableNode:
		b.errorf(last.pos, "the table [%s] is there already, at %s: put its keys together", dottedName(keys), old.key)
		return old
	case old.tables:
		b.errorf(last.pos, "[%s] is a list of tables (since %s): write [[%s]]", dottedName(keys), old.key, dottedName(keys))
	default:
		b.errorf(last.pos, "%s is %s (set at %s) and cannot be a table as well", dottedName(keys), old.kind, old.key)
	}
	return newTable(last.pos)
}

func (b *treeBuilder) openArrayTable(root *node, keys []keyPart) *node {
	last := keys[len(keys)-1]
	parent := b.walk(root, keys[:len(keys)-1], false)
	t := newTable(last.pos)
	t.header = true
	switch old := parent.kids[last.name]; {
	case old == nil:
		parent.put(last.name, &node{kind: arrayNode, pos: last.pos, key: last.pos, tables: true, items: []*node{t}})
	case old.tables:
		old.items = append(old.items, t)
	default:
		b.errorf(last.pos, "%s is %s (set at %s): it cannot go on as [[%s]]", dottedName(keys), old.kind, old.key, dottedName(keys))
	}
	return t
}

func (b *treeBuilder) insert(table *node, keys []keyPart, v *node) {
	last := keys[len(keys)-1]
	table = b.walk(table, keys[:len(keys)-1], true)
	v.key = last.pos
	if v.pos.Line == 0 {
		v.pos = last.pos
	}
	if old := table.kids[last.name]; old != nil {
		b.errorf(last.pos, "%s is set twice, first at %s: keep one of them", dottedName(keys), old.key)
		return
	}
	table.put(last.name, v)
}

func (b *treeBuilder) value(n *unstable.Node) *node {
	out := &node{text: string(n.Data)}
	if n.Raw.Length > 0 {
		out.pos = b.at(int(n.Raw.Offset))
	}
	switch n.Kind {
	case unstable.Array:
		out.kind, out.text = arrayNode, ""
		for it := n.Children(); it.Next(); {
			out.items = append(out.items, b.value(it.Node()))
		}
	case unstable.InlineTable:
		out.kind, out.text, out.inline, out.kids = tableNode, "", true, map[string]*node{}
		for it := n.Children(); it.Next(); {
			kv := it.Node()
			b.insert(out, b.keys(kv.Key()), b.value(kv.Value()))
		}
	case unstable.String:
		out.kind = stringNode
	case unstable.Bool:
		out.kind = boolNode
	case unstable.Integer:
		out.kind = intNode
	case unstable.Float:
		out.kind = floatNode
	default:
		out.kind = timeNode
	}
	return out
}

// place gives positions to values that the parser has none for (lists): that of their key, or of the list around them.
func (n *node) place(pos Position) {
	if n.pos.Line == 0 {
		n.pos = pos
	}
	if n.key.Line == 0 {
		n.key = n.pos
	}
	for _, i := range n.items {
		i.place(n.pos)
	}
	for _, name := range n.names {
		n.kids[name].place(n.pos)
	}
}

// merge adds another file's tree: tables are joined, lists of tables go on, and nothing may be set twice.
func (n *node) merge(m *node, path string) (diags Diagnostics) {
	for _, name := range m.names {
		a, b := n.kids[name], m.kids[name]
		p := joinPath(path, name)
		switch {
		case a == nil:
			n.put(name, b)
		case a.kind == tableNode && b.kind == tableNode:
			diags = append(diags, a.merge(b, p)...)
		case a.tables && b.tables:
			a.items = append(a.items, b.items...)
		default:
			diags = append(diags, Diagnostic{Position: b.key, Table: path, Key: quoteKey(name),
				Message: fmt.Sprintf("is set twice, first at %s: keep one of them", a.key)})
		}
	}
	return diags
}

// syntaxError says where the document stops being TOML, and what is probably missing.
func (b *treeBuilder) syntaxError(err error) Diagnostics {
	offset, msg := 0, err.Error()
	var pe *unstable.ParserError
	var de *toml.DecodeError
	switch {
	case errors.As(err, &pe):
		offset, msg = cap(b.data)-cap(pe.Highlight), pe.Message
		if pe.Highlight == nil {
			offset = len(b.data)
		}
	case errors.As(err, &de):
		row, col := de.Position()
		msg = strings.TrimPrefix(de.Error(), "toml: ")
		if row >= 1 && row <= len(b.lines) {
			offset = b.lines[row-1] + max(col-1, 0)
		}
	}
	offset = min(max(offset, 0), len(b.data))
	return Diagnostics{{Position: b.at(offset), Message: "not TOML: " + msg + b.hint(offset)}}
}

var (
	bareValue = regexp.MustCompile(`^\s*[\w."'-]+\s*=\s*([^"'\[{#\s][^#]*?)\s*(#.*)?$`)
	openValue = regexp.MustCompile(`^\s*([\w."'-]+)\s*=\s*[\[{]`)
	noValue   = regexp.MustCompile(`^\s*([\w."'-]+)\s*(=\s*)?(#.*)?$`)
)

// hint guesses what would be right.
func (b *treeBuilder) hint(offset int) string {
	line := sort.SearchInts(b.lines, offset+1) - 1
	text := b.line(line)
	if offset >= len(b.data)-1 && len(strings.TrimSpace(string(b.data[offset:]))) <= 1 {
		for i := line; i >= 0; i-- {
			s := b.line(i)
			if strings.HasPrefix(strings.TrimSpace(s), "[") && i < line {
				break
			}
			if m := openValue.FindStringSubmatch(s); m != nil {
				return fmt.Sprintf(" (the value of %s, which begins at line %d, is not closed; is the file cut off?)", m[1], i+1)
			}
		}
		if m := noValue.FindStringSubmatch(text); m != nil {
			return fmt.Sprintf(" (the file ends after %q: is it cut off?)", m[1])
		}
		return " (the file ends here: is it cut off?)"
	}
	if m := bareValue.FindStringSubmatch(text); m != nil {
		if strings.HasPrefix("true", m[1]) || strings.HasPrefix("false", m[1]) || m[1] == "yes" || m[1] == "no" || m[1] == "on" || m[1] == "off" || m[1] == "True" || m[1] == "False" {
			return " (expected true or false)"
		}
		if !strings.ContainsAny(m[1], "\"'") {
			return fmt.Sprintf(" (text is written in quotes: %q)", m[1])
		}
	}
	if m := noValue.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf(" (expected %s = VALUE, or a [table])", m[1])
	}
	if strings.Count(text, `"`)%2 == 1 {
		return " (a quote is missing on this line)"
	}
	return ""
}

func (b *treeBuilder) line(i int) string {
	end := len(b.data)
	if i+1 < len(b.lines) {
		end = b.lines[i+1]
	}
	return strings.TrimRight(string(b.data[b.lines[i]:end]), "\r\n")
}

// notText says why data cannot be a configuration at all, or "".
func notText(data []byte) string {
	switch {
	case len(data) > maxFile:
		return fmt.Sprintf("the file has %d bytes; a configuration has at most %d", len(data), maxFile)
	case len(data) >= 2 && (data[0] == 0xff && data[1] == 0xfe || data[0] == 0xfe && data[1] == 0xff):
		return "the file is UTF-16; save it as UTF-8"
	}
	if i := slices.Index(data, 0); i >= 0 {
		return fmt.Sprintf("the file has a zero byte at offset %d: it is not text, or it was cut off or overwritten", i)
	}
	return ""
}

func trimBOM(data []byte) []byte {
	if len(data) >= 3 && data[0] == 0xef && data[1] == 0xbb && data[2] == 0xbf {
		return data[3:]
	}
	return data
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// quoteKey is a key as TOML wants it.
func quoteKey(name string) string {
	if bareKey.MatchString(name) {
		return name
	}
	return quoteText(name)
}

func joinPath(path, name string) string {
	if path == "" {
		return quoteKey(name)
	}
	return path + "." + quoteKey(name)
}

func dottedName(keys []keyPart) string {
	path := ""
	for _, k := range keys {
		path = joinPath(path, k.name)
	}
	return path
}

// quoteText is a TOML basic string.
func quoteText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
