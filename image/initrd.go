package image

import (
	"bytes"

	"github.com/klauspost/compress/zstd"
)

// initrdEntries is everything that the root file system holds when the kernel hands over.
func initrdEntries(binary []byte, release string, modules []*module) []entry {
	dir := "lib/modules/" + release + "/"
	dep, alias := moduleTables(modules)
	entries := []entry{
		{Name: "init", Mode: modeReg | 0o755, Data: binary},
		// PID 1's first three descriptors are /dev/console, opened by the kernel before anything is mounted.
		{Name: "dev/console", Mode: modeChar | 0o600, Major: 5, Minor: 1},
		{Name: "dev/null", Mode: modeChar | 0o666, Major: 1, Minor: 3},
		{Name: "proc", Mode: modeDir | 0o555},
		{Name: "sys", Mode: modeDir | 0o555},
		{Name: "run", Mode: modeDir | 0o755},
		{Name: "tmp", Mode: modeDir | 0o1777},
		{Name: "etc", Mode: modeDir | 0o755},
		{Name: dir + "modules.dep", Mode: modeReg | 0o644, Data: []byte(dep)},
		{Name: dir + "modules.alias", Mode: modeReg | 0o644, Data: []byte(alias)},
	}
	for _, m := range modules {
		entries = append(entries, entry{Name: dir + m.Path, Mode: modeReg | 0o644, Data: m.Data})
	}
	return entries
}

// buildInitrd packs the entries as zstd-compressed newc.
func buildInitrd(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	// One encoder goroutine and a fixed level: the same bytes every time. The kernel's decoder wants a window of at most
	// 128 MiB and allocates it while unpacking, so a small machine prefers a small one.
	z, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBetterCompression),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(4<<20), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	if err := writeCpio(z, entries); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	// The kernel looks for further archives at four-byte boundaries: end on one.
	for out.Len()%4 != 0 {
		out.WriteByte(0)
	}
	return out.Bytes(), nil
}
