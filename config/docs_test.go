package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func guides(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	out := map[string]string{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(name)] = string(text)
	}
	return out
}

// What readers copy is read here: a block marked complete is a configuration without a mistake or a warning.
func TestTheExamplesOfTheGuidesAreConfigurationsWithoutAMistake(t *testing.T) {
	block := regexp.MustCompile("(?s)```toml complete\n(.*?)```")
	l := Loader{ReadFile: func(string) ([]byte, error) { return []byte("CISCO123\n"), nil }}
	n := 0
	for name, text := range guides(t) {
		if !strings.Contains("vpn-server.md flexvpn.md routing.md", name) {
			continue
		}
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			n++
			c, diags := l.Parse(name, []byte(m[1]))
			if len(diags) > 0 {
				t.Errorf("%s\n%s", diags, m[1])
				continue
			}
			again, diags := Parse(name, Marshal(c, WithSecrets(), WithFiles()))
			if again == nil || !Equal(c, again) {
				t.Errorf("%s: written and read it is another: %v", name, diags)
			}
		}
		if len(block.FindAllString(text, -1)) != strings.Count(text, "```toml") {
			t.Errorf("%s has an example that nothing reads: mark it complete", name)
		}
	}
	if n < 12 {
		t.Errorf("only %d examples were found", n)
	}
}

// TestEveryKeyIsInTheReferenceAndEveryTableInAGuide finds what an operator could not learn of.
func TestEveryKeyIsInTheReferenceAndEveryTableInAGuide(t *testing.T) {
	all := guides(t)
	ref := all["configuration.md"]
	for _, f := range allFields() {
		keyed := regexp.MustCompile("\\*\\*`([a-z0-9.\\[\\]-]+\\.)?" + regexp.QuoteMeta(f.name) + "`\\*\\*")
		headed := regexp.MustCompile("## `\\[+([A-Za-z0-9.-]+\\.)?" + regexp.QuoteMeta(f.name) + "(\\.[A-Z]+)?\\]+`")
		if !keyed.MatchString(ref) && !headed.MatchString(ref) {
			t.Errorf("%s is not in docs/configuration.md", f.id)
		}
	}
	rest := all["vpn-server.md"] + all["flexvpn.md"] + all["routing.md"] + all["operating.md"] + all["labs.md"]
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	rest += string(readme)
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		if !(&writer{}).hasHeader(f, reflect.New(f.typ).Elem()) || f.name == "logging" {
			continue
		}
		if !regexp.MustCompile(`\[` + regexp.QuoteMeta(f.name) + `[.\]]`).MatchString(rest) {
			t.Errorf("no guide has the table [%s]", f.name)
		}
	}
}

// TestTheGuidesNameOnlyKeysThatThereAre reads the right columns of the tables of IOS's words.
func TestTheGuidesNameOnlyKeysThatThereAre(t *testing.T) {
	names := map[string]bool{}
	for _, f := range allFields() {
		names[f.name] = true
	}
	quoted := regexp.MustCompile(`"[^"]*"`)
	key := regexp.MustCompile("[`{,. ]([a-z][a-z-]*) =|`([a-z][a-z-]*)`")
	for name, text := range guides(t) {
		_, table, found := strings.Cut(text, "| IOS | Felloe |")
		if !found {
			continue
		}
		for _, line := range strings.Split(table, "\n") {
			cells := strings.Split(line, " | ")
			if len(cells) != 2 {
				continue
			}
			for _, m := range key.FindAllStringSubmatch(quoted.ReplaceAllString(cells[1], `""`), -1) {
				if !names[m[1]+m[2]] {
					t.Errorf("%s: no key %q: %s", name, m[1]+m[2], line)
				}
			}
		}
	}
}
