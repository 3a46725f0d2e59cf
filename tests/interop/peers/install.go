package peers

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

// HostPackages are what the harness itself needs, besides QEMU and mmdebstrap for machines.
var HostPackages = []string{"iproute2", "ethtool", "tcpdump", "iputils-ping", "traceroute", "nftables", "procps"}

// MachinePackages are what machines need: to make their image and to run.
var MachinePackages = []string{"qemu-system-x86", "mmdebstrap", "e2fsprogs", "cpio", "kmod", "gzip"}

// Install installs the Debian packages that are missing. No daemon of theirs is started: peers run only inside labs.
func Install(ctx context.Context, packages ...string) error {
	installing.Lock()
	defer installing.Unlock()
	var missing []string
	for _, p := range packages {
		out, _ := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Status}", p).Output()
		if !strings.Contains(string(out), "ok installed") {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	// invoke-rc.d and deb-systemd-invoke ask this program whether they may start a service.
	const policy = "/usr/sbin/policy-rc.d"
	if f, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755); err == nil {
		_, werr := f.WriteString("#!/bin/sh\nexit 101\n")
		if err := errors.Join(werr, f.Close()); err != nil {
			return err
		}
		defer os.Remove(policy)
	}
	install := func() ([]byte, error) {
		args := append([]string{"-qq", "-o", "Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends"}, missing...)
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		return cmd.CombinedOutput()
	}
	out, err := install()
	if err != nil { // the lists may be old, or never fetched
		_ = exec.CommandContext(ctx, "apt-get", "-qq", "update").Run()
		out, err = install()
	}
	if err != nil {
		return fmt.Errorf("cannot install %s: %w\n%s", strings.Join(missing, " "), err, tail(string(out), 20))
	}
	return nil
}

// PackageVersion is the upstream part of an installed package's version.
func PackageVersion(name string) string {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", name).Output()
	if err != nil {
		return "unknown"
	}
	return Upstream(string(out))
}

// Upstream takes Debian's epoch and revision off a version.
func Upstream(version string) string {
	v := strings.TrimSpace(version)
	if _, after, ok := strings.Cut(v, ":"); ok {
		v = after
	}
	if i := strings.LastIndexByte(v, '-'); i > 0 {
		v = v[:i]
	}
	v, _, _ = strings.Cut(v, "+")
	return v
}
