package pid1

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Console is a terminal that somebody may sit at.
type Console struct {
	Name string // ttyS0, hvc0, tty1
	*os.File
}

// openConsoles opens the terminals that the kernel's console goes to, the preferred one (the last console= of the
// command line) first. The kernel opened /dev/console for PID 1 before the modules of some of them were there.
func openConsoles(active string) []*Console {
	names := strings.Fields(readTrim(active))
	var out []*Console
	for i := len(names) - 1; i >= 0; i-- {
		name := names[i]
		if name == "tty0" {
			name = "tty1" // tty0 is whichever virtual terminal is shown
		}
		// Not opened in non-blocking mode: line editors read it like any terminal.
		f, err := os.OpenFile(filepath.Join("/dev", name), os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			continue
		}
		if err := saneTerminal(f); err != nil {
			f.Close()
			continue
		}
		out = append(out, &Console{Name: name, File: f})
	}
	return out
}

// saneTerminal sets what `stty sane` does: 8 bits, echo, line editing, CR and NL translated. The speed stays as the
// kernel's command line set it.
func saneTerminal(f *os.File) error {
	fd := int(f.Fd())
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag = unix.ICRNL | unix.IXON | unix.IUTF8 | unix.BRKINT
	t.Oflag = unix.OPOST | unix.ONLCR
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD | unix.HUPCL | unix.CLOCAL
	t.Lflag = unix.ISIG | unix.ICANON | unix.IEXTEN | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
