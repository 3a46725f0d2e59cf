package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// namespaceDir is where iproute2 keeps the names of network namespaces.
const namespaceDir = "/run/netns"

// namespaceName of a node, or of the lab's own one: F-LAB-PID-NODE, with the process that owns it.
func namespaceName(lab, node string) string {
	return fmt.Sprintf("f-%s-%d-%s", lab, os.Getpid(), node)
}

// namespace is a network namespace with a name.
type namespace string

func (n namespace) path() string { return filepath.Join(namespaceDir, string(n)) }

// make creates the namespace with its loopback up and the kernel's IPv6 off if v6 is false.
func (n namespace) make(v6 bool) error {
	if err := ip("netns", "add", string(n)); err != nil {
		return err
	}
	return n.enter(func() error {
		settings := map[string]string{"net/ipv4/ip_forward": "0"}
		if !v6 {
			settings["net/ipv6/conf/all/disable_ipv6"], settings["net/ipv6/conf/default/disable_ipv6"] = "1", "1"
		}
		for name, value := range settings {
			err := os.WriteFile("/proc/sys/"+name, []byte(value), 0)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6 has nothing to switch off
				return err
			}
		}
		return ip("link", "set", "lo", "up")
	})
}

// enter runs f on a thread in the namespace; what it starts begins there too.
func (n namespace) enter(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and back only at home; else the thread ends with the goroutine
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			result <- err
			return
		}
		defer home.Close()
		there, err := os.Open(n.path())
		if err != nil {
			result <- err
			return
		}
		defer there.Close()
		if err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter the network namespace %s: %w", n, err)
		} else {
			err = f()
		}
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// command is a program in the namespace, with a view of mounts that nobody else sees. Its process is the program's own.
func (n namespace) command(program string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", string(n), program}, args...)...)
}

// processes are those in the namespace.
func (n namespace) processes() []int {
	var want unix.Stat_t
	if unix.Stat(n.path(), &want) != nil {
		return nil
	}
	var own unix.Stat_t
	if unix.Stat("/proc/self/ns/net", &own) != nil || own.Ino == want.Ino && own.Dev == want.Dev {
		return nil // what stands under the name is no namespace of a lab
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st) == nil && st.Ino == want.Ino && st.Dev == want.Dev {
			pids = append(pids, pid)
		}
	}
	return pids
}

// clear ends all processes in the namespace, first asking them for a while.
func (n namespace) clear(ask time.Duration) error {
	deadline := time.Now().Add(ask)
	for asked := map[int]bool{}; ; {
		pids := n.processes()
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			break
		}
		for _, pid := range pids {
			if !asked[pid] {
				asked[pid] = true
				_ = unix.Kill(pid, unix.SIGTERM) // or it is gone
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	for range 250 {
		pids := n.processes()
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("processes %v in the network namespace %s do not end", n.processes(), n)
}

// remove ends what runs in the namespace and takes its name away; links go with it.
func (n namespace) remove() error {
	if _, err := os.Stat(n.path()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(n.clear(0), ip("netns", "del", string(n)))
}

// ip runs iproute2.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %s", strings.Join(args, " "), oneLine(out, err))
	}
	return nil
}

// oneLine is what a program said, or how it ended.
func oneLine(out []byte, err error) string {
	if s := strings.TrimSpace(string(out)); s != "" {
		return strings.Join(strings.Split(s, "\n"), "; ")
	}
	return err.Error()
}

// namespacesFile in a lab's folder has the names of its namespaces, each from before it is made.
const namespacesFile = "namespaces"

// recordNamespace writes a name into a lab's folder.
func recordNamespace(dir string, n namespace) error {
	f, err := os.OpenFile(filepath.Join(dir, namespacesFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, n)
	return errors.Join(err, f.Close())
}

// bury removes the namespaces that a dead lab's folder names, with all processes in them.
func bury(dir string) {
	b, err := os.ReadFile(filepath.Join(dir, namespacesFile))
	if err != nil {
		return
	}
	for name := range strings.FieldsSeq(string(b)) {
		if labNamespace.MatchString(name) {
			_ = namespace(name).remove() // what cannot be removed now is tried again next time, by its name
		}
	}
}

var labNamespace = regexp.MustCompile(`^f-[a-z0-9][a-z0-9-]*-[0-9]+-[A-Za-z0-9_-]+$`)

// buryNameless removes namespaces of labs whose folder is gone too. The owner's process is a number in the name; as names
// may have other numbers, all must be those of no living process.
func buryNameless() {
	if os.Geteuid() != 0 {
		return
	}
	paths, _ := filepath.Glob(filepath.Join(namespaceDir, "f-*"))
	for _, p := range paths {
		name := filepath.Base(p)
		if !labNamespace.MatchString(name) {
			continue
		}
		alive := false
		for part := range strings.SplitSeq(name, "-") {
			if pid, err := strconv.Atoi(part); err == nil && pid > 0 && unix.Kill(pid, 0) == nil {
				alive = true
			}
		}
		if !alive {
			_ = namespace(name).remove()
		}
	}
}
