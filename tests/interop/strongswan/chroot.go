package strongswan

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"felloe/tests/interop/matrix"
)

// trixiePackages are what the host needs to make the folder with Debian trixie's strongSwan.
var trixiePackages = append([]string{"mmdebstrap", "util-linux"}, packages...)

// trixieRoot makes the folder unless it is there: the same that the lab qemu/labs/secure-overlay makes and uses.
func trixieRoot(r *matrix.Run) string {
	cache := filepath.Dir(r.Cache())
	cmd := exec.CommandContext(r.Context(), "sh", "qemu/labs/secure-overlay/client.sh", "prepare")
	cmd.Env = append(os.Environ(), "FELLOE_CACHE="+cache, "FELLOE_LAB_DIR="+r.Dir(), "LAB_RAW=yes")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Fatalf("Debian trixie's strongSwan: %v\n%s", err, out)
	}
	return filepath.Join(cache, "strongswan-trixie")
}

// inTrixie has a command run in that folder, where these folders of the host are too. The mounts are its own.
func inTrixie(r *matrix.Run, folders, env, args []string) []string {
	root := trixieRoot(r)
	script := "set -e\n"
	for _, f := range folders {
		if err := os.MkdirAll(root+f, 0o755); err != nil {
			r.Fatalf("%v", err)
		}
		script += "mount --bind " + f + " " + root + f + "\n"
	}
	script += "mount --bind /dev " + root + "/dev\nmount -t proc proc " + root + "/proc\n" +
		"mount -t tmpfs run " + root + "/run\n" +
		"exec chroot " + root + " env " + strings.Join(append(env, args...), " ")
	return []string{"unshare", "-m", "--propagation", "private", "bash", "-c", script}
}
