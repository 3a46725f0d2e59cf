package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"felloe/manage/agent"
	"felloe/netstack/clock"
	"felloe/netstack/link"
	"felloe/netstack/link/afpacket"
	"felloe/netstack/link/mem"
)

// Netns runs each node of a lab as ordinary processes in a network namespace of its own: routers as `felloe run`, external
// nodes as what their commands start. Every NIC is one end of a veth pair; the other end is in the lab's own namespace,
// where this process holds it and joins it to the link.
type Netns struct {
	Dir     string // sockets, logs, scratch folders
	Program string // felloe; "" is this program
	// ReplaceLine is the console command that gives a router a new configuration.
	ReplaceLine func(file string) (string, error)
	// KeepLogs leaves logs and keys behind in this directory.
	KeepLogs string
	// KeyLogs is where routers write keys if their configurations ask for it; "" is a folder of KeepLogs, or nowhere to stay.
	KeyLogs string
	// Install installs packages that are missing; else they are an error.
	Install bool

	lab    *Lab
	fabric *fabric
	early  func() error
	made   []namespace
	wires  []*strand

	mu    sync.Mutex
	nodes map[string]*netnsNode
}

type netnsNode struct {
	node  *Node
	space namespace
	dir   string // an external node's own
	since time.Time
	state string // of an external node: "running", "booting", "off"

	process *exec.Cmd // a router's, nil while off
	ended   chan struct{}
	client  *agent.Client
}

var _ Backend = (*Netns)(nil)

// wiresNode is the lab's own namespace, in the place of a node's name, and none that a node can have.
const wiresNode = "_wires"

// errNotRoot is what an ordinary user gets.
var errNotRoot = errors.New("the backend netns makes network namespaces and veth pairs, which needs root: run it with sudo, or choose -backend qemu or memory")

// BeforeStart sets what runs when the links are there and the nodes are not yet, such as Capture.
func (n *Netns) BeforeStart(f func() error) { n.early = f }

// Start implements Backend. All nodes start at once.
func (n *Netns) Start(ctx context.Context, l *Lab, say Say) error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return err
	}
	buryNameless()
	n.lab, n.fabric, n.nodes = l, newFabric(l, clock.Real), map[string]*netnsNode{}
	if n.KeyLogs == "" {
		n.KeyLogs = filepath.Join(n.Dir, "keys")
		if n.KeepLogs != "" {
			n.KeyLogs = filepath.Join(n.KeepLogs, "keys")
		}
	}
	if err := n.need(ctx, say); err != nil {
		return err
	}
	for _, node := range l.Nodes {
		if node.External != nil && node.External.Prepare != "" {
			if err := n.prepare(ctx, node, say); err != nil {
				return err
			}
		}
	}
	say("%d network namespaces", len(l.Nodes))
	if n.early != nil {
		if err := n.early(); err != nil {
			return err
		}
	}
	if err := n.cable(); err != nil {
		return err
	}
	return together(l, func(node *Node) error {
		err := n.StartNode(ctx, node.Name)
		if err == nil {
			say("%s runs", node.Name)
		}
		return err
	})
}

// space makes a namespace and keeps it in mind, here and for who comes after a crash.
func (n *Netns) space(node string, v6 bool) (namespace, error) {
	s := namespace(namespaceName(n.lab.Name, node))
	if err := recordNamespace(filepath.Dir(n.Dir), s); err != nil {
		return "", err
	}
	n.made = append(n.made, s)
	return s, s.make(v6)
}

// cable makes all namespaces and NICs.
func (n *Netns) cable() error {
	wires, err := n.space(wiresNode, false)
	if err != nil {
		return err
	}
	for _, node := range n.lab.Nodes {
		nn := &netnsNode{node: node, state: "off", dir: filepath.Join(n.Dir, node.Name)}
		if nn.space, err = n.space(node.Name, node.External != nil); err != nil {
			return err
		}
		if err := os.MkdirAll(nn.dir, 0o700); err != nil {
			return err
		}
		n.nodes[node.Name] = nn
		for i, nic := range node.NICs {
			if err := n.plug(wires, nn, i, nic); err != nil {
				return fmt.Errorf("%s %s: %w", node.Name, nic.Interface, err)
			}
		}
	}
	return nil
}

// nicName is how the kernel calls a node's NIC: routers' interfaces have names that are too long for it.
func nicName(node *Node, i int) string {
	if node.External != nil {
		return node.NICs[i].Interface
	}
	return fmt.Sprintf("nic%d", i+1)
}

// plug makes a NIC of a node and joins it to its link.
func (n *Netns) plug(wires namespace, nn *netnsNode, i int, nic NIC) error {
	near, far := nicName(nn.node, i), fmt.Sprintf("w%d", len(n.wires))
	mtu := strconv.Itoa(max(1500, nic.Link.MTU))
	if err := ip("link", "add", near, "netns", string(nn.space), "mtu", mtu, "address", net.HardwareAddr(nic.MAC[:]).String(),
		"type", "veth", "peer", "name", far, "netns", string(wires), "mtu", mtu); err != nil {
		return err
	}
	if nn.node.External != nil {
		// The wire shall see what a wire sees: whole frames with right checksums.
		out, err := nn.space.command("ethtool", "-K", near, "tx", "off", "tso", "off", "gso", "off", "gro", "off").CombinedOutput()
		if err != nil {
			return fmt.Errorf("ethtool -K %s: %s", near, oneLine(out, err))
		}
	}
	if err := ip("-n", string(nn.space), "link", "set", near, "up"); err != nil {
		return err
	}
	return wires.enter(func() error {
		w, err := newStrand(n.fabric.port(nic.Link, End{nn.node.Name, nic.Interface}), far)
		if err == nil {
			n.wires = append(n.wires, w)
		}
		return err
	})
}

// strand joins a veth end to a link's end.
type strand struct {
	port *mem.Port
	nic  link.Driver
}

func newStrand(port *mem.Port, name string) (*strand, error) {
	nic, err := afpacket.Open(name, afpacket.Options{})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(nic.Start(port.Send), port.Start(nic.Send)); err != nil {
		_ = nic.Close()
		return nil, err
	}
	return &strand{port, nic}, nil
}

func (w *strand) close() error { return errors.Join(w.nic.Close(), w.port.Close()) }

func (n *Netns) find(name string) (*netnsNode, error) {
	node, err := n.lab.Node(name)
	if err != nil {
		return nil, err
	}
	if nn := n.nodes[node.Name]; nn != nil {
		return nn, nil
	}
	return nil, fmt.Errorf("%s is not there yet", name)
}

// StartNode implements Backend: it returns when the router's agent answers, or the external node says that it is ready.
func (n *Netns) StartNode(ctx context.Context, name string) error {
	nn, err := n.find(name)
	if err != nil {
		return err
	}
	if nn.node.External != nil {
		return n.startExternal(ctx, nn)
	}
	if err := n.startRouter(nn); err != nil {
		return err
	}
	client, err := n.answer(ctx, nn)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if nn.process == nil {
		client.Close()
		return fmt.Errorf("%s ended while it started", name)
	}
	nn.client = client
	return nil
}

func (n *Netns) agentSocket(nn *netnsNode) string { return filepath.Join(n.Dir, nn.node.Name+".agent") }
func (n *Netns) terminal(nn *netnsNode) string    { return filepath.Join(n.Dir, nn.node.Name+".con") }
func (n *Netns) log(nn *netnsNode) string         { return filepath.Join(n.Dir, nn.node.Name+".log") }

// startRouter starts a router's process, which dies with this one, however that ends.
func (n *Netns) startRouter(nn *netnsNode) error {
	program := n.Program
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return err
		}
	}
	if s := n.agentSocket(nn); len(s) > 104 {
		return fmt.Errorf("the path %s is too long for a socket; set XDG_RUNTIME_DIR to a shorter directory", s)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if nn.process != nil {
		return fmt.Errorf("%s runs already", nn.node.Name)
	}
	args := []string{"run", "-c", nn.node.Config, "-agent", n.agentSocket(nn), "-terminal", n.terminal(nn), "-keys", n.KeyLogs}
	for i := range nn.node.NICs {
		args = append(args, "-nic", nicName(nn.node, i))
	}
	log, err := os.OpenFile(n.log(nn), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for _, s := range []string{n.agentSocket(nn), n.terminal(nn)} {
		_ = os.Remove(s)
	}
	cmd := nn.space.command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := spawn(cmd); err != nil {
		return fmt.Errorf("%s: %w", nn.node.Name, err)
	}
	ended := make(chan struct{})
	nn.process, nn.ended, nn.since = cmd, ended, time.Now()
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		n.mu.Lock()
		if nn.process == cmd {
			nn.forget()
		}
		n.mu.Unlock()
		close(ended)
	}()
	return nil
}

// forget takes a router's process out of the books.
func (nn *netnsNode) forget() {
	if nn.client != nil {
		nn.client.Close()
	}
	nn.process, nn.client = nil, nil
}

// answer waits for a router's agent.
func (n *Netns) answer(ctx context.Context, nn *netnsNode) (*agent.Client, error) {
	for {
		n.mu.Lock()
		ended := nn.ended
		n.mu.Unlock()
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, errors.New("interrupted while it started")
			}
			return nil, fmt.Errorf("it did not start in time; its log says:\n%s", tail(n.log(nn)))
		case <-ended:
			return nil, fmt.Errorf("it ended at once; its log says:\n%s", tail(n.log(nn)))
		case <-time.After(retry / 5):
		}
		conn, err := net.Dial("unix", n.agentSocket(nn))
		if err != nil {
			continue
		}
		client := agent.NewClient(conn)
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err = client.Boot(try)
		cancel()
		if err == nil {
			return client, nil
		}
		client.Close()
	}
}

// Exec implements Backend: a console command on a router, a shell's on an external node.
func (n *Netns) Exec(ctx context.Context, node, line string) (string, error) {
	nn, err := n.find(node)
	if err != nil {
		return "", err
	}
	if nn.node.External != nil {
		return n.shell(ctx, nn, line)
	}
	n.mu.Lock()
	client, process := nn.client, nn.process
	n.mu.Unlock()
	switch {
	case process == nil:
		return "", fmt.Errorf("%s is off", node)
	case client == nil:
		return "", fmt.Errorf("%s is starting", node)
	}
	return client.Exec(ctx, line)
}

// Apply implements Backend.
func (n *Netns) Apply(ctx context.Context, node, file string) error {
	nn, err := n.find(node)
	if err != nil {
		return err
	}
	if nn.node.External != nil {
		return fmt.Errorf("%s is external and has no configuration of ours", node)
	}
	if n.ReplaceLine == nil {
		return errors.New("this lab cannot change configurations")
	}
	line, err := n.ReplaceLine(file)
	if err != nil {
		return err
	}
	_, err = n.Exec(ctx, node, line)
	return err
}

// off takes a node's running process out of the books.
func (n *Netns) off(name string) (*netnsNode, *exec.Cmd, error) {
	nn, err := n.find(name)
	if err != nil {
		return nil, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	process := nn.process
	if process == nil && nn.state == "off" {
		return nil, nil, fmt.Errorf("%s is off already", name)
	}
	nn.forget()
	nn.state = "off"
	return nn, process, nil
}

// Kill implements Backend.
func (n *Netns) Kill(node string) error {
	nn, process, err := n.off(node)
	if err != nil {
		return err
	}
	if process == nil {
		return nn.space.clear(0)
	}
	_ = process.Process.Kill() // or it has ended by itself
	<-nn.ended
	return nil
}

// PowerDown implements Backend: routers say goodbye, external nodes have their stop command.
func (n *Netns) PowerDown(ctx context.Context, node string) error {
	nn, process, err := n.off(node)
	if err != nil {
		return err
	}
	if process == nil {
		return n.stopExternal(ctx, nn)
	}
	_ = process.Process.Signal(syscall.SIGTERM)
	select {
	case <-nn.ended:
		return nil
	case <-ctx.Done():
		_ = process.Process.Kill()
		<-nn.ended
		return fmt.Errorf("%s did not end in time", node)
	}
}

// SetLink implements Backend.
func (n *Netns) SetLink(name string, up bool, imp *mem.Impairment) error {
	return n.fabric.setLink(name, up, imp)
}

// Capture implements Backend.
func (n *Netns) Capture(name string, w io.Writer) (func() error, error) {
	return n.fabric.capture(name, w)
}

// Boot implements Backend: there is no boot here.
func (n *Netns) Boot(context.Context, string) ([]agent.Milestone, error) { return nil, nil }

// Console implements Backend: a router's console, or a shell in an external node's namespace.
func (n *Netns) Console(node string) (io.ReadWriteCloser, error) {
	nn, err := n.find(node)
	if err != nil {
		return nil, err
	}
	if nn.node.External != nil {
		return n.terminalShell(nn)
	}
	return net.Dial("unix", n.terminal(nn))
}

// Status implements Backend.
func (n *Netns) Status() []NodeStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []NodeStatus
	for _, node := range n.lab.Nodes {
		s := NodeStatus{Name: node.Name, State: "off"}
		if nn := n.nodes[node.Name]; nn != nil {
			switch {
			case nn.process != nil:
				s.State, s.PID, s.Up = "booting", nn.process.Process.Pid, time.Since(nn.since)
				s.RSS = residentSize(s.PID)
				if nn.client != nil {
					s.State = "running"
				}
			case nn.state != "off":
				s.State, s.Up = nn.state, time.Since(nn.since)
				for _, pid := range nn.space.processes() {
					s.RSS += residentSize(pid)
				}
			}
		}
		out = append(out, s)
	}
	return out
}

// Stop implements Backend.
func (n *Netns) Stop() error {
	if n.lab == nil {
		return nil
	}
	farewell(n.lab, func(ctx context.Context, node *Node) { _ = n.PowerDown(ctx, node.Name) }) // what does not go by itself is ended with its namespace
	var errs []error
	for _, w := range n.wires {
		errs = append(errs, w.close())
	}
	n.wires = nil
	errs = append(errs, n.fabric.stopCaptures())
	for _, s := range n.made {
		errs = append(errs, s.remove())
	}
	n.made = nil
	return errors.Join(append(errs, n.sweep())...)
}

// sweep keeps the logs if they are wanted and removes the directory.
func (n *Netns) sweep() error {
	var errs []error
	if n.KeepLogs != "" {
		errs = append(errs, os.MkdirAll(n.KeepLogs, 0o755))
		logs, _ := filepath.Glob(filepath.Join(n.Dir, "*.log"))
		more, _ := filepath.Glob(filepath.Join(n.Dir, "*", "*.log"))
		for _, file := range append(logs, more...) {
			rel, err := filepath.Rel(n.Dir, file)
			if err != nil {
				continue
			}
			b, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(filepath.Join(n.KeepLogs, strings.ReplaceAll(rel, string(filepath.Separator), "-")), b, 0o600)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, os.RemoveAll(n.Dir))...)
}

// need installs what the lab's nodes need, or says what is missing.
func (n *Netns) need(ctx context.Context, say Say) error {
	wanted := []string{"iproute2"}
	for _, node := range n.lab.Nodes {
		if node.External != nil {
			wanted = append(append(wanted, "ethtool"), node.External.Packages...)
		}
	}
	if missing := MissingPackages(ctx, wanted...); len(missing) > 0 && !n.Install {
		return fmt.Errorf("packages are missing: apt-get install -y --no-install-recommends %s", strings.Join(missing, " "))
	}
	return InstallPackages(ctx, say, wanted...)
}
