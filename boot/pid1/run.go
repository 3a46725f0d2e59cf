package pid1

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"felloe/boot/disk"
	"felloe/boot/pid1/supervisor"

	"golang.org/x/sys/unix"
)

// Outcome is what the machine does when the router has ended.
type Outcome int

const (
	PowerOff Outcome = iota
	Reboot
)

// ErrPower is the cause of the router's context when the power button was pressed or the hypervisor asked for it.
var ErrPower = errors.New("power button pressed")

// Machine is what Run found.
type Machine struct {
	// NICs in PCI order, up, without addresses.
	NICs []NIC
	// Config is the configuration disk's content; nil when ConfigErr says why there is none.
	Config    *disk.Volume
	ConfigErr error
	// ConfigPath is the configuration as a file, beside the other files of its disk, so that references by name resolve.
	ConfigPath string
	// Consoles are the terminals to serve, opened, in the kernel's order; the first is the one that messages go to.
	Consoles []*Console
	// Times are the boot's milestones.
	Times *Times
	// Warnings are what went wrong without being fatal, one line each.
	Warnings []string
}

// Active tells whether this process is the router of a machine of its own.
func Active() bool { return os.Getenv(supervisor.EnvBoot) != "" && os.Getppid() == 1 }

// orderlyEnd is how long the router may take to say goodbye before the machine goes anyway.
const orderlyEnd = 15 * time.Second

// Run prepares the machine, runs the router and ends the machine. It does not return.
func Run(router func(ctx context.Context, m *Machine) Outcome) {
	ctx, cancel := context.WithCancelCause(context.Background())
	m := prepare()
	go watchPower(ctx, func() { cancel(ErrPower) })
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	go func() { <-terminate; cancel(ErrPower) }()
	go func() {
		<-ctx.Done()
		time.Sleep(orderlyEnd)
		fmt.Fprintln(os.Stderr, "felloe: the router did not end in time; powering off")
		os.Exit(supervisor.ExitPowerOff)
	}()
	outcome := router(ctx, m)
	unix.Sync()
	if outcome == Reboot {
		os.Exit(supervisor.ExitReboot)
	}
	os.Exit(supervisor.ExitPowerOff)
}

func prepare() *Machine {
	m := &Machine{Times: newTimes(supervisedSince())}
	warn := func(err error) {
		if err != nil {
			m.Warnings = append(m.Warnings, err.Error())
		}
	}
	warn(mountAll())
	m.Times.Mark("mounts")
	warn(silence("/proc/sys"))
	warn(coldplug("/sys", loadedModules{}))
	m.Times.Mark("modules")
	m.NICs = waitNICs("/sys", nicWait)
	for _, n := range m.NICs {
		warn(linkUp(n.Name))
	}
	m.Times.Mark("nics")
	m.Config, m.ConfigErr = waitConfig(configWait)
	if m.Config != nil {
		m.ConfigPath, m.ConfigErr = m.Config.Save("/run/felloe")
	}
	m.Times.Mark("config")
	m.Consoles = openConsoles("/sys/class/tty/console/active")
	_ = os.RemoveAll(modulesRoot) // all devices are there: the rest of the modules would only fill memory
	limitMemory("/proc/meminfo")
	if time.Now().Year() < 2024 {
		m.Warnings = append(m.Warnings, "the clock says "+time.Now().Format(time.DateOnly)+": is there a real-time clock?")
	}
	return m
}

func supervisedSince() time.Duration {
	n, err := strconv.ParseInt(os.Getenv(supervisor.EnvBoot), 10, 64)
	if err != nil || n < 0 {
		return supervisor.SinceBoot()
	}
	return time.Duration(n)
}

// limitMemory keeps the collector below what the machine has, so that load makes it work harder before the kernel kills.
func limitMemory(meminfo string) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	b, err := os.ReadFile(meminfo)
	if err != nil {
		return
	}
	if avail := memAvailable(string(b)); avail > 0 {
		debug.SetMemoryLimit(avail / 100 * 80)
	}
}

// memAvailable reads MemAvailable, in bytes.
func memAvailable(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "MemAvailable:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err == nil && kb > 0 && kb < 1<<40 {
				return kb << 10
			}
		}
	}
	return 0
}
