package overlay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"felloe/qemu"
	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

// readyLabs are the ready labs with software of others.
var readyLabs = []string{"bird-peer", "secure-overlay", "secure-overlay-raw", "secure-overlay-pfs", "secure-overlay-raw-pfs", "secure-overlay-mismatch", "secure-overlay-timers"}

func init() {
	for _, name := range readyLabs {
		matrix.Register(labCase(name))
	}
}

// labCase is a case with a row for each of the lab's checks.
func labCase(name string) matrix.Case {
	c := matrix.Case{Name: "overlay/" + name, Group: "Ready labs", Title: name, Peer: "strongSwan with ESP in user space, BIRD", Timeout: 10 * time.Minute}
	l, err := qemu.Load(labFile(name))
	if err != nil { // somewhere else than in the source tree
		c.Run = func(r *matrix.Run) { r.Fatalf("%v", err) }
		return c
	}
	c.Title = l.Title
	for _, n := range l.Nodes {
		if n.External != nil {
			c.Packages = append(c.Packages, n.External.Packages...)
		}
	}
	for i, st := range l.Steps {
		if st.Check {
			c.Rows = append(c.Rows, matrix.Row{ID: rowID(i), What: st.Title()})
		}
	}
	c.Run = func(r *matrix.Run) { run(r, l) }
	return c
}

func rowID(step int) string { return fmt.Sprintf("%02d", step+1) }

// labFile is found from any folder of the source tree.
func labFile(name string) string {
	file := filepath.Join("qemu", "labs", name, "lab.toml")
	dir, err := os.Getwd()
	if err != nil {
		return file
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
			return filepath.Join(dir, file)
		}
	}
}

func run(r *matrix.Run, l *qemu.Lab) {
	n := &qemu.Netns{Dir: filepath.Join(filepath.Dir(r.Socket("x")), "ns"), Program: r.Felloe(), KeepLogs: r.Dir()}
	defer func() {
		if err := n.Stop(); err != nil {
			r.Fatalf("%v", err)
		}
	}()
	r.Evidence(func() string { return evidence(n.Dir) })
	if err := n.Start(r.Context(), l, r.Logf); err != nil {
		r.Fatalf("%v", err)
	}
	versions(r, l)
	s := &qemu.Script{Lab: l, Backend: n, Say: r.Logf}
	s.Begin()
	defer s.End()
	for i, st := range l.Steps {
		do := func() {
			if res := s.Do(r.Context(), st); !res.Passed {
				r.Fatalf("%s: %s\n%s", st.Pos, res.Problem, res.Output)
			}
		}
		if st.Check {
			r.Must(rowID(i), do)
		} else {
			do()
		}
	}
}

// evidence are the logs of a lab's nodes.
func evidence(dir string) string {
	var b strings.Builder
	ours, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	theirs, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	for _, f := range append(ours, theirs...) {
		if text, err := os.ReadFile(f); err == nil {
			fmt.Fprintf(&b, "%s:\n%s\n", f, text)
		}
	}
	return b.String()
}

func versions(r *matrix.Run, l *qemu.Lab) {
	r.Version("BIRD", peers.PackageVersion("bird2"))
	switch {
	case l.Set["raw"] == "yes":
		admin := filepath.Join(qemu.CacheDir(), "strongswan-trixie", "var", "lib", "dpkg")
		r.Version("strongSwan (Debian trixie)", peers.Upstream(r.Command("dpkg-query", "--admindir="+admin, "-W", "-f", "${Version}", "charon-systemd")))
	case l.Set["raw"] == "no":
		r.Version("strongSwan", peers.PackageVersion("charon-systemd"))
	}
}
