package supervisor

import (
	"syscall"
	"testing"
)

func TestTheRoutersEndDecidesWhatTheMachineDoes(t *testing.T) {
	exited := func(code int) syscall.WaitStatus { return syscall.WaitStatus(code << 8) }
	for _, c := range []struct {
		name    string
		status  syscall.WaitStatus
		command int
		says    bool
	}{
		{"an orderly end powers off", exited(ExitPowerOff), syscall.LINUX_REBOOT_CMD_POWER_OFF, false},
		{"a reload reboots", exited(ExitReboot), syscall.LINUX_REBOOT_CMD_RESTART, false},
		{"a panic reboots and is told", exited(2), syscall.LINUX_REBOOT_CMD_RESTART, true},
		{"a kill reboots and is told", syscall.WaitStatus(syscall.SIGKILL), syscall.LINUX_REBOOT_CMD_RESTART, true},
		{"a fault reboots and is told", syscall.WaitStatus(syscall.SIGSEGV), syscall.LINUX_REBOOT_CMD_RESTART, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			why, command, pause := verdict(c.status)
			if command != c.command || (why != "") != c.says || (pause > 0) != c.says {
				t.Errorf("verdict = %q, %x, %v", why, command, pause)
			}
		})
	}
}

func TestTheClockOfTheBootRuns(t *testing.T) {
	if SinceBoot() <= 0 {
		t.Error("no time since the kernel's start")
	}
}
