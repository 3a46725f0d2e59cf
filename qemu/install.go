package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

var installing sync.Mutex

// MissingPackages are those Debian packages that are not installed; none where there is no dpkg.
func MissingPackages(ctx context.Context, packages ...string) (missing []string) {
	for _, p := range packages {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Status}", p).Output()
		if errors.Is(err, exec.ErrNotFound) {
			return nil // not a Debian: the commands will say what they miss
		}
		if !strings.Contains(string(out), "ok installed") {
			missing = append(missing, p)
		}
	}
	return missing
}

// InstallPackages installs the Debian packages that are missing. No daemon of theirs is started: they are for labs, not
// for the host. It is safe for concurrent use.
func InstallPackages(ctx context.Context, say Say, packages ...string) error {
	installing.Lock()
	defer installing.Unlock()
	missing := MissingPackages(ctx, packages...)
	if len(missing) == 0 {
		return nil
	}
	say("installing %s", strings.Join(missing, " "))
	// invoke-rc.d and deb-systemd-invoke ask this program whether they may start a service.
	const policy = "/usr/sbin/policy-rc.d"
	if f, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755); err == nil {
		_, err = f.WriteString("#!/bin/sh\nexit 101\n")
		defer os.Remove(policy)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	install := func() ([]byte, error) {
		args := append([]string{"-qq", "-o", "Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends"}, missing...)
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		return cmd.CombinedOutput()
	}
	out, err := install()
	if err != nil { // the lists may be old, or never fetched; the second try says what is wrong
		_ = exec.CommandContext(ctx, "apt-get", "-qq", "update").Run()
		out, err = install()
	}
	if err != nil {
		return fmt.Errorf("cannot install %s: %w\n%s", strings.Join(missing, " "), err, indent("", string(out[max(0, len(out)-2000):])))
	}
	return nil
}
