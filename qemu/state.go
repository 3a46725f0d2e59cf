package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	if st, err := os.Lstat(path); err != nil || !st.IsDir() || st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is not a private directory", path)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return nil, fmt.Errorf("the lab is up already (%s)", path)
	}
	bury(path)
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if err == nil && e.Name() != lockName {
			err = os.RemoveAll(filepath.Join(path, e.Name()))
		}
	}
	return &stateDir{path, lock}, err
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
