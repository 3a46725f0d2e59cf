package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"felloe/config"
)

const twoNodes = `name = "two"
[[node]]
name   = "left"
config = "left.toml"
[[node]]
name   = "right"
config = "right.toml"
mem    = 96
[[link]]
name   = "wire"
ends   = ["left:GigabitEthernet10", "right:GigabitEthernet1"]
delay  = "5ms"
loss   = "0.5%"
rate   = "10Mbit"
[[link]]
ends   = ["left:GigabitEthernet9", "right:GigabitEthernet2"]
`

func TestALabIsReadInTheOrderOfItsFile(t *testing.T) {
	l, err := Parse("lab.toml", "/labs", []byte(twoNodes+`
[[check]]
description = "first"
node = "left"
command = "show x"
expect = ["one"]
save = { count = "n=([0-9]+)" }
[[step]]
cut = "wire"
[[check]]
description = "third"
node = "right"
command = "show y"
number = { pattern = "n=([0-9]+)", max = "${count}+2" }
within = "5s"
[[step]]
impair = "left:GigabitEthernet9"
delay = "1s"
[[step]]
apply = "left"
config = "other.toml"
`))
	if err != nil {
		t.Fatal(err)
	}
	var titles []string
	for _, s := range l.Steps {
		titles = append(titles, s.title())
	}
	if got := strings.Join(titles, "; "); got != "first; cut wire; third; impair left:GigabitEthernet9; apply /labs/other.toml to left" {
		t.Error(got)
	}
	k := l.Links[0]
	if k.Delay != 5*time.Millisecond || k.Loss != 0.005 || k.RateBps != 10_000_000 || l.Links[1].Name != "left:GigabitEthernet9 - right:GigabitEthernet2" {
		t.Errorf("%+v %q", k.Impairment, l.Links[1].Name)
	}
	if n := l.Nodes[0]; n.NICs[0].Interface != "GigabitEthernet9" || n.NICs[1].Interface != "GigabitEthernet10" || n.Config != "/labs/left.toml" || n.Memory != defaultMemory {
		t.Errorf("%+v", n)
	}
	if l.Steps[4].Pos != "lab.toml:35" {
		t.Error(l.Steps[4].Pos)
	}
}

func TestEveryMistakeOfALabIsSaidWithItsPlace(t *testing.T) {
	for _, c := range []struct{ name, text, says string }{
		{"an unknown key", twoNodes + "[[check]]\nnodee = \"left\"\n", "lab.toml:18:1: unknown key check.nodee"},
		{"wrong TOML", "name = \n", "lab.toml:1:"},
		{"no name", strings.Replace(twoNodes, `name = "two"`, "", 1), "a lab needs a name"},
		{"an unknown node", strings.Replace(twoNodes, "right:GigabitEthernet1", "wright:GigabitEthernet1", 1), `lab.toml:9: [[link]] wire: ends: "wright:GigabitEthernet1": the lab has no node "wright" (it has left, right)`},
		{"an interface on two links", strings.Replace(twoNodes, "GigabitEthernet9", "GigabitEthernet10", 1), "left:GigabitEthernet10 is already on the link wire"},
		{"a single end", "name = \"x\"\n[[node]]\nname = \"a\"\nconfig = \"a\"\n[[link]]\nends = [\"a:e\"]\n", "at least two interfaces"},
		{"a bad duration", strings.Replace(twoNodes, `"5ms"`, `"5"`, 1), "not a duration"},
		{"a bad share", strings.Replace(twoNodes, `"0.5%"`, `"0.5"`, 1), "not a share"},
		{"a bad rate", strings.Replace(twoNodes, `"10Mbit"`, `"10"`, 1), "not a rate"},
		{"an empty step", twoNodes + "[[step]]\n", "says nothing to do"},
		{"two things at once", twoNodes + "[[step]]\nkill = \"left\"\ncut = \"wire\"\n", "one thing at a time, not kill and cut"},
		{"a check that acts", twoNodes + "[[check]]\nkill = \"left\"\n", "belongs into a [[step]]"},
		{"a check that cannot fail", twoNodes + "[[check]]\nnode = \"left\"\ncommand = \"x\"\n", "checks nothing"},
		{"a command nowhere", twoNodes + "[[check]]\ncommand = \"x\"\nexpect = [\"y\"]\n", "on which node"},
		{"a bad expression", twoNodes + "[[check]]\nnode = \"left\"\ncommand = \"x\"\nexpect = [\"(\"]\n", "missing closing )"},
		{"an unknown variable", twoNodes + "[[check]]\nnode = \"left\"\ncommand = \"x\"\nexpect = [\"${y}\"]\n", `no step before this one saves "y"`},
		{"a wait for nothing", twoNodes + "[[check]]\nwait = \"x\"\nexpect = [\"y\"]\n", "no step before this one runs in the background"},
		{"a save without a group", twoNodes + "[[step]]\nnode = \"left\"\ncommand = \"x\"\nsave = { a = \"b\" }\n", "needs a group"},
		{"an unknown link", twoNodes + "[[step]]\ncut = \"wan\"\n", `the lab has no link "wan"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("lab.toml", "/labs", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
		})
	}
	_, err := Parse("lab.toml", "/labs", []byte(twoNodes+"[[step]]\n[[check]]\nnode = \"x\"\ncommand = \"y\"\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not all mistakes at once: %v", err)
	}
}

func TestTheReadyLabsAreWhole(t *testing.T) {
	files, err := filepath.Glob("labs/*/lab*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no labs", err)
	}
	for _, f := range files {
		l, err := Load(f)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, n := range l.Nodes {
			if _, err := os.Stat(n.Config); err != nil {
				t.Error(err)
			}
		}
	}
	// The demonstration's configurations are right, not only there.
	l, err := Load("labs/dmvpn-phase3/lab.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range l.Nodes {
		if _, diags := config.Load(n.Config); diags.HasErrors() {
			t.Error(diags)
		}
	}
}

func FuzzParseNeverPanics(f *testing.F) {
	f.Add([]byte(twoNodes))
	f.Add([]byte(twoNodes + "[[step]]\ncut = \"wire\"\n[[check]]\nwait = \"x\"\n"))
	f.Add([]byte("[[link]]\nends = [\":\", \"a:\"]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse("lab.toml", "/labs", b)
		if err == nil && (len(l.Nodes) == 0 || l.Name == "") {
			t.Error("a lab without a name or nodes was accepted")
		}
	})
}
