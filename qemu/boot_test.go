package qemu

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/image"
)

// bootTime is ample for an emulated machine on a busy host; nothing waits that long when all is well.
const bootTime = 4 * time.Minute

// images makes a bootable image of a program of this repository, once a test run. FELLOE_IMAGES may name a folder that
// has the router's already.
var images = struct {
	sync.Mutex
	dirs map[string]string
}{dirs: map[string]string{}}

func imageOf(t *testing.T, pkg string, disk bool) string {
	t.Helper()
	images.Lock()
	defer images.Unlock()
	if d := os.Getenv("FELLOE_IMAGES"); d != "" && pkg == "./cmd/felloe" {
		return d
	}
	if d := images.dirs[pkg]; d != "" {
		return d
	}
	dir, err := os.MkdirTemp("", "felloe-image-")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", binary, pkg)
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := image.Build(image.Options{Dir: dir, Cache: "../build/cache", Binary: binary, NoDisk: !disk, Say: t.Logf}); err != nil {
		t.Fatal(err)
	}
	images.dirs[pkg] = dir
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, d := range images.dirs {
		_ = os.RemoveAll(d)
	}
	os.Exit(code)
}

// shortDir is a folder whose path leaves room for the names of sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func configDisk(t *testing.T, dir, text string) string {
	t.Helper()
	file, disk := filepath.Join(dir, "c.toml"), filepath.Join(dir, "c.disk")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := image.WriteConfigDisk(disk, file); err != nil {
		t.Fatal(err)
	}
	return disk
}

// terminal is a machine's console: what it printed so far, and a way to type.
type terminal struct {
	t    *testing.T
	p    *Process
	conn net.Conn
}

func power(t *testing.T, m *Machine) *terminal {
	t.Helper()
	p, err := m.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	tt := &terminal{t: t, p: p}
	tt.until("the emulator", func() bool {
		tt.conn, err = net.Dial("unix", m.ConsoleSocket())
		return err == nil
	})
	t.Cleanup(func() { tt.conn.Close() })
	go func() { _, _ = io.Copy(io.Discard, tt.conn) }() // the log file has it too
	return tt
}

func (tt *terminal) log() string {
	b, _ := os.ReadFile(tt.p.Machine.ConsoleLog())
	return string(b)
}

func (tt *terminal) until(what string, ok func() bool) {
	tt.t.Helper()
	for deadline := time.Now().Add(bootTime); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			tt.t.Fatalf("no sign of %s; the console says:\n%s", what, tt.log())
		}
	}
}

func (tt *terminal) expect(text string) {
	tt.t.Helper()
	tt.until(fmt.Sprintf("%q", text), func() bool { return strings.Contains(tt.log(), text) })
}

func (tt *terminal) off() {
	tt.t.Helper()
	tt.until("power-off", func() bool {
		select {
		case <-tt.p.Done():
			return true
		default:
			return false
		}
	})
}

func TestTheDiskBootsByUEFIAndByBIOSToTheSamePrompt(t *testing.T) {
	dir := imageOf(t, "./cmd/felloe", true)
	for _, c := range []struct {
		name string
		uefi bool
	}{{"BIOS", false}, {"UEFI", true}} {
		t.Run(c.name, func(t *testing.T) {
			work := shortDir(t)
			tt := power(t, &Machine{Name: "m", Dir: work, Accel: "tcg", Memory: 256, Disk: filepath.Join(dir, "felloe.qcow2"), UEFI: c.uefi,
				Config: configDisk(t, work, "hostname = \"Atlas\"\n"), Once: true})
			tt.expect("Atlas#")
			if err := tt.p.PressPower(); err != nil {
				t.Fatal(err)
			}
			tt.off()
		})
	}
}

func TestAMachineSaysWhatIsWrongWithItsConfiguration(t *testing.T) {
	dir := imageOf(t, "./cmd/felloe", true)
	good := func(work string) string {
		return configDisk(t, work, "hostname = \"Atlas\"\n[interface.GigabitEthernet1]\naddress = [\"10.0.0.1/24\"]\n")
	}
	for _, c := range []struct {
		name string
		disk func(work string) string
		says string
	}{
		{"no disk", func(string) string { return "" }, "attach a disk labelled FELLOE"},
		{"a disk cut short", func(work string) string {
			d := good(work)
			if err := os.Truncate(d, 1<<20); err != nil {
				t.Fatal(err)
			}
			return d
		}, "cut short"},
		{"a mistake in the text", func(work string) string { return configDisk(t, work, "hostnam = \"Atlas\"\n") }, "felloe.toml:1:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			work := shortDir(t)
			tt := power(t, &Machine{Name: "m", Dir: work, Accel: "tcg", Memory: 128, Kernel: filepath.Join(dir, "felloe.vmlinuz"),
				Initrd: filepath.Join(dir, "felloe.initrd"), Config: c.disk(work), Once: true})
			tt.expect(c.says)
			tt.expect("felloe#") // and there is a console to mend it from
		})
	}
}

func TestACrashOfTheRouterIsToldAndRestartsTheMachine(t *testing.T) {
	dir := imageOf(t, "./image/testdata/init", false)
	work := shortDir(t)
	tt := power(t, &Machine{Name: "m", Dir: work, Accel: "tcg", Memory: 96, Kernel: filepath.Join(dir, "felloe.vmlinuz"),
		Initrd: filepath.Join(dir, "felloe.initrd"), Config: configDisk(t, work, "hostname = \"x\"\n"), Once: true,
		NICs: []MachineNIC{{[6]byte{0x52, 0, 0, 0, 0, 1}, filepath.Join(work, "a"), filepath.Join(work, "b")},
			{[6]byte{0x52, 0, 0, 0, 0, 2}, filepath.Join(work, "c"), filepath.Join(work, "d")}}})
	tt.expect("felloe-test: nic eth0 520000000001")
	tt.expect("felloe-test: nic eth1 520000000002")
	tt.expect("felloe-test: config \"/run/felloe/felloe.toml\" <nil>")
	tt.expect("felloe-test: ready")
	if _, err := tt.conn.Write([]byte("panic\r")); err != nil {
		t.Fatal(err)
	}
	tt.expect("panic: felloe-test: on purpose")
	tt.expect("the router ended unexpectedly (exit status 2)")
	tt.off() // -no-reboot: the restart is the end
	if strings.Contains(tt.log(), "Attempted to kill init") {
		t.Error("the kernel had to end it")
	}
}

func TestVirtualMachinesReachEachOtherAndAreReplaced(t *testing.T) {
	dir := imageOf(t, "./cmd/felloe", true)
	work := shortDir(t)
	lab := func(name, text string) {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lab("a.toml", "hostname = \"a\"\n[interface.GigabitEthernet1]\naddress = [\"10.0.0.1/24\", \"2001:db8::1/64\"]\n")
	lab("b.toml", "hostname = \"b\"\n[interface.GigabitEthernet1]\naddress = [\"10.0.0.2/24\", \"2001:db8::2/64\"]\n")
	lab("c.toml", "hostname = \"b\"\n[interface.GigabitEthernet1]\naddress = [\"10.0.0.3/24\"]\n")
	lab("lab.toml", cableOfVMs)
	l, err := Load(filepath.Join(work, "lab.toml"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*bootTime)
	defer cancel()
	v := &Virtual{Dir: filepath.Join(work, "vm"), Kernel: filepath.Join(dir, "felloe.vmlinuz"), Initrd: filepath.Join(dir, "felloe.initrd"),
		Accel: "tcg", ReplaceLine: replaceLine, KeepLogs: filepath.Join(work, "logs")}
	if err := v.Start(ctx, l, t.Logf); err != nil {
		t.Fatal(err)
	}
	pids := map[int]bool{}
	for _, s := range v.Status() {
		pids[s.PID] = true
	}
	results, err := (&Script{Lab: l, Backend: v, Say: t.Logf}).Run(ctx)
	if err != nil {
		t.Errorf("%v\n%s", err, Table(results))
	}
	for _, s := range v.Status() {
		pids[s.PID] = true
	}
	if err := v.Stop(); err != nil {
		t.Error(err)
	}
	for pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); pid != 0 && err == nil {
			t.Errorf("process %d is left", pid)
		}
	}
	if _, err := os.Stat(v.Dir); err == nil {
		t.Error("the lab's directory is left")
	}
	if b, err := os.ReadFile(filepath.Join(work, "logs", "b.console")); err != nil || !strings.Contains(string(b), "b#") {
		t.Errorf("console of b: %q %v", b, err)
	}
	if st, err := os.Stat(filepath.Join(work, "wire.pcapng")); err != nil || st.Size() < 500 {
		t.Errorf("capture: %v", err)
	}
}

const cableOfVMs = `name = "cable"
[[node]]
name = "a"
config = "a.toml"
[[node]]
name = "b"
config = "b.toml"
[[link]]
name = "wire"
ends = ["a:GigabitEthernet1", "b:GigabitEthernet1"]
[[step]]
capture = "wire"
file = "wire.pcapng"
[[check]]
node = "a"
command = "ping 10.0.0.2"
expect = ["Success rate is (80|100) percent"]
within = "60s"
[[check]]
node = "b"
command = "ping 2001:db8::1"
expect = ["Success rate is (80|100) percent"]
within = "60s"
[[step]]
cut = "wire"
[[check]]
node = "a"
command = "ping 10.0.0.2 repeat 1 timeout 1"
expect = ["Success rate is 0 percent"]
[[step]]
join = "wire"
[[step]]
kill = "b"
[[step]]
start = "b"
timeout = "4m"
[[check]]
node = "a"
command = "ping 10.0.0.2"
expect = ["Success rate is (80|100) percent"]
within = "60s"
[[step]]
apply = "b"
config = "c.toml"
[[check]]
node = "a"
command = "ping 10.0.0.3"
expect = ["Success rate is (80|100) percent"]
within = "60s"
[[step]]
power-down = "b"
[[check]]
node = "a"
command = "ping 10.0.0.3 repeat 1 timeout 1"
expect = ["Success rate is 0 percent"]
`
