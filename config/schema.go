package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:generate go test -run ^(TestGenerated|TestMistakes) -update .

// Schema is the JSON Schema (draft 2020-12) of a configuration file, for editors. It is made from the same structs that
// Parse fills. What only the whole configuration can tell (references, overlaps) is not in it.
func Schema() []byte {
	s := &schemer{defs: map[string]any{}}
	root := s.object(reflect.TypeFor[Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Felloe configuration"
	root["$defs"] = s.defs
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		panic(err) // maps, strings and numbers always encode
	}
	return out.Bytes()
}

type schemer struct{ defs map[string]any }

type object = map[string]any

// object is the schema of a table.
func (s *schemer) object(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		p := s.field(f, f.typ)
		if f.word != "" {
			p = object{"anyOf": []any{p, object{"const": f.word}}}
			if f.typ.Kind() == reflect.Slice {
				item := object{"anyOf": []any{s.field(f, f.typ.Elem()), object{"const": f.word}}}
				p = object{"anyOf": []any{item, object{"type": "array", "items": item}}}
			}
		}
		if text := descriptions[f.id]; text != "" {
			p["description"] = text
		}
		if v, ok := f.defaultValue(); ok {
			p["default"] = v
		}
		properties[f.name] = p
		if f.required {
			required = append(required, f.name)
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// ref is the schema of a table by its name; a schema beside $ref may say more.
func (s *schemer) ref(t reflect.Type) object {
	if _, ok := s.defs[t.Name()]; !ok {
		s.defs[t.Name()] = nil // in the making
		s.defs[t.Name()] = s.object(t)
	}
	return object{"$ref": "#/$defs/" + t.Name()}
}

func (s *schemer) field(f *field, t reflect.Type) object {
	switch {
	case t.Kind() == reflect.Pointer:
		return s.field(f, t.Elem())
	case leaf(t):
		return s.leaf(f, t)
	case t.Kind() == reflect.Slice:
		item := s.field(f, t.Elem())
		return object{"anyOf": []any{item, object{"type": "array", "items": item}}}
	case t.Kind() == reflect.Map:
		return object{"type": "object", "additionalProperties": s.ref(t.Elem().Elem()), "propertyNames": object{"pattern": keyPattern(t)}}
	}
	if short := shortOf(t); short != nil {
		return object{"anyOf": []any{s.field(short, short.typ), s.ref(t)}}
	}
	return s.ref(t)
}

// Patterns are for editors: the loader says more exactly what is wrong.
const (
	interfacePattern = `^((Ten)?GigabitEthernet|Ethernet)[0-9]+(/[0-9]+){0,2}$|^(Loopback|Tunnel|Virtual-Template)[0-9]+$`
	addressPattern   = `^[0-9.]+$|^[0-9A-Fa-f:.]+$`
	prefixPattern    = `^[0-9.]+/[0-9]{1,2}$|^[0-9A-Fa-f:.]+/[0-9]{1,3}$`
	durationPattern  = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
)

func keyPattern(t reflect.Type) string {
	switch {
	case t.Key() == addrType:
		return addressPattern
	case t.Key().Kind() == reflect.Int:
		return `^[1-9][0-9]{0,3}$`
	case t.Elem() == reflect.TypeFor[*Interface]():
		return interfacePattern
	}
	return `^[!#-&(-\[\]-~]{1,64}$`
}

func (s *schemer) leaf(f *field, t reflect.Type) object {
	text := func(pattern string) object { return object{"type": "string", "pattern": pattern} }
	named := object{"file": object{"type": "string", "minLength": 1}, "data": object{"type": "string", "contentEncoding": "base64"}}
	secret := object{"anyOf": []any{object{"type": "string", "minLength": 1},
		object{"type": "object", "properties": named, "required": []string{"file"}, "additionalProperties": false}}}
	either := func(list ...any) object { return object{"anyOf": list} }
	switch t {
	case addrType:
		return text(addressPattern)
	case prefixType:
		if f.tag.Get("prefix") == "bare" {
			return either(text(prefixPattern), text(addressPattern))
		}
		return text(prefixPattern)
	case fileType:
		return either(named["file"], object{"type": "object", "properties": named, "required": []string{"file"}, "additionalProperties": false})
	case rangeType:
		return either(text(prefixPattern), text(addressPattern), text(`^[0-9A-Fa-f:.]+ *- *[0-9A-Fa-f:.]+$`))
	case nameType:
		return text(`^\s*(eq|ne|co|nc)\s+\S`)
	case commType:
		return text(`^[0-9]{1,5}:[0-9]{1,5}$|^(internet|graceful-shutdown|no-export|no-advertise|local-as)$`)
	case macType:
		return text(`^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$|^([0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}$`)
	case localType:
		return either(text(interfacePattern), text(addressPattern))
	case hostsType:
		item := text(addressPattern)
		return object{"type": "object", "additionalProperties": either(item, object{"type": "array", "items": item, "minItems": 1})}
	case termType:
		return object{"type": "integer", "minimum": -maxTrack, "maximum": maxTrack}
	case durationType:
		return either(text(durationPattern), object{"type": "integer", "minimum": 0})
	case groupType:
		groups := Group(0).Groups()
		if f.def == "0" {
			groups = append([]int{0}, groups...)
		}
		return object{"enum": groups}
	case secretType:
		if f.tag.Get("secret") == "file" {
			return secret["anyOf"].([]any)[1].(object)
		}
		return secret
	case pskType:
		both := object{"type": "object", "properties": object{"local": secret, "remote": secret}, "required": []string{"local", "remote"}, "additionalProperties": false}
		return either(append(secret["anyOf"].([]any), both)...)
	case keyLogType:
		return either(object{"type": "boolean"}, object{"type": "string", "minLength": 1})
	case espType:
		words := object{"enum": slices.Concat(Encryption("").Values(), Hash("").Values())}
		return either(object{"enum": []string{string(AESGCM128), string(AESGCM256)}},
			object{"type": "array", "items": words, "minItems": 1, "maxItems": 2})
	case mcastType:
		word := either(object{"const": "dynamic"}, text(addressPattern))
		return either(word, object{"type": "array", "items": word})
	}
	switch {
	case t.Kind() == reflect.Bool:
		return object{"type": "boolean"}
	case t.Kind() == reflect.String && enumValues(t) != nil:
		if _, _, ok := boolWords(t); ok {
			return either(object{"type": "boolean"}, object{"enum": wordsOf(t)})
		}
		return object{"enum": enumValues(t)}
	case t.Kind() == reflect.String:
		return object{"type": "string"}
	}
	return numberSchema(f, t)
}

func numberSchema(f *field, t reflect.Type) object {
	if f.rng == "" {
		o := object{"type": "integer", "minimum": 0}
		if bits := t.Bits(); t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 && bits < 64 {
			o["maximum"] = uint64(1)<<bits - 1
		}
		return o
	}
	var list []any
	for alt := range strings.SplitSeq(f.rng, ",") {
		lo, hi, span := strings.Cut(alt, "..")
		if !span {
			hi = lo
		}
		a, _ := parseUint(lo)
		b, _ := parseUint(hi)
		list = append(list, object{"type": "integer", "minimum": a, "maximum": b})
	}
	if len(list) == 1 {
		return list[0].(object)
	}
	return object{"anyOf": list}
}

// defaultValue is a key's default as JSON has it.
func (f *field) defaultValue() (any, bool) {
	if !f.hasDefault {
		return nil, false
	}
	v := reflect.New(f.typ).Elem()
	if err := setDefault(v, f.def); err != nil {
		return nil, false
	}
	switch {
	case f.typ == durationType:
		return formatDuration(time.Duration(v.Int())), true
	case f.typ.Kind() == reflect.Slice:
		if f.typ.Elem().Kind() == reflect.Int {
			return v.Interface(), true
		}
		return strings.Split(f.def, ","), true
	case f.typ.Kind() == reflect.String:
		return f.def, true
	case f.typ.Kind() == reflect.Bool:
		b, _ := strconv.ParseBool(f.def)
		return b, true
	}
	n, _ := strconv.ParseUint(f.def, 10, 64)
	return n, true
}
