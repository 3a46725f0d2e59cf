package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// Packages that an image is made from.
const (
	kernelPackage = "linux-image-cloud-amd64" // a meta package: it depends on the newest kernel's
	efiPackage    = "systemd-boot-efi"
	biosPackage   = "syslinux-common"
	biosInstaller = "syslinux"
)

// fetch returns the file of a package in the cache, downloading it by name when it is not there.
func fetch(cache, name string, say func(string, ...any)) (string, error) {
	if f := cached(cache, name); f != "" {
		return f, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	say("fetching package %s", name)
	if out, err := aptDownload(cache, name); err != nil {
		return "", fmt.Errorf("image: cannot fetch the package %s (is apt-get there, and were the lists fetched with `apt-get update`?): %w: %s",
			name, err, lastLine(out))
	}
	if f := cached(cache, name); f != "" {
		return f, nil
	}
	return "", fmt.Errorf("image: apt-get downloaded %s, but %s holds no such file", name, cache)
}

func aptDownload(cache, name string) ([]byte, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, errors.New("apt-get not found")
	}
	// The sandbox user of apt cannot write into a private directory; downloads need no privilege of any user.
	cmd := exec.Command("apt-get", "-qq", "-o", "APT::Sandbox::User=", "download", name)
	cmd.Dir = cache
	return cmd.CombinedOutput()
}

// cached finds the newest file of a package: NAME_VERSION_ARCH.deb.
func cached(cache, name string) string {
	found, _ := filepath.Glob(filepath.Join(cache, name+"_*.deb"))
	if len(found) == 0 {
		return ""
	}
	sort.Slice(found, func(i, j int) bool {
		a, _ := os.Stat(found[i])
		b, _ := os.Stat(found[j])
		return a != nil && b != nil && a.ModTime().After(b.ModTime())
	})
	return found[0]
}

// fetchKernel resolves the real kernel package behind the meta package and returns its file.
func fetchKernel(cache string, say func(string, ...any)) (string, error) {
	meta, err := fetch(cache, kernelPackage, say)
	if err != nil {
		return "", err
	}
	depends, err := debField(meta, "Depends")
	if err != nil {
		return "", err
	}
	for _, d := range strings.Split(depends, ",") {
		name := strings.Fields(strings.TrimSpace(d) + " ")[0]
		if strings.HasPrefix(name, "linux-image-") {
			return fetch(cache, name, say)
		}
	}
	return "", fmt.Errorf("image: %s depends on no kernel package (Depends: %s)", meta, depends)
}

// kernel is what is taken from the kernel's package.
type kernel struct {
	Release string // 6.1.0-56-cloud-amd64
	Vmlinuz []byte
	Modules map[string][]byte // path below lib/modules/RELEASE, uncompressed
	Builtin string            // modules.builtin
}

// readKernel unpacks the package. Only wanted modules (by path) are kept; their dependencies are found among all.
func readKernel(deb string) (*kernel, error) {
	k := &kernel{Modules: map[string][]byte{}}
	err := walkDeb(deb, "data", func(name string, r io.Reader) error {
		if rel, ok := strings.CutPrefix(name, "boot/vmlinuz-"); ok {
			k.Release = rel
			b, err := io.ReadAll(r)
			k.Vmlinuz = b
			return err
		}
		rest, ok := strings.CutPrefix(name, "lib/modules/")
		if !ok {
			return nil
		}
		_, file, _ := strings.Cut(rest, "/")
		if file == "modules.builtin" {
			b, err := io.ReadAll(r)
			k.Builtin = string(b)
			return err
		}
		base, compressed, isModule := moduleFile(file)
		if !isModule || !candidate(base) {
			return nil
		}
		if compressed {
			var closer func()
			var err error
			if r, closer, err = decompress(file, r); err != nil {
				return err
			}
			defer closer()
		}
		b, err := io.ReadAll(r)
		k.Modules[base] = b
		return err
	})
	if err == nil && (k.Vmlinuz == nil || len(k.Modules) == 0) {
		err = fmt.Errorf("image: %s holds no kernel or no modules", deb)
	}
	return k, err
}

// moduleFile splits kernel/…/x.ko[.xz|.zst|.gz].
func moduleFile(file string) (base string, compressed, ok bool) {
	for _, suffix := range []string{"", ".xz", ".zst", ".gz"} {
		if b, found := strings.CutSuffix(file, suffix); found && strings.HasSuffix(b, ".ko") {
			return b, suffix != "", true
		}
	}
	return "", false, false
}

func lastLine(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(lines[len(lines)-1])
}
