package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestWhatIsNoFileIsNotRead(t *testing.T) {
	dir := t.TempDir()
	fifo, socket, loop := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket"), filepath.Join(dir, "loop")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for from, to := range map[string]string{"loop": loop, "zero": "/dev/zero"} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 1<<40); err != nil { // sparse
		t.Fatal(err)
	}
	main := filepath.Join(dir, "main.toml")
	for name, want := range map[string]string{dir: "it is a directory", "zero": "it is a device", "/dev/zero": "it is a device", "fifo": "it is a pipe", "socket": "it is a socket",
		"loop": "too many levels of symbolic links", "big": "at most", "absent": "there is no such file"} {
		path := name
		if !filepath.IsAbs(name) {
			path = filepath.Join(dir, name)
		}
		if c, diags := Load(path); c != nil || !strings.Contains(diags.String(), want) {
			t.Errorf("%s as a configuration: %s, want %q", name, diags, want)
		}
		text := fmt.Sprintf("[pki.trustpoint.CA]\nca = %q\n", name)
		if err := os.WriteFile(main, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, diags := Load(main); c != nil || !strings.Contains(diags.String(), want) {
			t.Errorf("%s as a certificate: %s, want %q", name, diags, want)
		}
	}
	// A link to a file is one, and so is what a shell makes of a command.
	if err := os.WriteFile(main, []byte("hostname = \"r\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(main, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if c, diags := Load(filepath.Join(dir, "link")); c == nil || c.Hostname != "r" {
		t.Errorf("a link: %s", diags)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fmt.Fprint(w, "hostname = \"p\"\n")
	w.Close()
	if c, diags := Load(fmt.Sprintf("/dev/fd/%d", r.Fd())); c == nil || c.Hostname != "p" {
		t.Errorf("a pipe of the shell's: %s", diags)
	}
}

func TestNothingIsDeeperThanItCanBe(t *testing.T) {
	deep := strings.Repeat("a.", 100000) + "a"
	for _, text := range []string{deep + " = 1", "[" + deep + "]", "[[" + deep + "]]", "a = { " + deep + " = 1 }", "a = " + strings.Repeat("[", 100000), "a = " + strings.Repeat("{ a = ", 100000)} {
		c, diags := Parse("r.toml", []byte(text))
		if c != nil || len(diags) == 0 || len(diags.String()) > 2000 {
			t.Errorf("%.20s…: %.200s", text, diags)
		}
	}
}

func TestALineAsLongAsAFileIsReadInOneGo(t *testing.T) {
	var b strings.Builder
	b.WriteString("[prefix-list.L]\nentry = [")
	for i := range 20000 {
		fmt.Fprintf(&b, "{ permit = \"10.%d.%d.0/24\" },", i>>8, i&255)
	}
	b.WriteString("]\nremarks = 1")
	c, diags := Parse("r.toml", []byte(b.String()))
	if c != nil || len(diags) != 1 || diags[0].Position.Line != 3 || diags[0].Position.Column != 1 {
		t.Errorf("%.300s", diags)
	}
	long := "a = 1\n\"\u00e9\u00e9\" = { x = 1, y = 2 }\n"
	if _, diags := Parse("r.toml", []byte(long)); len(diags) != 2 || diags[1].Position.Column != 1 || diags[1].Position.Line != 2 {
		t.Errorf("%s", diags)
	}
}

func TestManyRoutesOfOneObjectAreLookedAtOnceEach(t *testing.T) {
	allocs := func(routes int) float64 {
		b := []byte("[interface.GigabitEthernet1]\naddress = \"192.0.2.2/24\"\n[track.1]\nroute = { prefix = \"10.0.0.0/24\" }\n")
		for i := range routes {
			b = fmt.Appendf(b, "[[route]]\nprefix = \"10.%d.%d.0/24\"\nvia = \"192.0.2.1\"\ntrack = 1\n", 1+i/250, i%250)
		}
		return testing.AllocsPerRun(1, func() {
			if _, problems := Parse("routes.toml", b); len(problems) > 0 {
				t.Fatal(problems)
			}
		})
	}
	if few, many := allocs(250), allocs(500); many > 3*few {
		t.Errorf("%.0f allocations for 250 routes, %.0f for 500", few, many)
	}
}
