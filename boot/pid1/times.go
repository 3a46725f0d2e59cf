package pid1

import (
	"fmt"
	"sync"
	"time"

	"felloe/boot/pid1/supervisor"
)

// Milestone is a moment of the boot.
type Milestone struct {
	Name string `json:"name"`
	// Kernel is the time since the kernel started, PID1 since its first program did.
	Kernel time.Duration `json:"kernel_ns"`
	PID1   time.Duration `json:"pid1_ns"`
}

// Times collects milestones. Each name counts once, so a hook on a hot path may mark as often as it likes.
type Times struct {
	mu    sync.Mutex
	pid1  time.Duration
	marks []Milestone
	// now is the time since the kernel started.
	now func() time.Duration
}

func newTimes(pid1 time.Duration) *Times {
	t := &Times{pid1: pid1, now: supervisor.SinceBoot}
	t.marks = []Milestone{{Name: "pid1", Kernel: pid1}}
	return t
}

// Mark notes that name has happened; it reports whether it is the first time.
func (t *Times) Mark(name string) bool {
	at := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.marks {
		if m.Name == name {
			return false
		}
	}
	t.marks = append(t.marks, Milestone{Name: name, Kernel: at, PID1: at - t.pid1})
	return true
}

// List returns the milestones in order.
func (t *Times) List() []Milestone {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Milestone(nil), t.marks...)
}

// String is one line for a console: "kernel to PID 1 0.91 s, then modules 0.12 s, nics 0.13 s".
func (t *Times) String() string {
	s := ""
	for i, m := range t.List() {
		switch i {
		case 0:
			s = fmt.Sprintf("kernel to PID 1 %.2f s", m.Kernel.Seconds())
		case 1:
			s += fmt.Sprintf(", then %s %.2f s", m.Name, m.PID1.Seconds())
		default:
			s += fmt.Sprintf(", %s %.2f s", m.Name, m.PID1.Seconds())
		}
	}
	return s
}
