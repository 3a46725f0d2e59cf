package config

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

// loadGood loads a file of testdata/good that must have no errors.
func loadGood(t testing.TB, name string) (*Config, Diagnostics) {
	t.Helper()
	c, diags := Load(filepath.Join("testdata", "good", name))
	if c == nil {
		t.Fatalf("%s:\n%s", name, diags)
	}
	return c, diags
}

func good(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/good/*.toml")
	if err != nil || len(files) < 3 {
		t.Fatalf("testdata/good: %v, %v", files, err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	return files
}

func TestMistakesAreNamedWithPlaceKeyAndRemedy(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			fsys := os.DirFS("testdata/bad")
			c, diags := LoadFS(fsys, filepath.Base(name))
			if (c == nil) != diags.HasErrors() {
				t.Errorf("a configuration is there: %v; errors: %v", c != nil, diags.HasErrors())
			}
			golden(t, strings.TrimSuffix(name, ".toml")+".txt", []byte(diags.String()))
			for _, d := range diags {
				if d.Position.Line == 0 && !strings.Contains(name, "not-text") && !strings.Contains(name, "empty") {
					t.Errorf("no line: %s", d)
				}
			}
		})
	}
}

func TestGoodConfigurationsHaveNoErrorsAndOnlyExpectedWarnings(t *testing.T) {
	for _, name := range good(t) {
		_, diags := loadGood(t, name)
		golden(t, filepath.Join("testdata", "good", strings.TrimSuffix(name, ".toml")+".txt"), []byte(diags.String()))
	}
}

func TestWhatMarshalWritesParsesToTheSame(t *testing.T) {
	for _, name := range good(t) {
		c, _ := loadGood(t, name)
		for _, options := range [][]Option{{WithSecrets()}, {WithSecrets(), WithDefaults()}} {
			text := Marshal(c, options...)
			again, diags := LoadFS(withFile{os.DirFS("testdata/good"), name, text}, name)
			if again == nil {
				t.Fatalf("%s:\n%s\n%s", name, diags, text)
			}
			if !Equal(c, again) {
				t.Errorf("%s: %v", name, Diff(c, again))
			}
			if !bytes.Equal(text, Marshal(again, options...)) {
				t.Errorf("%s: written twice it differs", name)
			}
		}
		golden(t, filepath.Join("testdata", "marshal", name), Marshal(c))
	}
}

// withFile is a file system in which one file is another.
type withFile struct {
	fs.FS
	name string
	data []byte
}

func (f withFile) ReadFile(name string) ([]byte, error) {
	if name == f.name {
		return f.data, nil
	}
	return fs.ReadFile(f.FS, name)
}

func TestEverythingHasEveryKey(t *testing.T) {
	data, err := os.ReadFile("testdata/good/everything.toml")
	if err != nil {
		t.Fatal(err)
	}
	tree, diags := parseTree("everything.toml", data)
	if tree == nil {
		t.Fatal(diags)
	}
	seen := map[string]bool{}
	var walk func(n *node, t reflect.Type)
	walk = func(n *node, t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice && !leaf(t) {
			t = t.Elem()
		}
		for _, i := range n.items {
			walk(i, t)
		}
		if leaf(t) {
			return
		}
		if t.Kind() == reflect.Map {
			for _, name := range n.names {
				walk(n.kids[name], t.Elem())
			}
			return
		}
		for _, f := range fieldsOf(t) {
			if kid := n.kids[f.name]; kid != nil {
				seen[f.id] = true
				walk(kid, f.typ)
			}
		}
	}
	walk(tree, reflect.TypeFor[Config]())
	for _, f := range allFields() {
		if !seen[f.id] {
			t.Errorf("%s (%s) is not in everything.toml", f.name, f.id)
		}
	}
}

func TestATruncatedFileIsNeverAPanicAndNeverSilent(t *testing.T) {
	for _, name := range good(t) {
		data, err := os.ReadFile(filepath.Join("testdata", "good", name))
		if err != nil {
			t.Fatal(err)
		}
		l := Loader{ReadFile: func(string) ([]byte, error) { return []byte("x"), nil }}
		for n := 0; n < len(data); n += 1 + len(data)/2500 {
			c, diags := l.Parse(name, data[:n])
			if (c == nil) != diags.HasErrors() {
				t.Fatalf("%s cut at %d: configuration %v, %v", name, n, c != nil, diags)
			}
			for _, d := range diags {
				if d.Position.File == "" || d.Message == "" {
					t.Fatalf("%s cut at %d: %v", name, n, d)
				}
			}
		}
	}
}

func TestSeveralFilesAreOneConfiguration(t *testing.T) {
	fsys := fstest.MapFS{
		"a.toml": {Data: []byte("hostname = \"R\"\n[interface.Loopback0]\naddress = \"10.0.0.1/32\"\n[[route]]\nprefix = \"10.1.0.0/16\"\ndiscard = true\n")},
		"b.toml": {Data: []byte("[interface.Loopback1]\naddress = \"10.0.0.2/32\"\n[[route]]\nprefix = \"10.2.0.0/16\"\ndiscard = true\n")},
		"c.toml": {Data: []byte("hostname = \"S\"\n[interface.Loopback0]\nshutdown = true\n")},
	}
	c, diags := LoadFS(fsys, "a.toml", "b.toml")
	if c == nil || len(diags) > 0 {
		t.Fatal(diags)
	}
	if c.Hostname != "R" || len(c.Interface) != 2 || len(c.Route) != 2 || c.Route[1].Prefix.String() != "10.2.0.0/16" {
		t.Errorf("%s", Marshal(c))
	}
	_, diags = LoadFS(fsys, "a.toml", "c.toml")
	if got := diags.String(); got != "c.toml:1:1: hostname: is set twice, first at a.toml:1:1: keep one of them\n" {
		t.Errorf("got %s", got)
	}
	if _, diags = LoadFS(fsys, "a.toml", "nowhere.toml"); diags.String() != "nowhere.toml: cannot be read: there is no such file\n" {
		t.Errorf("got %s", diags)
	}
}

func TestASecretsFileIsFoundBesideTheConfigurationThatNamesIt(t *testing.T) {
	fsys := fstest.MapFS{
		"etc/r.toml":   {Data: []byte("[ikev2.keyring.K.peer.a]\naddress = \"10.0.0.1\"\npre-shared-key = { file = \"keys/psk\" }\n")},
		"etc/keys/psk": {Data: []byte("s3cret\r\n")},
	}
	c, diags := LoadFS(fsys, "etc/r.toml")
	if c == nil {
		t.Fatal(diags)
	}
	k := c.IKEv2.Keyring["K"].Peer["a"].PreSharedKey
	if k.Local.Reveal() != "s3cret" || k.Remote != k.Local || k.Local.File() != "keys/psk" {
		t.Errorf("got %q from %q", k.Local.Reveal(), k.Local.File())
	}
	delete(fsys, "etc/keys/psk")
	_, diags = LoadFS(fsys, "etc/r.toml")
	want := "etc/r.toml:3:27: [ikev2.keyring.K.peer.a] pre-shared-key.file: cannot read \"keys/psk\": there is no such file\n"
	if diags.String() != want {
		t.Errorf("got  %swant %s", diags, want)
	}
	if _, diags = Parse("r.toml", fsys["etc/r.toml"].Data); !strings.Contains(diags.String(), "nowhere to read files from") {
		t.Errorf("got %s", diags)
	}
}

func TestWhatIsFoundLaterHasAPlaceToo(t *testing.T) {
	c, _ := loadGood(t, "spoke2.toml")
	d := c.Diagnose(Error, "interface.GigabitEthernet1.mac", "there is no such NIC")
	if got, want := d.String(), "testdata/good/spoke2.toml:5:12: [interface.GigabitEthernet1] mac: there is no such NIC"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if p, ok := c.Position("bgp.neighbor.\"10.10.10.1\".remote-as"); !ok || p.Line != 57 {
		t.Errorf("got %v, %v", p, ok)
	}
	if _, ok := New().Position("hostname"); ok {
		t.Error("a configuration made in Go has positions")
	}
}

func TestCheckSaysWhatEachFileIsLike(t *testing.T) {
	var out bytes.Buffer
	if status := Check(&out, nil, "testdata/good/spoke2.toml", "testdata/bad/references.toml"); status != 1 {
		t.Errorf("status %d", status)
	}
	text := out.String()
	if !strings.HasPrefix(text, "testdata/good/spoke2.toml: good\n") || !strings.Contains(text, "testdata/bad/references.toml: ") {
		t.Errorf("got\n%s", text)
	}
	out.Reset()
	if status := Check(&out, nil, "testdata/good/everything.toml"); status != 0 || !strings.Contains(out.String(), ": usable, ") {
		t.Errorf("status %d:\n%s", status, out.String())
	}
	out.Reset()
	further := func(c *Config) Diagnostics { return Diagnostics{c.Diagnose(Error, "hostname", "nobody knows it")} }
	if status := Check(&out, further, "testdata/good/spoke2.toml"); status != 1 || !strings.Contains(out.String(), "hostname: nobody knows it\n") {
		t.Errorf("status %d:\n%s", status, out.String())
	}
	if Check(&out, nil) != 1 {
		t.Error("nothing to check is good")
	}
}
