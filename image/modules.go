package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"sort"
	"strings"
)

// wantedModules are those whose devices a virtual machine may have; what they depend on comes along.
var wantedModules = []string{
	"virtio_pci", "virtio_mmio", "virtio_net", "virtio_blk", "virtio_console", "virtio_rng", "virtio_scsi",
	"sd_mod", "sr_mod", "ata_piix", // disks and CD drives of other hypervisors
	"button",                                                                                 // the power button
	"vmxnet3", "ena", "gve", "hv_netvsc", "hv_storvsc", "mana", "ixgbevf", "e1000", "e1000e", // NICs of clouds
	"vmw_pvscsi", "nvme",
}

// candidate tells, by path, whether a module may be needed: keeps the memory of readKernel small.
func candidate(base string) bool {
	for _, dir := range []string{
		"kernel/drivers/virtio/", "kernel/drivers/net/", "kernel/drivers/block/", "kernel/drivers/char/",
		"kernel/drivers/scsi/", "kernel/drivers/ata/", "kernel/drivers/acpi/", "kernel/drivers/hv/",
		"kernel/drivers/input/", "kernel/drivers/ptp/", "kernel/drivers/nvme/", "kernel/drivers/cdrom/",
		"kernel/drivers/firmware/", "kernel/drivers/pps/", "kernel/drivers/pci/", "kernel/drivers/dca/", "kernel/net/core/", "kernel/lib/",
		"kernel/drivers/i2c/", "kernel/crypto/", "kernel/arch/x86/crypto/", "kernel/block/", "kernel/drivers/infiniband/core/",
	} {
		if strings.HasPrefix(base, dir) {
			return true
		}
	}
	return false
}

// module is what its .modinfo section says.
type module struct {
	Path    string // below lib/modules/RELEASE
	Name    string // with underscores
	Depends []string
	Aliases []string
	Data    []byte
}

func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

// parseModule reads the .modinfo section: NUL-separated key=value.
func parseModule(file string, data []byte) (*module, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("image: module %s: %w", file, err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("image: module %s has no .modinfo section", file)
	}
	info, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("image: module %s: %w", file, err)
	}
	m := &module{Path: file, Name: moduleName(file), Data: data}
	for _, kv := range strings.Split(string(info), "\x00") {
		switch k, v, _ := strings.Cut(kv, "="); k {
		case "depends":
			for _, d := range strings.Split(v, ",") {
				if d != "" {
					m.Depends = append(m.Depends, strings.ReplaceAll(d, "-", "_"))
				}
			}
		case "alias":
			m.Aliases = append(m.Aliases, v)
		}
	}
	sort.Strings(m.Aliases)
	return m, nil
}

// selectModules returns the wanted modules that the kernel has as files and everything they depend on, by path.
// A wanted module that is built into the kernel or that this kernel does not have at all is left out.
func selectModules(k *kernel, wanted []string) ([]*module, error) {
	byName := map[string]string{}
	for file := range k.Modules {
		byName[moduleName(file)] = file
	}
	builtin := map[string]bool{}
	for _, line := range strings.Fields(k.Builtin) {
		builtin[moduleName(line)] = true
	}
	chosen := map[string]*module{}
	var add func(name, neededBy string) error
	add = func(name, neededBy string) error {
		if chosen[name] != nil || builtin[name] {
			return nil
		}
		file, ok := byName[name]
		if !ok {
			if neededBy == "" {
				return nil
			}
			return fmt.Errorf("image: module %s needs %s, which the kernel package lacks", neededBy, name)
		}
		m, err := parseModule(file, k.Modules[file])
		if err != nil {
			return err
		}
		chosen[name] = m
		for _, d := range m.Depends {
			if err := add(d, name); err != nil {
				return err
			}
		}
		return nil
	}
	for _, w := range wanted {
		if err := add(w, ""); err != nil {
			return nil, err
		}
	}
	out := make([]*module, 0, len(chosen))
	for _, m := range chosen {
		out = append(out, m)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out, nil
}

// moduleTables renders modules.dep and modules.alias as depmod does in text: a module's line names everything it needs,
// the nearest first, so that loading goes from the end of the line to its beginning.
func moduleTables(modules []*module) (dep, alias string) {
	byName := map[string]*module{}
	for _, m := range modules {
		byName[m.Name] = m
	}
	var d, a strings.Builder
	for _, m := range modules {
		var order []string
		var visit func(m *module)
		seen := map[string]bool{m.Name: true}
		visit = func(m *module) {
			for _, name := range m.Depends {
				if n := byName[name]; n != nil && !seen[name] {
					seen[name] = true
					visit(n)
					order = append(order, n.Path) // what n needs stands before it
				}
			}
		}
		visit(m)
		d.WriteString(m.Path + ":")
		for i := len(order) - 1; i >= 0; i-- {
			d.WriteString(" " + order[i])
		}
		d.WriteByte('\n')
		for _, al := range m.Aliases {
			fmt.Fprintf(&a, "alias %s %s\n", al, m.Name)
		}
	}
	return d.String(), a.String()
}
