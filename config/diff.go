package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// ChangeKind is what happened to an object or a key.
type ChangeKind uint8

const (
	Added   ChangeKind = iota + 1 // the object is new
	Removed                       // the object is gone
	Changed                       // a key of an object that stays has another value
)

func (k ChangeKind) String() string {
	switch k {
	case Added:
		return "added"
	case Removed:
		return "removed"
	case Changed:
		return "changed"
	}
	return "unknown"
}

// Change is one difference between two configurations.
type Change struct {
	Kind   ChangeKind
	Object string // path of the object: interface.Tunnel0, interface.Tunnel0.nhrp, bgp.neighbor."10.10.10.1"; "" is the top
	Key    string // the key that changed; empty when the whole object came or went
	Before string // in TOML, secrets as ***; empty when added
	After  string // empty when removed
}

// Path is the path of the object or key.
func (c Change) Path() string {
	switch {
	case c.Key == "":
		return c.Object
	case c.Object == "":
		return c.Key
	}
	return c.Object + "." + c.Key
}

func (c Change) String() string {
	switch c.Kind {
	case Added:
		return "+ " + c.Path()
	case Removed:
		return "- " + c.Path()
	}
	return fmt.Sprintf("~ %s: %s -> %s", c.Path(), orNone(c.Before), orNone(c.After))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Equal reports whether two configurations say the same.
func Equal(a, b *Config) bool { return Same(a, b) }

// Same reports whether two objects of configurations say the same; an empty list is the same as none.
func Same[T any](a, b T) bool { return same(reflect.ValueOf(a), reflect.ValueOf(b)) }

// Diff lists what must change to come from a to b, objects in Marshal's order: none when they are Equal. A route or listen
// range is its own name (route."0.0.0.0/0 via 172.16.3.254"). A nil Config is New.
func Diff(a, b *Config) []Change {
	if a == nil {
		a = New()
	}
	if b == nil {
		b = New()
	}
	d := &differ{}
	d.table(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), "")
	return d.out
}

type differ struct{ out []Change }

func (d *differ) table(a, b reflect.Value, path string) {
	w := &writer{}
	for _, f := range fieldsOf(a.Type()) {
		x, y := a.FieldByIndex(f.index), b.FieldByIndex(f.index)
		if same(x, y) && (f.word == "" || a.FieldByIndex(f.flag).Bool() == b.FieldByIndex(f.flag).Bool()) {
			continue
		}
		p := joinPath(path, f.name)
		if !w.hasHeader(f, x) {
			d.out = append(d.out, Change{Changed, path, f.name, show(w, f, a), show(w, f, b)})
			continue
		}
		switch x.Kind() {
		case reflect.Map:
			d.maps(x, y, p)
		case reflect.Slice:
			d.lists(f, x, y, path, p)
		case reflect.Pointer:
			d.objects(x, y, p)
		default:
			d.table(x, y, p)
		}
	}
}

// show is the value of a table's key for people; nothing when it is not set.
func show(w *writer, f *field, table reflect.Value) string {
	v := table.FieldByIndex(f.index)
	if f.word != "" && table.FieldByIndex(f.flag).Bool() {
		return w.key(f, table)
	}
	if v.IsZero() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice || v.Kind() == reflect.String || leaf(v.Type()) && v.Kind() == reflect.Struct) {
		return ""
	}
	return w.value(f, v)
}

func (d *differ) objects(a, b reflect.Value, path string) {
	switch {
	case !a.IsValid() || a.IsNil():
		d.out = append(d.out, Change{Kind: Added, Object: path})
	case !b.IsValid() || b.IsNil():
		d.out = append(d.out, Change{Kind: Removed, Object: path})
	default:
		d.table(a.Elem(), b.Elem(), path)
	}
}

func (d *differ) maps(a, b reflect.Value, path string) {
	names := map[string]reflect.Value{}
	for _, m := range []reflect.Value{a, b} {
		for _, k := range m.MapKeys() {
			names[fmt.Sprint(k.Interface())] = k
		}
	}
	compare := compareNatural
	switch a.Type().Elem() {
	case reflect.TypeFor[*Interface]():
		compare = CompareInterfaceNames
	case reflect.TypeFor[*Neighbor]():
		compare = func(x, y string) int {
			return names[x].Interface().(netip.Addr).Compare(names[y].Interface().(netip.Addr))
		}
	}
	for _, name := range sortedKeys(names, compare) {
		k := names[name]
		x, y := a.MapIndex(k), b.MapIndex(k)
		if x.IsValid() && y.IsValid() && same(x, y) {
			continue
		}
		d.objects(x, y, joinPath(path, name))
	}
}

// lists compares [[tables]] by what names them.
func (d *differ) lists(f *field, a, b reflect.Value, table, path string) {
	x, orderX := index(a)
	y, orderY := index(b)
	before := len(d.out)
	for _, name := range orderX {
		p := joinPath(path, name)
		if o, ok := y[name]; !ok {
			d.out = append(d.out, Change{Kind: Removed, Object: p})
		} else if !same(x[name], o) {
			d.table(reflect.Indirect(x[name]), reflect.Indirect(o), p)
		}
	}
	for _, name := range orderY {
		if _, ok := x[name]; !ok {
			d.out = append(d.out, Change{Kind: Added, Object: joinPath(path, name)})
		}
	}
	if len(d.out) == before { // the same objects in another order
		d.out = append(d.out, Change{Changed, table, f.name, strings.Join(orderX, ", "), strings.Join(orderY, ", ")})
	}
}

func index(v reflect.Value) (map[string]reflect.Value, []string) {
	m := map[string]reflect.Value{}
	var order []string
	for i := range v.Len() {
		name := ""
		if x, ok := v.Index(i).Interface().(interface{ id() string }); ok {
			name = x.id()
		}
		if name == "" { // it is known by its place
			name = fmt.Sprintf("#%d", i+1)
		}
		for base, n := name, 2; m[name].IsValid(); n++ {
			name = fmt.Sprintf("%s #%d", base, n)
		}
		m[name] = v.Index(i)
		order = append(order, name)
	}
	return m, order
}

func (r *Route) id() string {
	id := r.Prefix.String()
	switch {
	case r.Discard:
		id += " discard"
	case r.Via.IsValid():
		id += " via " + r.Via.String()
	}
	if r.Interface != "" {
		id += " " + r.Interface
	}
	if r.VRF != DefaultVRF {
		id += " vrf " + r.VRF
	}
	return id
}

func (e *RouteMapEntry) id() string {
	if e.Seq == 0 {
		return ""
	}
	return fmt.Sprint(e.Seq)
}

func (m *BFDMultihop) id() string {
	id := m.Destination.String()
	if m.VRF != DefaultVRF {
		id += " vrf " + m.VRF
	}
	return id
}

func (l *Listen) id() string { return l.Range.String() }

// Objects groups changes by the object that they touch, up to depth steps of its path: Objects(changes, 2) has
// "interface.Tunnel0" for a change of its NHRP.
func Objects(changes []Change, depth int) []string {
	var out []string
	for _, c := range changes {
		p := c.Path()
		for steps(p) > depth {
			p = parentPath(p)
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Compare(a, b) })
	return out
}

func steps(p string) int {
	n := 0
	for ; p != ""; p = parentPath(p) {
		n++
	}
	return n
}
