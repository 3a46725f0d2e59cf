package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"felloe/manage/agent"
)

// Router is the program under test, as a process.
type Router struct {
	Name      string
	Namespace *Namespace
	Process   *Process
	l         *Lab
	config    string
	nics      []string
	socket    string
}

// Router starts a router with this configuration in a namespace of its own. Its NICs are on these switches, in the order of
// the configuration's Ethernet interfaces. It is up when it answers commands.
func (l *Lab) Router(name, toml string, nics ...*Switch) *Router {
	r := &Router{Name: name, l: l, Namespace: l.emptyNamespace(name), socket: filepath.Join(l.sockets, name)}
	// The kernel has nothing to say on the router's wires.
	r.Namespace.Run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
	for i, s := range nics {
		nic := fmt.Sprintf("nic%d", i)
		s.Attach(r.Namespace, nic)
		r.nics = append(r.nics, nic)
	}
	r.config = l.File(name+".toml", toml)
	r.Start()
	return r
}

// Start starts the router again after it was stopped or killed.
func (r *Router) Start() {
	args := []string{r.l.options.Felloe, "run", "-c", r.config, "-agent", r.socket}
	for _, n := range r.nics {
		args = append(args, "-nic", n)
	}
	r.Process = r.Namespace.Start(Command{Name: r.Name, Args: args, Env: []string{"GOTRACEBACK=all"}})
	r.l.Until(20*time.Second, "router "+r.Name+" starts", func() error {
		select {
		case <-r.Process.Done():
			r.l.Fatalf("router %s ended: %v\n%s", r.Name, r.Process.err, tail(r.Process.Log(), 40))
		default:
		}
		_, err := r.Try("show version")
		return err
	})
}

// Stop ends the router as an operator does; its peers are told.
func (r *Router) Stop() { r.Process.Stop() }

// Kill ends it without a word.
func (r *Router) Kill() { r.Process.Kill() }

// Try runs a console command, for a minute at most.
func (r *Router) Try(command string) (string, error) { return r.TryFor(time.Minute, command) }

// TryFor is Try with a time of its own.
func (r *Router) TryFor(within time.Duration, command string) (string, error) {
	ctx, cancel := context.WithTimeout(r.l.ctx, within)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", r.socket)
	if err != nil {
		return "", err
	}
	c := agent.NewClient(conn)
	defer c.Close()
	return c.Exec(ctx, command)
}

// Exec is Try that must succeed.
func (r *Router) Exec(command string) string {
	out, err := r.Try(command)
	if err != nil {
		r.l.Fatalf("%s# %s: %v\n%s", r.Name, command, err, out)
	}
	return out
}

// Expect runs a console command until every pattern matches what it prints; "!…" must not match.
func (r *Router) Expect(within time.Duration, command string, patterns ...string) string {
	var out string
	r.l.Until(within, r.Name+"# "+command, func() (err error) {
		if out, err = r.Try(command); err != nil {
			return err
		}
		return Match(out, patterns...)
	})
	return out
}

// ExpectLog waits for what the router logs.
func (r *Router) ExpectLog(within time.Duration, patterns ...string) {
	r.l.Until(within, r.Name+" logs", func() error { return Match(r.Process.Log(), patterns...) })
}

// Apply changes the running router's configuration.
func (r *Router) Apply(toml string) {
	path := r.l.File(r.Name+".toml", toml)
	r.l.Command(r.l.options.Felloe, "apply", "-agent", r.socket, path)
}

// Alive fails when the router has ended by itself.
func (r *Router) Alive() error {
	select {
	case <-r.Process.Done():
		return errors.Join(fmt.Errorf("router %s has ended", r.Name), r.Process.err)
	default:
		return nil
	}
}
