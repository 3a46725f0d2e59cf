package config

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A field is a key of a table: a struct field and what its tags say. The loader, the writer, the schema and the
// documentation all go by the same fields.
//
//	toml      the key
//	required  "true": the key must be there; zero: "allowed" when nothing is a value, too
//	default   the value that New, Parse and Default fill in, as it would be written without quotes
//	implied   what counts when the key is missing, but is not filled in (it depends on something else)
//	unit      what a number counts
//	range     alternatives of one value or "min..max"
//	ref       the kind of object that a name refers to; words: names allowed besides
//	word      WORD=FIELD: a word that may stand for or beside the value, and the boolean field that it sets
//	missing   "warning": a name that nothing has does no harm
//	only      the kinds of interface that may have the key
//	prefix    "host": bits behind the length may be set; "bare": the length may be missing
//	family    "4": an IPv4 address
//	secret    "file": not to be written down in the configuration itself
//	layout    "inline": written as { … }
//	key       what the keys of a map are, for the documentation
//	example   a value in TOML
type field struct {
	name  string
	id    string // STRUCT.FIELD, the name of its description
	index []int
	typ   reflect.Type
	tag   reflect.StructTag

	required, hasDefault, inline bool
	def, rng, ref                string
	word                         string
	flag                         []int // the field that word sets
}

var fieldCache sync.Map // reflect.Type -> []*field

// fieldsOf lists the keys of a table in the order of the struct.
func fieldsOf(t reflect.Type) []*field {
	if v, ok := fieldCache.Load(t); ok {
		return v.([]*field)
	}
	var out []*field
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Anonymous && sf.Tag.Get("toml") == "" {
			for _, f := range fieldsOf(sf.Type) {
				g := *f
				g.index = append([]int{i}, f.index...)
				if g.word != "" {
					g.flag = append([]int{i}, f.flag...)
				}
				out = append(out, &g)
			}
			continue
		}
		name := sf.Tag.Get("toml")
		if name == "" || name == "-" {
			continue
		}
		f := &field{name: name, id: t.Name() + "." + sf.Name, index: []int{i}, typ: sf.Type, tag: sf.Tag,
			required: sf.Tag.Get("required") == "true", inline: sf.Tag.Get("layout") == "inline",
			rng: sf.Tag.Get("range"), ref: sf.Tag.Get("ref")}
		f.def, f.hasDefault = sf.Tag.Lookup("default")
		if word, name, ok := strings.Cut(sf.Tag.Get("word"), "="); ok {
			flag, _ := t.FieldByName(name)
			f.word, f.flag = word, flag.Index
		}
		out = append(out, f)
	}
	v, _ := fieldCache.LoadOrStore(t, out)
	return v.([]*field)
}

// allows reports whether interfaces of a kind may have the key.
func (f *field) allows(kind Kind) bool {
	if kind == VirtualAccess { // a template's and its peer's
		return f.allows(VirtualTemplate) || f.allows(Tunnel)
	}
	only := f.tag.Get("only")
	return only == "" || containsWord(only, kind.String())
}

// onlyText is an only tag in words: "ethernet, loopback and tunnel".
func onlyText(f *field) string {
	words := strings.Split(f.tag.Get("only"), ",")
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

func containsWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

var (
	addrType     = reflect.TypeFor[netip.Addr]()
	prefixType   = reflect.TypeFor[netip.Prefix]()
	macType      = reflect.TypeFor[net.HardwareAddr]()
	durationType = reflect.TypeFor[time.Duration]()
	groupType    = reflect.TypeFor[Group]()
	secretType   = reflect.TypeFor[Secret]()
	pskType      = reflect.TypeFor[PreSharedKey]()
	keyLogType   = reflect.TypeFor[KeyLog]()
	localType    = reflect.TypeFor[Local]()
	espType      = reflect.TypeFor[ESP]()
	mcastType    = reflect.TypeFor[MulticastMap]()
	fileType     = reflect.TypeFor[File]()
	rangeType    = reflect.TypeFor[AddressRange]()
	nameType     = reflect.TypeFor[NameMatch]()
	commType     = reflect.TypeFor[Community]()
	hostsType    = reflect.TypeFor[HostTable]()
	termType     = reflect.TypeFor[TrackTerm]()
)

// leaf reports whether a struct or slice type is a value of its own rather than a table or list.
func leaf(t reflect.Type) bool {
	switch t {
	case addrType, prefixType, macType, secretType, pskType, keyLogType, localType, espType, mcastType, fileType, rangeType, nameType, hostsType:
		return true
	}
	return t.Kind() != reflect.Struct && t.Kind() != reflect.Slice && t.Kind() != reflect.Map && t.Kind() != reflect.Pointer
}

// shorthand is a table that may be written as one value: that of the field it names. A field that is no key itself (Enabled)
// is true when there is a table.
type shorthand interface{ short() string }

// shortOf is the field that a value alone fills, or nil.
func shortOf(t reflect.Type) *field {
	s, ok := reflect.Zero(t).Interface().(shorthand)
	if !ok {
		return nil
	}
	sf, _ := t.FieldByName(s.short())
	if len(sf.Index) != 1 {
		return nil // it is that of an embedded struct, which is a key of its own
	}
	for _, f := range fieldsOf(t) {
		if f.index[0] == sf.Index[0] {
			return f
		}
	}
	return &field{id: t.Name() + "." + sf.Name, index: sf.Index, typ: sf.Type, tag: sf.Tag}
}

// A settler makes the fields of a table fit each other after it was read.
type settler interface{ settle() }

type enum interface{ Values() []string }

// boolean is an enumeration two of whose words are written as false and true.
type boolean interface{ bools() (no, yes string) }

// boolWords are those words.
func boolWords(t reflect.Type) (no, yes string, ok bool) {
	b, ok := reflect.Zero(t).Interface().(boolean)
	if ok {
		no, yes = b.bools()
	}
	return no, yes, ok
}

// wordsOf are the words that a key is written with: those that are not written as true and false.
func wordsOf(t reflect.Type) []string {
	values := enumValues(t)
	if no, yes, ok := boolWords(t); ok {
		values = slices.DeleteFunc(values, func(v string) bool { return v == no || v == yes })
	}
	return values
}

// enumValues are the words of an enumeration, or nil.
func enumValues(t reflect.Type) []string {
	if e, ok := reflect.Zero(t).Interface().(enum); ok && t.Kind() == reflect.String {
		return e.Values()
	}
	return nil
}

// New is an empty configuration with its defaults.
func New() *Config { return Default[Config]() }

// Default is a table with its defaults, for configurations that are made in Go. Interfaces have NewInterface.
func Default[T any]() *T {
	t := new(T)
	fillDefaults(reflect.ValueOf(t).Elem())
	return t
}

// NewInterface is an interface with the defaults of its kind.
func NewInterface(name string) *Interface {
	i := Default[Interface]()
	i.setName(name)
	return i
}

// setName gives the interface its name, and takes away the defaults that its kind has no use for.
func (i *Interface) setName(name string) {
	i.Name = name
	kind := i.Kind()
	v := reflect.ValueOf(i).Elem()
	for _, f := range fieldsOf(v.Type()) {
		if kind != 0 && !f.allows(kind) {
			v.FieldByIndex(f.index).SetZero()
			if f.word != "" {
				v.FieldByIndex(f.flag).SetBool(false)
			}
		}
	}
	switch kind {
	case Ethernet:
		i.MTU = 1500
	case Loopback:
		i.MTU = 1514
	}
}

func fillDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		switch {
		case f.hasDefault:
			if err := setDefault(fv, f.def); err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", f.id, err)) // a mistake in a tag; TestFields finds it
			}
		case fv.Kind() == reflect.Struct && !leaf(fv.Type()):
			fillDefaults(fv)
		}
	}
}

func setDefault(v reflect.Value, text string) error {
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(text)
		v.SetInt(int64(d))
		return err
	case v.Kind() == reflect.Slice:
		for w := range strings.SplitSeq(text, ",") {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := setDefault(e, w); err != nil {
				return err
			}
			v.Set(reflect.Append(v, e))
		}
		return nil
	case v.Kind() == reflect.String:
		v.SetString(text)
		return nil
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		v.SetBool(b)
		return err
	case v.CanInt():
		i, err := strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(i)
		return err
	case v.CanUint():
		u, err := strconv.ParseUint(text, 10, v.Type().Bits())
		v.SetUint(u)
		return err
	}
	return fmt.Errorf("no default for a %s", v.Type())
}

// inRange checks a number against a range tag; conv turns its bounds into numbers.
func inRange(tag string, v uint64, conv func(string) (uint64, error)) bool {
	if tag == "" {
		return true
	}
	for alt := range strings.SplitSeq(tag, ",") {
		lo, hi, span := strings.Cut(alt, "..")
		if !span {
			hi = lo
		}
		a, errA := conv(lo)
		b, errB := conv(hi)
		if errA != nil || errB != nil {
			panic("config: bad range " + tag)
		}
		if v >= a && v <= b {
			return true
		}
	}
	return false
}

// rangeText is a range tag in words: "0 or 68 to 65535".
func rangeText(tag string) string {
	return strings.ReplaceAll(strings.ReplaceAll(tag, "..", " to "), ",", " or ")
}

func parseUint(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

func parseDur(s string) (uint64, error) {
	d, err := time.ParseDuration(s)
	return uint64(d), err
}

// formatDuration is a duration as one would write it: 90s, 10m, 24h, 1h30m.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
