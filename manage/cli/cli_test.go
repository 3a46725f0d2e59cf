package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

type answer struct {
	Args map[string]string `json:"args"`
}

func (a answer) Text(w *Table) {
	for _, k := range []string{"alpha", "beta", "  indented beta", "gamma"} {
		w.Line(k)
	}
}

func testTree() *Tree {
	t := NewTree(map[string]string{"ip": "Internet protocol"})
	run := func(i *Invocation) (Result, error) { return answer{i.Args}, nil }
	for _, p := range []string{
		"show ip route [vrf <name>] [bgp|static]", "show ip nhrp [nhs|shortcut]", "show interfaces [<interface>]",
		"ping <host> {source <interface>|repeat <count>|df-bit}*", "show ip bgp [summary]", "show ip bgp neighbors [<address>]",
		"shutdown interface <interface>",
	} {
		t.Add(Command{Pattern: p, Run: run})
	}
	t.Spell("shutdown", 4)
	return t
}

func exec(t *testing.T, line string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	s := &Session{Tree: testTree(), Out: &out}
	err := s.Exec(context.Background(), line)
	return out.String(), err
}

func TestAbbreviationsOptionsAndRepeatedGroups(t *testing.T) {
	for line, want := range map[string][2]string{
		"sh ip ro":                          {"route", "route"},
		"sh ip ro vrf red b":                {"name", "red"},
		"show ip route static":              {"static", "static"},
		"ping 1.2.3.4 rep 5 so Lo10 df":     {"count", "5"},
		"ping 1.2.3.4 df source Lo10 rep 9": {"interface", "Lo10"},
		"sh ip bgp neigh 10.0.0.1":          {"address", "10.0.0.1"},
		`sh int "Gi 1"`:                     {"interface", "Gi 1"},
		"shut int Lo10":                     {"interface", "Lo10"},
	} {
		cmd, args, err := testTree().find(line)
		if err != nil || cmd == nil || args[want[0]] != want[1] {
			t.Errorf("%q: %v %v", line, args, err)
		}
	}
}

func TestWrongLinesSayWhereAndWhat(t *testing.T) {
	for line, want := range map[string]string{
		"sh ip x":      "% Invalid input detected at '^' marker.",
		"show ip":      "% Incomplete command: next may be bgp, nhrp, route",
		"show i route": `% Ambiguous command: "i" may be ip, interfaces`,
		"ping":         "<host>",
	} {
		_, err := exec(t, line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", line, err, want)
		}
	}
}

func TestFiltersChooseLines(t *testing.T) {
	for filter, want := range map[string]string{
		"include beta": "beta\n  indented beta\n", "exclude beta": "alpha\ngamma\n", "begin beta": "beta\n  indented beta\ngamma\n",
		"section ^beta": "beta\n  indented beta\n", "count beta": "Number of lines which match regexp = 2\n",
	} {
		if got, err := exec(t, "show ip route | "+filter); err != nil || got != want {
			t.Errorf("%s: %q %v", filter, got, err)
		}
	}
	if got, err := exec(t, "show ip route bgp | json"); err != nil || !strings.Contains(got, `"bgp": "bgp"`) {
		t.Errorf("json: %q %v", got, err)
	}
	if _, err := exec(t, "show ip route | include ("); err == nil {
		t.Error("a broken expression was accepted")
	}
}

func TestHelpAndCompletion(t *testing.T) {
	tree := testTree()
	if got := tree.Complete("sh"); got != "show " {
		t.Errorf("completed to %q", got)
	}
	if got := tree.Complete("show ip nhrp s"); got != "show ip nhrp shortcut " {
		t.Errorf("completed to %q", got)
	}
	if out, err := exec(t, "show ip nhrp ?"); err != nil || out != "  nhs\n  shortcut\n  <cr>\n" {
		t.Errorf("help: %q %v", out, err)
	}
	if out, err := exec(t, "show i?"); err != nil || !strings.Contains(out, "Internet protocol") {
		t.Errorf("help: %q %v", out, err)
	}
}

func TestNamesThatThereAreAreHelpedWithAndCompleted(t *testing.T) {
	tree := testTree()
	tree.Names = func(keywords, arg string) []string {
		switch {
		case strings.HasSuffix(keywords, "route vrf") && arg == "name":
			return []string{"private-vrf", "public-vrf"}
		case arg == "interface":
			return []string{"GigabitEthernet1", "Virtual-Access1"}
		}
		return nil
	}
	for line, want := range map[string]string{
		"show ip route vrf p":  "show ip route vrf p",
		"show ip route vrf pu": "show ip route vrf public-vrf ",
		"show interfaces vi":   "show interfaces Virtual-Access1 ",
		"ping 1.2.3.4 so gi":   "ping 1.2.3.4 so GigabitEthernet1 ",
	} {
		if got := tree.Complete(line); got != want {
			t.Errorf("%q completed to %q, want %q", line, got, want)
		}
	}
	choices, err := tree.Help("show ip route vrf ")
	if err != nil || len(choices) != 3 || choices[1].Word != "private-vrf" || choices[2].Word != "public-vrf" {
		t.Errorf("help: %v %v", choices, err)
	}
}

func TestAnInterfaceMayBeTwoWords(t *testing.T) {
	for line, want := range map[string]string{"show interfaces Virtual-Access 1": "Virtual-Access1", "show int gi 0/1": "gi0/1", "ping 10.0.0.1 source lo 80 repeat 5": "lo80"} {
		_, args, err := testTree().find(line)
		if err != nil || args["interface"] != want {
			t.Errorf("%q: %v %v", line, args, err)
		}
	}
}

type pipeRW struct {
	io.Reader
	io.Writer
}

func TestConsoleRunsLinesAndHelpsAtTheQuestionMark(t *testing.T) {
	tree := testTree()
	tree.Add(Command{Pattern: "exit", Run: func(i *Invocation) (Result, error) { i.Session.Closed = true; return nil, nil }})
	var out bytes.Buffer
	s := &Session{Tree: tree}
	c := NewConsole(s, pipeRW{strings.NewReader("sh ip n\t?\x15sh ip ro\rexit\r"), &out}, func() string { return "R1#" })
	if err := c.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"R1#", "shortcut", "gamma"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the console did not show %q:\n%s", want, out.String())
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, l := range []string{"sh ip ro | inc x", "ping a so b ?", `sh "`, "| json", "show ip ?"} {
		f.Add(l)
	}
	f.Fuzz(func(t *testing.T, line string) {
		s := &Session{Tree: testTree(), Out: io.Discard}
		_ = s.Exec(context.Background(), line)
		testTree().Complete(line)
	})
}
