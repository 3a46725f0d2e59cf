package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"felloe/manage/agent"
	"felloe/netstack/clock"
	"felloe/netstack/link"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"
)

// MemoryNIC is what a router in this process gets for a link's end.
type MemoryNIC struct {
	Name   string // "hub:GigabitEthernet1"
	Driver link.Driver
}

// MemoryRouter is a router in this process; boot.Router is one.
type MemoryRouter interface {
	Exec(ctx context.Context, line string) (string, error)
	// Apply takes the configuration in a file.
	Apply(ctx context.Context, file string) error
	Shutdown(ctx context.Context) error
	// Console serves one session on a terminal until it ends.
	Console(ctx context.Context, terminal io.ReadWriter) error
}

// MemoryFactory makes a router without a configuration.
type MemoryFactory func(node string, c clock.Clock, nics []MemoryNIC) (MemoryRouter, error)

// Memory runs all routers of a lab in this process.
type Memory struct {
	Clock   clock.Clock // nil: the real one
	Factory MemoryFactory

	lab    *Lab
	fabric *fabric
	early  func() error

	mu    sync.Mutex
	nodes map[string]*memoryNode
}

type memoryNode struct {
	node    *Node
	outlets []*outlet
	router  MemoryRouter // nil while off
	since   time.Time
}

var _ Backend = (*Memory)(nil)

// goodbye is how long a router may take to end in an orderly way.
const goodbye = 10 * time.Second

// together does f for all nodes at once, since each may wait for the others.
func together(l *Lab, f func(*Node) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(l.Nodes))
	for i, n := range l.Nodes {
		all.Go(func() { errs[i] = f(n) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// farewell ends all nodes at once. What a peer that is gone already does not answer is no error.
func farewell(l *Lab, end func(context.Context, *Node)) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	_ = together(l, func(n *Node) error { end(ctx, n); return nil })
}

// BeforeStart sets what runs when the links are there and the nodes are not yet, such as Capture.
func (m *Memory) BeforeStart(f func() error) { m.early = f }

// Start implements Backend.
func (m *Memory) Start(ctx context.Context, l *Lab, say Say) error {
	if m.Clock == nil {
		m.Clock = clock.Real
	}
	m.lab, m.fabric, m.nodes = l, newFabric(l, m.Clock), map[string]*memoryNode{}
	if m.early != nil {
		if err := m.early(); err != nil {
			return err
		}
	}
	for _, n := range l.Nodes {
		mn := &memoryNode{node: n}
		for _, nic := range n.NICs {
			o, err := newOutlet(m.fabric.port(nic.Link, End{n.Name, nic.Interface}), nic.MAC)
			if err != nil {
				return err
			}
			mn.outlets = append(mn.outlets, o)
		}
		m.nodes[n.Name] = mn
	}
	for _, n := range l.Nodes {
		if err := m.StartNode(ctx, n.Name); err != nil {
			return err
		}
		say("%s runs", n.Name)
	}
	return nil
}

func (m *Memory) find(name string) (*memoryNode, error) {
	n, err := m.lab.Node(name)
	if err != nil {
		return nil, err
	}
	return m.nodes[n.Name], nil
}

// StartNode implements Backend.
func (m *Memory) StartNode(ctx context.Context, name string) error {
	n, err := m.find(name)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n.router != nil {
		return fmt.Errorf("%s runs already", name)
	}
	nics := make([]MemoryNIC, len(n.outlets))
	for i, o := range n.outlets {
		nics[i] = MemoryNIC{Name: n.node.Name + ":" + n.node.NICs[i].Interface, Driver: o.plug()}
	}
	r, err := m.Factory(n.node.Name, m.Clock, nics)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := r.Apply(ctx, n.node.Config); err != nil {
		_ = r.Shutdown(ended())
		return fmt.Errorf("%s: %w", name, err)
	}
	n.router, n.since = r, m.Clock.Now()
	return nil
}

// ended is a context that is over: who gets it does not wait.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func (m *Memory) running(name string) (MemoryRouter, error) {
	n, err := m.find(name)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n.router == nil {
		return nil, fmt.Errorf("%s is off", name)
	}
	return n.router, nil
}

// take switches a node off in the books and returns its router.
func (m *Memory) take(name string) (*memoryNode, MemoryRouter, error) {
	n, err := m.find(name)
	if err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := n.router
	n.router = nil
	if r == nil {
		return nil, nil, fmt.Errorf("%s is off already", name)
	}
	return n, r, nil
}

// Exec implements Backend.
func (m *Memory) Exec(ctx context.Context, node, line string) (string, error) {
	r, err := m.running(node)
	if err != nil {
		return "", err
	}
	return r.Exec(ctx, line)
}

// Apply implements Backend.
func (m *Memory) Apply(ctx context.Context, node, file string) error {
	r, err := m.running(node)
	if err != nil {
		return err
	}
	return r.Apply(ctx, file)
}

// Kill implements Backend: the links are dead before the router can say goodbye.
func (m *Memory) Kill(node string) error {
	n, r, err := m.take(node)
	if err != nil {
		return err
	}
	for _, o := range n.outlets {
		o.unplug()
	}
	_ = r.Shutdown(ended()) // it cannot say goodbye: that is what a kill is
	return nil
}

// PowerDown implements Backend.
func (m *Memory) PowerDown(ctx context.Context, node string) error {
	_, r, err := m.take(node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, goodbye)
	defer cancel()
	return r.Shutdown(ctx)
}

// SetLink implements Backend.
func (m *Memory) SetLink(name string, up bool, imp *mem.Impairment) error {
	return m.fabric.setLink(name, up, imp)
}

// Capture implements Backend.
func (m *Memory) Capture(name string, w io.Writer) (func() error, error) {
	return m.fabric.capture(name, w)
}

// Overflows counts the frames that the links have lost because this process did not come to them in time.
func (m *Memory) Overflows() uint64 { return m.fabric.network.Overflows() }

// Boot implements Backend: there is no boot here.
func (m *Memory) Boot(context.Context, string) ([]agent.Milestone, error) { return nil, nil }

// Console implements Backend.
func (m *Memory) Console(node string) (io.ReadWriteCloser, error) {
	r, err := m.running(node)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	in, typed := io.Pipe()
	shown, out := io.Pipe()
	go func() {
		err := r.Console(ctx, struct {
			io.Reader
			io.Writer
		}{in, out})
		out.CloseWithError(err)
		in.CloseWithError(io.ErrClosedPipe)
	}()
	return &pipes{shown, typed, cancel}, nil
}

type pipes struct {
	r      *io.PipeReader
	w      *io.PipeWriter
	cancel context.CancelFunc
}

func (p *pipes) Read(b []byte) (int, error)  { return p.r.Read(b) }
func (p *pipes) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p *pipes) Close() error {
	p.cancel()
	return errors.Join(p.w.Close(), p.r.Close())
}

// Status implements Backend.
func (m *Memory) Status() []NodeStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []NodeStatus
	for _, n := range m.lab.Nodes {
		s := NodeStatus{Name: n.Name, State: "off"}
		if mn := m.nodes[n.Name]; mn != nil && mn.router != nil {
			s.State, s.Up = "running", m.Clock.Now().Sub(mn.since)
		}
		out = append(out, s)
	}
	return out
}

// Stop implements Backend.
func (m *Memory) Stop() error {
	if m.fabric == nil {
		return nil
	}
	farewell(m.lab, func(ctx context.Context, n *Node) {
		if _, r, err := m.take(n.Name); err == nil {
			_ = r.Shutdown(ctx)
		}
	})
	return m.fabric.stopCaptures()
}

// outlet is the place on a link where a node's NIC is plugged in; nodes come and go, it stays.
type outlet struct {
	port *mem.Port
	mac  [6]byte
	now  atomic.Pointer[plug]
	// delivery is held while frames go in, so that Close can wait for the last of them.
	delivery sync.Mutex
}

func newOutlet(port *mem.Port, mac [6]byte) (*outlet, error) {
	o := &outlet{port: port, mac: mac}
	return o, port.Start(func(v []*packet.Packet) {
		o.delivery.Lock()
		defer o.delivery.Unlock()
		if p := o.now.Load(); p != nil {
			if input := p.input.Load(); input != nil {
				(*input)(v)
				return
			}
		}
		for _, f := range v {
			f.Release()
		}
	})
}

// plug is a node's NIC: one life of it.
type plug struct {
	o     *outlet
	input atomic.Pointer[func([]*packet.Packet)]
}

var _ link.Driver = (*plug)(nil)

func (o *outlet) plug() *plug {
	p := &plug{o: o}
	o.now.Store(p)
	return p
}

// unplug makes the NIC that is plugged in deaf and dumb.
func (o *outlet) unplug() { o.now.Store(nil) }

func (p *plug) Start(input func([]*packet.Packet)) error {
	p.input.Store(&input)
	return nil
}

func (p *plug) Send(v []*packet.Packet) {
	if p.o.now.Load() != p {
		for _, f := range v {
			f.Release()
		}
		return
	}
	p.o.port.Send(v)
}

func (p *plug) Info() link.Info {
	i := p.o.port.Info()
	i.MAC = p.o.mac
	return i
}

func (p *plug) Stats() link.Stats       { return p.o.port.Stats() }
func (p *plug) OnState(f func(up bool)) { p.o.port.OnState(f) }

func (p *plug) Close() error {
	p.o.now.CompareAndSwap(p, nil)
	p.o.delivery.Lock() // input has returned for the last time
	defer p.o.delivery.Unlock()
	p.input.Store(nil)
	return nil
}
