package qemu

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"felloe/netstack/link/mem"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// The file's own shape. What it means is checked afterwards, all of it at once.
type labFile struct {
	Name   string            `toml:"name"`
	Title  string            `toml:"title"`
	Base   string            `toml:"base"`
	Set    map[string]string `toml:"set"`
	Slow   map[string]string `toml:"set-emulated"`
	Nodes  []nodeFile        `toml:"node"`
	Links  []linkFile        `toml:"link"`
	Checks []stepFile        `toml:"check"`
	Steps  []stepFile        `toml:"step"`

	Certificates []certificateFile `toml:"certificate"`
}

type certificateFile struct {
	Name      string   `toml:"name"`
	Subject   string   `toml:"subject"`
	DNS       []string `toml:"dns"`
	Addresses []string `toml:"address"`
	Key       string   `toml:"key"`
}

type flowFile struct {
	To     string `toml:"to"`
	Source string `toml:"source"`
	VRF    string `toml:"vrf"`
	Rate   word   `toml:"rate"`
	For    string `toml:"for"`
	Size   int    `toml:"size"`
}

type nodeFile struct {
	Name   string `toml:"name"`
	Config string `toml:"config"`
	Slow   string `toml:"config-emulated"`
	Memory int    `toml:"mem"`

	Kind     string   `toml:"kind"`
	Backend  []string `toml:"backend"`
	Prepare  string   `toml:"prepare"`
	Start    string   `toml:"start"`
	Ready    string   `toml:"ready"`
	Stop     string   `toml:"stop"`
	Packages []string `toml:"packages"`
}

type linkFile struct {
	Name string   `toml:"name"`
	Ends []string `toml:"ends"`
	impairmentFile
}

type impairmentFile struct {
	Delay     duration `toml:"delay"`
	Jitter    duration `toml:"jitter"`
	Loss      percent  `toml:"loss"`
	Reorder   percent  `toml:"reorder"`
	Duplicate percent  `toml:"duplicate"`
	Rate      rate     `toml:"rate"`
	MTU       int      `toml:"mtu"`
}

func (i impairmentFile) impairment() mem.Impairment {
	return mem.Impairment{Delay: time.Duration(i.Delay), Jitter: time.Duration(i.Jitter), Loss: float64(i.Loss),
		Reorder: float64(i.Reorder), Duplicate: float64(i.Duplicate), RateBps: uint64(i.Rate), MTU: i.MTU}
}

type stepFile struct {
	Description string            `toml:"description"`
	Node        string            `toml:"node"`
	Command     string            `toml:"command"`
	JSON        bool              `toml:"json"`
	Flow        *flowFile         `toml:"flow"`
	Expect      []string          `toml:"expect"`
	Reject      []string          `toml:"reject"`
	Number      *numberFile       `toml:"number"`
	Fails       string            `toml:"fails"`
	Within      duration          `toml:"within"`
	Timeout     duration          `toml:"timeout"`
	Print       bool              `toml:"print"`
	Save        map[string]string `toml:"save"`
	Background  string            `toml:"background"`
	Wait        string            `toml:"wait"`
	Kill        string            `toml:"kill"`
	PowerDown   string            `toml:"power-down"`
	Start       string            `toml:"start"`
	Apply       string            `toml:"apply"`
	Config      string            `toml:"config"`
	Cut         string            `toml:"cut"`
	Join        string            `toml:"join"`
	Impair      string            `toml:"impair"`
	Capture     string            `toml:"capture"`
	File        string            `toml:"file"`
	Pause       duration          `toml:"pause"`
	impairmentFile
}

type numberFile struct {
	Pattern string `toml:"pattern"`
	Min     string `toml:"min"`
	Max     string `toml:"max"`
}

// word is a number or a text, as it stands in the file.
type word string

func (w *word) UnmarshalText(b []byte) error { *w = word(b); return nil }

// duration is "5ms" or "1m30s".
type duration time.Duration

func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 || v > 24*time.Hour {
		return fmt.Errorf("%q is not a duration: write it like 5ms, 1.5s or 2m", b)
	}
	*d = duration(v)
	return nil
}

// percent is "0.5%".
type percent float64

func (p *percent) UnmarshalText(b []byte) error {
	s, ok := strings.CutSuffix(string(b), "%")
	v, err := strconv.ParseFloat(s, 64)
	if !ok || err != nil || math.IsNaN(v) || v < 0 || v > 100 {
		return fmt.Errorf("%q is not a share: write it like \"0.5%%\"", b)
	}
	*p = percent(v / 100)
	return nil
}

// rate is "10Mbit", in bits a second.
type rate uint64

func (r *rate) UnmarshalText(b []byte) error {
	for unit, factor := range map[string]float64{"Gbit": 1e9, "Mbit": 1e6, "kbit": 1e3} {
		if s, ok := strings.CutSuffix(string(b), unit); ok {
			v, err := strconv.ParseFloat(s, 64)
			if err == nil && v > 0 && v <= 1e6 {
				*r = rate(v * factor)
				return nil
			}
		}
	}
	return fmt.Errorf("%q is not a rate: write it like \"10Mbit\", \"512kbit\" or \"1Gbit\"", b)
}

// Load reads a lab's file.
func Load(file string) (*Lab, error) { return load(file, 0) }

// maxBases is how many files may stand on each other.
const maxBases = 8

func load(file string, depth int) (*Lab, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	return parseLab(file, filepath.Dir(abs), data, depth)
}

// Parse reads a lab's description; all that is wrong with it is one error with a line for each mistake.
func Parse(name, dir string, data []byte) (*Lab, error) { return parseLab(name, dir, data, 0) }

func parseLab(name, dir string, data []byte, depth int) (*Lab, error) {
	var f labFile
	dec := toml.NewDecoder(strings.NewReader(string(data))).DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, located(name, err)
	}
	p := &parser{file: name, dir: dir, lines: tableLines(data), lab: &Lab{}, own: map[string]bool{}}
	if f.Base != "" {
		if depth == maxBases {
			return nil, fmt.Errorf("%s:1: base: more than %d files stand on each other", name, maxBases)
		}
		if filepath.Ext(f.Base) != ".toml" {
			return nil, fmt.Errorf("%s:1: base: %q is not a .toml file", name, f.Base)
		}
		base, err := load(p.path(f.Base), depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s:1: base: %w", name, err)
		}
		p.lab = base
	}
	p.lab.Name, p.lab.Title, p.lab.File, p.lab.Dir = f.Name, f.Title, name, dir
	p.set(f.Set, f.Slow)
	p.nodes(f.Nodes)
	p.links(f.Links)
	p.certificates(f.Certificates)
	if len(f.Checks)+len(f.Steps) > 0 {
		p.lab.Steps = nil
	}
	p.steps(f.Checks, f.Steps)
	if !labName.MatchString(f.Name) {
		p.errorf(1, "name", "a lab needs a name of lower-case letters, digits and dashes")
	}
	if len(p.lab.Nodes) == 0 {
		p.errorf(1, "node", "a lab needs at least one [[node]]")
	}
	if len(p.errs) > 0 {
		sort.SliceStable(p.errs, func(i, j int) bool { return p.errs[i].line < p.errs[j].line })
		all := make([]error, len(p.errs))
		for i, e := range p.errs {
			all[i] = e.err
		}
		return nil, errors.Join(all...)
	}
	p.lab.wire()
	return p.lab, nil
}

// set takes the values that the file gives beforehand, and those that stand for them on an emulated CPU. A file that stands
// on another and gives a value without the emulated one means it for both.
func (p *parser) set(values, emulated map[string]string) {
	if p.lab.Set == nil {
		p.lab.Set, p.lab.SetEmulated = map[string]string{}, map[string]string{}
	}
	for name, value := range values {
		if !setName.MatchString(name) {
			p.errorf(1, "[set]", "%q is not a name of lower-case letters, digits and dashes", name)
		}
		p.lab.Set[name] = value
		delete(p.lab.SetEmulated, name)
	}
	for name, value := range emulated {
		if _, known := p.lab.Set[name]; !known {
			p.errorf(1, "[set-emulated]", "%q is not a value of [set]: give the one for other CPUs, too", name)
		}
		p.lab.SetEmulated[name] = value
	}
}

var (
	labName  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)
	setName  = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,30}$`)
)

// located puts FILE:LINE:COLUMN before the decoder's errors.
func located(name string, err error) error {
	var strict *toml.StrictMissingError
	var one *toml.DecodeError
	switch {
	case errors.As(err, &strict):
		var all []error
		for _, e := range strict.Errors {
			row, col := e.Position()
			all = append(all, fmt.Errorf("%s:%d:%d: unknown key %s", name, row, col, strings.Join(e.Key(), ".")))
		}
		return errors.Join(all...)
	case errors.As(err, &one):
		row, col := one.Position()
		return fmt.Errorf("%s:%d:%d: %s", name, row, col, strings.TrimPrefix(one.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %w", name, err)
}

// tableLines are the lines of the headers [[node]], [[link]], [[check]] and [[step]], which the decoder forgets, and with
// them the order among checks and steps.
func tableLines(data []byte) map[string][]int {
	out := map[string][]int{}
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.ArrayTable {
			continue
		}
		k := e.Key()
		if k.Next() && k.IsLast() {
			n := k.Node()
			out[string(n.Data)] = append(out[string(n.Data)], p.Shape(n.Raw).Start.Line)
		}
	}
	return out
}

type parser struct {
	file, dir string
	lines     map[string][]int
	lab       *Lab
	own       map[string]bool // nodes of this file, not of its base
	errs      []parseError
}

type parseError struct {
	line int
	err  error
}

func (p *parser) errorf(line int, table, format string, args ...any) {
	p.errs = append(p.errs, parseError{line, fmt.Errorf("%s:%d: %s: %s", p.file, line, table, fmt.Sprintf(format, args...))})
}

func (p *parser) line(table string, i int) int {
	if l := p.lines[table]; i < len(l) {
		return l[i]
	}
	return 1
}

func (p *parser) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.dir, name)
}

func (p *parser) nodes(files []nodeFile) {
	for i, f := range files {
		line := p.line("node", i)
		n := &Node{Name: f.Name, Config: p.path(f.Config), ConfigEmulated: p.path(f.Slow), Memory: f.Memory}
		if n.Memory == 0 {
			n.Memory = defaultMemory
		}
		if !nodeName.MatchString(f.Name) {
			p.errorf(line, "[[node]]", "a node needs a name of letters, digits and dashes, not %q", f.Name)
		} else if p.own[strings.ToLower(f.Name)] {
			p.errorf(line, "[[node]]", "there are two nodes %q", f.Name)
		}
		p.kind(line, f, n)
		if n.Memory < 32 || n.Memory > 1<<20 {
			p.errorf(line, "[[node]] "+f.Name, "mem: %d MiB is out of range (32 to 1048576)", f.Memory)
		}
		p.own[strings.ToLower(f.Name)] = true
		if old, err := p.lab.Node(f.Name); err == nil {
			n.Name = old.Name // it is what the links' ends say
			*old = *n
			continue
		}
		p.lab.Nodes = append(p.lab.Nodes, n)
	}
}

// backends are the names of all backends.
var backends = []string{"qemu", "memory", "netns"}

// packageName is what Debian allows.
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]+$`)

// kind is what sets routers and external nodes apart.
func (p *parser) kind(line int, f nodeFile, n *Node) {
	fail := func(format string, args ...any) { p.errorf(line, "[[node]] "+f.Name, format, args...) }
	n.Backends = f.Backend
	for _, b := range f.Backend {
		if !slices.Contains(backends, b) {
			fail("backend: there is no backend %q (%s)", b, strings.Join(backends, ", "))
		}
	}
	for _, name := range f.Packages {
		if !packageName.MatchString(name) {
			fail("packages: %q is not the name of a package", name)
		}
	}
	switch f.Kind {
	case "", "router":
		if f.Config == "" {
			fail("config: which file is its configuration?")
		}
		if f.Prepare+f.Start+f.Ready+f.Stop != "" || len(f.Packages) > 0 {
			fail("prepare, start, ready, stop and packages are for a node with kind = \"external\"")
		}
	case "external":
		n.External = &External{Dir: p.dir, Prepare: f.Prepare, Start: f.Start, Ready: f.Ready, Stop: f.Stop, Packages: f.Packages}
		if f.Start == "" {
			fail("start: which command starts it?")
		}
		if f.Config+f.Slow != "" || f.Memory != 0 {
			fail("config and mem are for routers; an external node is what its start command makes of it")
		}
		switch {
		case len(f.Backend) == 0:
			n.Backends = []string{"netns"}
		case !slices.Equal(f.Backend, []string{"netns"}):
			fail("backend: an external node runs in a network namespace: [\"netns\"]")
		}
	default:
		fail("kind: %q is neither \"router\" nor \"external\"", f.Kind)
	}
}

// kernelName is what Linux can call an interface.
var kernelName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$`)

func (p *parser) links(files []linkFile) {
	used := map[End]string{}
	for _, k := range p.lab.Links {
		for _, e := range k.Ends {
			used[e] = k.Name
		}
	}
	for i, f := range files {
		line := p.line("link", i)
		l := &Link{Name: f.Name, Impairment: f.impairment()}
		if l.Name == "" {
			l.Name = strings.Join(f.Ends, " - ")
		}
		table := "[[link]] " + l.Name
		for _, k := range p.lab.Links {
			if k.Name == l.Name {
				p.errorf(line, table, "there are two links of this name")
			}
		}
		if len(f.Ends) < 2 {
			p.errorf(line, table, "ends: a link joins at least two interfaces \"node:interface\"")
		}
		p.checkImpairment(line, table, l.Impairment)
		for _, text := range f.Ends {
			node, ifname, ok := strings.Cut(text, ":")
			if !ok || ifname == "" {
				p.errorf(line, table, "ends: %q is not \"node:interface\"", text)
				continue
			}
			n, err := p.lab.Node(node)
			if err != nil {
				p.errorf(line, table, "ends: %q: %v", text, err)
				continue
			}
			if n.External != nil && (!kernelName.MatchString(ifname) || ifname == "lo") {
				p.errorf(line, table, "ends: %q: Linux cannot call an interface that; an external node's needs a name like eth0", text)
			}
			e := End{n.Name, ifname}
			if other, twice := used[e]; twice {
				p.errorf(line, table, "ends: %s is already on the link %s", e, other)
			}
			used[e] = l.Name
			l.Ends = append(l.Ends, e)
		}
		p.lab.Links = append(p.lab.Links, l)
	}
}

func (p *parser) checkImpairment(line int, table string, i mem.Impairment) {
	if i.MTU != 0 && (i.MTU < 576 || i.MTU > 9216) {
		p.errorf(line, table, "mtu: %d is out of range (576 to 9216)", i.MTU)
	}
}

func (p *parser) steps(checks, steps []stepFile) {
	type placed struct {
		line  int
		check bool
		f     stepFile
	}
	var all []placed
	for i, f := range checks {
		all = append(all, placed{p.line("check", i), true, f})
	}
	for i, f := range steps {
		all = append(all, placed{p.line("step", i), false, f})
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].line < all[j].line })
	background, saved := map[string]bool{}, map[string]bool{}
	for name := range p.lab.Set {
		saved[name] = true
	}
	for _, x := range all {
		p.step(x.line, x.check, x.f, background, saved)
	}
}

func (p *parser) step(line int, check bool, f stepFile, background, saved map[string]bool) {
	table := "[[step]]"
	if check {
		table = "[[check]]"
	}
	if f.Description != "" {
		table += " " + strconv.Quote(f.Description)
	}
	fail := func(format string, args ...any) { p.errorf(line, table, format, args...) }
	s := &Step{Check: check, Description: f.Description, Pos: fmt.Sprintf("%s:%d", p.file, line),
		Node: f.Node, Command: f.Command, JSON: f.JSON, Within: time.Duration(f.Within), Timeout: time.Duration(f.Timeout),
		Print: f.Print, Save: f.Save, Run: f.Background, Wait: f.Wait,
		Kill: f.Kill, PowerDown: f.PowerDown, Start: f.Start, Apply: f.Apply, Config: p.path(f.Config), Cut: f.Cut, Join: f.Join,
		Impair: f.Impair, Impairment: f.impairment(), Capture: f.Capture, File: p.path(f.File), Pause: time.Duration(f.Pause)}
	p.lab.Steps = append(p.lab.Steps, s)
	known := func(key, text string) {
		for _, m := range variable.FindAllStringSubmatch(text, -1) {
			if !saved[m[1]] {
				fail("%s: no step before this one saves %q", key, m[1])
			}
		}
	}

	var verbs []string
	if f.Flow != nil {
		s.Flow = p.flow(f.Flow, fail)
		verbs = append(verbs, "flow")
		known("flow.to", f.Flow.To)
		known("flow.for", f.Flow.For)
		known("flow.rate", string(f.Flow.Rate))
		if f.Node == "" {
			fail("node: which node do the flow's packets come from?")
		}
	}
	for _, v := range []struct{ key, value string }{{"command", f.Command}, {"wait", f.Wait}, {"kill", f.Kill}, {"power-down", f.PowerDown},
		{"start", f.Start}, {"apply", f.Apply}, {"cut", f.Cut}, {"join", f.Join}, {"impair", f.Impair}, {"capture", f.Capture}} {
		if v.value != "" {
			verbs = append(verbs, v.key)
		}
	}
	if f.Pause > 0 {
		verbs = append(verbs, "pause")
	}
	switch {
	case len(verbs) == 0:
		fail("says nothing to do: give command, flow, wait, kill, power-down, start, apply, cut, join, impair, capture or pause")
		return
	case len(verbs) > 1:
		fail("one thing at a time, not %s", strings.Join(verbs, " and "))
		return
	case check && verbs[0] != "command" && verbs[0] != "flow" && verbs[0] != "wait":
		fail("a check is a command, a flow or a wait; %s belongs into a [[step]]", verbs[0])
	case check && f.Background != "":
		fail("background: starting something checks nothing; make it a [[step]], and check it with wait = %q", f.Background)
	}
	for _, n := range []struct{ key, value string }{{"node", f.Node}, {"kill", f.Kill}, {"power-down", f.PowerDown}, {"start", f.Start}, {"apply", f.Apply}} {
		if n.value == "" {
			continue
		}
		if node, err := p.lab.Node(n.value); err != nil {
			fail("%s: %v", n.key, err)
		} else if node.External != nil && n.key == "apply" {
			fail("apply: %s is external and has no configuration of ours", node.Name)
		}
	}
	for _, k := range []struct{ key, value string }{{"cut", f.Cut}, {"join", f.Join}, {"impair", f.Impair}, {"capture", f.Capture}} {
		if k.value == "" {
			continue
		}
		if _, err := p.lab.Link(k.value); err != nil {
			fail("%s: %v", k.key, err)
		}
	}
	if s.Impairment != (mem.Impairment{}) && f.Impair == "" {
		fail("delay, loss and their like go with impair = \"LINK\"")
	}
	p.checkImpairment(line, table, s.Impairment)
	if f.Command != "" && f.Node == "" {
		fail("node: on which node does the command run?")
	}
	if f.Apply != "" && f.Config == "" || f.Apply == "" && f.Config != "" {
		fail("apply names the node and config the file: give both")
	}
	if f.Capture != "" && f.File == "" || f.Capture == "" && f.File != "" {
		fail("capture names the link and file the capture file: give both")
	}
	if f.Wait != "" && !background[f.Wait] {
		fail("wait: no step before this one runs in the background as %q", f.Wait)
	}
	if f.Background != "" {
		background[f.Background] = true
		if len(f.Expect)+len(f.Reject)+len(f.Save) > 0 || f.Number != nil {
			fail("background: look at the output in the step that waits for it")
		}
	}
	looks := (f.Command != "" || f.Flow != nil) && f.Background == "" || f.Wait != ""
	if check && looks && len(f.Expect)+len(f.Reject) == 0 && f.Number == nil && f.Fails == "" {
		fail("checks nothing: give expect, reject, number or fails")
	}
	if !looks && (len(f.Expect)+len(f.Reject)+len(f.Save) > 0 || f.Number != nil || f.Fails != "") {
		fail("expect, reject, number, fails and save go with a command, a flow or a wait")
	}
	known("command", f.Command)
	pattern := func(key, text string) *Pattern {
		known(key, text)
		re, err := newPattern(text)
		if err != nil {
			fail("%s: %v", key, err)
		}
		return re
	}
	for _, e := range f.Expect {
		s.Expect = append(s.Expect, pattern("expect", e))
	}
	for _, e := range f.Reject {
		s.Reject = append(s.Reject, pattern("reject", e))
	}
	if f.Fails != "" {
		s.Fails = pattern("fails", f.Fails)
	}
	if f.Number != nil {
		s.Number = &Number{f.Number.Pattern, f.Number.Min, f.Number.Max}
		pattern("number.pattern", f.Number.Pattern)
		known("number.min", f.Number.Min)
		known("number.max", f.Number.Max)
		if f.Number.Min == "" && f.Number.Max == "" || !strings.Contains(f.Number.Pattern, "(") {
			fail("number: give a pattern with one group, and min or max or both")
		}
	}
	for name, expr := range f.Save {
		pattern("save."+name, expr)
		if !strings.Contains(expr, "(") {
			fail("save.%s: the expression needs a group: what stands in it is saved", name)
		}
		saved[name] = true
	}
}
