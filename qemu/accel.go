package qemu

import (
	"os"
	"regexp"
	"strings"
	"time"
)

// virtualization are the flags of a CPU that can run virtual machines by itself.
var virtualization = regexp.MustCompile(`(?m)^flags\s*:.*\b(vmx|svm)\b`)

// probeTime is ample: a kernel that really runs on the CPU is there in a second.
const probeTime = 20 * time.Second

// chooseAccel takes KVM only where it truly works. /dev/kvm may be there and even make machines where a stock kernel
// then hangs or dies, so the last word has a probe: a machine that boots to our PID 1, which says so and ends.
func chooseAccel(kernel, initrd, dir string) string {
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !virtualization.Match(cpuinfo) {
		return "tcg"
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return "tcg"
	}
	f.Close()
	if !probe(&Machine{Name: "probe", Dir: dir, Accel: "kvm", Memory: 128, Kernel: kernel, Initrd: initrd, Append: "-- --probe", Once: true}) {
		return "tcg"
	}
	return "kvm"
}

func probe(m *Machine) bool {
	defer func() {
		for _, f := range []string{m.ConsoleSocket(), m.ConsoleLog(), m.AgentSocket(), m.ControlSocket()} {
			_ = os.Remove(f)
		}
	}()
	p, err := m.Start()
	if err != nil {
		return false
	}
	select {
	case <-p.Done():
	case <-time.After(probeTime):
		p.Kill()
		return false
	}
	log, err := os.ReadFile(m.ConsoleLog())
	return err == nil && strings.Contains(string(log), "felloe: probe")
}
