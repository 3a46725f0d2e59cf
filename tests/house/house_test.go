package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// rooms tells, for each room, the rooms of ours that it may import.
var rooms = map[string][]string{
	"config":     {},
	"netstack":   {},
	"vpn":        {"netstack", "config"},
	"routing":    {"netstack", "config"},
	"boot":       {"config", "netstack", "vpn", "routing", "manage"},
	"manage":     {"config", "netstack", "vpn", "routing"},
	"image":      {"config", "boot/disk"},
	"qemu":       {"config", "netstack/link", "netstack/packet", "netstack/clock", "netstack/pcapng", "image", "boot", "manage", "vpn/pki"},
	"tests":      {"*"},
	"cmd/felloe": {"*"},
}

// forbidden are imports of others' code that a room must not have.
var forbidden = map[string][]string{
	"config":   {"gvisor.dev/", "github.com/osrg/"},
	"vpn":      {"github.com/osrg/", "net/http"},
	"netstack": {"github.com/osrg/"},
}

type source struct {
	pkg     string // folder below the root
	file    string
	test    bool
	imports []string
	doc     *ast.CommentGroup
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "build" || name == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		s := source{pkg: filepath.ToSlash(rel), file: path, test: strings.HasSuffix(name, "_test.go"), doc: f.Doc}
		for _, i := range f.Imports {
			s.imports = append(s.imports, strings.Trim(i.Path.Value, `"`))
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found only %d files below %s", len(out), root)
	}
	return out
}

func room(pkg string) string {
	for r := range rooms {
		if pkg == r || strings.HasPrefix(pkg, r+"/") {
			return r
		}
	}
	return ""
}

func TestArrowsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		r := room(s.pkg)
		if r == "" {
			t.Errorf("%s is in no room of the house", s.file)
			continue
		}
		if s.test {
			continue
		}
		for _, imp := range s.imports {
			ours, is := strings.CutPrefix(imp, "felloe/")
			if !is {
				for _, f := range forbidden[r] {
					if strings.HasPrefix(imp, f) {
						t.Errorf("%s: %s may not import %s", s.file, r, imp)
					}
				}
				continue
			}
			may := rooms[r]
			if room(ours) == r || slices.Contains(may, "*") {
				continue
			}
			if !slices.ContainsFunc(may, func(m string) bool { return ours == m || strings.HasPrefix(ours, m+"/") }) {
				t.Errorf("%s: %s may not import %s", s.file, r, imp)
			}
		}
	}
}

func TestEveryPackageExplainsItself(t *testing.T) {
	has := map[string]bool{}
	all := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		all[s.pkg] = true
		if filepath.Base(s.file) == "doc.go" && s.doc != nil && len(s.doc.Text()) > 80 {
			has[s.pkg] = true
		}
	}
	for pkg := range all {
		if !has[pkg] && pkg != "cmd/felloe" {
			t.Errorf("%s has no doc.go that says what it is", pkg)
		}
	}
}

func TestTheRoomsThatNeedNoHostBuildWithoutOne(t *testing.T) {
	packages := map[string]bool{}
	for _, s := range sources(t) {
		r := room(s.pkg)
		if s.test || !slices.Contains([]string{"config", "netstack", "vpn", "routing"}, r) {
			continue
		}
		if s.pkg == "netstack/link/afpacket" || s.pkg == "netstack/link/tap" || strings.HasPrefix(s.pkg, "routing/bgp/gobgp") {
			continue
		}
		packages["./"+s.pkg] = true
	}
	args := []string{"build"}
	for p := range packages {
		args = append(args, p)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("GOOS=js GOARCH=wasm go build: %v\n%s", err, out)
	}
}
