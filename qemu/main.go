package qemu

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"
)

const usage = `usage: felloe lab COMMAND …
  run LAB.toml [-backend qemu|memory|netns] [-captures DIR] [-logs DIR]   bring it up, work through its checks, take it down
  up LAB.toml [-backend qemu|memory|netns]                                bring it up and leave it
  down | status                                                     of the lab that is up
  exec NODE COMMAND…                                                a console command on a node
  console NODE                                                      its serial console (Ctrl-] leaves)
  capture LINK -o FILE.pcapng                                       all frames of a link, until Ctrl-C
  cut LINK | join LINK | kill NODE | power-down NODE | start NODE   what goes wrong in networks
  apply NODE FILE.toml                                              a new configuration for a node
With several labs up, -lab NAME says which.
`

// Main is `felloe lab`: it returns the process's exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	err := command(ctx, args[0], args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		return 2
	case err != nil:
		fmt.Fprintln(os.Stderr, "felloe lab:", err)
		return 1
	}
	return 0
}

var errUsage = errors.New("usage")

// options are all flags; each command takes those that it knows what to do with.
type options struct {
	backend, image, accel, captures, logs, lab, out string
	timeout                                         time.Duration
	json                                            bool
	args                                            []string
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("felloe lab", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.backend, "backend", "", "")
	fs.StringVar(&o.image, "image", "", "")
	fs.StringVar(&o.accel, "accel", "", "")
	fs.StringVar(&o.captures, "captures", "", "")
	fs.StringVar(&o.logs, "logs", "", "")
	fs.StringVar(&o.lab, "lab", "", "")
	fs.StringVar(&o.out, "o", "", "")
	fs.DurationVar(&o.timeout, "timeout", 3*time.Minute, "")
	fs.BoolVar(&o.json, "json", false, "")
	for { // flags may stand before and after the arguments
		if err := fs.Parse(args); err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		if fs.NArg() == 0 {
			return o, nil
		}
		o.args, args = append(o.args, fs.Arg(0)), fs.Args()[1:]
	}
}

func command(ctx context.Context, name string, args []string) error {
	if name == "exec" { // a command line may hold words that look like flags
		return execCommand(ctx, args)
	}
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	want := map[string]int{"run": 1, "up": 1, "supervise": 1, "down": 0, "status": 0, "console": 1, "capture": 1,
		"cut": 1, "join": 1, "kill": 1, "power-down": 1, "start": 1, "apply": 2}
	n, known := want[name]
	if !known || len(o.args) != n {
		return errUsage
	}
	switch name {
	case "run":
		return runLab(ctx, o)
	case "up":
		return up(ctx, o)
	case "supervise":
		return supervise(ctx, o)
	}
	lab, err := o.chooseLab()
	if err != nil {
		return err
	}
	switch name {
	case "down":
		return down(ctx, lab)
	case "status":
		return status(ctx, lab)
	case "console":
		return console(ctx, lab, o.args[0])
	case "capture":
		return capture(ctx, lab, o)
	}
	q := controlRequest{Do: name, Node: o.args[0]}
	switch name {
	case "cut", "join":
		q = controlRequest{Do: "link", Link: o.args[0], Up: name == "join"}
	case "apply":
		if q.File, err = filepath.Abs(o.args[1]); err != nil {
			return err
		}
	}
	_, conn, err := ask(ctx, lab, q)
	if err == nil {
		conn.Close()
	}
	return err
}

func (o *options) chooseLab() (string, error) {
	if o.lab != "" {
		return o.lab, nil
	}
	switch labs := upLabs(); len(labs) {
	case 0:
		return "", errors.New("no lab is up (felloe lab up LAB.toml)")
	case 1:
		return labs[0], nil
	default:
		return "", fmt.Errorf("several labs are up: choose with -lab (%s)", strings.Join(labs, ", "))
	}
}

// load reads the lab's file and chooses the backend, if nobody did: machines, or namespaces if a node needs one.
func (o *options) load() (*Lab, error) {
	l, err := Load(o.args[0])
	if err != nil {
		return nil, err
	}
	if o.backend == "" {
		o.backend = "qemu"
		for _, n := range l.Nodes {
			if n.External != nil {
				o.backend = "netns"
			}
		}
	}
	if !slices.Contains(backends, o.backend) {
		return nil, fmt.Errorf("unknown backend %q (%s)", o.backend, strings.Join(backends, ", "))
	}
	return l, l.runsOn(o.backend)
}

// newBackend makes what -backend names; dir is its own.
func (o *options) newBackend(dir string) (Backend, error) {
	switch o.backend {
	case "netns":
		return &Netns{Dir: filepath.Join(dir, "ns"), ReplaceLine: replaceLine, KeepLogs: o.logs, Install: true}, nil
	case "memory":
		return &Memory{Factory: newMemoryRouter(o.logs)}, nil
	case "qemu":
		img, err := o.imageDir()
		if err != nil {
			return nil, err
		}
		return &Virtual{Dir: filepath.Join(dir, "vm"), Kernel: filepath.Join(img, "felloe.vmlinuz"), Initrd: filepath.Join(img, "felloe.initrd"),
			Accel: o.accel, ReplaceLine: replaceLine, KeepLogs: o.logs}, nil
	}
	return nil, fmt.Errorf("unknown backend %q (%s)", o.backend, strings.Join(backends, ", "))
}

// imageDir is where the image is: as told, beside the program, or in build.
func (o *options) imageDir() (string, error) {
	if o.image != "" {
		return filepath.Abs(o.image)
	}
	if self, err := os.Executable(); err == nil {
		if _, err := os.Stat(filepath.Join(filepath.Dir(self), "felloe.initrd")); err == nil {
			return filepath.Dir(self), nil
		}
	}
	return filepath.Abs("build")
}

// progress prints lines with the time since the start.
func progress(w io.Writer) Say {
	start := time.Now()
	var mu sync.Mutex
	return func(format string, a ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "%7.1f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, a...))
	}
}

func runLab(ctx context.Context, o *options) (err error) {
	l, err := o.load()
	if err != nil {
		return err
	}
	_ = upLabs() // removes what dead labs left
	dir, err := ownDir(fmt.Sprintf("%s-run-%d", l.Name, os.Getpid()))
	if err != nil {
		return err
	}
	defer dir.release()
	b, err := o.newBackend(dir.path)
	if err != nil {
		return err
	}
	say := progress(os.Stdout)
	defer func() { err = errors.Join(err, b.Stop()) }()
	results, err := bringUpAndCheck(ctx, o, dir.path, l, b, say)
	if len(results) > 0 {
		fmt.Printf("\n%s", Table(results))
	}
	return err
}

// captureStarter is a backend that can begin captures before its nodes run.
type captureStarter interface{ BeforeStart(func() error) }

func bringUpAndCheck(ctx context.Context, o *options, dir string, l *Lab, b Backend, say Say) ([]Result, error) {
	if err := l.Prepare(dir); err != nil {
		return nil, err
	}
	title := l.Name
	if l.Title != "" {
		title += ": " + l.Title
	}
	say("lab %s (%d nodes, %d links)", title, len(l.Nodes), len(l.Links))
	if o.captures != "" {
		if c, ok := b.(captureStarter); ok {
			c.BeforeStart(func() error { return captureAll(l, b, o.captures) })
		}
	}
	boot, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := b.Start(boot, l, say); err != nil {
		return nil, err
	}
	s := &Script{Lab: l, Backend: b, Say: say, Out: os.Stdout}
	results, err := s.Run(ctx)
	if times := bootTable(ctx, l, b); times != "" {
		fmt.Printf("\n%s", times)
	}
	return results, err
}

// bootTable shows how the machines booted: when PID 1 ran after the kernel's start, and what came when after that.
func bootTable(ctx context.Context, l *Lab, b Backend) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var out strings.Builder
	for _, n := range l.Nodes {
		times, err := b.Boot(ctx, n.Name)
		if err != nil || len(times) == 0 {
			continue
		}
		fmt.Fprintf(&out, "boot %-10s kernel to PID 1 %5.2f s; PID 1 to", n.Name, times[0].Kernel.Seconds())
		for i, m := range times[1:] {
			if i > 0 {
				out.WriteByte(',')
			}
			fmt.Fprintf(&out, " %s %.2f s", m.Name, m.PID1.Seconds())
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// captureAll captures every link into DIR/LINK.pcapng, until the backend stops.
func captureAll(l *Lab, b Backend, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, k := range l.Links {
		f, err := os.Create(filepath.Join(dir, fileName(k.Name)+".pcapng"))
		if err != nil {
			return err
		}
		if _, err := b.Capture(k.Name, f); err != nil {
			return err
		}
	}
	return nil
}

func fileName(link string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' || r == ':' {
			return '_'
		}
		return r
	}, link)
}

// up starts a supervisor, shows its progress, and leaves it when the lab is up.
func up(ctx context.Context, o *options) error {
	l, err := o.load()
	if err != nil {
		return err
	}
	_ = upLabs()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	file, err := filepath.Abs(o.args[0])
	if err != nil {
		return err
	}
	args := []string{"lab", "supervise", file, "-backend", o.backend, "-timeout", o.timeout.String()}
	if o.backend == "qemu" {
		img, err := o.imageDir()
		if err != nil {
			return err
		}
		args = append(args, "-image", img)
	}
	if o.accel != "" {
		args = append(args, "-accel", o.accel)
	}
	cmd := exec.Command(self, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	last := ""
	for s := bufio.NewScanner(lines); s.Scan(); {
		if s.Text() == upLine {
			fmt.Printf("lab %s is up: felloe lab status | exec NODE COMMAND | console NODE | down\n", l.Name)
			return cmd.Process.Release()
		}
		if msg, ok := strings.CutPrefix(s.Text(), errLine); ok {
			last = msg
			continue
		}
		fmt.Println(s.Text())
	}
	err = cmd.Wait()
	if last != "" {
		return errors.New(strings.ReplaceAll(last, "\x00", "\n"))
	}
	return fmt.Errorf("the supervisor ended: %w", err)
}

// Lines by which a supervisor tells its parent how it went.
const (
	upLine  = "::up"
	errLine = "::error "
)

// supervise is the process that `lab up` leaves behind.
func supervise(ctx context.Context, o *options) error {
	err := superviseLab(ctx, o)
	if err != nil {
		fmt.Println(errLine + strings.ReplaceAll(err.Error(), "\n", "\x00"))
	}
	return err
}

func superviseLab(ctx context.Context, o *options) (err error) {
	l, err := o.load()
	if err != nil {
		return err
	}
	dir, err := ownDir(l.Name)
	if err != nil {
		return err
	}
	defer dir.release()
	if err := l.Prepare(dir.path); err != nil {
		return err
	}
	b, err := o.newBackend(dir.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Stop()) }()
	boot, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := b.Start(boot, l, progress(os.Stdout)); err != nil {
		return err
	}
	ctx, downed := context.WithCancel(ctx)
	defer downed()
	c := &control{lab: l, backend: b, down: downed}
	listening, err := c.listen(filepath.Join(dir.path, controlName))
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- c.serve(ctx, listening) }()
	fmt.Println(upLine)
	// The parent leaves now, and with it whoever reads what is printed here.
	if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		os.Stdout, os.Stderr = null, null
	}
	return <-served
}

// down asks the supervisor to end and waits until nothing of it is left.
func down(ctx context.Context, lab string) error {
	_, conn, err := ask(ctx, lab, controlRequest{Do: "down"})
	if err != nil {
		return err
	}
	conn.Close()
	dir := filepath.Dir(controlSocket(lab))
	for {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			fmt.Printf("lab %s is down\n", lab)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func status(ctx context.Context, lab string) error {
	a, conn, err := ask(ctx, lab, controlRequest{Do: "status"})
	if err != nil {
		return err
	}
	conn.Close()
	fmt.Printf("lab %s\n%-16s %-8s %10s %8s %10s\n", lab, "node", "state", "up", "pid", "memory")
	for _, s := range a.Status {
		pid, rss := "-", "-"
		if s.PID > 0 {
			pid, rss = fmt.Sprint(s.PID), fmt.Sprintf("%d MiB", s.RSS>>20)
		}
		fmt.Printf("%-16s %-8s %10s %8s %10s\n", s.Name, s.State, s.Up.Round(time.Second), pid, rss)
	}
	return nil
}

func execCommand(ctx context.Context, args []string) error {
	o := &options{}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case strings.TrimLeft(args[0], "-") == "lab" && len(args) > 1:
			o.lab, args = args[1], args[2:]
		case strings.TrimLeft(args[0], "-") == "json":
			o.json, args = true, args[1:]
		default:
			return errUsage
		}
	}
	if len(args) < 2 {
		return errUsage
	}
	lab, err := o.chooseLab()
	if err != nil {
		return err
	}
	a, conn, err := ask(ctx, lab, controlRequest{Do: "exec", Node: args[0], Line: strings.Join(args[1:], " "), JSON: o.json})
	fmt.Print(a.Out)
	if err == nil {
		conn.Close()
	}
	return err
}

func capture(ctx context.Context, lab string, o *options) error {
	if o.out == "" {
		return errUsage
	}
	f, err := os.Create(o.out)
	if err != nil {
		return err
	}
	defer f.Close()
	_, conn, err := ask(ctx, lab, controlRequest{Do: "capture", Link: o.args[0]})
	if err != nil {
		_ = os.Remove(o.out)
		return err
	}
	defer conn.Close()
	// Closing our half makes the lab complete the file and close its own.
	stop := context.AfterFunc(ctx, func() { _ = conn.CloseWrite() })
	defer stop()
	fmt.Fprintf(os.Stderr, "capturing %s into %s; Ctrl-C ends it\n", o.args[0], o.out)
	if _, err := io.Copy(f, conn); err != nil {
		return err
	}
	return f.Close()
}

// leaveConsole is Ctrl-], as in telnet.
const leaveConsole = 0x1d

func console(ctx context.Context, lab, node string) error {
	_, conn, err := ask(ctx, lab, controlRequest{Do: "console", Node: node})
	if err != nil {
		return err
	}
	defer conn.Close()
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		state, err := term.MakeRaw(fd)
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(fd, state) }()
		fmt.Printf("console of %s; Ctrl-] leaves\r\n", node)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() {
		buf := make([]byte, 512)
		for {
			n, err := os.Stdin.Read(buf)
			if i := strings.IndexByte(string(buf[:n]), leaveConsole); i >= 0 {
				_, _ = conn.Write(buf[:i])
				_ = conn.Close()
				return
			}
			if n > 0 {
				_, _ = conn.Write(buf[:n])
			}
			if err != nil {
				_ = conn.CloseWrite()
				return
			}
		}
	}()
	_, err = io.Copy(os.Stdout, conn)
	if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) || strings.Contains(fmt.Sprint(err), "closed network connection") {
		err = nil
	}
	return err
}
