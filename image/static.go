package image

import (
	"bytes"
	"debug/elf"
	"fmt"
)

// checkStatic refuses a binary that could not run as PID 1 of a file system that holds nothing else.
func checkStatic(name string, data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s is not an ELF binary: %w", name, err)
	}
	if f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("%s is for %v, the image is for x86-64", name, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is dynamically linked; build it with CGO_ENABLED=0", name)
		}
	}
	return nil
}
