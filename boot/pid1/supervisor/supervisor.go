package supervisor

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// Exit statuses of the router that mean something. Go's own crash is 2.
const (
	ExitPowerOff = 0
	ExitReboot   = 10
)

// EnvBoot tells the child that it runs under PID 1, and when PID 1 began: nanoseconds since the kernel started.
const EnvBoot = "FELLOE_BOOT"

const initPath = "/init"

// crashPause leaves the trace on the screen for a while; it also keeps a crash loop slow.
const crashPause = 5 * time.Second

func init() {
	if os.Getpid() == 1 && len(os.Args) > 0 && os.Args[0] == initPath {
		run()
	}
}

// SinceBoot is the time since the kernel started.
func SinceBoot() time.Duration {
	const clockBoottime = 7
	var ts syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0
	}
	return time.Duration(ts.Nano())
}

func run() {
	began := SinceBoot()
	if slices.Contains(os.Args, "--probe") { // a lab asks whether machines run here at all
		fmt.Println("felloe: probe")
		end("", syscall.LINUX_REBOOT_CMD_POWER_OFF, 0)
	}
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_CAD_OFF) // Ctrl-Alt-Del becomes SIGINT
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPWR)

	child, err := os.StartProcess(initPath, append([]string{initPath}, os.Args[1:]...), &os.ProcAttr{
		Dir:   "/",
		Env:   append(os.Environ(), EnvBoot+"="+strconv.FormatInt(int64(began), 10)),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		end(fmt.Sprintf("cannot start the router: %v", err), syscall.LINUX_REBOOT_CMD_RESTART, crashPause)
	}
	go func() {
		for range signals {
			_ = child.Signal(syscall.SIGTERM)
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			end(fmt.Sprintf("cannot wait for the router: %v", err), syscall.LINUX_REBOOT_CMD_RESTART, crashPause)
		}
		if pid == child.Pid && (status.Exited() || status.Signaled()) {
			end(verdict(status))
		}
	}
}

// verdict is what the router's end means for the machine.
func verdict(status syscall.WaitStatus) (why string, command int, pause time.Duration) {
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return "the router was killed (out of memory?)", syscall.LINUX_REBOOT_CMD_RESTART, crashPause
	case status.Signaled():
		return fmt.Sprintf("the router was killed by signal %d (%v)", int(status.Signal()), status.Signal()),
			syscall.LINUX_REBOOT_CMD_RESTART, crashPause
	case status.ExitStatus() == ExitPowerOff:
		return "", syscall.LINUX_REBOOT_CMD_POWER_OFF, 0
	case status.ExitStatus() == ExitReboot:
		return "", syscall.LINUX_REBOOT_CMD_RESTART, 0
	}
	return fmt.Sprintf("the router ended unexpectedly (exit status %d)", status.ExitStatus()),
		syscall.LINUX_REBOOT_CMD_RESTART, crashPause
}

// end says why, waits, and leaves the rest to the kernel. It does not return.
func end(why string, command int, pause time.Duration) {
	if why != "" {
		fmt.Fprintf(os.Stderr, "\r\nfelloe: %s; the machine restarts in %v\r\n", why, pause)
	}
	syscall.Sync()
	time.Sleep(pause)
	for {
		if err := syscall.Reboot(command); err != nil {
			fmt.Fprintf(os.Stderr, "felloe: reboot: %v\r\n", err)
		}
		time.Sleep(time.Second) // never return: the kernel would stop with "Attempted to kill init"
	}
}
