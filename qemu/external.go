package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// environment is what the commands of an external node know:
//
//	FELLOE_NODE       the node's name
//	FELLOE_LAB_DIR    a private folder of the node, gone with the lab; -logs keeps its *.log files
//	FELLOE_NIC_1 …    the kernel's names of its NICs
//	FELLOE_CACHE      a folder that stays, for what is costly to make
//	LAB_…             the values of the lab's [set]
func (n *Netns) environment(node *Node) []string {
	env := append(os.Environ(), "FELLOE_NODE="+node.Name, "FELLOE_LAB_DIR="+filepath.Join(n.Dir, node.Name), "FELLOE_CACHE="+CacheDir())
	for i := range node.NICs {
		env = append(env, fmt.Sprintf("FELLOE_NIC_%d=%s", i+1, nicName(node, i)))
	}
	for name, value := range n.lab.Set {
		env = append(env, "LAB_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+value)
	}
	return env
}

// CacheDir is what FELLOE_CACHE is for external nodes: what it was set to before, build/cache of the source tree that the
// working directory is in, or the user's cache.
func CacheDir() string {
	if d := os.Getenv("FELLOE_CACHE"); d != "" {
		return d
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				return filepath.Join(dir, "build", "cache")
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	if d, err := os.UserCacheDir(); err == nil {
		return filepath.Join(d, "felloe")
	}
	return filepath.Join(os.TempDir(), "felloe-cache")
}

// prepare runs the command that makes what a node needs, before there is a namespace.
func (n *Netns) prepare(ctx context.Context, node *Node, say Say) error {
	say("%s: %s", node.Name, node.External.Prepare)
	dir := filepath.Join(n.Dir, node.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(CacheDir(), 0o755); err != nil {
		return err
	}
	return n.run(ctx, exec.Command("sh", "-c", node.External.Prepare), node, "prepare")
}

// run runs one of a node's commands to its end. What it prints goes to a log: a daemon that it leaves behind may keep that.
func (n *Netns) run(ctx context.Context, cmd *exec.Cmd, node *Node, what string) error {
	name := filepath.Join(n.Dir, node.Name, what+".log")
	log, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := n.await(ctx, cmd, node); err != nil {
		if ctx.Err() != nil {
			err = errors.New("it took too long, or was interrupted")
		}
		return fmt.Errorf("%s: %s: %w; it says:\n%s", node.Name, what, err, tail(name))
	}
	return nil
}

// await runs a shell's command; when the context ends, so does the shell's process group.
func (n *Netns) await(ctx context.Context, cmd *exec.Cmd, node *Node) error {
	cmd.Dir, cmd.Env = node.External.Dir, n.environment(node)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := spawn(cmd); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
	defer stop()
	return cmd.Wait()
}

func (n *Netns) startExternal(ctx context.Context, nn *netnsNode) error {
	n.mu.Lock()
	if nn.state != "off" {
		n.mu.Unlock()
		return fmt.Errorf("%s runs already", nn.node.Name)
	}
	nn.state, nn.since = "booting", time.Now()
	n.mu.Unlock()
	x := nn.node.External
	if err := n.run(ctx, nn.space.command("sh", "-c", x.Start), nn.node, "start"); err != nil {
		return err
	}
	for x.Ready != "" {
		err := n.run(ctx, nn.space.command("sh", "-c", x.Ready), nn.node, "ready")
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retry):
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if nn.state != "booting" {
		return fmt.Errorf("%s went off while it started", nn.node.Name)
	}
	nn.state = "running"
	return nil
}

// stopExternal runs a node's stop command and ends what is left then.
func (n *Netns) stopExternal(ctx context.Context, nn *netnsNode) error {
	var err error
	if stop := nn.node.External.Stop; stop != "" {
		err = n.run(ctx, nn.space.command("sh", "-c", stop), nn.node, "stop")
	}
	return errors.Join(err, nn.space.clear(2*time.Second))
}

// shell runs a command in an external node's namespace.
func (n *Netns) shell(ctx context.Context, nn *netnsNode, line string) (string, error) {
	cmd := nn.space.command("sh", "-c", line)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // what it leaves behind may keep the output open
	err := n.await(ctx, cmd, nn.node)
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		err = fmt.Errorf("%s: %w", nn.node.Name, err)
	}
	return out.String(), err
}

// terminalShell is a shell on a terminal in an external node's namespace.
func (n *Netns) terminalShell(nn *netnsNode) (io.ReadWriteCloser, error) {
	near, far, err := openTerminal()
	if err != nil {
		return nil, fmt.Errorf("a terminal for %s: %w", nn.node.Name, err)
	}
	defer far.Close()
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	cmd := nn.space.command(shell)
	cmd.Dir, cmd.Env = nn.node.External.Dir, append(n.environment(nn.node), "PS1="+nn.node.Name+"# ")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := spawn(cmd); err != nil {
		near.Close()
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		_ = near.Close()
	}()
	return &shellTerminal{near, cmd}, nil
}

type shellTerminal struct {
	*os.File
	cmd *exec.Cmd
}

// Close hangs up, which ends the shell.
func (s *shellTerminal) Close() error {
	_ = s.cmd.Process.Signal(syscall.SIGHUP)
	return s.File.Close()
}

// openTerminal makes a pair of pseudoterminals.
func openTerminal() (near, far *os.File, err error) {
	near, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	raw, err := near.SyscallConn()
	if err != nil {
		near.Close()
		return nil, nil, err
	}
	var number int
	cerr := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err = errors.Join(err, cerr); err == nil {
		far, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		near.Close()
		return nil, nil, err
	}
	return near, far, nil
}
