package qemu

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"felloe/netstack/link/mem"
)

// Lab is a network of routers and what must come out of it.
type Lab struct {
	Name  string
	Title string
	File  string // of the description; other files are beside it
	Dir   string
	Nodes []*Node
	Links []*Link
	Steps []*Step           // checks too, in the file's order
	Set   map[string]string // values for ${name}, and LAB_NAME for external nodes
	// SetEmulated are those that are others where a CPU is emulated.
	SetEmulated map[string]string

	Certificates []Certificate // issued by Prepare
	prepared     bool
	emulated     bool
}

// Node is a router, or what else takes part.
type Node struct {
	Name     string
	Config   string    // file, absolute
	Memory   int       // MiB of its virtual machine
	NICs     []NIC     // in the order of the interfaces' names
	External *External // other software than ours; nil for a router
	Backends []string  // that it can run on; empty for all
	// ConfigEmulated is the file instead of Config where a CPU is emulated; "" for the same.
	ConfigEmulated string
}

// External is software of others, which shell commands start and end in a network namespace.
type External struct {
	Dir      string   // where its commands run
	Prepare  string   // makes what the lab needs, outside of the namespace; "" for nothing
	Start    string   // returns when everything was started
	Ready    string   // succeeds when everything runs; "" is as soon as Start has returned
	Stop     string   // "" is to end the processes
	Packages []string // of Debian
}

// NIC is a link's end at its node.
type NIC struct {
	Interface string
	Link      *Link
	MAC       [6]byte
}

// Link joins two interfaces or more.
type Link struct {
	Name string
	Ends []End
	mem.Impairment
}

// End is one interface on a link.
type End struct{ Node, Interface string }

func (e End) String() string { return e.Node + ":" + e.Interface }

// defaultMemory is enough for a router with a few thousand routes.
const defaultMemory = 160

// patience is how many times longer than a real CPU an emulated one may take for what a step waits for.
const patience = 4

// emulatedLate are the seconds that an answer may take through some emulated routers, each of which may be busy with a
// handshake.
const emulatedLate = 15

// emulate makes the lab one for emulated CPUs: its values and configurations are those for such, and every step has patience.
func (l *Lab) emulate() {
	if l.emulated {
		return
	}
	l.emulated = true
	maps.Copy(l.Set, l.SetEmulated)
	for _, n := range l.Nodes {
		n.Config = cmp.Or(n.ConfigEmulated, n.Config)
	}
	for _, s := range l.Steps {
		if s.Flow != nil {
			s.Flow.Late = emulatedLate
		}
		s.Within *= patience
		if s.Timeout == 0 && s.Flow == nil && s.Wait == "" {
			s.Timeout = tryTimeout
		}
		s.Timeout *= patience
	}
}

// Step is one thing to do or to check.
type Step struct {
	Check       bool
	Description string
	Pos         string // FILE:LINE

	// A command on a node, and what must and must not be in its output.
	Node    string
	Command string
	JSON    bool
	Flow    *Flow // instead of a command
	Expect  []*Pattern
	Reject  []*Pattern
	Number  *Number
	Fails   *Pattern          // the command must fail, and say this
	Within  time.Duration     // tried again until then
	Timeout time.Duration     // of one try
	Print   bool              // show the output
	Save    map[string]string // name -> expression whose first group is kept for later ${name}
	Run     string            // name of the background run that the command becomes
	Wait    string            // name of the background run whose end and output this step is about

	// Actions.
	Kill       string // node: as if its power were cut
	PowerDown  string // node: as if its power button were pressed
	Start      string // node
	Apply      string // node: a new configuration
	Config     string // file of Apply, absolute
	Cut        string // link
	Join       string // link
	Impair     string // link
	Impairment mem.Impairment
	Capture    string // link
	File       string // of Capture, absolute
	Pause      time.Duration
}

// Number is a value in a command's output with bounds, which may be ${saved} or ${saved}+5.
type Number struct {
	Pattern  string
	Min, Max string
}

// Pattern is a regular expression that may hold ${name} of saved values.
type Pattern struct {
	Text string
	re   *regexp.Regexp // nil while the text has a variable
}

var variable = regexp.MustCompile(`\$\{([a-z][a-z0-9-]*)\}`)

// newPattern compiles an expression; lines are matched in whole texts, so ^ and $ are of lines.
func newPattern(text string) (*Pattern, error) {
	p := &Pattern{Text: text}
	plain := variable.ReplaceAllString(text, "0")
	re, err := regexp.Compile("(?m)" + plain)
	if err == nil && plain == text {
		p.re = re
	}
	return p, err
}

// find returns the match and its first group.
func (p *Pattern) find(text string, saved map[string]string) (match, group string, ok bool, err error) {
	re := p.re
	if re == nil {
		expr, err := expand(p.Text, saved, regexp.QuoteMeta)
		if err != nil {
			return "", "", false, err
		}
		if re, err = regexp.Compile("(?m)" + expr); err != nil {
			return "", "", false, err
		}
	}
	m := re.FindStringSubmatch(text)
	if m == nil {
		return "", "", false, nil
	}
	if len(m) > 1 {
		group = m[1]
	}
	return m[0], group, true, nil
}

// expand puts saved values in the place of ${name}.
func expand(text string, saved map[string]string, quote func(string) string) (string, error) {
	var err error
	out := variable.ReplaceAllStringFunc(text, func(v string) string {
		value, ok := saved[v[2:len(v)-1]]
		if !ok {
			err = fmt.Errorf("nothing was saved as %s", v)
		}
		return quote(value)
	})
	return out, err
}

// Node by its name.
func (l *Lab) Node(name string) (*Node, error) {
	for _, n := range l.Nodes {
		if strings.EqualFold(n.Name, name) {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the lab has no node %q (it has %s)", name, strings.Join(l.nodeNames(), ", "))
}

// Link by its name, or by one of its ends "node:interface" if that says which.
func (l *Lab) Link(name string) (*Link, error) {
	for _, k := range l.Links {
		if strings.EqualFold(k.Name, name) {
			return k, nil
		}
	}
	for _, k := range l.Links {
		for _, e := range k.Ends {
			if strings.EqualFold(e.String(), name) {
				return k, nil
			}
		}
	}
	var names []string
	for _, k := range l.Links {
		names = append(names, k.Name)
	}
	return nil, fmt.Errorf("the lab has no link %q (it has %s)", name, strings.Join(names, ", "))
}

// runsOn says why a lab cannot run on a backend.
func (l *Lab) runsOn(backend string) error {
	for _, n := range l.Nodes {
		if len(n.Backends) > 0 && !slices.Contains(n.Backends, backend) {
			what := "runs"
			if n.External != nil {
				what = "is external software and runs"
			}
			return fmt.Errorf("lab %s: %s %s with -backend %s only, not with %s", l.Name, n.Name, what, strings.Join(n.Backends, " or "), backend)
		}
	}
	return nil
}

func (l *Lab) nodeNames() []string {
	names := make([]string, len(l.Nodes))
	for i, n := range l.Nodes {
		names[i] = n.Name
	}
	return names
}

// wire gives every node its NICs.
func (l *Lab) wire() {
	for i, n := range l.Nodes {
		n.NICs = nil
		for _, k := range l.Links {
			for _, e := range k.Ends {
				if e.Node == n.Name {
					n.NICs = append(n.NICs, NIC{Interface: e.Interface, Link: k})
				}
			}
		}
		sort.SliceStable(n.NICs, func(a, b int) bool { return naturalKey(n.NICs[a].Interface) < naturalKey(n.NICs[b].Interface) })
		for j := range n.NICs {
			// Locally administered, and telling: node and NIC.
			n.NICs[j].MAC = [6]byte{0x52, 0xfe, 0x10, byte(i >> 8), byte(i), byte(j + 1)}
		}
	}
}

var digits = regexp.MustCompile(`[0-9]+`)

// naturalKey makes GigabitEthernet10 sort after GigabitEthernet9.
func naturalKey(s string) string {
	return digits.ReplaceAllStringFunc(strings.ToLower(s), func(d string) string {
		return strings.Repeat("0", max(0, 12-len(d))) + d
	})
}
