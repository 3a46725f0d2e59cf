package peers

import (
	"context"
	"os/exec"
	"strings"

	"felloe/qemu"
)

// HostPackages are what the harness itself needs, besides QEMU and mmdebstrap for machines.
var HostPackages = []string{"iproute2", "ethtool", "tcpdump", "iputils-ping", "traceroute", "nftables", "procps"}

// MachinePackages are what machines need: to make their image and to run.
var MachinePackages = []string{"qemu-system-x86", "mmdebstrap", "e2fsprogs", "cpio", "kmod", "gzip"}

// Install installs the Debian packages that are missing. No daemon of theirs is started: peers run only inside labs.
func Install(ctx context.Context, packages ...string) error {
	return qemu.InstallPackages(ctx, func(string, ...any) {}, packages...)
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
