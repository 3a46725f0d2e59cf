package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// ServeUnix answers on a unix socket, each connection a line of its own, until the context ends. The socket is readable
// and writable by its owner only, and is removed at the end.
func ServeUnix(ctx context.Context, path string, s *Server) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("agent: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var served sync.WaitGroup
	defer served.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		served.Add(1)
		go func() {
			defer served.Done()
			defer conn.Close()
			hangUp := context.AfterFunc(ctx, func() { conn.Close() })
			defer hangUp()
			one := &Server{Executor: s.Executor, Boot: s.Boot}
			_ = one.Serve(ctx, conn) // the end of a connection is no error
		}()
	}
}
