package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Kind is what sort of interface a name means.
type Kind uint8

const (
	Ethernet Kind = iota + 1
	Loopback
	Tunnel
	VirtualTemplate
	VirtualAccess // made of a template while a peer is there; no configuration names one
)

func (k Kind) String() string {
	switch k {
	case Ethernet:
		return "ethernet"
	case Loopback:
		return "loopback"
	case Tunnel:
		return "tunnel"
	case VirtualTemplate:
		return "virtual-template"
	case VirtualAccess:
		return "virtual-access"
	}
	return "unknown"
}

// interfaceTypes are the type words in the order in which interfaces are listed.
var interfaceTypes = []struct {
	word  string
	kind  Kind
	short string // an abbreviation that is no beginning of the word, or that others share
}{
	{"Ethernet", Ethernet, ""},
	{"GigabitEthernet", Ethernet, ""},
	{"TenGigabitEthernet", Ethernet, ""},
	{"Loopback", Loopback, ""},
	{"Tunnel", Tunnel, ""},
	{"Virtual-Access", VirtualAccess, "Vi"},
	{"Virtual-Template", VirtualTemplate, "Vt"},
}

// InterfaceName is an IOS-style name taken apart: GigabitEthernet0/0/1 is {"GigabitEthernet", Ethernet, [0 0 1]}.
type InterfaceName struct {
	Type   string
	Kind   Kind
	Number []uint32
}

// String is the full name.
func (n InterfaceName) String() string {
	var b strings.Builder
	b.WriteString(n.Type)
	for i, v := range n.Number {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(strconv.FormatUint(uint64(v), 10))
	}
	return b.String()
}

// ParseInterfaceName takes a full name apart. Letters must be in the right case; abbreviations are the console's
// (ExpandInterfaceName).
func ParseInterfaceName(name string) (InterfaceName, error) {
	word, number := splitName(name)
	for _, t := range interfaceTypes {
		if t.word != word {
			continue
		}
		n := InterfaceName{Type: t.word, Kind: t.kind}
		var err error
		if n.Number, err = parseNumbers(number, t.kind); err != nil {
			return InterfaceName{}, fmt.Errorf("interface name %q: %w", name, err)
		}
		return n, nil
	}
	if full, ok := ExpandInterfaceName(name); ok {
		return InterfaceName{}, fmt.Errorf("interface name %q: write it in full: %q", name, full)
	}
	var words []string
	for _, t := range interfaceTypes {
		if t.kind != VirtualAccess {
			words = append(words, t.word)
		}
	}
	if s := suggest(word, words); s != "" && number != "" {
		return InterfaceName{}, fmt.Errorf("interface name %q: no such type of interface (did you mean %q?)", name, s+number)
	}
	return InterfaceName{}, fmt.Errorf("interface name %q: expected one of %s and a number, such as GigabitEthernet1 or GigabitEthernet0/0/0",
		name, strings.Join(words, ", "))
}

// ExpandInterfaceName finds the full name of an abbreviation (gi1, Tu0, te1/0/0) in any case; a full name is its own.
func ExpandInterfaceName(name string) (string, bool) {
	word, number := splitName(strings.TrimSpace(name))
	if word = strings.TrimSpace(word); word == "" {
		return "", false
	}
	var found *InterfaceName
	for _, t := range interfaceTypes {
		exact := strings.EqualFold(word, t.short)
		if !exact && (len(word) > len(t.word) || !strings.EqualFold(word, t.word[:len(word)])) {
			continue
		}
		numbers, err := parseNumbers(number, t.kind)
		if err != nil {
			return "", false
		}
		if exact {
			return InterfaceName{Type: t.word, Kind: t.kind, Number: numbers}.String(), true
		}
		if found != nil {
			return "", false // T1 is Ten or Tunnel
		}
		found = &InterfaceName{Type: t.word, Kind: t.kind, Number: numbers}
	}
	if found == nil {
		return "", false
	}
	return found.String(), true
}

func splitName(name string) (word, number string) {
	if i := strings.IndexFunc(name, func(r rune) bool { return r >= '0' && r <= '9' }); i >= 0 {
		return name[:i], name[i:]
	}
	return name, ""
}

func parseNumbers(s string, kind Kind) ([]uint32, error) {
	if s == "" {
		return nil, fmt.Errorf("the number is missing")
	}
	parts := strings.Split(s, "/")
	if limit := max(map[Kind]int{Ethernet: 3}[kind], 1); len(parts) > limit {
		if limit == 1 {
			return nil, fmt.Errorf("expected one number, got %q", s)
		}
		return nil, fmt.Errorf("expected at most %d numbers, got %q", limit, s)
	}
	out := make([]uint32, len(parts))
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 31)
		if err != nil || (len(p) > 1 && p[0] == '0') || p[0] == '+' {
			return nil, fmt.Errorf("%q is not a number of the form 1, 1/0 or 0/0/0", s)
		}
		out[i] = uint32(v)
	}
	return out, nil
}

// CompareInterfaceNames orders names as IOS lists them: by type, then by number (GigabitEthernet2 before GigabitEthernet10).
// What is no interface name comes last, in natural order.
func CompareInterfaceNames(a, b string) int {
	x, errX := ParseInterfaceName(a)
	y, errY := ParseInterfaceName(b)
	switch {
	case errX != nil && errY != nil:
		return compareNatural(a, b)
	case errX != nil:
		return 1
	case errY != nil:
		return -1
	}
	rank := func(word string) int {
		for i, t := range interfaceTypes {
			if t.word == word {
				return i
			}
		}
		return len(interfaceTypes)
	}
	return cmp.Or(cmp.Compare(rank(x.Type), rank(y.Type)), slices.Compare(x.Number, y.Number))
}

// compareNatural compares text with numbers in it by their value.
func compareNatural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		i, j := digits(x), digits(y)
		if i > 0 && j > 0 {
			m, n := strings.TrimLeft(x[:i], "0"), strings.TrimLeft(y[:j], "0")
			if c := cmp.Or(cmp.Compare(len(m), len(n)), cmp.Compare(m, n)); c != 0 {
				return c
			}
			x, y = x[i:], y[j:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}

func digits(s string) int {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

// Kind is what the interface's name says; 0 when it says nothing that is known.
func (i *Interface) Kind() Kind {
	n, err := ParseInterfaceName(i.Name)
	if err != nil {
		return 0
	}
	return n.Kind
}

// InterfaceNames lists the configured interfaces in IOS's order.
func (c *Config) InterfaceNames() []string {
	return sortedKeys(c.Interface, CompareInterfaceNames)
}

// InterfacesOf lists the configured interfaces of one kind in IOS's order.
func (c *Config) InterfacesOf(k Kind) []*Interface {
	var out []*Interface
	for _, name := range c.InterfaceNames() {
		if i := c.Interface[name]; i.Kind() == k {
			out = append(out, i)
		}
	}
	return out
}

// Neighbors lists the configured neighbours by address.
func (b *BGPInstance) Neighbors() []*Neighbor {
	var out []*Neighbor
	for _, a := range sortedKeys(b.Neighbor, netip.Addr.Compare) {
		out = append(out, b.Neighbor[a])
	}
	return out
}

// Names lists the keys of a table of named objects in natural order.
func Names[T any](m map[string]T) []string { return sortedKeys(m, compareNatural) }

func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}

// SourceAddress finds the address that a tunnel's outer packets come from: the address given, or the first address of the
// interface given that has the family of the mode (for `gre multipoint` the family of its NBMA addresses, else IPv4 first).
func (c *Config) SourceAddress(t *Interface) (netip.Addr, bool) {
	if t.Source.Address.IsValid() {
		return t.Source.Address, true
	}
	i := c.Interface[t.Source.Interface]
	if i == nil {
		return netip.Addr{}, false
	}
	for _, v4 := range t.families() {
		for _, p := range i.Address {
			if p.IsValid() && p.Addr().Is4() == v4 {
				return p.Addr(), true
			}
		}
	}
	return netip.Addr{}, false
}

// families lists the families of the outer header that are possible: true is IPv4.
func (t *Interface) families() []bool {
	if t.Source.Address.IsValid() {
		return []bool{t.Source.Address.Is4()}
	}
	switch t.Mode {
	case GREIP, IPsecIPv4, IPsecIPv4OverlayV6:
		return []bool{true}
	case GREIPv6, IPsecIPv6, IPsecIPv6OverlayV4:
		return []bool{false}
	}
	if n := t.NHRP; n != nil {
		for _, s := range n.NHS {
			if s.NBMA.IsValid() {
				return []bool{s.NBMA.Is4()}
			}
		}
		for _, m := range n.Map {
			if m.NBMA.IsValid() {
				return []bool{m.NBMA.Is4()}
			}
		}
	}
	return []bool{true, false}
}
