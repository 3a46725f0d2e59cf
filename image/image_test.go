package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"felloe/boot/disk"

	"github.com/klauspost/compress/zstd"
)

// elfModule is the least that debug/elf reads: an x86-64 object with a .modinfo section.
func elfModule(info ...string) []byte {
	text := strings.Join(info, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	le := binary.LittleEndian
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 1)  // relocatable
	le.PutUint16(b[18:], 62) // x86-64
	le.PutUint32(b[20:], 1)
	infoAt := len(b)
	b = append(b, text...)
	namesAt := len(b)
	b = append(b, names...)
	le.PutUint64(b[40:], uint64(len(b)))
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[58:], 64)
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2)
	section := func(name, kind uint32, at, size int) {
		s := make([]byte, 64)
		le.PutUint32(s, name)
		le.PutUint32(s[4:], kind)
		le.PutUint64(s[24:], uint64(at))
		le.PutUint64(s[32:], uint64(size))
		b = append(b, s...)
	}
	section(0, 0, 0, 0)
	section(1, 1, infoAt, len(text))
	section(10, 3, namesAt, len(names))
	return b
}

func testKernel() *kernel {
	return &kernel{
		Release: "6.1.0-test", Vmlinuz: bytes.Repeat([]byte("kernel"), 5000), Builtin: "kernel/fs/nls.ko\n",
		Modules: map[string][]byte{
			"kernel/drivers/net/virtio_net.ko":     elfModule("depends=net_failover,virtio,nls", "alias=virtio:d00000001v*"),
			"kernel/drivers/net/net_failover.ko":   elfModule("depends=failover"),
			"kernel/net/core/failover.ko":          elfModule("depends="),
			"kernel/drivers/virtio/virtio.ko":      elfModule("license=GPL"),
			"kernel/drivers/char/hw/virtio-rng.ko": elfModule("depends=virtio", "alias=virtio:d00000004v*"),
			"kernel/drivers/net/other.ko":          elfModule("depends=nowhere"),
		},
	}
}

func TestModulesBringAlongWhatTheyNeedAndNothingElse(t *testing.T) {
	got, err := selectModules(testKernel(), []string{"virtio_net", "virtio_rng", "nls", "absent"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range got {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	if s := strings.Join(names, " "); s != "failover net_failover virtio virtio_net virtio_rng" {
		t.Error(s)
	}
	dep, alias := moduleTables(got)
	if !strings.Contains(dep, "kernel/drivers/net/virtio_net.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko\n") {
		t.Error(dep)
	}
	if !strings.Contains(alias, "alias virtio:d00000004v* virtio_rng\n") {
		t.Error(alias)
	}
	if _, err := selectModules(testKernel(), []string{"other"}); err == nil || !strings.Contains(err.Error(), "other needs nowhere") {
		t.Errorf("a missing dependency: %v", err)
	}
}

// cpioNames reads an archive back: name -> mode and size.
func cpioNames(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	for at := 0; ; {
		if string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at %d", at)
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		mode, size, nameLen := field(1), field(6), field(11)
		name := string(b[at+110 : at+110+nameLen-1])
		if name == "TRAILER!!!" {
			return out
		}
		out = append(out, fmt.Sprintf("%s %o %d", name, mode, size))
		at = (at + 110 + nameLen + 3) &^ 3
		at = (at + size + 3) &^ 3
	}
}

func TestTheInitramfsIsAWholeArchiveAndTheSameEveryTime(t *testing.T) {
	modules, err := selectModules(testKernel(), []string{"virtio_net"})
	if err != nil {
		t.Fatal(err)
	}
	build := func() []byte {
		b, err := buildInitrd(initrdEntries([]byte("binary"), "6.1.0-test", modules))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := build()
	if !bytes.Equal(first, build()) {
		t.Error("the same inputs gave other bytes")
	}
	z, err := zstd.NewReader(bytes.NewReader(bytes.TrimRight(first, "\x00")))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	names := cpioNames(t, plain)
	for _, want := range []string{"init 100755 6", "dev/console 20600 0", "lib/modules/6.1.0-test/kernel/net 40755 0"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %q in %q", want, names)
		}
	}
	if !slices.IsSorted(names) {
		t.Error("directories must come before what is in them")
	}
}

// testLoaders has an installer's shape: sector, file, ELF object.
func testLoaders(t *testing.T) *loaders {
	t.Helper()
	sector := make([]byte, sectorSize)
	copy(sector, "\xeb\x58\x90SYSLINUX")
	sector[510], sector[511] = 0x55, 0xaa
	sys := bytes.Repeat([]byte{0x90}, 40*sectorSize)
	copy(sys, "\r\nSYSLINUX 6.04 \x00\r\n\x1a")
	le := binary.LittleEndian
	le.PutUint32(sys[24:], ldlinuxMagic)
	le.PutUint16(sys[24+22:], 100) // extended area
	for i, v := range []uint16{200, 0, 0, 0, 0, 220, 16, 300, 306, 0} {
		le.PutUint16(sys[100+2*i:], v)
	}
	installer := slices.Concat(make([]byte, 777), sector, sys, []byte("\x7fELF\x01\x01\x01"), make([]byte, 300))
	gotSector, gotSys, err := ldlinux(installer)
	if err != nil || !bytes.Equal(gotSector, sector) || !bytes.Equal(gotSys, sys) {
		t.Fatalf("the loader is not found in its installer: %v", err)
	}
	return &loaders{efi: []byte("MZ efi"), mbr: bytes.Repeat([]byte{0xcc}, 440), bootSector: gotSector, ldlinuxSys: gotSys, ldlinuxC32: []byte("c32")}
}

func TestTheBootDiskIsTheSameEveryTimeAndCarriesBothLoaders(t *testing.T) {
	k := testKernel()
	build := func() []byte {
		f, err := os.Create(filepath.Join(t.TempDir(), "raw"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := writeDisk(f, testLoaders(t), k.Vmlinuz, []byte("initrd")); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := build()
	if !bytes.Equal(b, build()) {
		t.Error("the same inputs gave other bytes")
	}
	if b[0] != 0xcc || b[510] != 0x55 || b[450] != 0xee || string(b[512:520]) != "EFI PART" {
		t.Error("no boot code, protective MBR or GPT")
	}
	le := binary.LittleEndian
	volume := b[firstSector*sectorSize:]
	if string(volume[3:11]) != "SYSLINUX" || le.Uint32(volume[28:]) != firstSector || !bytes.Equal(volume[:sectorSize], volume[6*sectorSize:7*sectorSize]) {
		t.Error("the boot sector, or its copy, is not the loader's")
	}
	// The boot sector points at the first sector of a file whose words add up.
	sys := volume[int(le.Uint32(volume[300:]))*sectorSize:]
	words := le.Uint32(sys[24+12:])
	sum := uint32(0)
	for i := range words {
		sum += le.Uint32(sys[4*i:])
	}
	if words != 40*sectorSize/4 || sum != ldlinuxMagic {
		t.Errorf("ldlinux.sys: %d words, sum %x", words, sum)
	}
	first := le.Uint64(sys[220:])
	if count := le.Uint16(sys[228:]); first != uint64(le.Uint32(volume[300:])+1) || count != 39 {
		t.Errorf("first extent %d+%d", first, count)
	}
	if adv := volume[le.Uint64(sys[200:])*sectorSize:]; le.Uint32(adv) != 0x5a2d2fa5 {
		t.Error("no data area behind ldlinux.sys")
	}
}

func TestExtentsOfTheLoaderDoNotCrossSixtyFourKiB(t *testing.T) {
	var sectors []uint64
	for i := range uint64(200) {
		sectors = append(sectors, 1000+i)
	}
	sectors[150] = 5000
	got := sectorExtents(sectors)
	want := []extent{{1000, 64}, {1064, 86}, {5000, 1}, {1151, 41}, {1192, 8}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAQcow2HoldsTheDiskWithoutItsHoles(t *testing.T) {
	raw := make([]byte, 700<<20>>3) // 87.5 MiB: not a multiple of what one table covers
	for _, at := range []int{0, 65535, 65536 * 3, 65536*800 + 5, len(raw) - 1} {
		raw[at] = byte(at%250) + 1
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "q"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := writeQcow2(f, bytes.NewReader(raw), int64(len(raw))); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	got := make([]byte, len(raw))
	for i := range (len(raw) + qcowCluster - 1) / qcowCluster {
		l2 := be.Uint64(b[be.Uint64(b[40:])+uint64(8*(i/qcowL2Entries)):]) &^ qcowCopied
		if at := be.Uint64(b[l2+uint64(8*(i%qcowL2Entries)):]) &^ qcowCopied; at != 0 {
			copy(got[i*qcowCluster:], b[at:at+qcowCluster])
		}
	}
	if !bytes.Equal(got, raw) || be.Uint64(b[24:]) != uint64(len(raw)) {
		t.Error("what is read back differs")
	}
	if len(b) > 10*qcowCluster {
		t.Errorf("%d bytes for 4 clusters of data", len(b))
	}
}

func TestAConfigurationDiskCarriesWhatTheConfigurationNames(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const text = `hostname = "Hub"
[ikev2.keyring.K.peer.any]
pre-shared-key = { local = { file = "keys/local.txt" }, remote = { file = "remote.txt" } }
[pki.trustpoint.CA]
ca = "pki/ca.pem"
`
	put("hub.toml", text)
	put("keys/local.txt", "one")
	put("remote.txt", "two")
	put("extra.pem", "three")
	put("pki/ca.pem", "four")
	out := filepath.Join(dir, "hub.img")
	var say, complain strings.Builder
	if code := run([]string{"config", filepath.Join(dir, "hub.toml"), "-o", out, filepath.Join(dir, "extra.pem")}, &say, &complain); code != 0 {
		t.Fatal(code, complain.String())
	}
	v, err := disk.Find([]string{out})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{v.Config: text, "keys/local.txt": "one", "remote.txt": "two", "extra.pem": "three", "pki/ca.pem": "four"} {
		if string(v.Files[name]) != want {
			t.Errorf("%s: %q", name, v.Files[name])
		}
	}
	first, _ := os.ReadFile(out)
	if err := WriteConfigDisk(out, filepath.Join(dir, "hub.toml"), filepath.Join(dir, "extra.pem")); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(out); !bytes.Equal(first, second) {
		t.Error("the same inputs gave other bytes")
	}

	put("away.toml", `interface.Tunnel0.nhrp.authentication = { file = "../secret" }`)
	put("missing.toml", `bgp.neighbor."10.0.0.1".password = { file = "absent.txt" }`)
	put("broken.toml", `hostname = "`)
	if err := WriteConfigDisk(out, filepath.Join(dir, "away.toml")); err == nil || !strings.Contains(err.Error(), "lies elsewhere") {
		t.Errorf("a file elsewhere: %v", err)
	}
	if err := WriteConfigDisk(out, filepath.Join(dir, "missing.toml")); err == nil || !strings.Contains(err.Error(), "absent.txt") {
		t.Errorf("a missing file: %v", err)
	}
	if err := WriteConfigDisk(out, filepath.Join(dir, "broken.toml")); err != nil {
		t.Errorf("a broken configuration is the router's to report: %v", err)
	}
}

// makeDeb writes a package with one control field and files.
func makeDeb(t *testing.T, file, depends string, content map[string]string) {
	t.Helper()
	archive := func(content map[string]string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		for name, text := range content {
			_ = w.WriteHeader(&tar.Header{Name: "./" + name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))})
			_, _ = io.WriteString(w, text)
		}
		w.Close()
		z.Close()
		return b.Bytes()
	}
	out := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", archive(map[string]string{"control": "Package: x\nDepends: " + depends + "\n"})},
		{"data.tar.gz", archive(content)}} {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m.name, 0, 0, 0, "100644", len(m.data), m.data)
		if len(out)%2 == 1 {
			out = append(out, '\n')
		}
	}
	if err := os.WriteFile(file, out, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheKernelBehindTheMetaPackageIsUnpacked(t *testing.T) {
	cache := t.TempDir()
	makeDeb(t, filepath.Join(cache, kernelPackage+"_6_amd64.deb"), "linux-base, linux-image-6.1.0-9-cloud-amd64 (= 6.1)", nil)
	makeDeb(t, filepath.Join(cache, "linux-image-6.1.0-9-cloud-amd64_6.1_amd64.deb"), "", map[string]string{
		"boot/vmlinuz-6.1.0-9-cloud-amd64":                                             "MZ kernel",
		"usr/lib/modules/6.1.0-9-cloud-amd64/modules.builtin":                          "kernel/fs/nls.ko\n",
		"usr/lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/net/virtio_net.ko":         "module",
		"usr/lib/modules/6.1.0-9-cloud-amd64/kernel/sound/not-of-a-virtual-machine.ko": "noise",
	})
	deb, err := fetchKernel(cache, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	k, err := readKernel(deb)
	if err != nil {
		t.Fatal(err)
	}
	if k.Release != "6.1.0-9-cloud-amd64" || string(k.Vmlinuz) != "MZ kernel" || len(k.Modules) != 1 || k.Builtin == "" {
		t.Errorf("%+v", k)
	}
}

func TestOnlyAStaticBinaryBecomesPID1(t *testing.T) {
	if err := checkStatic("x", []byte("#!/bin/sh")); err == nil {
		t.Error("a script was accepted")
	}
	if err := checkStatic("x", elfModule()); err != nil {
		t.Error(err)
	}
}
