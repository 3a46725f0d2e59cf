package config

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A maker fills a configuration with random values that each key allows by itself. The whole need not make sense: reading
// and writing must not depend on that.
type maker struct{ *rand.Rand }

func (m maker) config() *Config {
	c := New()
	m.table(reflect.ValueOf(c).Elem(), 0.5)
	return c
}

func (m maker) table(v reflect.Value, p float64) {
	for _, f := range fieldsOf(v.Type()) {
		if !f.required && m.Float64() > p {
			continue
		}
		if i, ok := v.Addr().Interface().(*Interface); ok && !f.allows(i.Kind()) {
			continue
		}
		if f.word != "" && m.IntN(3) == 0 {
			v.FieldByIndex(f.flag).SetBool(true)
			if f.typ.Kind() != reflect.Slice {
				continue
			}
		}
		m.value(f, v.FieldByIndex(f.index), p)
	}
	if s, ok := v.Addr().Interface().(settler); ok {
		s.settle()
	}
}

func (m maker) value(f *field, v reflect.Value, p float64) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		e := reflect.New(t.Elem())
		if !leaf(t.Elem()) {
			fillDefaults(e.Elem())
		}
		m.value(f, e.Elem(), p)
		v.Set(e)
	case leaf(t):
		m.leaf(f, v)
	case t.Kind() == reflect.Slice:
		v.SetZero()
		n := m.IntN(4)
		if f.required {
			n++
		}
		for range n {
			e := reflect.New(t.Elem()).Elem()
			m.value(f, e, p)
			v.Set(reflect.Append(v, e))
		}
	case t.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(t))
		for range 1 + m.IntN(3) {
			e := reflect.New(t.Elem().Elem())
			fillDefaults(e.Elem())
			if t.Key().Kind() == reflect.Int {
				n := 1 + m.IntN(maxTrack)
				e.Interface().(*Track).Number = n
				m.table(e.Elem(), p)
				v.SetMapIndex(reflect.ValueOf(n), e)
				continue
			}
			if t.Key() == addrType {
				a := m.addr()
				e.Interface().(*Neighbor).Address = a
				m.table(e.Elem(), p)
				v.SetMapIndex(reflect.ValueOf(a), e)
				continue
			}
			name := m.name()
			if i, ok := e.Interface().(*Interface); ok {
				name = []string{"GigabitEthernet", "Loopback", "Tunnel", "Virtual-Template"}[m.IntN(4)] + fmt.Sprint(m.IntN(100))
				i.setName(name)
			} else {
				e.Elem().FieldByName("Name").SetString(name)
			}
			m.table(e.Elem(), p)
			v.SetMapIndex(reflect.ValueOf(name), e)
		}
	default:
		m.table(v, p)
		if s := shortOf(t); s != nil && s.name == "" && !v.FieldByIndex(s.index).Bool() {
			// Only a table that is there says more.
			v.FieldByIndex(s.index).SetBool(!v.IsZero() || m.IntN(2) == 0)
		}
	}
}

func (m maker) leaf(f *field, v reflect.Value) {
	set := func(x any) { v.Set(reflect.ValueOf(x)) }
	switch v.Type() {
	case addrType:
		a := m.addr()
		for f.tag.Get("family") == "4" && !a.Is4() {
			a = m.addr()
		}
		set(a)
	case prefixType:
		a := m.addr()
		p := netip.PrefixFrom(a, m.IntN(a.BitLen()+1))
		if f.tag.Get("prefix") != "host" {
			p = p.Masked()
		}
		set(p)
	case macType:
		set(net.HardwareAddr{2, byte(m.Uint32()), byte(m.Uint32()), 4, 5, 6})
	case durationType:
		set(time.Duration(m.inRange(f, parseDur)))
	case groupType:
		g := Group(0).Groups()
		set(Group(g[m.IntN(len(g))]))
	case secretType:
		s := m.secret()
		for f.tag.Get("secret") == "file" && s.file == "" {
			s = m.secret()
		}
		set(s)
	case fileType:
		set(File{Path: m.text(), Data: []byte("from a file\n")})
	case rangeType:
		p := netip.PrefixFrom(m.addr(), 8+m.IntN(25)).Masked()
		set([]AddressRange{{p.Addr(), p.Addr()}, {p.Addr(), lastOf(p)}}[m.IntN(2)])
	case nameType:
		set(NameMatch{MatchOperator(MatchOperator("").Values()[m.IntN(4)]), strings.TrimSpace(m.text())})
	case commType:
		set([]Community{Community(m.Uint32()), 0xffffff01}[m.IntN(2)])
	case hostsType:
		x := HostTable{}
		for range 1 + m.IntN(3) {
			x[strings.ToLower(fmt.Sprintf("host%d.example.com", m.IntN(100)))] = []netip.Addr{m.addr(), m.addr()}[:1+m.IntN(2)]
		}
		set(x)
	case termType:
		set(TrackTerm((1 + m.IntN(maxTrack)) * []int{1, -1}[m.IntN(2)]))
	case pskType:
		k := PreSharedKey{m.secret(), m.secret()}
		if m.IntN(2) == 0 {
			k.Remote = k.Local
		}
		set(k)
	case keyLogType:
		set([]KeyLog{{}, {Enabled: true}, {Enabled: true, Path: m.text()}}[m.IntN(3)])
	case localType:
		set([]Local{{Interface: "Tunnel7"}, {Address: m.addr()}}[m.IntN(2)])
	case espType:
		set([]ESP{{AESGCM128, ""}, {AESCBC256, SHA512}, {AESCBC192, SHA1}}[m.IntN(3)])
	case mcastType:
		var x MulticastMap
		x.Dynamic = m.IntN(2) == 0
		for n := range m.IntN(3) {
			x.NBMA = append(x.NBMA, netip.AddrFrom4([4]byte{10, 0, byte(n), byte(m.Uint32())}))
		}
		set(x)
	default:
		switch {
		case v.Kind() == reflect.Bool:
			v.SetBool(m.IntN(2) == 0)
		case v.Kind() == reflect.String && enumValues(v.Type()) != nil:
			w := enumValues(v.Type())
			v.SetString(w[m.IntN(len(w))])
		case v.Kind() == reflect.String:
			v.SetString(m.text())
		case v.CanUint():
			v.SetUint(m.inRange(f, parseUint) & (1<<min(v.Type().Bits(), 62) - 1))
		default:
			v.SetInt(int64(m.inRange(f, parseUint) % (1 << 62)))
		}
	}
}

func (m maker) inRange(f *field, conv func(string) (uint64, error)) uint64 {
	if f.rng == "" {
		return m.Uint64N(1 << 8)
	}
	alts := strings.Split(f.rng, ",")
	lo, hi, span := strings.Cut(alts[m.IntN(len(alts))], "..")
	if !span {
		hi = lo
	}
	a, _ := conv(lo)
	b, _ := conv(hi)
	return a + m.Uint64N(b-a+1)
}

func (m maker) addr() netip.Addr {
	if m.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{byte(m.Uint32()), byte(m.Uint32()), byte(m.Uint32()), byte(m.Uint32())})
	}
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(m.Uint32()), 15: byte(m.Uint32())})
}

func (m maker) text() string {
	letters := []rune(`abcXYZ019 -_."'\#=[]{}éλ漢🙂` + "`$%/")
	out := []rune{'a'}
	for range m.IntN(12) {
		out = append(out, letters[m.IntN(len(letters))])
	}
	return string(out)
}

func (m maker) name() string {
	letters := `abcXYZ019-_./=#[]{}@!`
	out := make([]byte, 1+m.IntN(10))
	for i := range out {
		out[i] = letters[m.IntN(len(letters))]
	}
	return string(out)
}

func (m maker) secret() Secret {
	s := NewSecret(m.text())
	if m.IntN(3) == 0 {
		s = NewSecret("from a file")
		s.file = m.text()
	}
	return s
}

// decode reads without looking at the whole.
func decode(text []byte) (*Config, Diagnostics) {
	tree, diags := parseTree("x", text)
	if tree == nil || len(diags) > 0 {
		return nil, diags
	}
	c := New()
	d := &decoder{src: &source{at: map[string]place{}}, bad: map[string]bool{}, secret: func(_, _ string) ([]byte, error) { return []byte("from a file\n"), nil }}
	d.root(tree, c)
	return c, d.diags
}

func TestAnyConfigurationIsWrittenAndReadWithoutLoss(t *testing.T) {
	for seed := range uint64(300) {
		m := maker{rand.New(rand.NewPCG(seed, 7))}
		c := m.config()
		for _, options := range [][]Option{{WithSecrets()}, {WithSecrets(), WithDefaults()}, {WithSecrets(), WithFiles()}} {
			text := Marshal(c, options...)
			again, diags := decode(text)
			if again == nil || len(diags) > 0 {
				t.Fatalf("seed %d: %s\n%s", seed, diags, text)
			}
			if !Equal(c, again) {
				t.Fatalf("seed %d: %v\n%s", seed, Diff(c, again), text)
			}
			if string(Marshal(again, options...)) != string(text) {
				t.Fatalf("seed %d: written twice it differs", seed)
			}
		}
	}
}

func TestDiffIsEmptyExactlyWhenConfigurationsAreEqual(t *testing.T) {
	for seed := range uint64(100) {
		a := maker{rand.New(rand.NewPCG(seed, 7))}.config()
		b := maker{rand.New(rand.NewPCG(seed, 7))}.config()
		if d := Diff(a, b); len(d) != 0 || !Equal(a, b) {
			t.Fatalf("seed %d: the same differs: %v", seed, d)
		}
		other := maker{rand.New(rand.NewPCG(seed, 8))}.config()
		if d := Diff(a, other); (len(d) == 0) != Equal(a, other) {
			t.Fatalf("seed %d: equal %v, but %v", seed, Equal(a, other), d)
		}
		for _, ch := range append(Diff(a, other), Diff(nil, a)...) {
			if ch.Path() == "" || ch.String() == "" || ch.Kind == 0 {
				t.Fatalf("seed %d: %+v", seed, ch)
			}
		}
	}
}
