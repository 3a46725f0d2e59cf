package config

import (
	"fmt"
	"regexp"
	"strings"
)

// MaxASPathRegexp is the length of the longest regular expression.
const MaxASPathRegexp = 255

// ASPathRegexp compiles a Cisco regular expression for AS paths.
func ASPathRegexp(s string) (*regexp.Regexp, error) {
	if s == "" || len(s) > MaxASPathRegexp {
		return nil, fmt.Errorf("regular expression %.20q: has %d characters, 1 to %d are allowed", s, len(s), MaxASPathRegexp)
	}
	var b strings.Builder
	set := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			if i++; i == len(s) || '0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'z' || 'A' <= s[i] && s[i] <= 'Z' {
				return nil, fmt.Errorf("regular expression %q: nothing to escape at %d", s, i)
			}
			b.WriteString(regexp.QuoteMeta(s[i : i+1]))
			continue
		case c == '_' && set:
			b.WriteString(` ,{}()`)
			continue
		case c == '_':
			b.WriteString(`(?:^|$|[ ,{}()])`)
			continue
		case c == '{' || c == '}':
			b.WriteByte('\\') // the braces of an AS_SET
		case c == '(' && !set && i+1 < len(s) && s[i+1] == '?':
			return nil, fmt.Errorf("regular expression %q: nothing to repeat at %d", s, i+1)
		case c == '[' && !set:
			set = true
		case c == '[':
			b.WriteByte('\\')
		case c == ']':
			set = false
		case c < ' ' || c > '~':
			return nil, fmt.Errorf("regular expression %q: no character of AS paths at %d", s, i)
		}
		b.WriteByte(c)
	}
	r, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", s, err)
	}
	return r, nil
}
