package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type executor func(ctx context.Context, line string) (string, error)

func (e executor) Exec(ctx context.Context, line string) (string, error) { return e(ctx, line) }

// join serves an executor and returns a client of it.
func join(t *testing.T, s *Server) *Client {
	t.Helper()
	a, b := net.Pipe()
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- s.Serve(ctx, a) }()
	c := NewClient(b)
	t.Cleanup(func() {
		cancel()
		c.Close()
		a.Close()
		<-served
	})
	return c
}

func TestCommandsAndTheirErrorsComeBack(t *testing.T) {
	c := join(t, &Server{Executor: executor(func(ctx context.Context, line string) (string, error) {
		switch {
		case line == "fail":
			return "half", errors.New("% Invalid input")
		case line == "panic":
			panic("on purpose")
		case JSON(ctx):
			return `{"line":"` + line + `"}`, nil
		}
		return "out of " + line + "\nsecond line\n", nil
	}), Boot: func() []Milestone {
		return []Milestone{{"pid1", time.Second, 0}, {"router", 2 * time.Second, time.Second}}
	}})
	ctx := context.Background()
	if out, err := c.Exec(ctx, "show dmvpn"); out != "out of show dmvpn\nsecond line\n" || err != nil {
		t.Error(out, err)
	}
	if out, err := c.Exec(ctx, "fail"); out != "half" || err == nil || err.Error() != "% Invalid input" {
		t.Error(out, err)
	}
	if _, err := c.Exec(ctx, "panic"); err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Error(err)
	}
	if out, err := c.Exec(WithJSON(ctx), "show version"); out != `{"line":"show version"}` || err != nil {
		t.Error(out, err)
	}
	if boot, err := c.Boot(ctx); err != nil || len(boot) != 2 || boot[1].PID1 != time.Second {
		t.Error(boot, err)
	}
}

func TestALongCommandKeepsNobodyWaitingAndCanBeStopped(t *testing.T) {
	started := make(chan struct{})
	stopped := make(chan struct{})
	c := join(t, &Server{Executor: executor(func(ctx context.Context, line string) (string, error) {
		if line == "ping" {
			close(started)
			<-ctx.Done()
			close(stopped)
		}
		return line, ctx.Err()
	})})
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() {
		_, err := c.Exec(ctx, "ping")
		result <- err
	}()
	<-started
	if out, err := c.Exec(context.Background(), "show clock"); out != "show clock" || err != nil {
		t.Error(out, err)
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-stopped
}

func TestGarbageOnTheLineIsAnsweredAndPassed(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	s := &Server{Executor: executor(func(context.Context, string) (string, error) { return "fine", nil })}
	go func() { _ = s.Serve(context.Background(), a) }()
	lines := bufio.NewScanner(b)
	for _, c := range []struct{ send, want string }{
		{"{\"id\":1,\"ex", ""}, // a client died here
		{"\n", "not a request"},
		{"\n\n[]\n", "not a request"},
		{"{\"id\":4}\n", "names exec, boot or cancel"},
		{"{\"cancel\":99}\n{\"id\":5,\"exec\":\"x\"}\n", `"out":"fine"`},
	} {
		if _, err := fmt.Fprint(b, c.send); err != nil {
			t.Fatal(err)
		}
		if c.want != "" && (!lines.Scan() || !strings.Contains(lines.Text(), c.want)) {
			t.Errorf("%q is answered with %q", c.send, lines.Text())
		}
	}
}

func TestAClientWhoseLineEndsSaysSo(t *testing.T) {
	a, b := net.Pipe()
	go func() {
		r := bufio.NewReader(a)
		_, _ = r.ReadString('\n')
		_, _ = r.ReadString('\n')
		a.Close()
	}()
	c := NewClient(b)
	if _, err := c.Exec(context.Background(), "x"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	<-c.Done()
	if _, err := c.Exec(context.Background(), "x"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestThePortIsFoundByItsName(t *testing.T) {
	root := t.TempDir()
	for dev, name := range map[string]string{"vport2p0": "other", "vport2p1": PortName + "\n"} {
		if err := os.MkdirAll(filepath.Join(root, dev), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dev, "name"), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if dev, err := findPort(root); dev != "/dev/vport2p1" || err != nil {
		t.Error(dev, err)
	}
	if _, err := findPort(t.TempDir()); !errors.Is(err, ErrNoPort) {
		t.Error(err)
	}
}

func FuzzTheServerAnswersAnyLine(f *testing.F) {
	f.Add([]byte(`{"id":1,"exec":"x"}` + "\n"))
	f.Add([]byte("\n{}\n[1]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, peer := net.Pipe()
		s := &Server{Executor: executor(func(context.Context, string) (string, error) { return "", nil })}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(context.Background(), a); a.Close() }()
		go func() {
			r := bufio.NewReader(peer)
			for {
				if _, err := r.ReadByte(); err != nil {
					return
				}
			}
		}()
		_, _ = peer.Write(b)
		peer.Close()
		<-done
	})
}
