package peers

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MachineConfig says what is in a machine.
type MachineConfig struct {
	Image  Image
	Files  map[string]string // of /lab: guest/init says which it honours
	Memory int               // megabytes; 0: 256
}

// Machine is a virtual machine.
type Machine struct {
	Name    string
	Process *Process
	l       *Lab
	console string

	mu     sync.Mutex // one command at a time
	conn   net.Conn
	reader *bufio.Reader
	number int
}

// Machine boots a machine with NICs eth0, eth1, … on these switches; it is up when everything that its files say runs.
// Several boot at the same time when they are begun with Boot.
func (l *Lab) Machine(name string, c MachineConfig, nics ...*Switch) *Machine {
	m := l.Boot(name, c, nics...)
	m.Ready()
	return m
}

// Boot begins to boot a machine: Ready waits for it.
func (l *Lab) Boot(name string, c MachineConfig, nics ...*Switch) *Machine {
	dir := c.Image.dir(l.options.Cache)
	if _, err := os.Stat(dir); err != nil {
		l.Fatalf("image %s is not made: the case does not name it", c.Image.Name)
	}
	m := &Machine{Name: name, l: l, console: filepath.Join(l.options.Dir, name+".console")}
	disk := filepath.Join(l.options.Dir, name+".disk")
	if err := os.WriteFile(disk, pack(name, c.Files), 0o600); err != nil {
		l.Fatalf("%v", err)
	}
	memory := c.Memory
	if memory == 0 {
		memory = 256
	}
	socket := filepath.Join(l.sockets, name+".agent")
	// A guest that calibrates its cycle counter on a busy host lives too fast ever after: it keeps off it (tsc=unstable).
	args := []string{
		"qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(dir, "vmlinuz"), "-initrd", filepath.Join(dir, "initrd.img"),
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on no_timer_check tsc=unstable cryptomgr.notests",
		"-serial", "file:" + m.console,
		"-drive", "if=none,id=root,format=raw,readonly=on,file=" + filepath.Join(dir, "root.img"), "-device", "virtio-blk-pci,drive=root",
		"-drive", "if=none,id=lab,format=raw,readonly=on,file=" + disk, "-device", "virtio-blk-pci,drive=lab",
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "socket,id=agent,path=" + socket + ",server=on,wait=off", "-device", "virtserialport,chardev=agent,name=agent",
		"-global", "virtio-net-pci.romfile=",
	}
	var wrap []string
	sum := sha256.Sum256([]byte(name))
	for i, s := range nics {
		wrap = []string{"ip", "netns", "exec", s.home.kernelName}
		// Without offloads the wire carries whole packets with right checksums.
		const off = "csum=off,guest_csum=off,gso=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off"
		args = append(args, "-netdev", fmt.Sprintf("tap,id=n%d,ifname=%s,script=no,downscript=no", i, s.tap()),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,mac=52:54:%02x:%02x:%02x:%02x,%s", i, sum[0], sum[1], sum[2], i, off))
	}
	m.Process = l.start(Command{Name: name, Args: args}, wrap...)
	l.mu.Lock()
	l.machines = append(l.machines, m)
	l.mu.Unlock()
	l.Until(10*time.Second, "machine "+name+" starts", func() (err error) {
		m.conn, err = net.Dial("unix", socket)
		return err
	})
	m.reader = bufio.NewReader(m.conn)
	l.Evidence(func() string {
		out, err := m.TryFor(10*time.Second, "cat /proc/uptime; ps axo pid,etimes,stat,wchan:20,args --forest | grep -v '\\]$'; tail -n 30 /var/log/charon.out /var/log/charon.log /var/log/pluto.log 2>/dev/null")
		return fmt.Sprintf("%s: processes\n%s%v", m.Name, out, err)
	})
	return m
}

// Ready waits until the machine is up.
func (m *Machine) Ready() {
	m.l.Until(8*time.Minute, "machine "+m.Name+" boots", func() error {
		select {
		case <-m.Process.Done():
			m.l.Fatalf("machine %s ended:\n%s\n%s", m.Name, m.Process.Log(), tail(m.Console(), 30))
		default:
		}
		return Match(m.Console(), `^peer: ready at`)
	})
	if err := Match(m.Console(), `!^peer: .*(FAILED|failed)`); err != nil {
		m.l.Fatalf("machine %s: %v", m.Name, err)
	}
	m.l.Logf("machine %s is up", m.Name)
}

// Console is everything that the machine has printed on its serial line.
func (m *Machine) Console() string {
	b, err := os.ReadFile(m.console)
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(b), "\r", "")
}

func (m *Machine) lab() *Lab    { return m.l }
func (m *Machine) name() string { return m.Name }

// Try runs a shell script in the machine, for a minute at most.
func (m *Machine) Try(script string) (string, error) { return m.TryFor(time.Minute, script) }

// TryFor is Try with a time of its own.
func (m *Machine) TryFor(within time.Duration, script string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.number++
	deadline := time.Now().Add(within + 10*time.Second)
	if err := m.conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	line := fmt.Sprintf("%d %d %s\n", m.number, int(within.Seconds())+1, base64.StdEncoding.EncodeToString([]byte(script)))
	if _, err := m.conn.Write([]byte(line)); err != nil {
		return "", fmt.Errorf("machine %s: %w", m.Name, err)
	}
	for {
		answer, err := m.reader.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("machine %s: %s: %w", m.Name, script, err)
		}
		fields := strings.Fields(answer)
		if len(fields) < 2 || fields[0] != strconv.Itoa(m.number) {
			continue // the answer to a command that was given up
		}
		var out []byte
		if len(fields) > 2 {
			if out, err = base64.StdEncoding.DecodeString(fields[2]); err != nil {
				return "", err
			}
		}
		if fields[1] != "0" {
			return string(out), fmt.Errorf("%s: %s: exit status %s\n%s", m.Name, script, fields[1], tail(string(out), 30))
		}
		return string(out), nil
	}
}

// Run is Try that must succeed.
func (m *Machine) Run(script string) string {
	out, err := m.Try(script)
	if err != nil {
		m.l.Fatalf("%v", err)
	}
	return out
}

// Kill takes the machine's power away.
func (m *Machine) Kill() {
	m.Process.Kill()
	m.close()
}

func (m *Machine) close() {
	if m.conn != nil {
		_ = m.conn.Close()
	}
}

// pack is the machine's second disk: a tar.
func pack(hostname string, files map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, mode int64, content []byte) {
		// Writes to memory do not fail, and no header of ours is wrong.
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), Format: tar.FormatUSTAR})
		_, _ = w.Write(content)
	}
	add(".init", 0o755, guestInit)
	add(".agent", 0o755, guestAgent)
	add("hostname", 0o644, []byte(hostname+"\n"))
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		add(n, 0o644, []byte(files[n]))
	}
	_ = w.Close()
	for b.Len()%512 != 0 {
		b.WriteByte(0)
	}
	return b.Bytes()
}
