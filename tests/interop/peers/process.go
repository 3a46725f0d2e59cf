package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Command is a program to start.
type Command struct {
	Name string   // in the lab: of its log
	Args []string // program and arguments
	Env  []string // "KEY=value", besides this process's own
	Dir  string
}

// Process is a program that runs until it ends or is stopped. It does not outlive this program.
type Process struct {
	Name string
	lab  *Lab
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // of Wait; read after done
}

func (l *Lab) start(c Command, wrap ...string) *Process {
	path := filepath.Join(l.options.Dir, c.Name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		l.Fatalf("%v", err)
	}
	defer log.Close()
	args := append(wrap[:len(wrap):len(wrap)], c.Args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), c.Env...), c.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		l.Fatalf("cannot start %s: %v", c.Name, err)
	}
	p := &Process{Name: c.Name, lab: l, cmd: cmd, log: path, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	l.mu.Lock()
	l.processes = append(l.processes, p)
	l.mu.Unlock()
	l.Logf("started %s: %v", c.Name, c.Args)
	return p
}

// PID is the process's own, and that of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is everything that it has printed.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for it to end by itself, with status 0.
func (p *Process) Wait(within time.Duration) {
	select {
	case <-p.done:
	case <-p.lab.ctx.Done():
		p.lab.Fatalf("%s still runs at the end of the case's time", p.Name)
	case <-time.After(within):
		p.lab.Fatalf("%s still runs after %v\n%s", p.Name, within, tail(p.Log(), 20))
	}
	if p.err != nil {
		p.lab.Fatalf("%s: %v\n%s", p.Name, p.err, tail(p.Log(), 20))
	}
}

// Signal sends one to the process alone.
func (p *Process) Signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil {
		p.lab.Fatalf("%s: %v", p.Name, err)
	}
}

// Stop asks it to end, and makes it end after ten seconds.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.Kill()
	}
}

// Kill ends it and its group at once.
func (p *Process) Kill() {
	p.signalKill()
	<-p.done
}

func (p *Process) signalKill() {
	select {
	case <-p.done: // its number may be another's by now
		return
	default:
	}
	if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil {
		_ = p.cmd.Process.Kill()
	}
}

func (p *Process) String() string { return fmt.Sprintf("%s (pid %d)", p.Name, p.PID()) }
