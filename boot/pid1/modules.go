package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const modulesRoot = "/lib/modules"

// moduleIndex is modules.dep and modules.alias of one kernel.
type moduleIndex struct {
	dir     string
	depends map[string][]string // file -> what it needs, the nearest first
	byName  map[string]string   // name -> file
	aliases []moduleAlias
}

type moduleAlias struct{ pattern, name string }

func readModuleIndex(root string) (*moduleIndex, error) {
	dirs := sortedGlob(filepath.Join(root, "*"))
	if len(dirs) == 0 {
		return nil, fmt.Errorf("no kernel modules under %s", root)
	}
	dep, err := os.ReadFile(filepath.Join(dirs[0], "modules.dep"))
	if err != nil {
		return nil, err
	}
	alias, err := os.ReadFile(filepath.Join(dirs[0], "modules.alias"))
	if err != nil {
		return nil, err
	}
	return parseModuleIndex(dirs[0], string(dep), string(alias)), nil
}

func parseModuleIndex(dir, dep, alias string) *moduleIndex {
	x := &moduleIndex{dir: dir, depends: map[string][]string{}, byName: map[string]string{}}
	for line := range strings.Lines(dep) {
		file, needs, ok := strings.Cut(line, ":")
		if ok {
			x.depends[file] = strings.Fields(needs)
			x.byName[strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")] = file
		}
	}
	for line := range strings.Lines(alias) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "alias" {
			x.aliases = append(x.aliases, moduleAlias{f[1], f[2]})
		}
	}
	return x
}

// match finds the modules that serve a device.
func (x *moduleIndex) match(modalias string) []string {
	var names []string
	for _, a := range x.aliases {
		// A modalias has no slash, so path.Match is fnmatch here.
		if ok, _ := path.Match(a.pattern, modalias); ok {
			names = append(names, a.name)
		}
	}
	return names
}

// order is a module's file and all that must be loaded before it, in the order of loading.
func (x *moduleIndex) order(name string) []string {
	file, ok := x.byName[name]
	if !ok {
		return nil
	}
	needs := x.depends[file]
	out := make([]string, 0, len(needs)+1)
	for i := len(needs) - 1; i >= 0; i-- {
		out = append(out, needs[i])
	}
	return append(out, file)
}

// loadedModules are the files that were loaded or that failed, so that each is tried once.
type loadedModules map[string]bool

// coldplug loads the modules of all devices that are there. A loaded bus driver makes new devices appear (virtio_pci:
// the devices on it), so it goes on until nothing new does.
func coldplug(sys string, loaded loadedModules) error {
	x, err := readModuleIndex(modulesRoot)
	if err != nil {
		return err
	}
	var errs []error
	seen := map[string]bool{}
	for again := true; again; {
		again = false
		for _, modalias := range modaliases(sys) {
			if seen[modalias] {
				continue
			}
			seen[modalias] = true
			for _, name := range x.match(modalias) {
				for _, file := range x.order(name) {
					if loaded[file] {
						continue
					}
					loaded[file], again = true, true
					if err := loadModule(filepath.Join(x.dir, file)); err != nil {
						errs = append(errs, err)
					}
				}
			}
		}
	}
	return errors.Join(errs...)
}

// modaliases are what the devices on the buses that matter say they are.
func modaliases(sys string) []string {
	var out []string
	for _, bus := range []string{"pci", "virtio", "vmbus", "acpi", "platform", "scsi"} {
		for _, f := range sortedGlob(filepath.Join(sys, "bus", bus, "devices", "*", "modalias")) {
			if b, err := os.ReadFile(f); err == nil {
				out = append(out, strings.TrimSpace(string(b)))
			}
		}
	}
	return out
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot load the kernel module %s: %w", filepath.Base(file), err)
	}
	return nil
}
