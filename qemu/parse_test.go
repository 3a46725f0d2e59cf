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
		titles = append(titles, s.Title())
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
			if n.External != nil {
				continue
			}
			for _, c := range []string{n.Config, n.ConfigEmulated} {
				if c == "" {
					continue
				}
				if _, err := os.Stat(c); err != nil {
					t.Error(err)
				}
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

const withExternal = twoNodes + `
[[node]]
name     = "peer"
kind     = "external"
prepare  = "./peer.sh prepare"
start    = "./peer.sh start"
ready    = "./peer.sh ready"
stop     = "./peer.sh stop"
packages = ["bird2", "g++"]
[[link]]
ends = ["peer:eth0", "left:GigabitEthernet1"]
`

func TestAnExternalNodeRunsInANamespaceOnly(t *testing.T) {
	l, err := Parse("lab.toml", "/labs", []byte(withExternal))
	if err != nil {
		t.Fatal(err)
	}
	n, err := l.Node("peer")
	if err != nil {
		t.Fatal(err)
	}
	if x := n.External; x == nil || x.Dir != "/labs" || x.Start != "./peer.sh start" || len(x.Packages) != 2 {
		t.Errorf("%+v", x)
	}
	if err := l.runsOn("netns"); err != nil {
		t.Error(err)
	}
	for _, b := range []string{"qemu", "memory"} {
		if err := l.runsOn(b); err == nil || !strings.Contains(err.Error(), "peer is external software and runs with -backend netns only, not with "+b) {
			t.Errorf("%s: %v", b, err)
		}
	}
	if nicName(n, 0) != "eth0" || nicName(l.Nodes[0], 1) != "nic2" {
		t.Errorf("%s, %s", nicName(n, 0), nicName(l.Nodes[0], 1))
	}
}

func TestMistakesOfExternalNodesAreNamed(t *testing.T) {
	_, err := Parse("lab.toml", "/labs", []byte(`name = "wrong"
[[node]]
name = "a"
config = "a.toml"
start = "x"
[[node]]
name = "b"
kind = "external"
config = "b.toml"
backend = ["qemu"]
[[node]]
name = "c"
kind = "peer"
packages = ["-y"]
backend = ["cloud"]
[[link]]
ends = ["a:GigabitEthernet1", "b:GigabitEthernet1"]
[[step]]
apply = "b"
config = "x.toml"
`))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`lab.toml:2: [[node]] a: prepare, start, ready, stop and packages are for a node with kind = "external"`,
		`lab.toml:6: [[node]] b: start: which command starts it?`,
		`lab.toml:6: [[node]] b: config and mem are for routers`,
		`lab.toml:6: [[node]] b: backend: an external node runs in a network namespace`,
		`lab.toml:11: [[node]] c: kind: "peer" is neither`,
		`lab.toml:11: [[node]] c: packages: "-y" is not the name of a package`,
		`lab.toml:11: [[node]] c: backend: there is no backend "cloud" (qemu, memory, netns)`,
		`ends: "b:GigabitEthernet1": Linux cannot call an interface that`,
		`apply: b is external`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

func TestALabStandsOnAnother(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"base.toml": withExternal + `
[set]
mtu = "1400"
raw = "no"
[[check]]
node = "left"
command = "show x"
expect = ["${mtu}"]
`,
		"same.toml":  "name = \"same\"\nbase = \"base.toml\"\n[set]\nraw = \"yes\"\n",
		"other.toml": "name = \"other\"\nbase = \"same.toml\"\n[[node]]\nname = \"right\"\nconfig = \"new.toml\"\n[[step]]\npause = \"1s\"\n",
		"loop.toml":  "name = \"loop\"\nbase = \"loop.toml\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Load(filepath.Join(dir, "same.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if l.Name != "same" || len(l.Nodes) != 3 || len(l.Links) != 3 || len(l.Steps) != 1 || l.Set["mtu"] != "1400" || l.Set["raw"] != "yes" {
		t.Errorf("%+v", l)
	}
	l, err = Load(filepath.Join(dir, "other.toml"))
	if err != nil {
		t.Fatal(err)
	}
	right, err := l.Node("right")
	if err != nil {
		t.Fatal(err)
	}
	if right.Config != filepath.Join(dir, "new.toml") || len(right.NICs) != 2 || len(l.Steps) != 1 || l.Steps[0].Pause != time.Second {
		t.Errorf("%+v, %+v", right, l.Steps)
	}
	if _, err := Load(filepath.Join(dir, "loop.toml")); err == nil || !strings.Contains(err.Error(), "stand on each other") {
		t.Errorf("a lab on itself: %v", err)
	}
}

func TestAnEmulatedCPUHasValuesAndAConfigurationOfItsOwnAndMoreTime(t *testing.T) {
	l, err := Parse("lab.toml", "/labs", []byte(strings.Replace(twoNodes, `config = "left.toml"`, "config = \"left.toml\"\nconfig-emulated = \"slow.toml\"", 1)+`
[set]
rate = "100"
most = "1"
[set-emulated]
rate = "20"
[[check]]
node = "left"
command = "show x"
expect = ["x"]
within = "5s"
timeout = "2s"
[[step]]
node = "left"
flow = { to = "192.0.2.1", rate = "${rate}", for = "2s" }
`))
	if err != nil {
		t.Fatal(err)
	}
	flow := func() string {
		f, length, err := l.Steps[1].Flow.filled(l.Set)
		if err != nil {
			t.Fatal(err)
		}
		return f.command(length)
	}
	if l.Nodes[0].Config != "/labs/left.toml" || !strings.Contains(flow(), "repeat 200 interval 10 ") {
		t.Errorf("before: %s, %s", l.Nodes[0].Config, flow())
	}
	l.emulate()
	l.emulate() // once is enough
	if l.Nodes[0].Config != "/labs/slow.toml" || l.Nodes[1].Config != "/labs/right.toml" || l.Set["most"] != "1" ||
		!strings.Contains(flow(), "repeat 40 interval 50 timeout 15 ") {
		t.Errorf("after: %s, %s, %v", l.Nodes[0].Config, flow(), l.Set)
	}
	if s := l.Steps[0]; s.Within != 20*time.Second || s.Timeout != 8*time.Second {
		t.Errorf("%v, %v", s.Within, s.Timeout)
	}
	if s := l.Steps[1]; s.Within != 0 || s.Timeout != 0 {
		t.Errorf("a flow takes what it takes: %v, %v", s.Within, s.Timeout)
	}
	if _, err := Parse("lab.toml", "/labs", []byte(twoNodes+"[set-emulated]\nrate = \"20\"\n")); err == nil || !strings.Contains(err.Error(), "not a value of [set]") {
		t.Error(err)
	}
	if _, err := Parse("lab.toml", "/labs", []byte(twoNodes+"[set]\nr = \"0\"\n[[step]]\nnode = \"left\"\nflow = { to = \"192.0.2.1\", rate = \"${q}\", for = \"2s\" }\n")); err == nil {
		t.Error("a rate that nothing sets")
	}
	if _, _, err := (&Flow{For: "2s", Pace: "${r}"}).filled(map[string]string{"r": "0"}); err == nil || !strings.Contains(err.Error(), "out of range") {
		t.Error(err)
	}
}

func TestABaseIsALabsFile(t *testing.T) {
	_, err := Parse("lab.toml", "/labs", []byte("name = \"x\"\nbase = \"/dev/zero\"\n"))
	if err == nil || !strings.Contains(err.Error(), "is not a .toml file") {
		t.Error(err)
	}
}

func TestOnlyALabsNamespacesAreCleanedUp(t *testing.T) {
	for name, ours := range map[string]bool{
		namespaceName("two-routers", "left"): true, namespaceName("x", wiresNode): true, "f-a-b": false, "fi-1-2-3-x": false,
		"f-../../etc-1-x": false, "vpn": false, "f-lab-12-": false,
	} {
		if labNamespace.MatchString(name) != ours {
			t.Errorf("%s: ours: %v", name, !ours)
		}
	}
}

func TestCertificatesAreIssuedBesideCopiesOfTheConfigurations(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"left.toml":  "hostname = \"left\"\n[pki.trustpoint.LAB]\nca = \"ca.pem\"\ncertificate = \"left.pem\"\nkey = { file = \"left.key\" }\ncrl = \"ca.crl\"\n",
		"right.toml": "hostname = \"right\"\n",
	} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Parse(filepath.Join(from, "lab.toml"), from, []byte(twoNodes+`
[[certificate]]
name    = "left"
subject = "CN=left,O=Lab"
dns     = ["left.example.com"]
key     = "rsa-2048"
[[certificate]]
name    = "right"
subject = "CN=right,O=Lab"
`))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		if err := l.Prepare(to); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasPrefix(l.Nodes[0].Config, to) {
		t.Fatalf("%s is not below %s", l.Nodes[0].Config, to)
	}
	if _, diags := config.Load(l.Nodes[0].Config); diags.HasErrors() {
		t.Error(diags)
	}
	if left, _ := filepath.Glob(filepath.Join(from, "*.pem")); len(left) > 0 {
		t.Errorf("%v are among the lab's files", left)
	}
	for table, want := range map[string]string{
		"[[certificate]]\nname = \"ca\"\nsubject = \"CN=x\"":                                  "that of the authority",
		"[[certificate]]\nname = \"x\"":                                                       "subject",
		"[[certificate]]\nname = \"x\"\nsubject = \"CN=x\"\nkey = \"dsa\"":                    "key",
		"[[certificate]]\nname = \"x\"\nsubject = \"CN=x\"\naddress = [\"10.0.0.0/8\"]":       "is not an address",
		"[[step]]\nnode = \"left\"\nflow = { to = \"x\", for = \"1s\" }":                      "is not an address",
		"[[step]]\nnode = \"left\"\nflow = { to = \"192.0.2.1\" }":                            "how long",
		"[[step]]\nflow = { to = \"192.0.2.1\", for = \"1s\" }":                               "which node",
		"[[check]]\nnode = \"left\"\nflow = { to = \"192.0.2.1\", for = \"1s\" }":             "checks nothing",
		"[[step]]\nnode = \"left\"\nflow = { to = \"192.0.2.1\", for = \"1s\", rate = 9999 }": "out of range",
	} {
		if _, err := Parse("lab.toml", "/labs", []byte(twoNodes+table+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", table, err)
		}
	}
}
