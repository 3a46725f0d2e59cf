package image

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// CommandLine is what the kernel is told, on a disk and in a lab: quiet until PID 1, and a reboot rather than a halt if
// the kernel itself fails. What was unpacked may take all of the memory (ramfs), not half of it. The CPU is trusted for
// entropy: a router without it could not make keys at boot.
const CommandLine = "quiet panic=5 rootfstype=ramfs random.trust_cpu=on mitigations=auto"

// On a disk the screen and the serial line both are consoles; the last is the preferred one.
const diskConsoles = " console=tty1 console=ttyS0,115200"

const (
	firstSector   = 2048 // of the partition: 1 MiB, as every partitioner does
	gptBackup     = 33   // sectors of the second table at the disk's end
	legacyBootBit = 1 << 2
	bootLabel     = "FELLOEBOOT" // not FELLOE: that is a configuration's
)

// buildDisk makes felloe.qcow2.
func buildDisk(o Options, vmlinuz, initrd []byte) error {
	parts, err := fetchLoaders(o)
	if err != nil {
		return err
	}
	raw, err := os.CreateTemp(o.Dir, "disk-*.raw")
	if err != nil {
		return err
	}
	defer os.Remove(raw.Name())
	defer raw.Close()
	size, err := writeDisk(raw, parts, vmlinuz, initrd)
	if err != nil {
		return err
	}
	name := filepath.Join(o.Dir, "felloe.qcow2")
	out, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	defer out.Close()
	if err := writeQcow2(out, raw, size); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	if st, err := os.Stat(name); err == nil {
		o.Say("felloe.qcow2 %s (UEFI and BIOS)", mib(int(st.Size())))
	}
	return nil
}

// loaders are the boot loaders' files.
type loaders struct {
	efi        []byte // systemd-boot
	mbr        []byte // finds the bootable partition of a GPT
	bootSector []byte
	ldlinuxSys []byte
	ldlinuxC32 []byte
}

func fetchLoaders(o Options) (*loaders, error) {
	const (
		efiFile = "lib/systemd/boot/efi/systemd-bootx64.efi"
		mbrFile = "lib/syslinux/mbr/gptmbr.bin"
		c32File = "lib/syslinux/modules/bios/ldlinux.c32"
		insFile = "bin/syslinux"
	)
	got := map[string][]byte{}
	for _, p := range []struct {
		name  string
		files []string
	}{{efiPackage, []string{efiFile}}, {biosPackage, []string{mbrFile, c32File}}, {biosInstaller, []string{insFile}}} {
		deb, err := fetch(o.Cache, p.name, o.Say)
		if err != nil {
			return nil, err
		}
		files, err := debFiles(deb, p.files...)
		if err != nil {
			return nil, err
		}
		for n, b := range files {
			got[n] = b
		}
	}
	l := &loaders{efi: got[efiFile], mbr: got[mbrFile], ldlinuxC32: got[c32File]}
	var err error
	l.bootSector, l.ldlinuxSys, err = ldlinux(got[insFile])
	return l, err
}

// writeDisk lays out the raw disk and returns its size.
func writeDisk(raw *os.File, l *loaders, vmlinuz, initrd []byte) (int64, error) {
	files := []fatFile{
		// First, so that it lies in one piece at the front, where every BIOS can read.
		{"/ldlinux.sys", make([]byte, len(l.ldlinuxSys)+(advSectors+1)*sectorSize)},
		{"/ldlinux.c32", l.ldlinuxC32},
		{"/syslinux.cfg", []byte("DEFAULT felloe\nPROMPT 0\nTIMEOUT 0\nLABEL felloe\n  LINUX /felloe/vmlinuz\n  INITRD /felloe/initrd\n  APPEND " +
			CommandLine + diskConsoles + "\n")},
		{"/EFI/BOOT/BOOTX64.EFI", l.efi},
		{"/loader/loader.conf", []byte("timeout 0\neditor no\n")},
		{"/loader/entries/felloe.conf", []byte("title Felloe\nlinux /felloe/vmlinuz\ninitrd /felloe/initrd\noptions " +
			CommandLine + diskConsoles + "\n")},
		{"/felloe/vmlinuz", vmlinuz},
		{"/felloe/initrd", initrd},
	}
	content := 0
	for _, f := range files {
		content += len(f.Data)
	}
	// Room for the tables and for a larger successor; a hole in the image costs nothing.
	const step = 16 << 20
	volume := max((int64(content)*5/4+step)/step*step, 4*step)
	size := firstSector*sectorSize + volume + 1<<20
	if err := raw.Truncate(size); err != nil {
		return 0, err
	}
	start := int64(firstSector * sectorSize)
	if err := makeFAT(raw, start, volume, bootLabel, files); err != nil {
		return 0, err
	}
	if err := installSyslinux(raw, start, l.bootSector, l.ldlinuxSys); err != nil {
		return 0, err
	}
	sum := sha256.New()
	for _, f := range files {
		sum.Write(f.Data)
	}
	id := sum.Sum(nil)
	table := &gpt.Table{
		LogicalSectorSize: sectorSize, PhysicalSectorSize: sectorSize, ProtectiveMBR: true,
		GUID: guid(id[:16]),
		Partitions: []*gpt.Partition{{
			Index: 1, Start: firstSector, End: uint64(firstSector + volume/sectorSize - 1), Size: uint64(volume),
			Type: gpt.EFISystemPartition, Name: "felloe", GUID: guid(id[16:]), Attributes: legacyBootBit,
		}},
	}
	if err := table.Write(raw, size); err != nil {
		return 0, fmt.Errorf("image: partition table: %w", err)
	}
	if _, err := raw.WriteAt(l.mbr[:min(len(l.mbr), 440)], 0); err != nil {
		return 0, err
	}
	return size, nil
}

// guid makes an identifier of the content's hash: unique enough, and the same for the same content.
func guid(b []byte) string {
	v := append([]byte(nil), b...)
	v[6] = v[6]&0x0f | 0x80 // RFC 9562 version 8, custom
	v[8] = v[8]&0x3f | 0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", v[0:4], v[4:6], v[6:8], v[8:10], v[10:16])
}

var _ io.WriterAt = (*os.File)(nil)
