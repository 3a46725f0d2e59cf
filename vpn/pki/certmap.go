package pki

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// Map is one `crypto pki certificate map`: it matches a certificate that meets all conditions of any of its rules.
type Map struct {
	Name  string
	Rules []Rule
}

// Rule is a sequence of conditions.
type Rule []Condition

// Field is what a condition looks at.
type Field uint8

const (
	SubjectName Field = iota
	IssuerName
	AltSubjectName
)

// Operator is how it compares: eq, ne, co (contains), nc (does not contain).
type Operator string

const (
	Equal       Operator = "eq"
	NotEqual    Operator = "ne"
	Contains    Operator = "co"
	NotContains Operator = "nc"
)

// Condition is one comparison. Letter case and spaces around commas and equal signs do not count.
//
// Names are compared part by part, so that a value with a comma in it cannot pretend to be another part: "co ou=spokes"
// is met by a part that is an OU and begins with "spokes", "co ou=spokes,o=lab" by two parts in a row, in either order,
// the last of which begins like that. A text that does not begin with an attribute, as in "co spokes", is looked for
// within each value. "eq" wants the whole name, from either end. Of alternative names (DNS names, mail addresses,
// addresses, URIs) any one may meet eq and co; ne and nc want none that does.
type Condition struct {
	Field    Field
	Operator Operator
	Value    string
}

// ParseCondition reads "co ou=spokes".
func ParseCondition(f Field, s string) (Condition, error) {
	op, val, _ := strings.Cut(strings.TrimSpace(s), " ")
	c := Condition{f, Operator(strings.ToLower(op)), strings.TrimSpace(val)}
	switch c.Operator {
	case Equal, NotEqual, Contains, NotContains:
	default:
		return c, fmt.Errorf("%q does not begin with eq, ne, co or nc", s)
	}
	if c.Value == "" {
		return c, fmt.Errorf("%q has nothing to compare with after %s", s, op)
	}
	return c, nil
}

// Match reports whether a certificate meets the map.
func (m *Map) Match(c *x509.Certificate) bool {
	return c != nil && slices.ContainsFunc(m.Rules, func(r Rule) bool {
		return len(r) > 0 && !slices.ContainsFunc(r, func(x Condition) bool { return !x.Match(c) })
	})
}

// Match reports whether a certificate meets the condition.
func (x Condition) Match(c *x509.Certificate) bool {
	var met bool
	contains := x.Operator == Contains || x.Operator == NotContains
	switch x.Field {
	case SubjectName:
		met = matchDN(c.RawSubject, x.Value, contains)
	case IssuerName:
		met = matchDN(c.RawIssuer, x.Value, contains)
	case AltSubjectName:
		want := strings.ToLower(x.Value)
		met = slices.ContainsFunc(alternatives(c), func(s string) bool {
			return s == want || contains && strings.Contains(s, want)
		})
	}
	return met == (x.Operator == Equal || x.Operator == Contains)
}

func alternatives(c *x509.Certificate) []string {
	var out []string
	for _, s := range c.DNSNames {
		out = append(out, strings.ToLower(s))
	}
	for _, s := range c.EmailAddresses {
		out = append(out, strings.ToLower(s))
	}
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	for _, u := range c.URIs {
		out = append(out, strings.ToLower(u.String()))
	}
	return out
}

// matchDN compares a name with a text.
func matchDN(der []byte, want string, contains bool) bool {
	seq, err := parseDN(der)
	if err != nil {
		return false
	}
	var have []string // "cn=spoke1", in the certificate's order
	for _, rdn := range seq {
		for _, a := range rdn {
			have = append(have, strings.ToLower(attributeName(a.Type))+"="+fold(value(a)))
		}
	}
	pattern, named := dnPattern(want)
	if !named {
		return contains && slices.ContainsFunc(have, func(s string) bool {
			_, v, _ := strings.Cut(s, "=")
			return strings.Contains(v, fold(unescape(want)))
		})
	}
	for range 2 {
		if !contains && slices.Equal(have, pattern) {
			return true
		}
		for i := 0; contains && i+len(pattern) <= len(have); i++ {
			n := len(pattern) - 1
			if slices.Equal(have[i:i+n], pattern[:n]) && strings.HasPrefix(have[i+n], pattern[n]) {
				return true
			}
		}
		slices.Reverse(have)
	}
	return false
}

// dnPattern cuts a text into parts of a name; named: all of them begin with an attribute.
func dnPattern(s string) (parts []string, named bool) {
	list, err := splitDN(s)
	if err != nil {
		return nil, false
	}
	for _, p := range list {
		key, val, ok := strings.Cut(p, "=")
		oid := attributeOIDs[strings.ToLower(strings.TrimSpace(key))]
		if !ok || oid == nil {
			return nil, false
		}
		parts = append(parts, strings.ToLower(attributeName(oid))+"="+fold(unescape(val)))
	}
	return parts, true
}
