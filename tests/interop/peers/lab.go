package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Options say how a lab is made.
type Options struct {
	Name   string // of the case; becomes part of names and of the folder
	Dir    string // folder of the lab: logs, configurations, sockets, captures
	Felloe string // the program under test
	Cache  string // where images are kept
	Log    func(line string)
}

// Lab is the world of one case.
type Lab struct {
	options Options
	ctx     context.Context
	cancel  context.CancelFunc
	prefix  string // of namespaces
	began   time.Time
	sockets string // a folder with a short name: the path of a unix socket has 107 bytes

	mu         sync.Mutex
	processes  []*Process
	namespaces map[string]*Namespace
	switches   map[string]*Switch
	machines   []*Machine
	evidence   []func() string
	versions   map[string]string
	diary      *os.File
}

var labs struct {
	sync.Mutex
	made int
}

// New makes an empty lab. It lives until ctx ends or Close is called; only Close removes what is in it.
func New(ctx context.Context, o Options) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("peers: namespaces and machines' interfaces need root")
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = dir
	sockets, err := os.MkdirTemp("", "interop")
	if err != nil {
		return nil, err
	}
	diary, err := os.Create(filepath.Join(dir, "diary"))
	if err != nil {
		return nil, err
	}
	labs.Lock()
	labs.made++
	n := labs.made
	labs.Unlock()
	l := &Lab{
		options: o, prefix: fmt.Sprintf("%s%d-", ourPrefix(), n), began: time.Now(), sockets: sockets,
		namespaces: map[string]*Namespace{}, switches: map[string]*Switch{}, versions: map[string]string{}, diary: diary,
	}
	l.ctx, l.cancel = context.WithCancel(ctx)
	return l, nil
}

// Close ends everything that the lab has started and removes what it has made, except for its folder.
func (l *Lab) Close() error {
	l.cancel()
	l.mu.Lock()
	processes, namespaces, machines := l.processes, l.namespaces, l.machines
	l.processes, l.namespaces, l.machines = nil, map[string]*Namespace{}, nil
	l.mu.Unlock()
	for _, p := range processes {
		p.signalKill()
	}
	for _, p := range processes {
		<-p.done
	}
	for _, m := range machines {
		m.close()
	}
	var errs []error
	for _, n := range namespaces {
		errs = append(errs, removeNamespace(n.kernelName))
	}
	errs = append(errs, os.RemoveAll(l.sockets), l.diary.Close())
	return errors.Join(errs...)
}

// Dir is the lab's folder.
func (l *Lab) Dir() string { return l.options.Dir }

// Felloe is the program under test.
func (l *Lab) Felloe() string { return l.options.Felloe }

// Cache is where images are kept.
func (l *Lab) Cache() string { return l.options.Cache }

// Socket is a path for a unix socket, short enough to be one.
func (l *Lab) Socket(name string) string { return filepath.Join(l.sockets, name) }

// Context ends with the case's time.
func (l *Lab) Context() context.Context { return l.ctx }

// File writes a file of the lab and returns its absolute path.
func (l *Lab) File(name, content string) string {
	path := filepath.Join(l.options.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.Fatalf("%v", err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		l.Fatalf("%v", err)
	}
	return path
}

// Logf writes a line into the lab's diary.
func (l *Lab) Logf(format string, a ...any) {
	line := fmt.Sprintf("%6.2f  %s", time.Since(l.began).Seconds(), strings.TrimRight(fmt.Sprintf(format, a...), "\n"))
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.diary, strings.ReplaceAll(line, "\n", "\n        "))
	if l.options.Log != nil {
		l.options.Log(line)
	}
}

// Version notes which version of a peer's software took part: it is said in the documentation of the run.
func (l *Lab) Version(software, version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.versions[software] = version
}

// Versions are those noted so far.
func (l *Lab) Versions() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]string{}
	for k, v := range l.versions {
		out[k] = v
	}
	return out
}

// Evidence adds a source of what the peers themselves say, for the diary, and for expected failures that name a peer's own
// log line. It is asked when a row fails.
func (l *Lab) Evidence(f func() string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evidence = append(l.evidence, f)
}

// Testimony is what all sources of evidence say now, with the ends of all logs.
func (l *Lab) Testimony() string {
	l.mu.Lock()
	sources, processes, machines := l.evidence, l.processes, l.machines
	l.mu.Unlock()
	var b strings.Builder
	for _, p := range processes {
		fmt.Fprintf(&b, "--- log of %s\n%s\n", p.Name, tail(p.Log(), 400))
	}
	for _, m := range machines {
		fmt.Fprintf(&b, "--- console of %s\n%s\n", m.Name, tail(m.Console(), 100))
	}
	for _, f := range sources {
		if err := l.Attempt(func() { fmt.Fprintf(&b, "---\n%s\n", f()) }); err != nil {
			fmt.Fprintf(&b, "--- %v\n", err)
		}
	}
	return b.String()
}

// Failure is what Fatalf ends a row with.
type Failure struct{ Message string }

func (f *Failure) Error() string { return f.Message }

// Fatalf ends the row. Only for the goroutine that runs the case.
func (l *Lab) Fatalf(format string, a ...any) {
	panic(&Failure{fmt.Sprintf(format, a...)})
}

// Attempt runs f and returns the failure that ended it.
func (l *Lab) Attempt(f func()) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case *Failure:
			err = v
		default:
			panic(v)
		}
	}()
	f()
	return nil
}

// Until asks again and again until f has no error, and fails when it still has one after this time.
func (l *Lab) Until(within time.Duration, what string, f func() error) {
	if err := l.until(within, f); err != nil {
		l.Fatalf("%s: not within %v: %v", what, within, err)
	}
}

func (l *Lab) until(within time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(l.ctx, within)
	defer cancel()
	pause := 50 * time.Millisecond
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		pause = min(2*pause, 500*time.Millisecond)
	}
}

// Sleep passes time: for what must not happen meanwhile, never for what must.
func (l *Lab) Sleep(d time.Duration) {
	select {
	case <-l.ctx.Done():
		l.Fatalf("the case's time is over")
	case <-time.After(d):
	}
}

// Shell is where a shell's commands run: a Namespace, a Machine.
type Shell interface {
	// Try returns what the script prints on both outputs; an error also when its exit status is not 0.
	Try(script string) (string, error)
	// Run is Try that must succeed.
	Run(script string) string
	lab() *Lab
	name() string
}

// Expect runs a script there until it succeeds and every pattern matches its output (regular expressions, (?m)).
func Expect(s Shell, within time.Duration, script string, patterns ...string) string {
	var out string
	s.lab().Until(within, s.name()+": "+script, func() (err error) {
		if out, err = s.Try(script); err != nil {
			return err
		}
		return Match(out, patterns...)
	})
	return out
}

// Match says which of the patterns does not match; one that begins with "!" must not match.
func Match(out string, patterns ...string) error {
	for _, p := range patterns {
		not := strings.HasPrefix(p, "!")
		re, err := regexp.Compile("(?m)" + strings.TrimPrefix(p, "!"))
		if err != nil {
			return err
		}
		if re.MatchString(out) == not {
			verb := "does not match"
			if not {
				verb = "matches"
			}
			return fmt.Errorf("the output %s %q:\n%s", verb, strings.TrimPrefix(p, "!"), tail(out, 40))
		}
	}
	return nil
}

// Command runs a program of this machine, outside of every namespace, and returns what it prints.
func (l *Lab) Command(name string, args ...string) string {
	out, err := l.command(name, args...)
	if err != nil {
		l.Fatalf("%v", err)
	}
	return out
}

func (l *Lab) command(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(l.ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(out.String(), 30))
	}
	return out.String(), nil
}

func tail(s string, lines int) string {
	parts := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(parts) > lines {
		parts = parts[len(parts)-lines:]
	}
	return strings.Join(parts, "\n")
}
