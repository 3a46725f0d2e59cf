package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"felloe/boot"
	"felloe/boot/disk"
	"felloe/boot/pid1"
	"felloe/config"
	"felloe/manage/agent"
	"felloe/manage/cli"
	"felloe/netstack/link/afpacket"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Run is the router of a machine of its own. It does not return.
func Run(version string) {
	pid1.Run(func(ctx context.Context, m *pid1.Machine) pid1.Outcome { return router(ctx, m, version) })
}

func router(ctx context.Context, m *pid1.Machine, version string) pid1.Outcome {
	screen := consoles(m)
	say := func(format string, a ...any) {
		for _, w := range screen {
			fmt.Fprintf(w, format+"\r\n", a...)
		}
	}
	for _, w := range m.Warnings {
		say("felloe: %s", w)
	}
	o := boot.Options{Version: version, Kernel: kernel(), Milestone: func(name string) { m.Times.Mark(name) }, BootTimes: func() map[string]int64 { return bootTimes(m) }}
	for _, n := range m.NICs {
		d, err := afpacket.Open(n.Name, afpacket.Options{})
		if err != nil {
			say("felloe: NIC %s (%s) is left out: %v", n.Name, n.Driver, err)
			continue
		}
		o.NICs = append(o.NICs, boot.NIC{Name: n.Name, Driver: d})
	}
	end := make(chan pid1.Outcome, 1)
	o.Power = func(kind string) {
		outcome := pid1.PowerOff
		if kind == "reload" {
			outcome = pid1.Reboot
		}
		select {
		case end <- outcome:
		default:
		}
	}
	o.OpenKeyLog = func(path string) (boot.KeyLog, error) { return consoleKeyLog(screen), nil }
	o.Reload = func() (*config.Config, config.Diagnostics, error) {
		v, err := disk.Find(pid1.BlockDevices())
		if err != nil {
			return nil, nil, err
		}
		path, err := v.Save("/run/felloe")
		if err != nil {
			return nil, nil, err
		}
		c, diags := config.Load(path)
		return c, diags, nil
	}
	r, err := boot.New(o)
	if err != nil {
		say("felloe: the router cannot start: %v", err)
		<-ctx.Done()
		return pid1.PowerOff
	}
	banner := configure(ctx, r, m)
	m.Times.Mark("ready")
	say("Felloe %s. Boot: %s", version, m.Times)
	for _, line := range strings.Split(strings.TrimRight(banner, "\n"), "\n") {
		if line != "" {
			say("%s", line)
		}
	}
	for _, c := range screen {
		go serveConsole(ctx, r, c)
	}
	go func() {
		err := agent.ServePort(ctx, &agent.Server{Executor: r, Boot: func() []agent.Milestone { return milestones(m) }})
		if err != nil && ctx.Err() == nil && !errors.Is(err, os.ErrNotExist) {
			say("felloe: agent: %v", err)
		}
	}()
	select {
	case outcome := <-end:
		return outcome
	case <-ctx.Done():
		bye, stop := context.WithTimeout(context.Background(), 8*time.Second)
		defer stop()
		_ = r.Shutdown(bye) // peers that did not answer find out by their DPD
		return pid1.PowerOff
	}
}

// configure applies the configuration disk and returns what the operator must know.
func configure(ctx context.Context, r *boot.Router, m *pid1.Machine) string {
	if m.ConfigErr != nil {
		return fmt.Sprintf("%% There is no configuration: %v\nMake a disk with: felloe image config FILE.toml -o DISK", m.ConfigErr)
	}
	c, diags := config.Load(m.ConfigPath)
	if diags.HasErrors() {
		return fmt.Sprintf("%% The configuration has errors; nothing of it is applied:\n%s\nMend the disk and enter: configure replace", diags)
	}
	if err := r.Apply(ctx, c); err != nil {
		return fmt.Sprintf("%% The configuration was not applied: %v", err)
	}
	out := ""
	if len(diags) > 0 {
		out = diags.String()
	}
	for _, p := range r.Problems() {
		out += "\n% " + p
	}
	return out
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

func bootTimes(m *pid1.Machine) map[string]int64 {
	out := map[string]int64{}
	for _, t := range m.Times.List() {
		out[t.Name] = t.Kernel.Milliseconds()
	}
	return out
}

func milestones(m *pid1.Machine) []agent.Milestone {
	var out []agent.Milestone
	for _, t := range m.Times.List() {
		out = append(out, agent.Milestone{Name: t.Name, Kernel: t.Kernel, PID1: t.PID1})
	}
	return out
}

// screenTerm is a terminal that messages and a session share.
type screenTerm struct {
	*pid1.Console
	mu   sync.Mutex
	live *cli.Console // once a session runs, messages go above its prompt
}

func (s *screenTerm) Write(p []byte) (int, error) {
	s.mu.Lock()
	live := s.live
	s.mu.Unlock()
	if live != nil {
		live.Notice(string(p))
		return len(p), nil
	}
	return s.File.Write(p)
}

func consoles(m *pid1.Machine) []*screenTerm {
	var out []*screenTerm
	for _, c := range m.Consoles {
		out = append(out, &screenTerm{Console: c})
	}
	return out
}

// consoleKeyLog writes keys to the console: a lab collects them from there.
func consoleKeyLog(screen []*screenTerm) boot.KeyLog {
	var w io.Writer = io.Discard
	if len(screen) > 0 {
		w = screen[0].File
	}
	return boot.KeyLogWriter(w)
}

// serveConsole runs sessions on a terminal, one after the other, until the machine ends.
func serveConsole(ctx context.Context, r *boot.Router, s *screenTerm) {
	if _, err := term.MakeRaw(int(s.Fd())); err != nil {
		fmt.Fprintf(os.Stderr, "felloe: console %s: %v\r\n", s.Name, err)
		return
	}
	for ctx.Err() == nil {
		session := &cli.Session{Tree: r.Commands()}
		session.Monitor.Store(true) // a serial console shows the log, as on IOS
		c := cli.NewConsole(session, s.File, func() string { return r.Hostname() + "#" })
		s.mu.Lock()
		s.live = c
		s.mu.Unlock()
		stop := r.Log().Watch(func(line string) {
			if session.Monitor.Load() {
				c.Notice(line)
			}
		})
		err := c.Run(ctx)
		stop()
		if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
			return
		}
	}
}

// ProcessOptions say how a router runs as a process.
type ProcessOptions struct {
	Config  string
	NICs    []string
	Agent   string // unix socket to serve commands on; "" for none
	Console bool   // a session on standard input and output
	// Terminal is a unix socket each of whose connections is a terminal with a session, as on a serial line; "" for none.
	Terminal string
	Keys     string // where a key log goes; "" is a folder beside the configuration
	Log      io.Writer
	Version  string
}

// Process runs a router until ctx ends.
func Process(ctx context.Context, p ProcessOptions) error {
	c, diags := config.Load(p.Config)
	if len(diags) > 0 {
		fmt.Fprintln(os.Stderr, diags)
	}
	if diags.HasErrors() {
		return errors.New("the configuration has errors; nothing was started")
	}
	o := boot.Options{Version: p.Version, LogSink: p.Log, Kernel: kernel()}
	for _, name := range p.NICs {
		d, err := afpacket.Open(name, afpacket.Options{})
		if err != nil {
			return err
		}
		o.NICs = append(o.NICs, boot.NIC{Name: name, Driver: d})
	}
	o.OpenKeyLog = func(path string) (boot.KeyLog, error) {
		if path == "" {
			path = p.Keys
		}
		if path == "" {
			path = filepath.Join(filepath.Dir(p.Config), "keys")
		}
		return boot.KeyLogDir(path)
	}
	o.Reload = func() (*config.Config, config.Diagnostics, error) {
		c, diags := config.Load(p.Config)
		return c, diags, nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o.Power = func(string) { stop() }
	r, err := boot.New(o)
	if err != nil {
		return err
	}
	if err := r.Apply(ctx, c); err != nil {
		return err
	}
	for _, problem := range r.Problems() {
		fmt.Fprintln(os.Stderr, "felloe:", problem)
	}
	failed := make(chan error, 3)
	if p.Agent != "" {
		go func() {
			failed <- agent.ServeUnix(ctx, p.Agent, &agent.Server{Executor: r})
		}()
	}
	if p.Terminal != "" {
		go func() { failed <- serveTerminals(ctx, r, p.Terminal) }()
	}
	if p.Console {
		go func() { failed <- standardConsole(ctx, r) }()
	}
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	bye, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	if serr := r.Shutdown(bye); serr != nil && !errors.Is(serr, boot.ErrStopped) {
		err = errors.Join(err, serr)
	}
	return err
}

func standardConsole(ctx context.Context, r *boot.Router) error {
	state, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return fmt.Errorf("standard input is no terminal: %w", err)
	}
	defer func() { _ = term.Restore(int(os.Stdin.Fd()), state) }()
	return session(ctx, r, struct {
		io.Reader
		io.Writer
	}{os.Stdin, os.Stdout}, false)
}

// session runs one session on a terminal until it ends.
func session(ctx context.Context, r *boot.Router, terminal io.ReadWriter, monitor bool) error {
	s := &cli.Session{Tree: r.Commands()}
	s.Monitor.Store(monitor)
	c := cli.NewConsole(s, terminal, func() string { return r.Hostname() + "#" })
	stop := r.Log().Watch(func(line string) {
		if s.Monitor.Load() {
			c.Notice(line)
		}
	})
	defer stop()
	if err := c.Run(ctx); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// serveTerminals runs a session on every connection to a unix socket, which only its owner may open.
func serveTerminals(ctx context.Context, r *boot.Router, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			hangUp := context.AfterFunc(ctx, func() { conn.Close() })
			defer hangUp()
			_ = session(ctx, r, conn, true) // a connection that ends is no error
		}()
	}
}
