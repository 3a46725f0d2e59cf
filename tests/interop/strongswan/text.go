package strongswan

import (
	"fmt"
	"regexp"
	"strings"
)

func matches(s, pattern string) []string {
	return regexp.MustCompile("(?m)"+pattern).FindAllString(s, -1)
}

func quoted(list []string) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return strings.Join(out, ", ")
}
