package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stateBase is where labs keep sockets and logs while they are up: short, private, gone after a reboot.
func stateBase() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return d
	}
	return os.TempDir()
}

func statePrefix() string { return fmt.Sprintf("felloe-%d-", os.Getuid()) }

// stateDir is a lab's directory with the lock of the process that owns it.
type stateDir struct {
	path string
	lock *os.File
}

const (
	lockName    = "lock"
	controlName = "control"
)

// ownDir makes a directory ours. What a process that is gone left under this name is removed first.
func ownDir(name string) (*stateDir, error) {
	path := filepath.Join(stateBase(), statePrefix()+name)
	for try := 0; ; try++ {
		lock, err := takeDir(path)
		switch {
		case err != nil && !errors.Is(err, errTaken):
			return nil, err
		case err == nil:
			bury(path)
			entries, err := os.ReadDir(path)
			for _, e := range entries {
				if err == nil && e.Name() != lockName {
					err = os.RemoveAll(filepath.Join(path, e.Name()))
				}
			}
			return &stateDir{path, lock}, err
		}
		// Somebody who removes dead labs' directories may hold it for a moment, and take it away: then it is made anew.
		if _, serr := os.Stat(filepath.Join(path, controlName)); serr == nil || try == 100 {
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// errTaken says that another process has the directory, or has just removed it.
var errTaken = errors.New("the lab is up already")

// takeDir makes a directory and takes its lock.
func takeDir(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (%s)", errTaken, path)
	}
	if err != nil || !st.IsDir() || st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is not a private directory", path)
	}
	lock, err := lockDir(path)
	if lock == nil && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		return nil, fmt.Errorf("%w (%s)", errTaken, path)
	}
	if err != nil {
		return nil, err
	}
	// The lock may be that of a directory that has been removed meanwhile.
	held, err := lock.Stat()
	now, serr := os.Stat(filepath.Join(path, lockName))
	if err != nil || serr != nil || !os.SameFile(held, now) {
		lock.Close()
		return nil, fmt.Errorf("%w (%s)", errTaken, path)
	}
	return lock, nil
}

// lockDir takes a directory's lock; nil without an error means that somebody else has it.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, nil
		}
		return nil, err
	}
	return f, nil
}

func (d *stateDir) release() {
	_ = os.RemoveAll(d.path)
	_ = d.lock.Close()
}

// upLabs are the names of labs that a living process owns. Directories of dead ones are removed on the way.
func upLabs() []string {
	var names []string
	dirs, _ := filepath.Glob(filepath.Join(stateBase(), statePrefix()+"*"))
	for _, d := range dirs {
		lock, err := lockDir(d)
		if err != nil {
			continue
		}
		if lock == nil {
			if _, err := os.Stat(filepath.Join(d, controlName)); err == nil {
				names = append(names, strings.TrimPrefix(filepath.Base(d), statePrefix()))
			}
			continue
		}
		bury(d)
		_ = os.RemoveAll(d)
		lock.Close()
	}
	buryNameless()
	return names
}

func controlSocket(name string) string {
	return filepath.Join(stateBase(), statePrefix()+name, controlName)
}
