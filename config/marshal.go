package config

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Option changes what Marshal writes.
type Option func(*writer)

// WithSecrets writes secrets as they are; without it they are ***, which does not parse. Secrets from files are always
// written as { file = … }, and their contents only with WithFiles as well.
func WithSecrets() Option { return func(w *writer) { w.secrets = true } }

// WithDefaults writes what has its default value, too.
func WithDefaults() Option { return func(w *writer) { w.all = true } }

// Marshal writes a configuration as TOML: only what differs from the defaults, always in the same order. With WithSecrets,
// Parse of it is an equal Config.
func Marshal(c *Config, options ...Option) []byte {
	w := &writer{}
	for _, o := range options {
		o(w)
	}
	w.table(reflect.ValueOf(c).Elem(), reflect.ValueOf(New()).Elem(), "")
	return bytes.TrimLeft(w.out.Bytes(), "\n")
}

// WithFiles writes the contents of files into the configuration, those of secrets only together with WithSecrets. What is
// written needs no file beside it: { file = "NAME", data = "BASE64" }.
func WithFiles() Option { return func(w *writer) { w.files = true } }

type writer struct {
	out     bytes.Buffer
	secrets bool
	all     bool
	files   bool
	depth   int // of inline tables around what is written
}

// table writes a table's own keys, then the tables under it.
func (w *writer) table(v, def reflect.Value, path string) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if w.hasHeader(f, fv) || !w.wanted(f, v, def) {
			continue
		}
		fmt.Fprintf(&w.out, "%s = %s\n", quoteKey(f.name), w.key(f, v))
	}
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if !w.hasHeader(f, fv) {
			continue
		}
		p := joinPath(path, f.name)
		switch fv.Kind() {
		case reflect.Map:
			w.maps(fv, p)
		case reflect.Slice:
			for i := range fv.Len() {
				e := fv.Index(i).Elem()
				w.header("[[" + p + "]]")
				w.table(e, defaultOf(e.Type()), p)
			}
		case reflect.Pointer:
			if !fv.IsNil() {
				w.header("[" + p + "]")
				w.table(fv.Elem(), defaultOf(fv.Type().Elem()), p)
			}
		default:
			w.subtable(fv, def.FieldByIndex(f.index), p)
		}
	}
}

// subtable writes a table that is always there, if there is anything to say.
func (w *writer) subtable(v, def reflect.Value, path string) {
	sub := &writer{secrets: w.secrets, all: w.all, files: w.files}
	sub.table(v, def, path)
	if sub.out.Len() == 0 {
		return
	}
	if text := sub.out.Bytes(); text[0] != '\n' {
		w.header("[" + path + "]")
	}
	w.out.Write(sub.out.Bytes())
}

func (w *writer) header(h string) { fmt.Fprintf(&w.out, "\n%s\n", h) }

func (w *writer) maps(v reflect.Value, path string) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		if x, ok := a.Interface().(netip.Addr); ok {
			return x.Compare(b.Interface().(netip.Addr))
		}
		if v.Type().Elem() == reflect.TypeFor[*Interface]() {
			return CompareInterfaceNames(a.String(), b.String())
		}
		return compareNatural(fmt.Sprint(a.Interface()), fmt.Sprint(b.Interface()))
	})
	for _, k := range keys {
		name := fmt.Sprint(k.Interface())
		e := v.MapIndex(k).Elem()
		def := defaultOf(e.Type())
		if i, ok := def.Addr().Interface().(*Interface); ok {
			i.setName(name)
		}
		p := joinPath(path, name)
		if hasOwnKeys(w, e, def) {
			w.header("[" + p + "]")
			w.table(e, def, p)
			continue
		}
		sub := &writer{secrets: w.secrets, all: w.all, files: w.files}
		sub.table(e, def, p)
		if sub.out.Len() == 0 {
			w.header("[" + p + "]")
		}
		w.out.Write(sub.out.Bytes())
	}
}

// hasOwnKeys reports whether a table has keys besides the tables under it, and so needs a header.
func hasOwnKeys(w *writer, v, def reflect.Value) bool {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if !w.hasHeader(f, fv) && w.wanted(f, v, def) {
			return true
		}
	}
	return false
}

// hasHeader reports whether a value is written under a header of its own.
func (w *writer) hasHeader(f *field, v reflect.Value) bool {
	if f.inline || leaf(v.Type()) {
		return false
	}
	switch v.Kind() {
	case reflect.Map, reflect.Struct:
		return true
	case reflect.Pointer, reflect.Slice:
		e := v.Type().Elem()
		if e.Kind() == reflect.Pointer {
			e = e.Elem()
		}
		return e.Kind() == reflect.Struct && !leaf(e)
	}
	return false
}

// wanted reports whether a key of a table must be written.
func (w *writer) wanted(f *field, table, defaults reflect.Value) bool {
	v, def := table.FieldByIndex(f.index), defaults.FieldByIndex(f.index)
	switch {
	case f.word != "" && table.FieldByIndex(f.flag).Bool():
		return true
	case v.Kind() == reflect.Pointer:
		return !v.IsNil()
	case f.tag.Get("zero") == "allowed":
		return true // it is missed otherwise
	case !same(v, def):
		return true
	}
	if !w.all {
		return false
	}
	if v.Kind() == reflect.Struct && !leaf(v.Type()) {
		return w.inlineTable(v) != "{}"
	}
	if !f.hasDefault {
		return false
	}
	own := reflect.New(f.typ).Elem()
	return setDefault(own, f.def) == nil && same(own, v) // a Loopback has no tunnel mode to speak of
}

func defaultOf(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	fillDefaults(v)
	return v
}

// key is the value of a table's key, with the word beside it.
func (w *writer) key(f *field, table reflect.Value) string {
	v := table.FieldByIndex(f.index)
	switch {
	case f.word == "" || !table.FieldByIndex(f.flag).Bool():
		return w.value(f, v)
	case v.Kind() == reflect.Slice && v.Len() > 0:
		return "[" + quoteText(f.word) + ", " + strings.TrimPrefix(w.value(f, v), "[")
	}
	return quoteText(f.word) // instead of a value, if there is one
}

// value is a value in TOML.
func (w *writer) value(f *field, v reflect.Value) string {
	switch x := v.Interface().(type) {
	case netip.Addr:
		return quoteText(x.String())
	case netip.Prefix:
		return quoteText(x.String())
	case net.HardwareAddr:
		return quoteText(x.String())
	case time.Duration:
		return quoteText(formatDuration(x))
	case Local:
		return quoteText(x.String())
	case Secret:
		return w.secret(x)
	case PreSharedKey:
		if x.Local == x.Remote {
			return w.secret(x.Local)
		}
		return fmt.Sprintf("{ local = %s, remote = %s }", w.secret(x.Local), w.secret(x.Remote))
	case File:
		if w.files {
			return withData(x.Path, x.Data)
		}
		return quoteText(x.Path)
	case AddressRange, NameMatch, Community:
		return quoteText(fmt.Sprint(x))
	case KeyLog:
		if x.Path != "" {
			return quoteText(x.Path)
		}
		return fmt.Sprint(x.Enabled)
	case HostTable:
		items := make([]string, 0, len(x))
		for _, name := range Names(x) {
			items = append(items, quoteKey(name)+" = "+w.list(f, reflect.ValueOf(x[name])))
		}
		return "{ " + strings.Join(items, ", ") + " }"
	case ESP:
		return "[" + quoteList(strings.Fields(x.String())) + "]"
	case MulticastMap:
		var words []string
		if x.Dynamic {
			words = append(words, "dynamic")
		}
		for _, a := range x.NBMA {
			words = append(words, a.String())
		}
		if len(words) == 1 {
			return quoteText(words[0])
		}
		return "[" + quoteList(words) + "]"
	}
	switch v.Kind() {
	case reflect.Pointer:
		return w.value(f, v.Elem())
	case reflect.String:
		if no, yes, ok := boolWords(v.Type()); ok && (v.String() == no || v.String() == yes) {
			return fmt.Sprint(v.String() == yes)
		}
		return quoteText(v.String())
	case reflect.Slice:
		return w.list(f, v)
	case reflect.Struct:
		return w.inlineTable(v)
	}
	return fmt.Sprint(v.Interface())
}

func (w *writer) list(f *field, v reflect.Value) string {
	items := make([]string, v.Len())
	tables := false
	for i := range items {
		e := v.Index(i)
		tables = tables || e.Kind() == reflect.Pointer
		items[i] = w.value(f, e)
	}
	if tables && len(items) > 1 && w.depth == 0 {
		return "[\n  " + strings.Join(items, ",\n  ") + ",\n]"
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func (w *writer) inlineTable(v reflect.Value) string {
	w.depth++
	defer func() { w.depth-- }()
	def := defaultOf(v.Type())
	var items []string
	if short := shortOf(v.Type()); short != nil {
		own := reflect.New(v.Type()).Elem()
		own.Set(def)
		own.FieldByIndex(short.index).Set(v.FieldByIndex(short.index))
		if same(own, v) && !w.all || short.name == "" && !v.FieldByIndex(short.index).Bool() {
			return w.value(short, v.FieldByIndex(short.index))
		}
	}
	for _, f := range fieldsOf(v.Type()) {
		if w.wanted(f, v, def) {
			items = append(items, fmt.Sprintf("%s = %s", quoteKey(f.name), w.key(f, v)))
		}
	}
	if len(items) == 0 {
		if f := shortOf(v.Type()); f != nil {
			return w.value(f, v.FieldByIndex(f.index))
		}
		return "{}"
	}
	return "{ " + strings.Join(items, ", ") + " }"
}

func (w *writer) secret(s Secret) string {
	switch {
	case s.file != "":
		if w.files && w.secrets {
			return withData(s.file, []byte(s.Reveal()+"\r\n")) // the last line break does not count
		}
		return fmt.Sprintf("{ file = %s }", quoteText(s.file))
	case w.secrets:
		return quoteText(s.Reveal())
	}
	return quoteText(s.String())
}

func withData(name string, data []byte) string {
	return fmt.Sprintf("{ file = %s, data = %s }", quoteText(name), quoteText(base64.StdEncoding.EncodeToString(data)))
}

// same compares two values of one type; an empty list or map is the same as none.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			other := b.MapIndex(it.Key())
			if !other.IsValid() || !same(it.Value(), other) {
				return false
			}
		}
		return true
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	case reflect.Struct:
		if f, ok := a.Interface().(File); ok {
			return f.Equal(b.Interface().(File))
		}
		if a.Type().Comparable() && leaf(a.Type()) {
			return a.Equal(b)
		}
		for i := range a.NumField() {
			if a.Type().Field(i).Type == reflect.TypeFor[*source]() {
				continue
			}
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}
