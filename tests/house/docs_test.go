package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"felloe/config"
	"felloe/manage/commands"
)

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// entries are the terms of a document's lists: "- **`term`**".
func entries(text string) []string {
	var all []string
	for _, m := range regexp.MustCompile("(?m)^- \\*\\*`(.+?)`\\*\\*").FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// same reports, both ways, what one list has and the other has not.
func same(t *testing.T, file string, documented, real []string) {
	t.Helper()
	for _, r := range real {
		if !slices.Contains(documented, r) {
			t.Errorf("%s does not explain %q", file, r)
		}
	}
	for i, d := range documented {
		if !slices.Contains(real, d) {
			t.Errorf("%s explains %q, which there is not", file, d)
		}
		if slices.Contains(documented[:i], d) {
			t.Errorf("%s explains %q twice", file, d)
		}
	}
}

func TestEveryCommandIsExplained(t *testing.T) {
	// The commands are only listed, never run: a router that has nothing will do.
	type router struct{ commands.Router }
	var patterns []string
	for _, c := range commands.New(router{}).Commands() {
		p := c.Pattern
		// What is switched on is explained, and that "no" and "undebug" switch it off.
		for _, off := range []string{"no debug ", "undebug "} {
			if rest, is := strings.CutPrefix(p, off); is && !strings.HasSuffix(p, " condition") {
				p = "debug " + rest
			}
		}
		if !slices.Contains(patterns, p) {
			patterns = append(patterns, p)
		}
	}
	if len(patterns) < 50 {
		t.Fatalf("only %d commands", len(patterns))
	}
	same(t, "docs/commands.md", entries(document(t, "docs/commands.md")), patterns)
}

func TestEveryDropReasonIsExplained(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "netstack/drops.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	ast.Inspect(f, func(n ast.Node) bool {
		v, is := n.(*ast.ValueSpec)
		if !is || len(v.Names) == 0 || v.Names[0].Name != "dropNames" {
			return true
		}
		ast.Inspect(v, func(n ast.Node) bool {
			if l, is := n.(*ast.BasicLit); is && l.Kind == token.STRING {
				s, err := strconv.Unquote(l.Value)
				if err != nil {
					t.Error(err)
				}
				reasons = append(reasons, s)
			}
			return true
		})
		return false
	})
	if len(reasons) < 20 {
		t.Fatalf("found only %v", reasons)
	}
	_, text, found := strings.Cut(document(t, "docs/operating.md"), "## What a drop means")
	if !found {
		t.Fatal("docs/operating.md has no section about drops")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	same(t, "docs/operating.md", entries(text), reasons)
}

// TestDocumentsDoNotPointNowhere follows the links between documents and to files.
func TestDocumentsDoNotPointNowhere(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, filepath.Join(root, "README.md"))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`).FindAllStringSubmatch(string(b), -1) {
			to, text := file, string(b)
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(file), m[1])
				if info, err := os.Stat(to); err != nil {
					t.Errorf("%s points to %s: %v", file, m[1], err)
					continue
				} else if info.IsDir() {
					continue
				}
				other, err := os.ReadFile(to)
				if err != nil {
					t.Error(err)
				}
				text = string(other)
			}
			if m[2] != "" && !slices.Contains(anchors(text), m[2][1:]) {
				t.Errorf("%s points to %s%s, which is no heading there", file, m[1], m[2])
			}
		}
	}
}

// anchors are the headings as links name them.
func anchors(text string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		words := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(words, " ", "-"))
	}
	return all
}

// TestEveryKeyOfALabFileIsExplained compares the toml tags of the lab file's structs with the document.
func TestEveryKeyOfALabFileIsExplained(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "qemu/parse.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	prefix := map[string]string{"labFile": "", "impairmentFile": "", "nodeFile": "node.", "linkFile": "link.", "stepFile": "step.", "numberFile": "number.",
		"certificateFile": "certificate.", "flowFile": "flow."}
	var keys []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, is := n.(*ast.TypeSpec)
		if !is {
			return true
		}
		s, is := spec.Type.(*ast.StructType)
		p, known := prefix[spec.Name.Name]
		if !is || !known {
			return true
		}
		for _, field := range s.Fields.List {
			if field.Tag == nil {
				continue
			}
			m := regexp.MustCompile(`toml:"([^",]+)`).FindStringSubmatch(field.Tag.Value)
			if _, array := field.Type.(*ast.ArrayType); m != nil && !(spec.Name.Name == "labFile" && array) {
				keys = append(keys, p+m[1])
			}
		}
		return true
	})
	if len(keys) < 30 {
		t.Fatalf("found only %v", keys)
	}
	var documented []string
	for _, m := range regexp.MustCompile("\\*\\*`(.+?)`\\*\\*").FindAllStringSubmatch(document(t, "docs/labs.md"), -1) {
		documented = append(documented, m[1])
	}
	same(t, "docs/labs.md", documented, keys)
}

func TestEveryReadyLabIsListed(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join(root, "qemu/labs"))
	if err != nil {
		t.Fatal(err)
	}
	text := document(t, "docs/labs.md")
	for _, e := range entries {
		if !strings.Contains(text, "| `"+e.Name()+"` |") {
			t.Errorf("docs/labs.md does not list %s", e.Name())
		}
	}
}

// TestConfigurationsInTheReadmeAreRight checks what readers will copy.
func TestConfigurationsInTheReadmeAreRight(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "psk.txt"), []byte("CISCO123\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(document(t, "README.md"), -1)
	if len(blocks) == 0 {
		t.Fatal("the README has no configuration")
	}
	for _, b := range blocks {
		file := filepath.Join(dir, "router.toml")
		if err := os.WriteFile(file, []byte(b[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, diags := config.Load(file); len(diags) > 0 {
			t.Errorf("%s", diags)
		}
	}
}
