package scenario

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"felloe/boot/machine"
	"felloe/qemu"
	"felloe/tests/wire"
)

// subcommand makes this test program a router, as a lab in namespaces starts them, or `felloe lab`.
func subcommand(args []string) {
	if len(args) > 1 && args[1] == "run" {
		os.Exit(machine.RunMain(args[2:], "test"))
	}
	if len(args) > 1 && args[1] == "lab" {
		os.Exit(qemu.Main(args[2:]))
	}
}

// labFiles are the ready labs' files: those that need software of others, or those that do not.
func labFiles(t *testing.T, external bool) []string {
	t.Helper()
	entries, err := os.ReadDir(labs)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		file := filepath.Join(labs, e.Name(), "lab.toml")
		if hasExternal(load(t, file)) == external {
			out = append(out, file)
		}
	}
	return out
}

func hasExternal(l *qemu.Lab) bool {
	for _, n := range l.Nodes {
		if n.External != nil {
			return true
		}
	}
	return false
}

// inNamespaces brings a lab up in network namespaces, works through its checks, and takes it down. All links are captured
// meanwhile, and keys kept; it returns the folder where they are.
func inNamespaces(t *testing.T, l *qemu.Lab) (logs string) {
	t.Helper()
	dir, logs := runtimeDir(t), t.TempDir()
	if err := l.Prepare(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	n := &qemu.Netns{Dir: filepath.Join(dir, "ns"), KeepLogs: logs}
	var out bytes.Buffer
	var files []*os.File
	n.BeforeStart(func() error {
		for _, k := range l.Links {
			f, err := os.Create(filepath.Join(logs, k.Name+".pcapng"))
			if err != nil {
				return err
			}
			files = append(files, f)
			if _, err := n.Capture(k.Name, f); err != nil {
				return err
			}
		}
		return nil
	})
	err := n.Start(t.Context(), l, t.Logf)
	if err == nil {
		s := &qemu.Script{Lab: l, Backend: n, Say: t.Logf, Out: &out}
		var results []qemu.Result
		results, err = s.Run(t.Context())
		t.Logf("\n%s", qemu.Table(results))
	}
	if serr := n.Stop(); serr != nil {
		t.Error(serr)
	}
	for _, f := range files {
		if cerr := f.Close(); cerr != nil {
			t.Error(cerr)
		}
	}
	if err == nil {
		return logs
	}
	said, _ := filepath.Glob(filepath.Join(logs, "*.log"))
	for _, f := range said {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%s:\n%s", filepath.Base(f), b[max(0, len(b)-16<<10):])
	}
	t.Fatalf("%v\n%s", err, &out)
	return logs
}

func TestARouterAndBIRDTellEachOtherOfTheirNetworks(t *testing.T) {
	t.Parallel()
	inNamespaces(t, load(t, filepath.Join(labs, "bird-peer", "lab.toml")))
}

func TestStrongSwanClientsAndSpokesShareAHubAndItsPool(t *testing.T) {
	t.Parallel()
	logs := inNamespaces(t, load(t, filepath.Join(labs, "flexvpn-mixed", "lab.toml")))
	hidden(t, filepath.Join(logs, "segment.pcapng"), "192.168.110.0/24", "192.168.120.0/24", "172.16.1.1/32")
}

// hidden looks for addresses in clear, and for GRE, in a capture.
func hidden(t *testing.T, capture string, prefixes ...string) {
	t.Helper()
	var inner []netip.Prefix
	for _, p := range prefixes {
		inner = append(inner, netip.MustParsePrefix(p))
	}
	c := wire.NewClear(inner...)
	if err := c.File(capture); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s", filepath.Base(capture), c)
	for _, f := range c.Findings() {
		t.Errorf("%s: %s", filepath.Base(capture), f)
	}
	if c.Frames == 0 {
		t.Errorf("%s: nothing was captured", filepath.Base(capture))
	}
}

// TestTheSecureOverlayHoldsWithStrongSwanAndBIRD runs the variant that this Debian's packages can; tests/interop/overlay
// runs all.
func TestTheSecureOverlayHoldsWithStrongSwanAndBIRD(t *testing.T) {
	t.Parallel()
	logs := inNamespaces(t, load(t, filepath.Join(labs, "secure-overlay", "lab.toml")))
	public := filepath.Join(logs, "public.pcapng")
	// What lies behind the two must not be seen between them. The server's loopbacks are: the client tries to reach them
	// from outside.
	hidden(t, public, "10.122.144.128/27", "91.91.91.0/24")
	d, err := wire.Dissect(t.Context(), public, filepath.Join(logs, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Problems {
		t.Errorf("public: %s", p)
	}
	if d.IKE == 0 || d.ESP == 0 {
		t.Errorf("%d IKE messages and %d ESP packets on the wire", d.IKE, d.ESP)
	}
}

// TestRoutersInNamespacesAreTheNetworkThatTheyAreInMemory runs scenario 1 over AF_PACKET, each router a process.
func TestRoutersInNamespacesAreTheNetworkThatTheyAreInMemory(t *testing.T) {
	t.Parallel()
	logs := inNamespaces(t, load(t, filepath.Join(labs, "dmvpn-phase3-gcm", "lab.toml")))
	for _, link := range []string{"wan-hub", "wan-spoke1", "wan-spoke2"} {
		hidden(t, filepath.Join(logs, link+".pcapng"), "10.10.10.0/24", "192.168.11.0/24", "192.168.22.0/24", "192.168.33.0/24")
	}
}

// names are the namespaces of a lab by its name.
func names(t *testing.T, lab string) []string {
	t.Helper()
	found, err := filepath.Glob("/run/netns/f-" + lab + "-*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// bird is a copy of a lab under another name, so that tests do not meet.
func bird(t *testing.T, name string) string {
	t.Helper()
	base, err := filepath.Abs(filepath.Join(labs, "bird-peer", "lab.toml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "lab.toml")
	text := "name = \"" + name + "\"\nbase = \"" + base + "\"\n[[step]]\npause = \"1h\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// labCommand is `felloe lab` as a process, with folders of its own.
func labCommand(runtime string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{"lab"}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+runtime)
	return cmd
}

// runtimeDir is short enough for sockets.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(enough); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, enough)
		}
	}
}

// processesIn counts what runs in namespaces.
func processesIn(t *testing.T, namespaces []string) int {
	t.Helper()
	n := 0
	for _, path := range namespaces {
		out, err := exec.Command("ip", "netns", "pids", filepath.Base(path)).Output()
		if err != nil {
			continue // somebody has cleaned up already: nothing runs there
		}
		n += len(strings.Fields(string(out)))
	}
	return n
}

func TestALabInNamespacesLeavesNothingBehindWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	cmd := labCommand(dir, "run", bird(t, "interrupted"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The router, and BIRD.
	until(t, "the lab runs", func() bool { return processesIn(t, names(t, "interrupted")) >= 2 })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("an interrupted run is no success")
	}
	if left := names(t, "interrupted"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Any other lab cleans up as well, so this one is not beside others.
func TestTheNextLabCleansUpAfterOneThatWasKilled(t *testing.T) {
	dir := runtimeDir(t)
	cmd := labCommand(dir, "run", bird(t, "killed"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the lab runs", func() bool { return processesIn(t, names(t, "killed")) >= 2 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	left := names(t, "killed")
	until(t, "our router ends with its lab", func() bool { return processesIn(t, left) <= 1 })
	if err := labCommand(dir, "status").Run(); err == nil {
		t.Error("a killed lab is up")
	}
	if left := names(t, "killed"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestALabThatIsUpTakesCommandsConsolesAndCaptures(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	run := func(args ...string) string {
		t.Helper()
		out, err := labCommand(dir, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("lab %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	has := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in\n%s", w, out)
			}
		}
	}
	run("up", bird(t, "stays-up"))
	down := false
	defer func() {
		if !down {
			run("down")
		}
	}()
	has(run("status"), "Router", "Bird", "running")
	has(run("exec", "Router", "ping 192.0.2.2"), "Success rate is 100 percent")
	has(run("exec", "Bird", "ping -c 1 192.0.2.1; echo $FELLOE_NODE $FELLOE_NIC_1"), "1 received", "Bird eth0")

	file := filepath.Join(t.TempDir(), "wire.pcapng")
	capture := labCommand(dir, "capture", "wire", "-o", file)
	said, err := capture.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := capture.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := said.Read(make([]byte, 1)); err != nil { // it says when it has begun
		t.Fatal(err)
	}
	run("exec", "Router", "ping 192.0.2.2 repeat 3 interval 10")
	if err := capture.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, said)
	if err := capture.Wait(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tshark", "-r", file, "-Y", "icmp").Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), "Echo (ping)"); n < 6 {
		t.Errorf("%d echoes of 6 in the capture:\n%s", n, out)
	}

	for node, typed := range map[string]struct{ line, want string }{
		"Router": {"show ip route\r", "directly connected"},
		"Bird":   {"ip -br link show eth0\r", "eth0@"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), enough)
		console := exec.CommandContext(ctx, "/proc/self/exe", "lab", "console", node)
		console.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
		in, err := console.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		shown, err := console.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := console.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(in, typed.line); err != nil {
			t.Fatal(err)
		}
		var all []byte
		for buf := make([]byte, 4096); !bytes.Contains(all, []byte(typed.want)); {
			n, err := shown.Read(buf)
			if err != nil {
				t.Errorf("%s: no %q on the console:\n%s", node, typed.want, all)
				break
			}
			all = append(all, buf[:n]...)
		}
		_, _ = in.Write([]byte{0x1d}) // Ctrl-]
		_, _ = io.Copy(io.Discard, shown)
		if err := console.Wait(); err != nil {
			t.Errorf("console %s: %v", node, err)
		}
		cancel()
	}
	run("down")
	down = true
	if left := names(t, "stays-up"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
