package peers

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Image says what a machine's image is made of.
type Image struct {
	Name     string
	Suite    string // Debian's
	Packages []string
}

// FRR is Debian trixie with FRR 10.3 (nhrpd knows authentication), strongSwan 6.0 and Linux 6.12.
var FRR = Image{Name: "frr", Suite: "trixie", Packages: []string{
	"frr", "strongswan-swanctl", "charon-systemd", "libcharon-extra-plugins", "libstrongswan-standard-plugins", "libstrongswan-extra-plugins",
}}

// Libreswan is Debian trixie with libreswan 5.2 and Linux 6.12. The package conflicts with strongSwan's.
var Libreswan = Image{Name: "libreswan", Suite: "trixie", Packages: []string{"libreswan"}}

//go:embed guest/recipe.sh
var recipe []byte

//go:embed guest/init
var guestInit []byte

//go:embed guest/agent
var guestAgent []byte

func (i Image) args() []string { return append([]string{i.Suite}, i.Packages...) }

// dir is where the image is kept: another recipe makes another image.
func (i Image) dir(cache string) string {
	h := sha256.New()
	h.Write(recipe)
	fmt.Fprintf(h, "%q", i.args())
	return filepath.Join(cache, i.Name+"-"+hex.EncodeToString(h.Sum(nil))[:12])
}

var making sync.Mutex

// Make makes the image unless it is there. It takes a minute or two and 300 megabytes.
func (i Image) Make(ctx context.Context, cache string, say func(string)) error {
	making.Lock()
	defer making.Unlock()
	dir := i.dir(cache)
	if _, err := os.Stat(filepath.Join(dir, "kernel")); err == nil {
		return nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	say(fmt.Sprintf("making the image %s: Debian %s with %s", i.Name, i.Suite, strings.Join(i.Packages, " ")))
	fresh := fmt.Sprintf("%s.%d", dir, os.Getpid())
	defer os.RemoveAll(fresh)
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-s", "--", fresh}, i.args()...)...)
	cmd.Stdin = strings.NewReader(string(recipe))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("image %s: %w\n%s", i.Name, err, tail(string(out), 30))
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	// Older recipes' images of this name are of no use any more.
	old, _ := filepath.Glob(filepath.Join(cache, i.Name+"-*"))
	for _, o := range old {
		if o != dir && !strings.Contains(filepath.Base(o), ".") {
			_ = os.RemoveAll(o)
		}
	}
	return nil
}
