package qemu

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"felloe/image"
	"felloe/manage/agent"
)

// program is the emulator.
const program = "qemu-system-x86_64"

// Machine describes one virtual machine.
type Machine struct {
	Name   string
	Dir    string // sockets and the console's log
	Accel  string // "kvm" or "tcg"
	Memory int    // MiB
	Kernel string // boots this kernel with Initrd, or else Disk
	Initrd string
	Append string // to the kernel's command line
	Disk   string // qcow2, never written to
	UEFI   bool   // firmware that Disk boots with; else SeaBIOS
	Config string // raw configuration disk
	NICs   []MachineNIC
	// Once ends the process instead of rebooting the machine.
	Once bool
}

// MachineNIC is a NIC whose frames go over two unix datagram sockets.
type MachineNIC struct {
	MAC           [6]byte
	Local, Remote string
}

// Sockets and files of a machine.
func (m *Machine) path(suffix string) string { return filepath.Join(m.Dir, m.Name+suffix) }

// ConsoleSocket, ConsoleLog, AgentSocket and ControlSocket are where to reach it.
func (m *Machine) ConsoleSocket() string { return m.path(".con") }
func (m *Machine) ConsoleLog() string    { return m.path(".log") }
func (m *Machine) AgentSocket() string   { return m.path(".agent") }
func (m *Machine) ControlSocket() string { return m.path(".qmp") }

// Firmware of the package ovmf.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// noOffloads makes what a relay or a capture sees be whole frames with right checksums.
const noOffloads = "csum=off,guest_csum=off,gso=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off," +
	"host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off"

// firstNICSlot is the PCI slot of the first NIC: NICs stand in order, after everything else.
const firstNICSlot = 0x08

// maxNICs is what the root bus has room for.
const maxNICs = 0x1e - firstNICSlot

func (m *Machine) arguments() ([]string, error) {
	if len(m.NICs) > maxNICs {
		return nil, fmt.Errorf("%s: %d NICs; a machine has room for %d", m.Name, len(m.NICs), maxNICs)
	}
	accel := m.Accel
	if accel == "tcg" {
		accel = "tcg,thread=multi,tb-size=64" // MiB of translated code: the default of a quarter of the host's memory is not for labs
	}
	a := []string{"-name", m.Name, "-M", "q35,vmport=off", "-accel", accel, "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(m.Memory),
		"-nodefaults", "-no-user-config", "-display", "none",
		"-chardev", "socket,id=con,server=on,wait=off,path=" + comma(m.ConsoleSocket()) + ",logappend=on,logfile=" + comma(m.ConsoleLog()),
		"-serial", "chardev:con",
		"-chardev", "socket,id=agent,server=on,wait=off,path=" + comma(m.AgentSocket()),
		"-device", "virtio-serial-pci,addr=0x3", "-device", "virtserialport,chardev=agent,name=" + agent.PortName,
		"-qmp", "unix:" + comma(m.ControlSocket()) + ",server=on,wait=off",
		"-device", "virtio-rng-pci,addr=0x4"}
	if m.Once {
		a = append(a, "-no-reboot")
	}
	if m.Kernel != "" {
		a = append(a, "-kernel", m.Kernel, "-initrd", m.Initrd, "-append", image.CommandLine+" console=ttyS0 "+m.Append)
	}
	if m.Disk != "" {
		a = append(a, "-drive", "if=none,id=disk,format=qcow2,snapshot=on,file="+comma(m.Disk), "-device", "virtio-blk-pci,addr=0x5,drive=disk,bootindex=0")
	}
	if m.UEFI {
		a = append(a, "-drive", "if=pflash,format=raw,readonly=on,file="+ovmfCode, "-drive", "if=pflash,format=raw,snapshot=on,file="+ovmfVars)
	}
	if m.Config != "" {
		a = append(a, "-drive", "if=none,id=config,format=raw,readonly=on,file="+comma(m.Config), "-device", "virtio-blk-pci,addr=0x6,drive=config")
	}
	for i, n := range m.NICs {
		a = append(a,
			"-netdev", fmt.Sprintf("dgram,id=n%d,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", i, comma(n.Local), comma(n.Remote)),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,mac=%s,addr=0x%x,romfile=,%s", i, net.HardwareAddr(n.MAC[:]), firstNICSlot+i, noOffloads))
	}
	return a, nil
}

// comma escapes a comma in a value of QEMU's comma-separated options.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// Process is a running machine.
type Process struct {
	Machine *Machine
	Started time.Time
	cmd     *exec.Cmd
	stderr  strings.Builder
	done    chan struct{}
	err     error
}

// Start runs the machine. It dies with this process, however that ends.
func (m *Machine) Start() (*Process, error) {
	if _, err := exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("%s is not installed (package qemu-system-x86): %w", program, err)
	}
	if n := len(m.AgentSocket()); n > 104 {
		return nil, fmt.Errorf("the path %s is too long for a socket; set XDG_RUNTIME_DIR to a shorter directory", m.AgentSocket())
	}
	args, err := m.arguments()
	if err != nil {
		return nil, err
	}
	for _, s := range []string{m.ConsoleSocket(), m.AgentSocket(), m.ControlSocket()} {
		_ = os.Remove(s)
	}
	for _, n := range m.NICs {
		_ = os.Remove(n.Local)
	}
	p := &Process{Machine: m, done: make(chan struct{}), cmd: exec.Command(program, args...)}
	p.cmd.Stderr = &p.stderr
	// A group of its own: Ctrl-C is ours to handle, and in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := spawn(p.cmd); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	p.Started = time.Now()
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// spawner starts processes from one thread that lives as long as this process: Linux counts PR_SET_PDEATHSIG from the end
// of the thread that forked, not of the process.
var spawner = func() chan func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
}()

func spawn(cmd *exec.Cmd) error {
	result := make(chan error)
	spawner <- func() { result <- cmd.Start() }
	return <-result
}

// PID of the emulator.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the machine is off.
func (p *Process) Done() <-chan struct{} { return p.done }

// Why the machine is off, as far as the emulator says.
func (p *Process) Why() string {
	<-p.done
	if text := strings.TrimSpace(p.stderr.String()); text != "" {
		return text
	}
	if p.err != nil {
		return p.err.Error()
	}
	return "powered off"
}

// Kill cuts the power and waits.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // or it is over already
	<-p.done
}

// PressPower presses the power button.
func (p *Process) PressPower() error { return p.control("system_powerdown") }

// control runs one QMP command (docs/interop/qmp-spec of QEMU).
func (p *Process) control(command string) error {
	conn, err := net.Dial("unix", p.Machine.ControlSocket())
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(conn)
	for _, c := range []string{"", "qmp_capabilities", command} {
		if c != "" {
			if _, err := fmt.Fprintf(conn, "{\"execute\":%q}\n", c); err != nil {
				return err
			}
		}
		for { // the greeting, or the answer among events
			line, err := r.ReadBytes('\n')
			if err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
			var m struct {
				QMP, Return json.RawMessage
				Error       *struct{ Desc string }
			}
			if err := json.Unmarshal(line, &m); err != nil {
				return err
			}
			if m.Error != nil {
				return errors.New(m.Error.Desc)
			}
			if m.QMP != nil || m.Return != nil {
				break
			}
		}
	}
	return nil
}

// RSS is the host memory that the machine takes, in bytes.
func (p *Process) RSS() int64 { return residentSize(p.PID()) }

// residentSize is the memory that a process takes, in bytes.
func residentSize(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
