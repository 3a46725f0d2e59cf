package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace of a lab.
type Namespace struct {
	Name       string
	kernelName string
	l          *Lab
}

const prefix = "fi-"

// ourPrefix begins the names of this process's namespaces: pid and start time tell it from every other process, ever.
func ourPrefix() string {
	return fmt.Sprintf("%s%d-%s-", prefix, os.Getpid(), strconv.FormatUint(startTime(os.Getpid()), 36))
}

// startTime is when a process has begun, in ticks since the boot; 0 when there is none.
func startTime(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	s := string(b)
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 20 {
		return 0
	}
	n, _ := strconv.ParseUint(fields[19], 10, 64)
	return n
}

// Sweep removes what a run that was killed has left behind, with what still runs in it.
func Sweep() error {
	names, err := filepath.Glob("/run/netns/" + prefix + "*")
	if err != nil {
		return err
	}
	for _, path := range names {
		name := filepath.Base(path)
		parts := strings.SplitN(name, "-", 4)
		if len(parts) < 4 {
			continue
		}
		pid, err := strconv.Atoi(parts[1])
		if err != nil {
			continue
		}
		if strconv.FormatUint(startTime(pid), 36) == parts[2] {
			continue // it lives
		}
		if err := removeNamespace(name); err != nil {
			return err
		}
	}
	return nil
}

// removeNamespace ends the processes in a namespace and deletes it.
func removeNamespace(name string) error {
	for range 20 {
		out, err := exec.Command("ip", "netns", "pids", name).Output()
		if err != nil || len(strings.TrimSpace(string(out))) == 0 {
			break
		}
		for _, f := range strings.Fields(string(out)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
		return fmt.Errorf("namespace %s: %w: %s", name, err, out)
	}
	return nil
}

// Namespace returns the namespace of that name; it is made when there is none. It forwards packets.
func (l *Lab) Namespace(name string) *Namespace {
	if n := l.namespaceOf(name); n != nil {
		return n
	}
	n := l.emptyNamespace(name)
	n.Run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 " +
		"net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv4.ping_group_range='0 2147483647'")
	return n
}

func (l *Lab) namespaceOf(name string) *Namespace {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.namespaces[name]
}

func (l *Lab) emptyNamespace(name string) *Namespace {
	n := &Namespace{Name: name, kernelName: l.prefix + name, l: l}
	l.mu.Lock()
	l.namespaces[name] = n
	l.mu.Unlock()
	l.Command("ip", "netns", "add", n.kernelName)
	n.IP("link", "set", "lo", "up")
	return n
}

func (n *Namespace) lab() *Lab    { return n.l }
func (n *Namespace) name() string { return n.Name }

// KernelName is the namespace's name for `ip netns`.
func (n *Namespace) KernelName() string { return n.kernelName }

// IP runs `ip` in the namespace.
func (n *Namespace) IP(args ...string) string {
	return n.l.Command("ip", append([]string{"-n", n.kernelName}, args...)...)
}

// Try runs a shell script in the namespace, for a minute at most.
func (n *Namespace) Try(script string) (string, error) { return n.TryFor(time.Minute, script) }

// TryFor is Try with a time of its own.
func (n *Namespace) TryFor(within time.Duration, script string) (string, error) {
	ctx, cancel := context.WithTimeout(n.l.ctx, within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", n.kernelName, "bash", "-ec", script)
	cmd.Dir = n.l.options.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %s: %w\n%s", n.Name, script, err, tail(string(out), 30))
	}
	return string(out), err
}

// Run is Try that must succeed.
func (n *Namespace) Run(script string) string {
	out, err := n.Try(script)
	if err != nil {
		n.l.Fatalf("%v", err)
	}
	return out
}

// Start starts a program in the namespace.
func (n *Namespace) Start(c Command) *Process {
	return n.l.start(c, "ip", "netns", "exec", n.kernelName)
}

// Switch is a bridge: what is attached to it hears each other.
type Switch struct {
	Name   string
	l      *Lab
	home   *Namespace // all bridges, and the machines' taps, are in one namespace that has no addresses
	bridge string
	ports  int
}

// Switch returns the bridge of that name; it is made when there is none. Names are short: at most ten characters.
func (l *Lab) Switch(name string) *Switch {
	l.mu.Lock()
	s := l.switches[name]
	l.mu.Unlock()
	if s != nil {
		return s
	}
	if len(name) > 10 {
		l.Fatalf("switch %q: the name is too long for its ports' names", name)
	}
	home := l.namespaceOf("switches")
	if home == nil {
		home = l.emptyNamespace("switches")
		home.Run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
	}
	s = &Switch{Name: name, l: l, home: home, bridge: "b-" + name}
	home.IP("link", "add", s.bridge, "type", "bridge", "mcast_snooping", "0")
	home.IP("link", "set", s.bridge, "up")
	l.mu.Lock()
	l.switches[name] = s
	l.mu.Unlock()
	return s
}

// Attach gives the namespace an interface of that name on the switch, up, with these addresses ("10.0.0.1/24").
// Offloads are off: what is sent are whole packets with right checksums. It returns the switch's end, for netem or a cut
// (Switch.Run "ip link set PORT down").
func (s *Switch) Attach(n *Namespace, ifname string, addresses ...string) (port string) {
	s.ports++
	port = fmt.Sprintf("p-%s%d", s.Name, s.ports)
	s.home.IP("link", "add", port, "type", "veth", "peer", "name", ifname, "netns", n.kernelName)
	s.home.IP("link", "set", port, "master", s.bridge, "up")
	for _, a := range addresses {
		n.IP("addr", "add", a, "dev", ifname)
	}
	n.IP("link", "set", ifname, "up")
	off := "rx off tx off tso off gso off gro off >/dev/null 2>&1 || true"
	n.Run("ethtool -K " + ifname + " " + off)
	s.home.Run("ethtool -K " + port + " " + off)
	return port
}

// tap makes a machine's port.
func (s *Switch) tap() string {
	s.ports++
	port := fmt.Sprintf("t-%s%d", s.Name, s.ports)
	s.home.IP("tuntap", "add", "dev", port, "mode", "tap")
	s.home.IP("link", "set", port, "master", s.bridge, "up")
	return port
}

// Run runs a script where the switches' ports are.
func (s *Switch) Run(script string) string { return s.home.Run(script) }

// Capture writes everything on the switch to a file of the lab until the returned process is stopped. filter is tcpdump's.
func (s *Switch) Capture(filter string) (file string, p *Process) {
	file = filepath.Join(s.l.options.Dir, s.Name+".pcap")
	args := []string{"tcpdump", "-i", s.bridge, "-U", "--immediate-mode", "-n", "-s", "0", "-w", file}
	if filter != "" {
		args = append(args, filter)
	}
	p = s.home.Start(Command{Name: "capture-" + s.Name, Args: args})
	s.l.Until(10*time.Second, "capture of "+s.Name, func() error { return Match(p.Log(), "listening on") })
	return file, p
}

// Cable joins two namespaces directly.
func (l *Lab) Cable(a *Namespace, aName string, b *Namespace, bName string) {
	a.IP("link", "add", aName, "type", "veth", "peer", "name", bName, "netns", b.kernelName)
	for _, e := range []struct {
		n    *Namespace
		name string
	}{{a, aName}, {b, bName}} {
		e.n.IP("link", "set", e.name, "up")
		e.n.Run("ethtool -K " + e.name + " rx off tx off tso off gso off gro off >/dev/null 2>&1 || true")
	}
}

// Do runs f in the namespace: sockets that it opens belong there, also afterwards. f does not start goroutines.
func (n *Namespace) Do(f func()) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		n.l.Fatalf("%v", err)
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + n.kernelName)
	if err == nil {
		defer there.Close()
		err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		n.l.Fatalf("namespace %s: %v", n.Name, err)
	}
	defer func() {
		// A thread that cannot go home stays locked, and ends with its goroutine.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	f()
}
