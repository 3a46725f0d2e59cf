package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// A decoder fills a Config from a tree, and goes on after what does not fit.
type decoder struct {
	diags Diagnostics
	src   *source
	bad   map[string]bool // paths that an error has been reported for
	// secret reads a secret's file; name is as written, from the file that the position is in.
	secret func(from, name string) ([]byte, error)
}

// source remembers where each key was written.
type source struct {
	at map[string]place
}

// place is where a key was written and how an error names it: table as opened by a header, key from there.
type place struct {
	pos        Position
	table, key string
}

// scope is where the decoder is.
type scope struct {
	path       string // the whole path, canonical: interface.Tunnel0.nhrp.nhs[0].nbma
	table, key string // the same in two parts
}

// under is the scope of a key of a table. A table with a header of its own begins a new table part.
func (s scope) under(name string, n *node) scope {
	c := scope{path: joinPath(s.path, name), table: s.table, key: joinPath(s.key, name)}
	if n.kind == tableNode && !n.inline {
		c.table, c.key = c.path, ""
	}
	return c
}

func (s scope) index(i int, n *node) scope {
	c := scope{path: fmt.Sprintf("%s[%d]", s.path, i), table: s.table, key: fmt.Sprintf("%s[%d]", s.key, i)}
	if n.kind == tableNode && !n.inline {
		c.table, c.key = c.path, ""
	}
	return c
}

func (d *decoder) errorf(pos Position, s scope, format string, args ...any) {
	d.bad[s.path] = true
	d.diags = append(d.diags, Diagnostic{Position: pos, Table: s.table, Key: s.key, Message: fmt.Sprintf(format, args...)})
}

func (d *decoder) note(s scope, n *node) {
	if d.src.at != nil {
		d.src.at[s.path] = place{n.key, s.table, s.key}
	}
}

// table fills a struct.
func (d *decoder) table(n *node, s scope, v reflect.Value) {
	if n.kind != tableNode {
		d.errorf(n.pos, s, "expected a table, got %s", describe(n))
		return
	}
	fields := fieldsOf(v.Type())
	byName := make(map[string]*field, len(fields))
	names := make([]string, len(fields))
	for i, f := range fields {
		byName[f.name], names[i] = f, f.name
	}
	meant := map[string]bool{}
	for _, name := range n.names {
		kid := n.kids[name]
		f := byName[name]
		if f == nil {
			if g := suggest(name, names); g != "" {
				meant[g], d.bad[joinPath(s.path, g)] = true, true
			}
			d.unknown(kid, s, name, names, v.Type())
			continue
		}
		c := s.under(name, kid)
		d.note(c, kid)
		if f.word != "" {
			found := false
			if kid, found = withoutWord(kid, f.word); found {
				v.FieldByIndex(f.flag).SetBool(true)
			}
			if kid == nil {
				continue
			}
		}
		d.field(kid, c, f, v.FieldByIndex(f.index))
	}
	for _, f := range fields {
		if f.required && n.kids[f.name] == nil && !meant[f.name] {
			d.bad[joinPath(s.path, f.name)] = true
			d.diags = append(d.diags, Diagnostic{Position: n.key, Table: s.table, Key: s.key,
				Message: fmt.Sprintf("%s is missing%s", quoteKey(f.name), exampleOf(f))})
		}
	}
}

// withoutWord takes a word out of a value: what is left is nil when it was the word alone.
func withoutWord(n *node, word string) (*node, bool) {
	is := func(n *node) bool { return n.kind == stringNode && n.text == word }
	switch {
	case is(n):
		return nil, true
	case n.kind == arrayNode && slices.ContainsFunc(n.items, is):
		left := *n
		left.items = slices.DeleteFunc(slices.Clone(n.items), is)
		return &left, true
	}
	return n, false
}

func exampleOf(f *field) string {
	if ex := f.tag.Get("example"); ex != "" {
		return fmt.Sprintf("; for example %s = %s", quoteKey(f.name), ex)
	}
	return ""
}

// unknown reports a key that the table does not have.
func (d *decoder) unknown(n *node, s scope, name string, names []string, t reflect.Type) {
	hint := ""
	if g := suggest(name, names); g != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", g)
	} else if sub := owner(t, name, 3); sub != "" {
		hint = fmt.Sprintf(" (it belongs in [%s])", s.path+map[bool]string{true: "", false: "."}[s.path == ""]+sub)
	} else if len(names) <= 8 {
		hint = " (there are " + quoteList(names) + ")"
	}
	what := "unknown key"
	if n.kind == tableNode && !n.inline || n.tables {
		what = "unknown table"
	}
	c := scope{path: joinPath(s.path, name), table: s.table, key: joinPath(s.key, name)}
	d.errorf(n.key, c, "%s%s", what, hint)
}

// owner finds a table within t that has the key.
func owner(t reflect.Type, name string, depth int) string {
	if depth == 0 {
		return ""
	}
	for _, f := range fieldsOf(t) {
		ft := f.typ
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		path := f.name
		if ft.Kind() == reflect.Map {
			ft, path = ft.Elem().Elem(), path+"."+f.tag.Get("key")
		}
		if ft.Kind() != reflect.Struct || leaf(ft) {
			continue
		}
		for _, g := range fieldsOf(ft) {
			if g.name == name {
				return path
			}
		}
		if sub := owner(ft, name, depth-1); sub != "" {
			return path + "." + sub
		}
	}
	return ""
}

// field fills whatever a key holds.
func (d *decoder) field(n *node, s scope, f *field, v reflect.Value) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		p := reflect.New(t.Elem())
		if !leaf(t.Elem()) {
			fillDefaults(p.Elem())
		}
		before := len(d.diags)
		d.field(n, s, f, p.Elem())
		if leaf(t.Elem()) && len(d.diags) > before {
			return
		}
		v.Set(p)
	case leaf(t):
		d.leaf(n, s, f, v)
	case t.Kind() == reflect.Slice:
		d.list(n, s, f, v)
	case t.Kind() == reflect.Map:
		d.names(n, s, f, v)
	default:
		d.shortTable(n, s, f, v)
	}
}

// shortTable fills a struct from a table, or from the one value that may stand for it.
func (d *decoder) shortTable(n *node, s scope, f *field, v reflect.Value) {
	short := shortOf(v.Type())
	switch {
	case short == nil && n.kind != tableNode:
		d.errorf(n.pos, s, "expected a table, got %s%s", describe(n), exampleOf(f))
	case short == nil:
		d.table(n, s, v)
	case n.kind == tableNode:
		if short.name == "" {
			v.FieldByIndex(short.index).SetBool(true)
		}
		d.table(n, s, v)
		if x, ok := v.Addr().Interface().(settler); ok {
			x.settle()
		}
	case n.kind == boolNode || short.name != "":
		d.plain(n, s, short, v.FieldByIndex(short.index))
	default:
		d.errorf(n.pos, s, "expected true, false or a table { … }, got %s%s", describe(n), exampleOf(f))
	}
}

// list fills a slice. One value alone is a list of one.
func (d *decoder) list(n *node, s scope, f *field, v reflect.Value) {
	items := []*node{n}
	if n.kind == arrayNode {
		items = n.items
	}
	v.SetZero() // a list replaces its default
	out := v
	for i, item := range items {
		c := s
		if n.kind == arrayNode {
			c = s.index(i, item)
			item.key = item.pos
			d.note(c, item)
		}
		e := reflect.New(v.Type().Elem()).Elem()
		d.field(item, c, f, e) // what does not fit keeps its place, so that the others keep theirs
		out = reflect.Append(out, e)
	}
	if len(items) > 0 {
		v.Set(out)
	}
}

// names fills a map from names to tables.
func (d *decoder) names(n *node, s scope, f *field, v reflect.Value) {
	if n.kind != tableNode {
		d.errorf(n.pos, s, "expected tables [%s.%s], got %s", s.path, f.tag.Get("key"), describe(n))
		return
	}
	t := v.Type()
	if len(n.names) > 0 {
		v.Set(reflect.MakeMap(t))
	}
	for _, name := range n.names {
		kid := n.kids[name]
		c := s.under(name, kid)
		d.note(c, kid)
		if kid.kind != tableNode {
			d.errorf(kid.pos, c, "expected a table [%s.%s], got %s", s.path, f.tag.Get("key"), describe(kid))
			continue
		}
		if t.Key() == addrType {
			a, msg := parseAddr(name)
			if msg != "" {
				d.errorf(kid.key, c, "%s", msg)
				continue
			}
			// The canonical form of the address is the path that everybody else uses.
			canonical := s.under(a.String(), kid)
			if old := v.MapIndex(reflect.ValueOf(a)); old.IsValid() {
				d.errorf(kid.key, c, "is the same address as %s", a)
				continue
			}
			d.note(canonical, kid)
			c.path = canonical.path
			e := reflect.New(t.Elem().Elem())
			fillDefaults(e.Elem())
			e.Interface().(*Neighbor).Address = a
			d.table(kid, c, e.Elem())
			v.SetMapIndex(reflect.ValueOf(a), e)
			continue
		}
		if t.Key().Kind() == reflect.Int {
			number, msg := trackNumber(name)
			if msg != "" {
				d.errorf(kid.key, c, "%s", msg)
				continue
			}
			e := reflect.New(t.Elem().Elem())
			fillDefaults(e.Elem())
			e.Interface().(*Track).Number = number
			d.table(kid, c, e.Elem())
			v.SetMapIndex(reflect.ValueOf(number), e)
			continue
		}
		if msg := checkName(name); msg != "" {
			d.errorf(kid.key, c, "%s", msg)
			continue
		}
		e := reflect.New(t.Elem().Elem())
		fillDefaults(e.Elem())
		if i, ok := e.Interface().(*Interface); ok {
			if _, err := ParseInterfaceName(name); err != nil {
				d.errorf(kid.key, c, "%s", strings.TrimPrefix(err.Error(), fmt.Sprintf("interface name %q: ", name)))
			}
			i.setName(name)
		} else {
			e.Elem().FieldByName("Name").SetString(name)
		}
		d.table(kid, c, e.Elem())
		v.SetMapIndex(reflect.ValueOf(name), e)
	}
}

// checkName says what is wrong with the name of an object, or "".
func checkName(name string) string {
	if name == "" {
		return "the name is empty"
	}
	if len(name) > 64 {
		return "the name has more than 64 characters"
	}
	for _, r := range name {
		if r <= ' ' || r > '~' || strings.ContainsRune("\"'\\", r) {
			return fmt.Sprintf("%q is not allowed in a name: letters, digits and signs, no blanks or quotes", r)
		}
	}
	return ""
}

// describe is what a node is, with its text when that helps.
func describe(n *node) string {
	if n.kind == tableNode || n.kind == arrayNode || n.text == "" || len(n.text) > 60 {
		return n.kind.String()
	}
	if n.kind == stringNode {
		return fmt.Sprintf("text (%q)", n.text)
	}
	return n.text
}

// parseAddr reads an address, or says what would be right.
func parseAddr(s string) (netip.Addr, string) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		if p, err := netip.ParsePrefix(s); err == nil {
			return a, fmt.Sprintf("expected an address without a length: %q", p.Addr())
		}
		return a, fmt.Sprintf("%q is not an address such as \"172.16.1.1\" or \"2001:db8::1\"", s)
	case a.Zone() != "":
		return a, fmt.Sprintf("an address has no zone here: %q", a.WithZone(""))
	case a.Is4In6():
		return a, fmt.Sprintf("an IPv4 address is written as one: %q", a.Unmap())
	}
	return a, ""
}

func reflectElem(p any) reflect.Value { return reflect.ValueOf(p).Elem() }
