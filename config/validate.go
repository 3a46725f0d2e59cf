package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A validator looks at a whole configuration: what the types of single values cannot say.
type validator struct {
	c        *Config
	profiles []string        // the names of the IKEv2 profiles, in order
	instance *BGPInstance    // the BGP whose tables are looked at
	bad      map[string]bool // paths that have an error already
	named    map[string]*named
	diags    Diagnostics
}

func (v *validator) errorf(path, format string, args ...any) {
	if !v.bad[path] {
		v.diags = append(v.diags, v.c.Diagnose(Error, path, format, args...))
	}
}

func (v *validator) warnf(path, format string, args ...any) {
	if !v.bad[path] {
		v.diags = append(v.diags, v.c.Diagnose(Warning, path, format, args...))
	}
}

func (v *validator) run() {
	v.top()
	v.references(reflect.ValueOf(v.c).Elem(), "")
	v.vrfs()
	v.interfaces()
	v.tunnels()
	v.templates()
	v.ikev2()
	v.clients()
	v.cluster()
	v.dns()
	v.tracks()
	v.absence()
	v.multihopBFD()
	v.ipsec()
	v.authorization()
	v.pools()
	v.pki()
	v.routes()
	v.policy()
	v.bgp()
}

var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

func (v *validator) top() {
	if !hostname.MatchString(v.c.Hostname) {
		v.errorf("hostname", "%q is not a host name: up to 63 letters, digits, dots and hyphens, a letter or digit at both ends", v.c.Hostname)
	}
	if v.c.VRF[DefaultVRF] != nil {
		v.errorf(at("vrf", DefaultVRF), "the routing table %q is always there: leave this out", DefaultVRF)
	}
	if v.c.Lab.KeyLog.Enabled {
		v.warnf("lab.key-log", "the keys of every SA are written down: whoever reads them reads the traffic")
	}
}

// at makes a path of steps: names are joined with dots, numbers are indices.
func at(steps ...any) string {
	path := ""
	for _, s := range steps {
		switch s := s.(type) {
		case int:
			path = fmt.Sprintf("%s[%d]", path, s)
		case netip.Addr:
			path = joinPath(path, s.String())
		default:
			path = joinPath(path, fmt.Sprint(s))
		}
	}
	return path
}

// kinds are what a reference may be to: the tables by their paths, how one of them is called, and their names.
var kinds = map[string]struct {
	what  string
	names func(*Config) []string
}{
	"interface":                  {"interface", (*Config).InterfaceNames},
	"vrf":                        {"vrf", func(c *Config) []string { return append([]string{DefaultVRF}, Names(c.VRF)...) }},
	"ipsec.profile":              {"ipsec profile", func(c *Config) []string { return Names(c.IPsec.Profile) }},
	"ipsec.transform-set":        {"transform set", func(c *Config) []string { return withSmart(Names(c.IPsec.TransformSet)) }},
	"ikev2.proposal":             {"ikev2 proposal", func(c *Config) []string { return withSmart(Names(c.IKEv2.Proposal)) }},
	"ikev2.keyring":              {"ikev2 keyring", func(c *Config) []string { return Names(c.IKEv2.Keyring) }},
	"ikev2.profile":              {"ikev2 profile", func(c *Config) []string { return Names(c.IKEv2.Profile) }},
	"ikev2.authorization-policy": {"authorization policy", func(c *Config) []string { return Names(c.IKEv2.AuthorizationPolicy) }},
	"ikev2.name-mangler":         {"name mangler", func(c *Config) []string { return Names(c.IKEv2.NameMangler) }},
	"pki.trustpoint":             {"trustpoint", func(c *Config) []string { return Names(c.PKI.Trustpoint) }},
	"pki.certificate-map":        {"certificate map", func(c *Config) []string { return Names(c.PKI.CertificateMap) }},
	"pool":                       {"pool", func(c *Config) []string { return Names(c.Pool) }},
	"access-list":                {"access list", func(c *Config) []string { return Names(c.AccessList) }},
	"prefix-list":                {"prefix list", func(c *Config) []string { return Names(c.PrefixList) }},
	"as-path-list":               {"as-path list", func(c *Config) []string { return Names(c.ASPathList) }},
	"community-list":             {"community list", func(c *Config) []string { return Names(c.CommunityList) }},
	"route-map":                  {"route map", func(c *Config) []string { return Names(c.RouteMap) }},
	"track": {"track", func(c *Config) (out []string) {
		for _, n := range c.TrackNumbers() {
			out = append(out, strconv.Itoa(n))
		}
		return out
	}},
}

// named is what a reference of a kind may name.
type named struct {
	what  string
	names []string
	is    map[string]bool
}

// objects finds what a reference of a kind may name.
func (v *validator) objects(kind string) *named {
	if kind == "bgp.peer-group" { // each table has its own
		return newNamed("peer group", Names(v.instance.PeerGroup))
	}
	n := v.named[kind]
	if n == nil {
		k, ok := kinds[kind]
		if !ok {
			panic("config: reference to " + kind)
		}
		n = newNamed(k.what, k.names(v.c))
		if v.named == nil {
			v.named = map[string]*named{}
		}
		v.named[kind] = n
	}
	return n
}

func newNamed(what string, names []string) *named {
	n := &named{what: what, names: slices.Clip(names), is: make(map[string]bool, len(names))}
	for _, name := range names {
		n.is[name] = true
	}
	return n
}

// bgpPath is the table of a BGP instance.
func bgpPath(b *BGPInstance) string {
	if b.Name == "" {
		return "bgp"
	}
	return at("bgp", "vrf", b.Name)
}

func withSmart(names []string) []string {
	if slices.Contains(names, Smart) {
		return names
	}
	return append(names, Smart)
}

// references finds names that nothing has, by the ref tags.
func (v *validator) references(t reflect.Value, path string) {
	switch x := t.Addr().Interface().(type) {
	case *BGP:
		v.instance = &x.BGPInstance
		defer func() { v.instance = nil }()
	case *BGPInstance:
		outer := v.instance
		v.instance = x
		defer func() { v.instance = outer }()
	}
	for _, f := range fieldsOf(t.Type()) {
		fv, p := t.FieldByIndex(f.index), joinPath(path, f.name)
		if f.required && fv.IsZero() && f.tag.Get("zero") == "" && !v.badBelow(p) {
			if _, written := v.c.src.at[p]; written {
				v.errorf(p, "is empty%s", exampleOf(f))
			}
		}
		switch {
		case f.ref != "" && fv.Kind() == reflect.Slice:
			seen := map[string]bool{}
			for i := range fv.Len() {
				name := nameIn(fv.Index(i))
				q := at2(p, i)
				if _, ok := v.c.src.at[q]; !ok {
					q = p // one name alone
				}
				v.reference(f, q, name)
				if seen[name] {
					v.warnf(q, "%q is named twice", name)
				}
				seen[name] = true
			}
		case f.ref != "":
			v.reference(f, p, nameIn(fv))
		default:
			v.walkValue(fv, p)
		}
	}
}

// nameIn is the name of an object, or its number.
func nameIn(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.String:
		return v.String()
	case v.IsZero():
		return ""
	case v.Type() == termType:
		return strconv.Itoa(v.Interface().(TrackTerm).Track())
	}
	return fmt.Sprint(v.Interface())
}

// badBelow reports whether a part of the value has an error already.
func (v *validator) badBelow(path string) bool {
	for p := range v.bad {
		if len(p) > len(path) && strings.HasPrefix(p, path) && (p[len(path)] == '.' || p[len(path)] == '[') {
			return true
		}
	}
	return false
}

func at2(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func (v *validator) walkValue(fv reflect.Value, p string) {
	switch {
	case fv.Type() == localType:
		v.local(p, fv.Interface().(Local))
	case leaf(fv.Type()):
	case fv.Kind() == reflect.Pointer:
		if !fv.IsNil() {
			v.walkValue(fv.Elem(), p)
		}
	case fv.Kind() == reflect.Slice:
		for i := range fv.Len() {
			v.walkValue(fv.Index(i), at2(p, i))
		}
	case fv.Kind() == reflect.Map:
		for it := fv.MapRange(); it.Next(); {
			v.walkValue(it.Value(), joinPath(p, fmt.Sprint(it.Key().Interface())))
		}
	case fv.Kind() == reflect.Struct:
		v.references(fv, p)
	}
}

func (v *validator) reference(f *field, path, name string) {
	if name == "" || name == f.tag.Get("words") {
		return
	}
	objects := v.objects(f.ref)
	if objects.is[name] {
		return
	}
	names := objects.names
	if words := f.tag.Get("words"); words != "" {
		names = append(names, words)
	}
	if f.ref == "track" {
		hint := " (there is none)" // a number is not like another: none is suggested
		switch {
		case len(names) > 8:
			hint = ""
		case len(names) > 0:
			hint = fmt.Sprintf(" (tracked is %s)", strings.Join(names, ", "))
		}
		v.errorf(path, "no track %s%s", name, hint)
		return
	}
	complain := v.errorf
	if f.tag.Get("missing") == "warning" {
		complain = v.warnf
	}
	complain(path, "no %s %q%s", objects.what, name, didYouMean(name, names))
}

var rd = regexp.MustCompile(`^(\d{1,10}|\d+\.\d+\.\d+\.\d+):(\d{1,10})$`)

// vrfs checks route distinguishers.
func (v *validator) vrfs() {
	seen := map[string]string{}
	for _, name := range Names(v.c.VRF) {
		text, path := v.c.VRF[name].RD, at("vrf", name, "rd")
		if text == "" {
			continue
		}
		if msg := badRD(text); msg != "" {
			v.errorf(path, "%s", msg)
			continue
		}
		if other := seen[text]; other != "" {
			v.errorf(path, "vrf %q has the same route distinguisher: it is what tells them apart", other)
		}
		seen[text] = name
	}
}

// badRD says what is wrong with a route distinguisher (RFC 4364 §4.2), or "".
func badRD(text string) string {
	m := rd.FindStringSubmatch(text)
	if m == nil {
		return fmt.Sprintf("%q is not a route distinguisher such as \"65000:7\" or \"192.0.2.1:7\"", text)
	}
	number, err := strconv.ParseUint(m[2], 10, 32)
	if strings.Contains(m[1], ".") {
		if _, err := netip.ParseAddr(m[1]); err != nil {
			return fmt.Sprintf("%q is not an IPv4 address", m[1])
		}
		if err != nil || number > 65535 {
			return fmt.Sprintf("the number behind an address is at most 65535, got %s", m[2])
		}
		return ""
	}
	as, aerr := strconv.ParseUint(m[1], 10, 32)
	switch {
	case aerr != nil:
		return fmt.Sprintf("an autonomous system is at most 4294967295, got %s", m[1])
	case err != nil:
		return fmt.Sprintf("the number is at most 4294967295, got %s", m[2])
	case as > 65535 && number > 65535:
		return fmt.Sprintf("the number behind an autonomous system above 65535 is at most 65535, got %s", m[2])
	}
	return ""
}

// local checks a name or address of the router's own.
func (v *validator) local(path string, l Local) {
	switch {
	case l.Interface != "":
		if i := v.c.Interface[l.Interface]; i == nil {
			v.errorf(path, "no interface %q%s", l.Interface, didYouMean(l.Interface, v.objects("interface").names))
		} else if i.Kind() == VirtualTemplate {
			v.errorf(path, "%s is a template: packets come and go through the interfaces that are made of it", l.Interface)
		}
	case l.Address.IsValid():
		if v.owner(l.Address) == nil {
			v.warnf(path, "no interface has the address %s", l.Address)
		}
	}
}

// ownerIn finds the interface of a routing table that has an address.
func (v *validator) ownerIn(vrf string, a netip.Addr) *Interface {
	for _, name := range v.c.InterfaceNames() {
		i := v.c.Interface[name]
		if i.VRF == vrf && slices.ContainsFunc(i.Address, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return i
		}
	}
	return nil
}

// owner finds an interface that has an address.
func (v *validator) owner(a netip.Addr) *Interface {
	for _, name := range v.c.InterfaceNames() {
		i := v.c.Interface[name]
		if slices.ContainsFunc(i.Address, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return i
		}
	}
	return nil
}
