package hubs

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"sync"
	"time"
)

// gauge watches how much memory the process has from the system, and notes the most.
type gauge struct {
	dir  string // of profiles; empty for none
	say  func(format string, a ...any)
	stop chan struct{}
	done chan struct{}

	mu   sync.Mutex
	most uint64
	at   uint64 // the most when profiles were written last
}

func newGauge(o *Options) *gauge {
	g := &gauge{dir: o.Profile, say: o.Say, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(g.done)
		for {
			g.look()
			select {
			case <-time.After(time.Second):
			case <-g.stop:
				return
			}
		}
	}()
	return g
}

func (g *gauge) close() {
	close(g.stop)
	<-g.done
}

func (g *gauge) peak() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most
}

func (g *gauge) look() {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	now := s[0].Value.Uint64() - s[1].Value.Uint64()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.most = max(g.most, now)
	if g.dir == "" || now < g.at+g.at/4 {
		return
	}
	g.at = now
	g.say("%d MB of memory, %d goroutines", now>>20, runtime.NumGoroutine())
	if err := g.profiles(now >> 20); err != nil {
		g.say("no profile: %v", err)
	}
}

// profiles writes what the memory is for, and what all goroutines are at.
func (g *gauge) profiles(mb uint64) error {
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return err
	}
	for name, debug := range map[string]int{"heap": 0, "goroutine": 1} {
		f, err := os.Create(filepath.Join(g.dir, fmt.Sprintf("%s-%04d-MB", name, mb)))
		if err != nil {
			return err
		}
		if err := pprof.Lookup(name).WriteTo(f, debug); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
