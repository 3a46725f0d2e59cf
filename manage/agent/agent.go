package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"
)

// PortName is the virtio-serial port's name.
const PortName = "felloe.agent"

// Executor runs a command line as the console would. With a context that has JSON(ctx) the output is to be JSON.
type Executor interface {
	Exec(ctx context.Context, line string) (string, error)
}

// Milestone is a moment of the machine's boot.
type Milestone struct {
	Name   string        `json:"name"`
	Kernel time.Duration `json:"kernel_ns"` // since the kernel started
	PID1   time.Duration `json:"pid1_ns"`   // since its first program did
}

// Request is one line to the router.
type Request struct {
	ID     uint64 `json:"id"`
	Exec   string `json:"exec,omitempty"`
	JSON   bool   `json:"json,omitempty"`
	Boot   bool   `json:"boot,omitempty"`
	Cancel uint64 `json:"cancel,omitempty"`
}

// Response is one line back.
type Response struct {
	ID   uint64      `json:"id"`
	Out  string      `json:"out,omitempty"`
	Err  string      `json:"err,omitempty"`
	Boot []Milestone `json:"boot,omitempty"`
}

// Limits of a line, which bounds what a half-dead peer can make us hold.
const (
	maxRequest  = 4 << 20
	maxResponse = 64 << 20
	maxRunning  = 64
)

type jsonKey struct{}

// JSON tells whether a command's output is to be JSON.
func JSON(ctx context.Context) bool { v, _ := ctx.Value(jsonKey{}).(bool); return v }

// WithJSON asks for JSON.
func WithJSON(ctx context.Context) context.Context { return context.WithValue(ctx, jsonKey{}, true) }

// Server answers on one line.
type Server struct {
	Executor Executor
	Boot     func() []Milestone // nil: no milestones

	write   sync.Mutex
	mu      sync.Mutex
	running map[uint64]context.CancelFunc
}

// Serve answers until the line ends or the context does. Requests that run then are cancelled and waited for.
func (s *Server) Serve(ctx context.Context, line io.ReadWriter) error {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	s.mu.Lock()
	s.running = map[uint64]context.CancelFunc{}
	s.mu.Unlock()
	lines := bufio.NewScanner(line)
	lines.Buffer(make([]byte, 4096), maxRequest)
	for lines.Scan() && ctx.Err() == nil {
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		var q Request
		if err := json.Unmarshal(text, &q); err != nil {
			s.answer(line, Response{Err: "not a request: " + err.Error()})
			continue
		}
		if q.Cancel != 0 {
			s.cancel(q.Cancel)
			continue
		}
		run, stop, ok := s.begin(ctx, q)
		if !ok {
			s.answer(line, Response{ID: q.ID, Err: fmt.Sprintf("more than %d requests at once", maxRunning)})
			continue
		}
		done.Add(1)
		go func() {
			defer done.Done()
			defer stop()
			s.answer(line, s.do(run, q))
		}()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return lines.Err()
}

func (s *Server) begin(ctx context.Context, q Request) (context.Context, func(), bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) >= maxRunning || s.running[q.ID] != nil {
		return nil, nil, false
	}
	run, cancel := context.WithCancel(ctx)
	if q.JSON {
		run = WithJSON(run)
	}
	s.running[q.ID] = cancel
	return run, func() {
		cancel()
		s.mu.Lock()
		delete(s.running, q.ID)
		s.mu.Unlock()
	}, true
}

func (s *Server) cancel(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.running[id]; cancel != nil {
		cancel()
	}
}

// do runs a request; a panic of a command costs its answer, not the router.
func (s *Server) do(ctx context.Context, q Request) (r Response) {
	r.ID = q.ID
	defer func() {
		if p := recover(); p != nil {
			r.Err = fmt.Sprintf("the command panicked: %v\n%s", p, debug.Stack())
		}
	}()
	switch {
	case q.Boot:
		if s.Boot != nil {
			r.Boot = s.Boot()
		}
	case q.Exec != "":
		out, err := s.Executor.Exec(ctx, q.Exec)
		r.Out = out
		if err != nil {
			r.Err = err.Error()
		}
	default:
		r.Err = "a request names exec, boot or cancel"
	}
	return r
}

func (s *Server) answer(w io.Writer, r Response) {
	b, err := json.Marshal(r)
	if err != nil {
		b, _ = json.Marshal(Response{ID: r.ID, Err: err.Error()})
	}
	s.write.Lock()
	defer s.write.Unlock()
	// The line's reader will find out that the line is broken; there is nobody else to tell.
	_, _ = w.Write(append(b, '\n'))
}

// ErrClosed: the line to the router ended.
var ErrClosed = errors.New("the line to the router is closed")

// Client asks a router over one line; it is safe for concurrent use.
type Client struct {
	line io.ReadWriteCloser

	write   sync.Mutex
	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan Response
	err     error
	done    chan struct{}
}

// NewClient takes over the line. Its first identifier is a moment's, so that answers to a client before it match nothing.
func NewClient(line io.ReadWriteCloser) *Client {
	c := &Client{line: line, next: uint64(time.Now().UnixNano()) >> 12, waiting: map[uint64]chan Response{}, done: make(chan struct{})}
	go c.read()
	c.write.Lock()
	defer c.write.Unlock()
	_, _ = line.Write([]byte("\n"))
	return c
}

func (c *Client) read() {
	lines := bufio.NewScanner(c.line)
	lines.Buffer(make([]byte, 4096), maxResponse)
	for lines.Scan() {
		var r Response
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue
		}
		c.mu.Lock()
		ch := c.waiting[r.ID]
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		if ch != nil {
			ch <- r
		}
	}
	c.mu.Lock()
	c.err = ErrClosed
	if err := lines.Err(); err != nil {
		c.err = fmt.Errorf("%w: %v", ErrClosed, err)
	}
	c.mu.Unlock()
	close(c.done)
}

// Done is closed when the line has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the line.
func (c *Client) Close() error { return c.line.Close() }

// Do asks and waits for the answer; when the context ends first the router is told to stop.
func (c *Client) Do(ctx context.Context, q Request) (Response, error) {
	ch := make(chan Response, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return Response{}, c.err
	}
	c.next++
	q.ID = c.next
	c.waiting[q.ID] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, q.ID)
		c.mu.Unlock()
	}()
	if err := c.send(q); err != nil {
		return Response{}, err
	}
	select {
	case r := <-ch:
		return r, nil
	case <-c.done:
		return Response{}, ErrClosed
	case <-ctx.Done():
		_ = c.send(Request{Cancel: q.ID})
		return Response{}, ctx.Err()
	}
}

func (c *Client) send(q Request) error {
	b, err := json.Marshal(q)
	if err != nil {
		return err
	}
	c.write.Lock()
	defer c.write.Unlock()
	if _, err := c.line.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%w: %v", ErrClosed, err)
	}
	return nil
}

// Exec runs a command line on the router.
func (c *Client) Exec(ctx context.Context, line string) (string, error) {
	r, err := c.Do(ctx, Request{Exec: line, JSON: JSON(ctx)})
	if err == nil && r.Err != "" {
		err = errors.New(r.Err)
	}
	return r.Out, err
}

// Boot asks for the boot's milestones.
func (c *Client) Boot(ctx context.Context) ([]Milestone, error) {
	r, err := c.Do(ctx, Request{Boot: true})
	if err == nil && r.Err != "" {
		err = errors.New(r.Err)
	}
	return r.Boot, err
}
