package hubs

import (
	"sync"
	"time"
)

// meter measures how late the machine lets us run. Who waits for something waits in the time that is left.
type meter struct {
	mu    sync.Mutex
	late  time.Duration // in sum
	worst time.Duration
	stop  chan struct{}
	done  chan struct{}
}

const (
	// beat is how often the meter looks, and slack what no timer is blamed for.
	beat, slack = 20 * time.Millisecond, 5 * time.Millisecond
)

func newMeter() *meter {
	m := &meter{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		for {
			due := time.Now().Add(beat)
			select {
			case <-time.After(beat):
			case <-m.stop:
				return
			}
			if late := time.Since(due); late > slack {
				m.mu.Lock()
				m.late += late
				m.worst = max(m.worst, late)
				m.mu.Unlock()
			}
		}
	}()
	return m
}

func (m *meter) close() {
	close(m.stop)
	<-m.done
}

// read is the time that was lost so far, and the longest piece of it.
func (m *meter) read() (late, worst time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.late, m.worst
}
