package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoPort: the machine has no port for us; nobody wants to talk.
var ErrNoPort = errors.New("no virtio-serial port named " + PortName)

// reconnect is how often a port is looked at while nobody holds its other end.
const reconnect = 50 * time.Millisecond

// ServePort serves the machine's port until the context ends, whoever comes and goes at its other end.
func ServePort(ctx context.Context, s *Server) error {
	dev, err := findPort("/sys/class/virtio-ports")
	if err != nil {
		return err
	}
	fd, err := unix.Open(dev, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", dev, err)
	}
	f := os.NewFile(uintptr(fd), dev)
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	return s.Serve(ctx, &port{ctx: ctx, f: f})
}

func findPort(root string) (string, error) {
	names, _ := filepath.Glob(filepath.Join(root, "*", "name"))
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(b)) == PortName {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(n))), nil
		}
	}
	return "", ErrNoPort
}

// port hides that a virtio-serial port reads as ended while its other end is not open.
type port struct {
	ctx context.Context
	f   *os.File
}

func (p *port) Read(b []byte) (int, error) {
	for {
		n, err := p.f.Read(b)
		if n > 0 || err != nil && err != io.EOF {
			return n, err
		}
		select {
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		case <-time.After(reconnect):
		}
	}
}

func (p *port) Write(b []byte) (int, error) { return p.f.Write(b) }
