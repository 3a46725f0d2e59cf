package config

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

const referenceHead = `# Configuration

<!-- Made by ` + "`go generate ./config`" + ` from the structs of package config. Change their comments and tags, not this file. -->

A router's configuration is one TOML file, or several that are read as one (their tables are joined; nothing may be set
twice). Tables are IOS's objects, keys are IOS's words in kebab-case. Unknown keys are errors.

    felloe check FILE…     says what is wrong: file, line, column, key, and what would be right
    felloe schema          prints the JSON Schema for editors

## Values

| written | means |
|---|---|
| duration | ` + "`\"30s\"`, `\"10m\"`, `\"1h30m\"`" + `, or a whole number of **seconds**: ` + "`30`" + ` |
| address | ` + "`\"172.16.1.1\"`, `\"2001:db8::1\"`" + ` |
| prefix | ` + "`\"10.0.0.0/24\"`" + `; bits behind the length must be zero. An interface's address keeps them: ` + "`\"10.0.0.1/24\"`" + `. Where it says *prefix or address*, an address alone is itself (` + "`/32`, `/128`" + `) |
| list | ` + "`[\"a\", \"b\"]`" + `; one value alone is a list of one: ` + "`\"a\"`" + ` |
| secret | text, or ` + "`{ file = \"psk.txt\" }`" + `: a file beside the configuration, whose last line break does not count. Secrets are shown as ` + "`***`" + ` everywhere, also in ` + "`show running-config`" + ` |
| name | the name of another object; one that is not there is an error with a suggestion |
| file | the name of a file beside the configuration, read with it |
| addresses | ` + "`\"10.0.0.10-10.0.0.20\"`" + `, a prefix (without the subnet's own address and its broadcast address), or one address |
| comparison | ` + "`\"co ou=spokes\"`: `eq` equal, `ne` not equal, `co` contains, `nc` does not contain" + `; case does not matter |
| community | ` + "`\"65000:1\"`, or `\"no-export\"`, `\"no-advertise\"`, `\"local-as\"`, `\"graceful-shutdown\"`, `\"internet\"`" + ` |
| group | the number of a Diffie-Hellman group: 2, 5, 14, 15, 16, 19, 20, 21, 31 |

What is not written has its default. A default in *italics* is not a value but says what happens.

`

// reference is docs/configuration.md.
func reference(t *testing.T) []byte {
	var out bytes.Buffer
	out.WriteString(referenceHead)
	section(&out, reflect.TypeFor[Config](), "", "", map[reflect.Type]string{})
	out.WriteString("## Smart defaults\n\nA policy is not needed, and an ipsec profile needs no transform set: these are used then, and where `\"default\"` is named.\n" +
		"An object of your own with the name `default` replaces them.\n\n")
	out.WriteString("IKE proposals, in order of preference:\n\n| encryption | integrity | prf | groups offered | groups accepted last |\n|---|---|---|---|---|\n")
	for _, p := range SmartProposals() {
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s |\n", words(p.Encryption), words(p.Integrity), words(p.PRFs()), words(p.Group), words(p.AcceptGroup))
	}
	out.WriteString("\nTransform sets, in order of preference (a tunnel of mode `ipsec …` always uses tunnel mode):\n\n| esp | mode |\n|---|---|\n")
	for _, s := range SmartTransformSets() {
		fmt.Fprintf(&out, "| %s | %s |\n", s.ESP, s.Mode)
	}
	example, err := os.ReadFile("testdata/good/spoke2.toml")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "\n## A whole router\n\nSpoke2 of a DMVPN phase 3 network:\n\n```toml\n%s```\n", example)
	return out.Bytes()
}

func words[T any](list []T) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
}

// section writes a table's keys, then the tables under it. What many tables have is written once: seen says where.
func section(out *bytes.Buffer, t reflect.Type, header, text string, seen map[reflect.Type]string) {
	if header == "" {
		out.WriteString("## At the top\n\n")
	} else {
		fmt.Fprintf(out, "## `%s`\n\n%s\n\n", header, text)
	}
	path := strings.Trim(header, "[]")
	if where := seen[t]; where != "" {
		fmt.Fprintf(out, "The keys of `%s` from `%s` on, with tables of their own:", where, fieldsOf(t)[0].name)
		for _, f := range fieldsOf(t) {
			if h, _ := headerOf(path, f); h != "" {
				fmt.Fprintf(out, " `%s`", h)
			}
		}
		out.WriteString(".\n\n")
		return
	}
	before := out.Len()
	var again []string
	skip := map[string]bool{}
	for i := range t.NumField() {
		e := t.Field(i)
		if !e.Anonymous {
			continue
		}
		if where := seen[e.Type]; where != "" {
			again, skip[e.Type.Name()] = append(again, where), true
		} else {
			seen[e.Type] = header
		}
	}
	entries(out, t, "", skip)
	for _, where := range again {
		fmt.Fprintf(out, "- and all keys of `%s`, whose values count where these are not set\n", where)
	}
	if out.Len() > before {
		out.WriteString("\n")
	}
	for _, f := range fieldsOf(t) {
		if h, e := headerOf(path, f); h != "" {
			section(out, e, h, descriptions[f.id], seen)
		}
	}
}

// headerOf is the header of a table under path, and the type with its keys; nothing when the key has no header of its own.
func headerOf(path string, f *field) (string, reflect.Type) {
	if !(&writer{}).hasHeader(f, reflect.New(f.typ).Elem()) {
		return "", nil
	}
	h, e := joinHeader(path, f.name), f.typ
	switch {
	case e.Kind() == reflect.Map:
		return "[" + h + "." + f.tag.Get("key") + "]", e.Elem().Elem()
	case e.Kind() == reflect.Slice:
		return "[[" + h + "]]", e.Elem().Elem()
	case e.Kind() == reflect.Pointer:
		e = e.Elem()
	}
	return "[" + h + "]", e
}

func joinHeader(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// entries writes the keys of a table; those of inline tables follow theirs.
func entries(out *bytes.Buffer, t reflect.Type, prefix string, skip map[string]bool) {
	w := &writer{}
	for _, f := range fieldsOf(t) {
		owner, _, _ := strings.Cut(f.id, ".")
		if w.hasHeader(f, reflect.New(f.typ).Elem()) || skip[owner] {
			continue
		}
		if isValue(f) {
			fmt.Fprintf(out, "- **`%s`** (%s): %s\n  Example: `%s = %s`\n", prefix+f.name, about(f), descriptions[f.id], prefix0(prefix)+f.name, exampleValue(f))
			continue
		}
		e, p := f.typ, prefix+f.name
		kind := "inline table"
		if e.Kind() == reflect.Slice {
			kind, e, p = "list of inline tables", e.Elem(), p+"[]"
		}
		if e.Kind() == reflect.Pointer {
			e = e.Elem()
		}
		if short := shortOf(e); short != nil {
			kind = typeOf(short) + ", or inline table"
		}
		if f.required {
			kind += "; **required**"
		}
		fmt.Fprintf(out, "- **`%s`** (%s): %s\n", prefix+f.name, kind, descriptions[f.id])
		if ex := f.tag.Get("example"); ex != "" {
			fmt.Fprintf(out, "  Example: `%s = %s`\n", prefix0(prefix)+f.name, ex)
		}
		entries(out, e, p+".", nil)
	}
}

// prefix0 leaves the example of a list's element without the list.
func prefix0(prefix string) string {
	if i := strings.LastIndex(prefix, "[]."); i >= 0 {
		return prefix[i+3:]
	}
	return prefix
}

// about is a key's type, unit, range and default in words.
func about(f *field) string {
	parts := []string{typeOf(f)}
	if f.rng != "" && f.ref == "" {
		parts = append(parts, rangeText(f.rng))
	}
	switch implied := f.tag.Get("implied"); {
	case f.required:
		parts = append(parts, "**required**")
	case f.hasDefault && f.def == "0" && f.typ == groupType:
		parts = append(parts, "default `0`")
	case f.hasDefault:
		v := reflect.New(f.typ).Elem()
		if setDefault(v, f.def) == nil {
			parts = append(parts, "default `"+(&writer{}).value(f, v)+"`")
		}
	case strings.HasPrefix(implied, "by "):
		parts = append(parts, "default *"+implied+"*")
	case implied != "":
		parts = append(parts, "default `"+implied+"`, or the peer group's")
	case f.typ.Kind() == reflect.Bool:
		parts = append(parts, "default `false`")
	case f.typ.Kind() == reflect.Uint32 && f.rng == "":
		parts = append(parts, "default `0`")
	default:
		parts = append(parts, "default *none*")
	}
	if f.tag.Get("only") != "" {
		parts = append(parts, "only "+onlyText(f))
	}
	return strings.Join(parts, "; ")
}

// typeOf is a key's type in words.
func typeOf(f *field) string {
	if f.word != "" {
		g := *f
		g.word = ""
		return typeOf(&g) + ", `\"" + f.word + "\"`"
	}
	t := f.typ
	list := ""
	if t.Kind() == reflect.Slice && !leaf(t) {
		list, t = "list: ", t.Elem()
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	unit := f.tag.Get("unit")
	switch {
	case t == addrType && f.tag.Get("family") == "4":
		return list + "IPv4 address"
	case t == addrType:
		return list + "address"
	case t == prefixType && f.tag.Get("prefix") == "bare":
		return list + "prefix or address"
	case t == prefixType && f.tag.Get("prefix") == "host":
		return list + "address with length"
	case t == prefixType:
		return list + "prefix"
	case t == macType:
		return "MAC address"
	case t == durationType:
		return "duration"
	case t == groupType:
		return list + "group"
	case t == secretType && f.tag.Get("secret") == "file":
		return "secret in a file"
	case t == secretType:
		return "secret"
	case t == pskType:
		return "secret, or two"
	case t == keyLogType:
		return "true, false or a path"
	case t == fileType:
		return list + "file"
	case t == rangeType:
		return list + "addresses"
	case t == nameType:
		return list + "comparison"
	case t == commType:
		return list + "community"
	case t == hostsType:
		return "table of names with addresses"
	case t == termType:
		return list + "number, or below zero"
	case t == localType:
		return list + "name of an interface, or address"
	case t == espType:
		return "list of words: " + codes(Encryption("").Values()) + "; " + codes(Hash("").Values())
	case t == mcastType:
		return "list: `\"dynamic\"`, addresses"
	case enumValues(t) != nil:
		if _, _, ok := boolWords(t); ok {
			return list + "true, false, " + codes(wordsOf(t))
		}
		return list + codes(enumValues(t))
	case f.ref == "track":
		return list + "number of an object (track)"
	case f.ref != "":
		return list + "name (" + f.ref + ")"
	case t.Kind() == reflect.String:
		return list + "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case unit != "":
		return "number of " + unit
	}
	return list + "number"
}

func codes(list []string) string {
	q := make([]string, len(list))
	for i, w := range list {
		q[i] = "`\"" + w + "\"`"
	}
	return strings.Join(q, ", ")
}
