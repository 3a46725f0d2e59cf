package scenario

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"felloe/boot"
	"felloe/config"
	"felloe/netstack/clock"
	"felloe/netstack/link"
	"felloe/qemu"
	"felloe/routing/bgp/gobgp"
	"felloe/tests/natbox"
	"felloe/tests/wire"
	"felloe/vpn/protect"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"
)

// atOnce is how many labs run at once: they wait most of the time.
const atOnce = "6"

func TestMain(m *testing.M) {
	subcommand(os.Args)
	flag.Parse()
	if gobgp.Available() != nil && os.Getenv("FELLOE_SCENARIO_NS") == "" {
		// An ordinary user: begin again as the root of a user namespace.
		self := exec.Command("/proc/self/exe", os.Args[1:]...)
		self.Env = append(os.Environ(), "FELLOE_SCENARIO_NS=1")
		self.Stdout, self.Stderr, self.SysProcAttr = os.Stdout, os.Stderr, gobgp.UserNamespace()
		self.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNS
		err := self.Run()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			os.Exit(exit.ExitCode())
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv("FELLOE_SCENARIO_NS") != "" {
		// Names of network namespaces are made below /run, which is not this user's.
		if err := unix.Mount("run", "/run", "tmpfs", 0, "mode=755"); err != nil {
			fmt.Fprintln(os.Stderr, "a /run of our own:", err)
			os.Exit(1)
		}
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// A lab runs in this process, and all of its links are captured.
type lab struct {
	t       *testing.T
	lab     *qemu.Lab
	memory  *qemu.Memory
	dir     string // of captures and keys
	stopped bool
	files   []*os.File // of captures
	nats    map[string]*natbox.NAT
	over    over
}

// over notes which SAs the routers have given up, and when.
type over struct {
	mu    sync.Mutex
	ended wire.Ended
}

// grace is how long a packet may be on its way from a router's data plane to the last link.
const grace = time.Second

var childDown = regexp.MustCompile(`\bevent=child-down\b`)

// line reads a router's log line.
func (o *over) line(line string) {
	if !childDown.MatchString(line) {
		return
	}
	field := func(name string) string {
		m := regexp.MustCompile(`\b` + name + `=(\S+)`).FindStringSubmatch(line)
		if m == nil {
			return ""
		}
		return m[1]
	}
	peer, err := netip.ParseAddrPort(field("peer"))
	spi, serr := strconv.ParseUint(field("spi_out"), 0, 32)
	if err != nil || serr != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended.End(time.Now(), peer.Addr(), uint32(spi))
}

// load reads a lab file.
func load(t *testing.T, file string) *qemu.Lab {
	t.Helper()
	l, err := qemu.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, bound := range []string{"most-lost", "most-gap"} {
		if n, err := strconv.Atoi(l.Set[bound]); err == nil {
			l.Set[bound] = strconv.Itoa(slower * n)
		}
	}
	return l
}

// start brings a lab up; it is down when the test ends.
func start(t *testing.T, l *qemu.Lab) *lab {
	t.Helper()
	x := &lab{t: t, lab: l, dir: t.TempDir(), nats: map[string]*natbox.NAT{}}
	if err := l.Prepare(x.dir); err != nil {
		t.Fatal(err)
	}
	x.memory = &qemu.Memory{Factory: x.router}
	x.memory.BeforeStart(x.captureAll)
	t.Cleanup(func() {
		if t.Failed() {
			x.dump()
		}
		x.stop()
	})
	if err := x.memory.Start(t.Context(), l, t.Logf); err != nil {
		t.Fatal(err)
	}
	return x
}

// stop powers everything off; the captures are complete then.
func (x *lab) stop() {
	x.t.Helper()
	if x.stopped {
		return
	}
	x.stopped = true
	if err := x.memory.Stop(); err != nil {
		x.t.Error(err)
	}
	for _, f := range x.files {
		if err := f.Close(); err != nil {
			x.t.Error(err)
		}
	}
}

func (x *lab) capture(link string) string {
	return filepath.Join(x.dir, strings.ReplaceAll(link, " ", "_")+".pcapng")
}

func (x *lab) keys() string { return filepath.Join(x.dir, "keys") }

// router is the factory of the lab's nodes. A node whose name begins with NAT is a natbox.
func (x *lab) router(node string, c clock.Clock, nics []qemu.MemoryNIC) (qemu.MemoryRouter, error) {
	if strings.HasPrefix(node, "NAT") {
		return &nat{x: x, name: node, nics: nics}, nil
	}
	o := boot.Options{Clock: c, Version: "test", OpenKeyLog: func(string) (boot.KeyLog, error) {
		k, err := protect.KeyLogDir(x.keys())
		return keyLog{k}, err
	}}
	for _, n := range nics {
		o.NICs = append(o.NICs, boot.NIC{Name: n.Name, Driver: n.Driver})
	}
	r, err := boot.New(o)
	if err != nil {
		return nil, err
	}
	r.Log().Watch(x.over.line)
	return &router{r, x.t}, nil
}

func (x *lab) captureAll() error {
	for _, k := range x.lab.Links {
		f, err := os.Create(x.capture(k.Name))
		if err != nil {
			return err
		}
		x.files = append(x.files, f)
		if _, err := x.memory.Capture(k.Name, f); err != nil {
			return err
		}
	}
	return nil
}

type keyLog struct{ protect.KeyLog }

func (keyLog) Close() error { return nil }

// router is a boot.Router as a lab wants it.
type router struct {
	*boot.Router
	t *testing.T
}

// Apply reads a configuration and switches the key log on.
func (r *router) Apply(ctx context.Context, file string) error {
	c, diags := config.Load(file)
	if diags.HasErrors() {
		return errors.New(diags.String())
	}
	c.Lab.KeyLog = config.KeyLog{Enabled: true}
	err := r.Router.Apply(ctx, c)
	for _, p := range r.Problems() {
		r.t.Logf("%s: problem: %s", c.Hostname, p)
	}
	return err
}

func (r *router) Console(context.Context, io.ReadWriter) error { return errors.New("no console here") }

// nat is a natbox as a node; its configuration has its three addresses.
type nat struct {
	x    *lab
	name string
	nics []qemu.MemoryNIC
	box  *natbox.NAT
}

func (n *nat) Apply(_ context.Context, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c struct {
		Inside, Outside netip.Prefix
		Gateway         netip.Addr
	}
	if err := toml.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	side := map[string]link.Driver{}
	for _, nic := range n.nics {
		_, name, _ := strings.Cut(nic.Name, ":")
		side[name] = nic.Driver
	}
	n.box, err = natbox.New(side["inside"], side["outside"], natbox.Config{Inside: c.Inside, Outside: c.Outside, Gateway: c.Gateway})
	n.x.nats[n.name] = n.box
	return err
}

func (n *nat) Exec(context.Context, string) (string, error) {
	var b strings.Builder
	for _, m := range n.box.Mappings() {
		fmt.Fprintf(&b, "%d %s %d\n", m.Protocol, m.Inside, m.Port)
	}
	return b.String(), nil
}

func (n *nat) Shutdown(context.Context) error { return n.box.Close() }
func (n *nat) Console(ctx context.Context, rw io.ReadWriter) error {
	return errors.New("no console here")
}

// exec runs a console command.
func (x *lab) exec(node, line string) string {
	x.t.Helper()
	out, err := x.memory.Exec(x.t.Context(), node, line)
	if err != nil {
		x.t.Fatalf("%s# %s: %v", node, line, err)
	}
	return out
}

// background runs a console command and returns what waits for its output.
func (x *lab) background(node, line string) (wait func() string) {
	type result struct {
		out string
		err error
	}
	done := make(chan result, 1)
	ctx, cancel := context.WithTimeout(x.t.Context(), 3*time.Minute)
	go func() {
		defer cancel()
		out, err := x.memory.Exec(ctx, node, line)
		done <- result{out, err}
	}()
	return func() string {
		x.t.Helper()
		r := <-done
		if r.err != nil {
			x.t.Fatalf("%s# %s: %v", node, line, r.err)
		}
		return r.out
	}
}

// expect retries a command until its output has all patterns, and none that begins with "!".
func (x *lab) expect(within time.Duration, node, line string, patterns ...string) string {
	x.t.Helper()
	deadline := time.Now().Add(within)
	for {
		out := x.exec(node, line)
		missing := ""
		for _, p := range patterns {
			want := true
			if text, not := strings.CutPrefix(p, "!"); not {
				p, want = text, false
			}
			if regexp.MustCompile("(?m)"+p).MatchString(out) != want {
				missing = p
				break
			}
		}
		if missing == "" {
			return out
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("%s# %s: %s is not as it should be within %v:\n%s", node, line, missing, within, out)
		}
		select {
		case <-x.t.Context().Done():
			x.t.FailNow()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// script works through the checks of the lab file.
func (x *lab) script() {
	x.t.Helper()
	var out bytes.Buffer
	s := &qemu.Script{Lab: x.lab, Backend: x.memory, Say: x.t.Logf, Out: &out}
	results, err := s.Run(x.t.Context())
	x.t.Logf("\n%s", qemu.Table(results))
	if err != nil {
		x.t.Fatalf("%v\n%s", err, &out)
	}
}

// dump is for the reader of a failed test.
func (x *lab) dump() {
	for _, n := range x.lab.Nodes {
		for _, line := range []string{"show logging", "show dmvpn", "show crypto session detail", "show ip route", "show counters"} {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			if out, err := x.memory.Exec(ctx, n.Name, line); err == nil && !strings.HasPrefix(n.Name, "NAT") {
				x.t.Logf("%s# %s\n%s", n.Name, line, out)
			}
			cancel()
		}
	}
}

// inside tells whether a link is within what is protected: its name says so.
func inside(k *qemu.Link) bool { return strings.HasPrefix(k.Name, "lan") }

// narrow tells whether a prefix is one that can be looked for: not a default route or a summary, and none that is in a header
// by chance, as 192.168.0.0 is where an identification is followed by no fragment.
func narrow(p netip.Prefix) bool {
	if a := p.Addr(); a.Is6() {
		return p.Bits() >= 48
	}
	return p.Bits() == 32 || p.Bits() >= 24 && p.Addr().As4()[2] != 0
}

// inner are the addresses that must not be seen outside: of tunnels and loopbacks in all configurations beside the lab's, of
// pools, and the networks that routers tell each other of.
func (x *lab) inner() []netip.Prefix {
	x.t.Helper()
	var all []netip.Prefix
	seen := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(x.lab.Dir, "*.toml"))
	if err != nil {
		x.t.Fatal(err)
	}
	for _, n := range x.lab.Nodes {
		files = append(files, n.Config)
	}
	for _, s := range x.lab.Steps {
		if s.Config != "" {
			files = append(files, s.Config)
		}
	}
	add := func(p netip.Prefix) {
		if p = p.Masked(); narrow(p) && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	for _, file := range files {
		if filepath.Base(file) == "lab.toml" || seen[file] {
			continue
		}
		seen[file] = true
		c, diags := config.Load(file)
		if diags.HasErrors() {
			continue // a NAT's
		}
		for _, i := range c.Interface {
			for _, p := range i.Address {
				if i.Kind() != config.Ethernet {
					add(netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
				}
			}
		}
		for _, p := range c.Pool {
			for _, r := range p.Addresses {
				add(netip.PrefixFrom(r.From, r.From.BitLen()))
				add(netip.PrefixFrom(r.From.Next(), r.From.BitLen()))
			}
		}
		for _, l := range c.AccessList {
			for _, p := range l.Permit {
				add(p)
			}
		}
		if c.BGP != nil {
			for _, p := range c.BGP.Network {
				add(p)
			}
		}
	}
	if len(all) < 4 {
		x.t.Fatalf("only %v", all)
	}
	return all
}

// nothingLeaked stops the lab and looks at every byte of every frame, and at the SPI of every ESP packet.
func (x *lab) nothingLeaked() {
	x.t.Helper()
	x.stop()
	inner := x.inner()
	known := 0
	for _, k := range x.lab.Links {
		if inside(k) {
			continue
		}
		known += x.nothingLate(k)
		c := wire.NewClear(inner...)
		if err := c.File(x.capture(k.Name)); err != nil {
			x.t.Error(err)
			continue
		}
		x.t.Logf("%s: %s", k.Name, c)
		for i, f := range c.Findings() {
			if i == 10 {
				break
			}
			x.t.Errorf("%s: %s", k.Name, f)
		}
		if c.Frames == 0 {
			x.t.Errorf("%s: nothing was captured", k.Name)
		}
	}
	if known == 0 {
		x.t.Error("no link had a packet of a session whose end is known: packets from after it were not looked for")
	}
}

// nothingLate looks for packets of sessions that are over. It returns how many of their packets it has seen from before.
func (x *lab) nothingLate(k *qemu.Link) int {
	x.t.Helper()
	x.over.mu.Lock()
	defer x.over.mu.Unlock()
	e := x.over.ended
	e.Grace = grace
	if err := e.File(x.capture(k.Name)); err != nil {
		x.t.Error(err)
	}
	x.t.Logf("%s: %s", k.Name, &e)
	for i, f := range e.Findings() {
		if i == 10 {
			break
		}
		x.t.Errorf("%s: %s", k.Name, f)
	}
	return e.Known
}

// dissect has tshark read what was captured on a link, decrypted.
func (x *lab) dissect(link string) *wire.Dissection {
	x.t.Helper()
	d, err := wire.Dissect(x.t.Context(), x.capture(link), x.keys())
	if err != nil {
		x.t.Fatal(err)
	}
	for i, p := range d.Problems {
		if i == 10 {
			break
		}
		x.t.Errorf("%s: %s", link, p)
	}
	x.t.Logf("%s: %d frames, %d IKE, %d ESP with %v", link, d.Frames, d.IKE, d.ESP, d.Contents)
	return d
}

// labs is the folder of the ready labs.
const labs = "../../qemu/labs"
