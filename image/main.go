package image

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Main is `felloe image`: it returns the process's exit code.
func Main(args []string) int { return run(args, os.Stdout, os.Stderr) }

const usage = `usage: felloe image build [-o DIR] [-binary FILE] [-cache DIR] [-no-disk]
       felloe image config FILE.toml -o DISK
build makes DIR/felloe.vmlinuz, DIR/felloe.initrd and DIR/felloe.qcow2 (DIR: build).
config makes a disk that a router finds its configuration on.
`

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	var err error
	switch args[0] {
	case "build":
		err = buildCommand(args[1:], stdout, stderr)
	case "config":
		err = configCommand(args[1:], stdout, stderr)
	default:
		fmt.Fprint(stderr, usage)
		return 2
	}
	if err == flag.ErrHelp {
		return 2
	}
	if err != nil {
		fmt.Fprintln(stderr, "felloe image:", err)
		return 1
	}
	return 0
}

func buildCommand(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("image build", flag.ContinueOnError)
	fs.SetOutput(stderr)
	self, _ := os.Executable()
	o := Options{}
	fs.StringVar(&o.Dir, "o", "build", "directory of the results")
	fs.StringVar(&o.Binary, "binary", self, "static binary that becomes PID 1")
	fs.StringVar(&o.Cache, "cache", "", "directory of downloaded packages (default DIR/cache)")
	fs.BoolVar(&o.NoDisk, "no-disk", false, "make only the kernel and the initramfs")
	if err := fs.Parse(args); err != nil {
		return flag.ErrHelp
	}
	start := time.Now()
	o.Say = func(format string, a ...any) {
		fmt.Fprintf(stdout, "  %5.1fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, a...))
	}
	return Build(o)
}

// Options say what Build makes and from what.
type Options struct {
	Dir    string // results
	Cache  string // downloaded packages, default Dir/cache
	Binary string // PID 1
	NoDisk bool
	Say    func(format string, a ...any) // progress
}

// Build makes the kernel, the initramfs and the disk.
func Build(o Options) error {
	if o.Cache == "" {
		o.Cache = filepath.Join(o.Dir, "cache")
	}
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	binary, err := os.ReadFile(o.Binary)
	if err != nil {
		return err
	}
	if err := checkStatic(o.Binary, binary); err != nil {
		return err
	}
	deb, err := fetchKernel(o.Cache, o.Say)
	if err != nil {
		return err
	}
	o.Say("unpacking %s", filepath.Base(deb))
	k, err := readKernel(deb)
	if err != nil {
		return err
	}
	modules, err := selectModules(k, wantedModules)
	if err != nil {
		return err
	}
	initrd, err := buildInitrd(initrdEntries(binary, k.Release, modules))
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(o.Dir, "felloe.vmlinuz"), k.Vmlinuz); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(o.Dir, "felloe.initrd"), initrd); err != nil {
		return err
	}
	o.Say("felloe.vmlinuz %s (Linux %s), felloe.initrd %s (binary %s, %d modules)",
		mib(len(k.Vmlinuz)), k.Release, mib(len(initrd)), mib(len(binary)), len(modules))
	if o.NoDisk {
		return nil
	}
	return buildDisk(o, k.Vmlinuz, initrd)
}

// writeFile replaces a file in one step, so that a reader never sees half of it.
func writeFile(name string, data []byte) error {
	tmp := name + ".new"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

func mib(n int) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
