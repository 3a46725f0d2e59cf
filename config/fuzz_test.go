package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse feeds anything: there is a configuration or there are errors, errors have places in the file, and what is
// accepted can be written and read again.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.toml", "testdata/bad/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	l := Loader{ReadFile: func(string) ([]byte, error) { return []byte("from a file\n"), nil }}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, diags := l.Parse("fuzz", data)
		if (c == nil) != diags.HasErrors() {
			t.Fatalf("a configuration is there: %v, but %v", c != nil, diags)
		}
		lines := bytes.Count(data, []byte("\n")) + 1
		for _, d := range diags {
			if d.Position.File != "fuzz" || d.Position.Line > lines || d.Position.Line > 0 && d.Position.Column < 1 || d.Message == "" || strings.ContainsAny(d.Message, "\x00\n") {
				t.Fatalf("a bad diagnostic: %q", d.String())
			}
		}
		if c == nil {
			return
		}
		text := Marshal(c, WithSecrets())
		again, diags := l.Parse("again", text)
		if again == nil || !Equal(c, again) {
			t.Fatalf("not the same again: %v\n%s", diags, text)
		}
		if len(Diff(c, again)) != 0 || bytes.Contains(Marshal(c), []byte("from a file")) {
			t.Fatal("a difference, or a secret")
		}
	})
}

// FuzzDecode does not ask whether the whole makes sense, and so gets deeper into reading and writing.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("hostname = \"R\"\n[interface.Tunnel0]\nkey = 0\n"))
	data, err := os.ReadFile("testdata/good/everything.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, diags := decode(data)
		if c == nil || len(diags) > 0 {
			return
		}
		text := Marshal(c, WithSecrets())
		again, diags := decode(text)
		if again == nil || len(diags) > 0 || !Equal(c, again) {
			t.Fatalf("not the same again: %v\n%s", diags, text)
		}
	})
}
