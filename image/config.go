package image

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"felloe/boot/disk"
	"felloe/config"
)

// configDiskSize is the smallest round size that FAT16 accepts; a hole in the file costs nothing.
const configDiskSize = 8 << 20

func configCommand(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("image config", flag.ContinueOnError)
	fs.SetOutput(stderr)
	out := fs.String("o", "", "file of the disk")
	var names []string
	// Flags may stand before and after the file.
	for rest := args; ; {
		if err := fs.Parse(rest); err != nil {
			return flag.ErrHelp
		}
		if fs.NArg() == 0 {
			break
		}
		names, rest = append(names, fs.Arg(0)), fs.Args()[1:]
	}
	if *out == "" || len(names) == 0 {
		fmt.Fprint(stderr, usage)
		return flag.ErrHelp
	}
	if err := WriteConfigDisk(*out, names[0], names[1:]...); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: a FAT disk labelled %s with %s\n", *out, disk.Label, names[0])
	return nil
}

// WriteConfigDisk makes a configuration disk of a TOML file, of the files that it names beside itself, and of others.
func WriteConfigDisk(out, file string, others ...string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	files := []fatFile{{"/" + disk.ConfigName, text}}
	// A text that is not TOML names none: the disk is made all the same, since a router must be able to say what is wrong with it.
	for _, name := range config.NamedFiles(text) {
		clean := filepath.Clean(name)
		if filepath.IsAbs(clean) || strings.HasPrefix(clean, "..") {
			return fmt.Errorf("%s names the file %s, which lies elsewhere; a disk can only carry files beside its configuration", file, name)
		}
		b, err := os.ReadFile(filepath.Join(dir, clean))
		if err != nil {
			return fmt.Errorf("%s names a file that cannot be read: %w", file, err)
		}
		files = append(files, fatFile{"/" + filepath.ToSlash(clean), b})
	}
	for _, name := range others {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files = append(files, fatFile{"/" + filepath.Base(name), b})
	}
	// Into place at once: a disk is never seen half written.
	f, err := os.CreateTemp(filepath.Dir(out), filepath.Base(out)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Truncate(configDiskSize); err != nil {
		return err
	}
	if err := makeFAT(f, 0, configDiskSize, disk.Label, files); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}
