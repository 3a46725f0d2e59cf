package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Loader reads configurations from somewhere: a directory, a config disk, a map in a test.
type Loader struct {
	// ReadFile reads a file by its name. The name of a secret's file is joined to the directory of the configuration that
	// names it.
	ReadFile func(name string) ([]byte, error)
	// Join makes the name of a secret's file; path.Join of the directory when nil.
	Join func(config, name string) string
}

// Load reads one configuration from one or several files of the host. Tables of several files are joined; no key may be set
// twice. The Config is nil when there are errors.
func Load(files ...string) (*Config, Diagnostics) {
	l := Loader{ReadFile: readFile, Join: func(config, name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(filepath.Dir(config), name)
	}}
	return l.Load(files...)
}

// readFile reads a file that has an end: no directory, no device. A pipe is read as far as a configuration may be long.
func readFile(name string) ([]byte, error) {
	i, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case i.IsDir():
		return nil, errors.New("it is a directory")
	case i.Mode()&fs.ModeDevice != 0:
		return nil, errors.New("it is a device")
	case i.Mode()&fs.ModeSocket != 0:
		return nil, errors.New("it is a socket")
	case i.Mode()&fs.ModeNamedPipe != 0 && !strings.HasPrefix(name, "/dev/"):
		return nil, errors.New("it is a pipe")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// LoadFS is Load from a file system, such as a config disk's.
func LoadFS(fsys fs.FS, files ...string) (*Config, Diagnostics) {
	l := Loader{ReadFile: func(name string) ([]byte, error) { return fs.ReadFile(fsys, name) }}
	return l.Load(files...)
}

// Parse reads one configuration from memory. It cannot read files that it names, unless their contents are in it
// (WithFiles): see Loader.Parse.
func Parse(name string, data []byte) (*Config, Diagnostics) {
	return (&Loader{}).Parse(name, data)
}

// Load reads files and checks them together.
func (l *Loader) Load(files ...string) (*Config, Diagnostics) {
	var diags Diagnostics
	docs := make([]document, 0, len(files))
	for _, name := range files {
		if l.ReadFile == nil {
			return nil, Diagnostics{{Position: Position{File: name}, Message: "there is nowhere to read files from"}}
		}
		data, err := l.ReadFile(name)
		if err != nil {
			diags = append(diags, Diagnostic{Position: Position{File: name}, Message: "cannot be read: " + reason(err)})
			continue
		}
		docs = append(docs, document{name, data})
	}
	if len(files) == 0 {
		diags = append(diags, Diagnostic{Message: "no configuration file is named"})
	}
	return l.parse(docs, diags)
}

// Parse reads one configuration from memory; ReadFile serves its secrets.
func (l *Loader) Parse(name string, data []byte) (*Config, Diagnostics) {
	return l.parse([]document{{name, data}}, nil)
}

// NamedFiles lists the files that a configuration names: what must be beside it. A text that is not TOML names none.
func NamedFiles(text []byte) []string {
	tree, _ := parseTree("", text)
	if tree == nil {
		return nil
	}
	var names []string
	d := &decoder{src: &source{}, bad: map[string]bool{}, secret: func(_, name string) ([]byte, error) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return []byte("-"), nil
	}}
	d.root(tree, New())
	slices.Sort(names)
	return names
}

type document struct {
	name string
	data []byte
}

func (l *Loader) parse(docs []document, diags Diagnostics) (*Config, Diagnostics) {
	var root *node
	var names []string
	broken := len(diags) > 0
	for _, doc := range docs {
		names = append(names, doc.name)
		tree, ds := parseTree(doc.name, doc.data)
		diags = append(diags, ds...)
		switch {
		case tree == nil:
			broken = true
		case root == nil:
			root = tree
		default:
			diags = append(diags, root.merge(tree, "")...)
		}
	}
	if broken || root == nil {
		diags.sort(names)
		return nil, diags
	}
	c := New()
	d := &decoder{diags: diags, src: &source{at: map[string]place{}}, bad: map[string]bool{}, secret: l.secret}
	d.root(root, c)
	if len(root.names) == 0 {
		d.diags = append(d.diags, Diagnostic{Severity: Warning, Position: Position{File: names[0]}, Message: "nothing is configured here: the file is empty"})
	}
	c.src = d.src
	v := &validator{c: c, bad: d.bad}
	v.run()
	d.diags = append(d.diags, v.diags...)
	d.diags.sort(names)
	if d.diags.HasErrors() {
		return nil, d.diags
	}
	return c, d.diags
}

func (l *Loader) secret(from, name string) ([]byte, error) {
	if l.ReadFile == nil {
		return nil, errors.New("there is nowhere to read files from")
	}
	join := l.Join
	if join == nil {
		join = func(config, name string) string {
			if path.IsAbs(name) {
				return name
			}
			return path.Join(path.Dir(config), name)
		}
	}
	data, err := l.ReadFile(join(from, name))
	if err != nil {
		return nil, errors.New(reason(err))
	}
	return data, nil
}

// reason is an error without the file's name, which the Diagnostic has already.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// Position finds where a key was written, such as "interface.Tunnel0.protection", or else the table around it. It is false
// for a configuration that was made in Go.
func (c *Config) Position(key string) (Position, bool) {
	if c.src == nil {
		return Position{}, false
	}
	for ; key != ""; key = parentPath(key) {
		if p, ok := c.src.at[key]; ok {
			return p.pos, true
		}
	}
	return Position{}, false
}

// Diagnose makes a Diagnostic about a key for those who find something wrong later, such as a NIC that is missing.
func (c *Config) Diagnose(s Severity, key, format string, args ...any) Diagnostic {
	d := Diagnostic{Severity: s, Message: fmt.Sprintf(format, args...)}
	d.Table, d.Key = splitPath(key)
	for p := key; p != "" && c.src != nil; p = parentPath(p) {
		if at, ok := c.src.at[p]; ok {
			d.Position, d.Table = at.pos, at.table
			d.Key = joinRest(at.key, key[len(p):])
			break
		}
	}
	return d
}

// Validate checks a configuration that was made in Go, as Parse does for a file. Nothing has a position then.
func (c *Config) Validate() Diagnostics {
	_, diags := Parse("", Marshal(c, WithSecrets(), WithFiles()))
	for i := range diags {
		diags[i].Position = Position{}
	}
	return diags
}

// parentPath takes the last step off a path; keys in quotes may hold dots and brackets.
func parentPath(p string) string {
	cut, quoted := 0, false
	for i := 0; i < len(p); i++ {
		switch {
		case quoted && p[i] == '\\':
			i++
		case p[i] == '"':
			quoted = !quoted
		case !quoted && (p[i] == '.' || p[i] == '['):
			cut = i
		}
	}
	return p[:cut]
}

func splitPath(p string) (table, key string) {
	parent := parentPath(p)
	if p[len(parent):] != "" && p[len(parent)] == '[' {
		return p, ""
	}
	return parent, trimDot(p[len(parent):])
}

func trimDot(s string) string {
	if s != "" && s[0] == '.' {
		return s[1:]
	}
	return s
}

func joinRest(key, rest string) string {
	if key == "" {
		return trimDot(rest)
	}
	return key + rest
}

// root decodes the top of the tree.
func (d *decoder) root(n *node, c *Config) {
	n.place(n.pos)
	d.table(n, scope{}, reflectElem(c))
}
