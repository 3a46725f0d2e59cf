package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"
)

func mountAll() error {
	const safe = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	var errs []error
	for _, m := range []struct {
		kind, dir, options string
		flags              uintptr
	}{
		{"proc", "/proc", "", safe},
		{"sysfs", "/sys", "", safe},
		{"devtmpfs", "/dev", "mode=0755", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"tmpfs", "/run", "mode=0755,size=64m", safe},
	} {
		err := os.MkdirAll(m.dir, 0o755)
		if err == nil {
			err = unix.Mount(m.kind, m.dir, m.kind, m.flags, m.options)
		}
		if err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("cannot mount %s: %w", m.dir, err))
		}
	}
	return errors.Join(errs...)
}

// quiet are the kernel's settings that keep it from saying anything on a wire of ours. They are made before the first
// NIC's module is loaded, so no NIC ever sees others.
var quiet = []struct{ name, value string }{
	// A router's consoles are for people: only emergencies go there, the rest stays in the kernel's log.
	{"kernel/printk", "1 4 1 7"},
	// New namespaces begin with the kernel's defaults, not with ours: the loopback of GoBGP's arena needs IPv6.
	{"net/core/devconf_inherit_init_net", "2"},
	{"net/ipv6/conf/all/disable_ipv6", "1"},
	{"net/ipv6/conf/default/disable_ipv6", "1"},
	{"net/ipv6/conf/default/accept_ra", "0"},
	{"net/ipv4/ip_forward", "0"},
	{"net/ipv4/conf/all/arp_ignore", "8"},
	{"net/ipv4/conf/default/arp_ignore", "8"},
	{"net/ipv4/conf/all/arp_announce", "2"},
	{"net/ipv4/conf/default/arp_announce", "2"},
	{"net/ipv4/icmp_echo_ignore_all", "1"},
	{"net/ipv4/igmp_link_local_mcast_reports", "0"},
}

// silence applies quiet; a kernel without IPv6 has nothing to silence there.
func silence(root string) error {
	var errs []error
	for _, s := range quiet {
		err := os.WriteFile(filepath.Join(root, s.name), []byte(s.value), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cannot set %s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}

// sortedGlob is filepath.Glob in a fixed order, without the error that only a bad pattern makes.
func sortedGlob(pattern string) []string {
	found, _ := filepath.Glob(pattern)
	sort.Strings(found)
	return found
}
