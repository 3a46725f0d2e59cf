package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"felloe/image"
	"felloe/manage/agent"
	"felloe/netstack/clock"
	"felloe/netstack/link/mem"
)

// Virtual runs each node of a lab as a virtual machine.
type Virtual struct {
	Dir            string // sockets, logs, disks
	Kernel, Initrd string
	Accel          string // "" chooses
	// ReplaceLine is the console command that gives a router a new configuration.
	ReplaceLine func(file string) (string, error)
	// KeepLogs leaves the console logs behind in this directory.
	KeepLogs string

	lab    *Lab
	fabric *fabric
	early  func() error
	wires  []*wire

	mu    sync.Mutex
	nodes map[string]*virtualNode
}

type virtualNode struct {
	node    *Node
	machine *Machine
	process *Process // nil while off
	client  *agent.Client
	ready   bool
}

var _ Backend = (*Virtual)(nil)

// BeforeStart sets what runs when the links are there and the nodes are not yet, such as Capture.
func (v *Virtual) BeforeStart(f func() error) { v.early = f }

// Start implements Backend. All machines boot at once.
func (v *Virtual) Start(ctx context.Context, l *Lab, say Say) error {
	if err := os.MkdirAll(v.Dir, 0o700); err != nil {
		return err
	}
	for _, f := range []string{v.Kernel, v.Initrd} {
		if _, err := os.Stat(f); err != nil {
			return fmt.Errorf("no image to boot (./build.sh makes it): %w", err)
		}
	}
	if v.Accel == "" {
		v.Accel = chooseAccel(v.Kernel, v.Initrd, v.Dir)
	}
	say("%d virtual machines, accelerator %s", len(l.Nodes), v.Accel)
	if v.Accel == "tcg" {
		l.emulate()
	}
	v.lab, v.fabric, v.nodes = l, newFabric(l, clock.Real), map[string]*virtualNode{}
	if v.early != nil {
		if err := v.early(); err != nil {
			return err
		}
	}
	for _, n := range l.Nodes {
		if err := v.prepare(n); err != nil {
			return err
		}
	}
	return together(l, func(n *Node) error {
		err := v.StartNode(ctx, n.Name)
		if err == nil {
			say("%s is up: %s", n.Name, v.bootLine(ctx, n.Name))
		}
		return err
	})
}

func (v *Virtual) bootLine(ctx context.Context, node string) string {
	times, err := v.Boot(ctx, node)
	if err != nil || len(times) == 0 {
		return "no boot times"
	}
	s := fmt.Sprintf("kernel to PID 1 %.2f s", times[0].Kernel.Seconds())
	if last := times[len(times)-1]; len(times) > 1 {
		s += fmt.Sprintf(", PID 1 to %s %.2f s", last.Name, last.PID1.Seconds())
	}
	return s
}

// emulated spares an emulated CPU what only a real one needs. Its time is not the cycle counter's: a guest that calibrates its
// cycle counter while the host is busy may find it several times too slow, and live several times too fast from then on.
const emulated = "mitigations=off no_timer_check tsc=unstable"

// prepare makes a node's disk and its ends of the links, which outlive its machine.
func (v *Virtual) prepare(n *Node) error {
	m := &Machine{Name: n.Name, Dir: v.Dir, Accel: v.Accel, Memory: n.Memory, Kernel: v.Kernel, Initrd: v.Initrd,
		Config: filepath.Join(v.Dir, n.Name+".disk")}
	if v.Accel == "tcg" {
		m.Append = emulated
	}
	if err := image.WriteConfigDisk(m.Config, n.Config); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	for i, nic := range n.NICs {
		machine, relay := socketPaths(v.Dir, n.Name, i)
		w, err := newWire(v.fabric.port(nic.Link, End{n.Name, nic.Interface}), machine, relay)
		if err != nil {
			return fmt.Errorf("%s %s: %w", n.Name, nic.Interface, err)
		}
		v.wires = append(v.wires, w)
		m.NICs = append(m.NICs, MachineNIC{MAC: nic.MAC, Local: machine, Remote: relay})
	}
	v.nodes[n.Name] = &virtualNode{node: n, machine: m}
	return nil
}

func (v *Virtual) find(name string) (*virtualNode, error) {
	n, err := v.lab.Node(name)
	if err != nil {
		return nil, err
	}
	return v.nodes[n.Name], nil
}

// StartNode implements Backend: it returns when the machine's agent answers.
func (v *Virtual) StartNode(ctx context.Context, name string) error {
	n, err := v.find(name)
	if err != nil {
		return err
	}
	v.mu.Lock()
	if n.process != nil {
		v.mu.Unlock()
		return fmt.Errorf("%s runs already", name)
	}
	p, err := n.machine.Start()
	if err != nil {
		v.mu.Unlock()
		return err
	}
	n.process, n.ready = p, false
	v.mu.Unlock()
	go v.reap(n, p)

	client, err := answer(ctx, p)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if n.process != p {
		client.Close()
		return fmt.Errorf("%s went off while it booted", name)
	}
	n.client, n.ready = client, true
	return nil
}

// reap notes that a machine went off by itself.
func (v *Virtual) reap(n *virtualNode, p *Process) {
	<-p.Done()
	v.mu.Lock()
	defer v.mu.Unlock()
	if n.process == p {
		if n.client != nil {
			n.client.Close()
		}
		n.process, n.client, n.ready = nil, nil, false
	}
}

// retry is how often a machine that boots is asked whether it is there.
const retry = 100 * time.Millisecond

// answer waits for a machine's agent. QEMU accepts the connection long before the router is there to answer.
func answer(ctx context.Context, p *Process) (*agent.Client, error) {
	var client *agent.Client
	for {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, errors.New("interrupted while it booted")
			}
			return nil, fmt.Errorf("it did not boot in time; its console says:\n%s", tail(p.Machine.ConsoleLog()))
		case <-p.Done():
			return nil, fmt.Errorf("it went off while booting (%s); its console says:\n%s", p.Why(), tail(p.Machine.ConsoleLog()))
		case <-time.After(retry):
		}
		if client == nil {
			conn, err := net.Dial("unix", p.Machine.AgentSocket())
			if err != nil {
				continue
			}
			client = agent.NewClient(conn)
		}
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := client.Boot(try)
		cancel()
		if err == nil {
			return client, nil
		}
		if errors.Is(err, agent.ErrClosed) {
			client.Close()
			client = nil
		}
	}
}

// tail is the end of a log, for an error.
func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return indent("", string(b[max(0, len(b)-2000):]))
}

func (v *Virtual) running(name string) (*virtualNode, *agent.Client, error) {
	n, err := v.find(name)
	if err != nil {
		return nil, nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case n.process == nil:
		return nil, nil, fmt.Errorf("%s is off", name)
	case n.client == nil:
		return nil, nil, fmt.Errorf("%s is booting", name)
	}
	return n, n.client, nil
}

// Exec implements Backend.
func (v *Virtual) Exec(ctx context.Context, node, line string) (string, error) {
	_, c, err := v.running(node)
	if err != nil {
		return "", err
	}
	return c.Exec(ctx, line)
}

// Apply implements Backend.
func (v *Virtual) Apply(ctx context.Context, node, file string) error {
	if v.ReplaceLine == nil {
		return errors.New("this lab cannot change configurations")
	}
	line, err := v.ReplaceLine(file)
	if err != nil {
		return err
	}
	_, err = v.Exec(ctx, node, line)
	return err
}

// off takes a running process out of the books.
func (v *Virtual) off(name string) (*Process, error) {
	n, err := v.find(name)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	p := n.process
	if p == nil {
		return nil, fmt.Errorf("%s is off already", name)
	}
	if n.client != nil {
		n.client.Close()
	}
	n.process, n.client, n.ready = nil, nil, false
	return p, nil
}

// Kill implements Backend.
func (v *Virtual) Kill(node string) error {
	p, err := v.off(node)
	if err != nil {
		return err
	}
	p.Kill()
	return nil
}

// PowerDown implements Backend.
func (v *Virtual) PowerDown(ctx context.Context, node string) error {
	n, err := v.find(node)
	if err != nil {
		return err
	}
	v.mu.Lock()
	p := n.process
	v.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%s is off already", node)
	}
	if err := p.PressPower(); err != nil {
		return fmt.Errorf("%s: %w", node, err)
	}
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s did not power down in time", node)
	}
}

// SetLink implements Backend.
func (v *Virtual) SetLink(name string, up bool, imp *mem.Impairment) error {
	return v.fabric.setLink(name, up, imp)
}

// Capture implements Backend.
func (v *Virtual) Capture(name string, w io.Writer) (func() error, error) {
	return v.fabric.capture(name, w)
}

// Boot implements Backend.
func (v *Virtual) Boot(ctx context.Context, node string) ([]agent.Milestone, error) {
	_, c, err := v.running(node)
	if err != nil {
		return nil, err
	}
	return c.Boot(ctx)
}

// Console implements Backend.
func (v *Virtual) Console(node string) (io.ReadWriteCloser, error) {
	n, err := v.find(node)
	if err != nil {
		return nil, err
	}
	return net.Dial("unix", n.machine.ConsoleSocket())
}

// Status implements Backend.
func (v *Virtual) Status() []NodeStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []NodeStatus
	for _, n := range v.lab.Nodes {
		s := NodeStatus{Name: n.Name, State: "off"}
		if vn := v.nodes[n.Name]; vn != nil && vn.process != nil {
			s.State, s.PID, s.RSS, s.Up = "booting", vn.process.PID(), vn.process.RSS(), time.Since(vn.process.Started)
			if vn.ready {
				s.State = "running"
			}
		}
		out = append(out, s)
	}
	return out
}

// Stop implements Backend: power off, and for what does not go, the plug.
func (v *Virtual) Stop() error {
	if v.lab == nil {
		return nil
	}
	farewell(v.lab, func(ctx context.Context, n *Node) {
		vn := v.nodes[n.Name]
		if vn == nil {
			return
		}
		v.mu.Lock()
		p, ready := vn.process, vn.ready
		v.mu.Unlock()
		if p == nil {
			return
		}
		if ready {
			_ = v.PowerDown(ctx, n.Name) // what does not go by itself is pulled
		}
		p.Kill()
	})
	for _, w := range v.wires {
		w.close()
	}
	err := v.fabric.stopCaptures()
	return errors.Join(err, v.sweep())
}

// sweep keeps the logs if they are wanted and removes the directory.
func (v *Virtual) sweep() error {
	var errs []error
	if v.KeepLogs != "" {
		errs = append(errs, os.MkdirAll(v.KeepLogs, 0o755))
		for _, n := range v.nodes {
			b, err := os.ReadFile(n.machine.ConsoleLog())
			if err == nil {
				err = errors.Join(os.WriteFile(filepath.Join(v.KeepLogs, n.node.Name+".console"), b, 0o600), collectKeys(b, v.KeepLogs))
			}
			if !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, os.RemoveAll(v.Dir))...)
}

// collectKeys gathers the key log, which a router prints on its console when its configuration asks for one, into the
// files that tshark reads (vpn/protect names them).
func collectKeys(console []byte, dir string) error {
	for _, table := range []string{"ikev2_decryption_table", "esp_sa"} {
		var found []byte
		for line := range bytes.Lines(console) {
			// A prompt may stand before it.
			if _, row, ok := bytes.Cut(bytes.TrimSpace(line), []byte(table+": ")); ok {
				found = append(append(found, row...), '\n')
			}
		}
		if found == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(dir, "keys", table), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if _, err = f.Write(found); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
