package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"felloe/manage/agent"
)

// The control socket of a lab that is up: one request and one answer a connection, as JSON lines. After a good answer to
// "capture" the lab sends the capture file until the client hangs up; after one to "console" both sides are the terminal.
type controlRequest struct {
	Do   string `json:"do"`
	Node string `json:"node,omitempty"`
	Line string `json:"line,omitempty"`
	JSON bool   `json:"json,omitempty"`
	Link string `json:"link,omitempty"`
	Up   bool   `json:"up,omitempty"`
	File string `json:"file,omitempty"`
}

type controlAnswer struct {
	Out    string            `json:"out,omitempty"`
	Err    string            `json:"err,omitempty"`
	Status []NodeStatus      `json:"status,omitempty"`
	Boot   []agent.Milestone `json:"boot,omitempty"`
}

// control serves a lab's socket.
type control struct {
	lab     *Lab
	backend Backend
	down    context.CancelFunc
}

// listen opens the socket, for its owner only.
func (c *control) listen(socket string) (net.Listener, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(socket, 0o600)
}

// serve answers until the context ends.
func (c *control) serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		all.Go(func() {
			defer conn.Close()
			c.connection(ctx, conn)
		})
	}
}

func (c *control) connection(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return
	}
	var q controlRequest
	if err := json.Unmarshal(line, &q); err != nil {
		reply(conn, controlAnswer{Err: err.Error()})
		return
	}
	switch q.Do {
	case "capture":
		c.capture(ctx, q, conn, in)
		return
	case "console":
		c.console(ctx, q, conn, in)
		return
	}
	// Who hangs up no longer wants what he asked for.
	go func() {
		_, _ = in.ReadByte()
		cancel()
	}()
	a, err := c.do(ctx, q)
	if err != nil {
		a.Err = err.Error()
	}
	if context.Cause(ctx) == nil || q.Do == "down" {
		reply(conn, a)
	}
}

func reply(w io.Writer, a controlAnswer) {
	b, err := json.Marshal(a)
	if err != nil {
		b, _ = json.Marshal(controlAnswer{Err: err.Error()})
	}
	_, _ = w.Write(append(b, '\n')) // or the client is gone
}

func (c *control) do(ctx context.Context, q controlRequest) (a controlAnswer, err error) {
	switch q.Do {
	case "status":
		a.Status = c.backend.Status()
	case "exec":
		if q.JSON {
			ctx = agent.WithJSON(ctx)
		}
		a.Out, err = c.backend.Exec(ctx, q.Node, q.Line)
	case "boot":
		a.Boot, err = c.backend.Boot(ctx, q.Node)
	case "link":
		err = c.backend.SetLink(q.Link, q.Up, nil)
	case "kill":
		err = c.backend.Kill(q.Node)
	case "power-down":
		err = c.backend.PowerDown(ctx, q.Node)
	case "start":
		err = c.backend.StartNode(ctx, q.Node)
	case "apply":
		err = c.backend.Apply(ctx, q.Node, q.File)
	case "down":
		c.down()
	default:
		err = fmt.Errorf("unknown request %q", q.Do)
	}
	return a, err
}

func (c *control) capture(ctx context.Context, q controlRequest, conn net.Conn, in io.Reader) {
	// The answer must come before the file's first byte.
	if _, err := c.lab.Link(q.Link); err != nil {
		reply(conn, controlAnswer{Err: err.Error()})
		return
	}
	reply(conn, controlAnswer{})
	r, w := io.Pipe()
	stop, err := c.backend.Capture(q.Link, w)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) // ends when the client has enough: it closes its half
		w.CloseWithError(stop())
	}()
	go func() { <-ctx.Done(); _ = w.CloseWithError(ctx.Err()) }()
	_, _ = io.Copy(conn, r)
	r.CloseWithError(io.ErrClosedPipe)
	_ = stop()
}

func (c *control) console(ctx context.Context, q controlRequest, conn net.Conn, in io.Reader) {
	far, err := c.backend.Console(q.Node)
	if err != nil {
		reply(conn, controlAnswer{Err: err.Error()})
		return
	}
	reply(conn, controlAnswer{})
	stop := context.AfterFunc(ctx, func() { _ = far.Close() })
	defer stop()
	go func() {
		_, _ = io.Copy(far, in)
		_ = far.Close()
	}()
	_, _ = io.Copy(conn, far)
	_ = far.Close()
}

// ask sends one request to a lab that is up. The connection is the caller's when the answer is good.
func ask(ctx context.Context, lab string, q controlRequest) (controlAnswer, *controlConn, error) {
	var a controlAnswer
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", controlSocket(lab))
	if err != nil {
		return a, nil, fmt.Errorf("lab %s is not up: %w", lab, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	b, err := json.Marshal(q)
	if err != nil {
		return a, nil, err
	}
	if _, err := conn.Write(append(b, '\n')); err != nil {
		return a, nil, err
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	stop()
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	if err == nil && a.Err != "" {
		err = errors.New(a.Err)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return a, nil, err
	}
	return a, &controlConn{conn.(*net.UnixConn), in}, nil
}

// controlConn is a connection whose first bytes may have been read already.
type controlConn struct {
	*net.UnixConn
	in *bufio.Reader
}

func (c *controlConn) Read(b []byte) (int, error) { return c.in.Read(b) }
