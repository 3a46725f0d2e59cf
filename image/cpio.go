package image

import (
	"fmt"
	"io"
	"path"
	"sort"
)

// Modes of an archive's entries, as in <sys/stat.h>.
const (
	modeDir  = 0o040000
	modeReg  = 0o100000
	modeChar = 0o020000
)

// entry is one name in an initramfs.
type entry struct {
	Name         string // without a leading slash
	Mode         uint32
	Major, Minor uint32 // of a device node
	Data         []byte
}

// writeCpio writes a newc archive: entries sorted by name with the directories above them, owned by root, times zero,
// inode numbers counted. Node numbers and modes are plain header fields, so a device node needs no privilege.
func writeCpio(w io.Writer, entries []entry) error {
	all := map[string]entry{}
	for _, e := range entries {
		all[e.Name] = e
		for d := path.Dir(e.Name); d != "."; d = path.Dir(d) {
			if _, ok := all[d]; !ok {
				all[d] = entry{Name: d, Mode: modeDir | 0o755}
			}
		}
	}
	names := make([]string, 0, len(all))
	for n := range all {
		names = append(names, n)
	}
	sort.Strings(names)
	cw := &counter{w: w}
	for i, n := range names {
		if err := writeCpioEntry(cw, uint32(i+1), all[n]); err != nil {
			return err
		}
	}
	return writeCpioEntry(cw, 0, entry{Name: "TRAILER!!!"})
}

func writeCpioEntry(w *counter, inode uint32, e entry) error {
	links := uint32(1)
	if e.Mode&modeDir != 0 {
		links = 2
	}
	// ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
	_, err := fmt.Fprintf(w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		inode, e.Mode, 0, 0, links, 0, len(e.Data), 0, 0, e.Major, e.Minor, len(e.Name)+1, 0, e.Name)
	if err != nil {
		return err
	}
	if err := w.align(4); err != nil {
		return err
	}
	if _, err := w.Write(e.Data); err != nil {
		return err
	}
	return w.align(4)
}

// counter counts what is written, for alignment.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func (c *counter) align(to int64) error {
	if pad := -c.n & (to - 1); pad > 0 {
		_, err := c.Write(make([]byte, pad))
		return err
	}
	return nil
}
