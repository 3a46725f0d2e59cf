package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The BIOS half of the disk is SYSLINUX. Its two parts that must know where they lie, the boot sector and ldlinux.sys,
// come as data inside the installer of the package; here they are taken out, told the sectors of ldlinux.sys and written
// where they belong, which is what the installer would do to a mounted volume.
//
// The layouts below are those of SYSLINUX 6's libinstaller: a patch area that begins with a magic number, and an
// extended one that the first points to, with pointers relative to the start of ldlinux.sys.
const (
	ldlinuxMagic   = 0x3eb202fe
	ldlinuxLoad    = 0x8000 // where the boot sector loads the second sector of ldlinux.sys
	advSectors     = 2      // data that the loader may write, kept after the code
	bootCodeAt     = 90     // FAT32's boot sector has its code there, and FAT16's may
	bootCodeEnd    = 510
	bootHeadLength = 11 // jump and OEM name
)

// ldlinux finds the boot sector and ldlinux.sys in the installer: the sector stands right before the file, and
// ldlinux.c32, an ELF object, right after it.
func ldlinux(installer []byte) (bootSector, sys []byte, err error) {
	banner := []byte("\r\nSYSLINUX ")
	for start := 0; start < len(installer); start++ {
		if !bytes.HasPrefix(installer[start:], banner) || start < sectorSize ||
			installer[start-2] != 0x55 || installer[start-1] != 0xaa {
			continue
		}
		// e_ident of a little-endian 32-bit object, at the file's granularity.
		ident := []byte("\x7fELF\x01\x01\x01")
		for end := start + sectorSize; end < len(installer); end += sectorSize {
			if bytes.HasPrefix(installer[end:], ident) {
				return bytes.Clone(installer[start-sectorSize : start]), bytes.Clone(installer[start:end]), nil
			}
		}
	}
	return nil, nil, errors.New("image: cannot tell where ldlinux.sys ends in the SYSLINUX installer")
}

// patchLdlinux writes the sectors of the file (relative to the volume, the last two for the loader's own data) into the
// boot sector and into ldlinux.sys.
func patchLdlinux(bootSector, sys []byte, sectors []uint64) error {
	count := (len(sys) + sectorSize - 1) / sectorSize
	if len(sectors) < count+advSectors {
		return fmt.Errorf("image: ldlinux.sys needs %d sectors, the volume gave %d", count+advSectors, len(sectors))
	}
	le := binary.LittleEndian
	area := -1
	for at := 0; at+24 <= len(sys); at += 4 {
		if le.Uint32(sys[at:]) == ldlinuxMagic {
			area = at
			break
		}
	}
	if area < 0 {
		return errors.New("image: ldlinux.sys has no patch area")
	}
	// magic instance data_sectors adv_sectors dwords checksum maxtransfer epa
	patch := sys[area:]
	epaAt := int(le.Uint16(patch[22:]))
	if epaAt+20 > len(sys) {
		return errors.New("image: ldlinux.sys has no extended patch area")
	}
	// adv dir dirlen subvol subvollen secptr secptrcnt sect1ptr0 sect1ptr1 raidpatch
	epa := sys[epaAt:]
	advAt, extentsAt, extentCount := int(le.Uint16(epa)), int(le.Uint16(epa[10:])), int(le.Uint16(epa[12:]))
	first0, first1 := int(le.Uint16(epa[14:])), int(le.Uint16(epa[16:]))
	if advAt+16 > len(sys) || extentsAt+10*extentCount > len(sys) || first0+4 > bootCodeEnd || first1+4 > bootCodeEnd {
		return errors.New("image: the patch area of ldlinux.sys points outside")
	}
	le.PutUint32(bootSector[first0:], uint32(sectors[0]))
	le.PutUint32(bootSector[first1:], uint32(sectors[0]>>32))

	words := len(sys) / 4
	le.PutUint16(patch[8:], uint16(count))
	le.PutUint16(patch[10:], advSectors)
	le.PutUint32(patch[12:], uint32(words))

	extents := sectorExtents(sectors[1:count])
	if len(extents) > extentCount {
		return fmt.Errorf("image: ldlinux.sys lies in %d pieces, it can be told of %d", len(extents), extentCount)
	}
	clear(sys[extentsAt : extentsAt+10*extentCount])
	for i, e := range extents {
		le.PutUint64(sys[extentsAt+10*i:], e.lba)
		le.PutUint16(sys[extentsAt+10*i+8:], e.count)
	}
	for i := range advSectors {
		le.PutUint64(sys[advAt+8*i:], sectors[count+i])
	}
	// The sum of all words and the magic number is zero.
	le.PutUint32(patch[16:], 0)
	sum := uint32(ldlinuxMagic)
	for i := range words {
		sum -= le.Uint32(sys[4*i:])
	}
	le.PutUint32(patch[16:], sum)
	return nil
}

type extent struct {
	lba   uint64
	count uint16
}

// sectorExtents joins neighbouring sectors. A BIOS reads one extent at once, so none may cross a 64 KiB boundary of memory.
func sectorExtents(sectors []uint64) []extent {
	var out []extent
	for i, s := range sectors {
		address := ldlinuxLoad + i*sectorSize
		if n := len(out); n > 0 && address%(1<<16) != 0 {
			if e := &out[n-1]; s == e.lba+uint64(e.count) && int(e.count+1)*sectorSize < 1<<16 {
				e.count++
				continue
			}
		}
		out = append(out, extent{s, 1})
	}
	return out
}

// emptyADV is the loader's data area with nothing in it, twice: magic, checksum over the data, end magic.
func emptyADV() []byte {
	const (
		magic1, magic2, magic3 = 0x5a2d2fa5, 0xa3041767, 0xdd28bf64
	)
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	le.PutUint32(b, magic1)
	le.PutUint32(b[4:], magic2) // minus the sum of the data, which is zero
	le.PutUint32(b[sectorSize-4:], magic3)
	return append(b, b...)
}

// installSyslinux makes the volume at start bootable by a BIOS: it expects a file ldlinux.sys of the right length in the
// root directory, whose sectors it finds, and writes over it and over the boot sector.
func installSyslinux(disk diskFile, start int64, bootSector, sys []byte) error {
	v, err := openVolume(disk, start)
	if err != nil {
		return err
	}
	sectors, err := v.fileSectors("LDLINUX SYS")
	if err != nil {
		return err
	}
	if err := patchLdlinux(bootSector, sys, sectors); err != nil {
		return err
	}
	padded := append(bytes.Clone(sys), make([]byte, -len(sys)&(sectorSize-1))...)
	padded = append(padded, emptyADV()...)
	for i := 0; i < len(padded); i += sectorSize {
		if _, err := disk.WriteAt(padded[i:i+sectorSize], start+int64(sectors[i/sectorSize])*sectorSize); err != nil {
			return err
		}
	}
	boot := v.boot
	copy(boot[:bootHeadLength], bootSector)
	copy(boot[bootCodeAt:bootCodeEnd], bootSector[bootCodeAt:])
	binary.LittleEndian.PutUint32(boot[28:], uint32(start/sectorSize)) // hidden sectors: where the volume begins
	for _, at := range v.bootCopies() {
		if _, err := disk.WriteAt(boot, start+at); err != nil {
			return err
		}
	}
	return nil
}

type diskFile interface {
	io.ReaderAt
	io.WriterAt
}

// volume is as much of a FAT as finding a file's sectors needs.
type volume struct {
	r     io.ReaderAt
	start int64
	boot  []byte
	fat32 bool
}

func openVolume(r io.ReaderAt, start int64) (*volume, error) {
	v := &volume{r: r, start: start, boot: make([]byte, sectorSize)}
	if _, err := r.ReadAt(v.boot, start); err != nil {
		return nil, err
	}
	v.fat32 = binary.LittleEndian.Uint16(v.boot[22:]) == 0
	return v, nil
}

func (v *volume) bootCopies() []int64 {
	if backup := int64(binary.LittleEndian.Uint16(v.boot[50:])); v.fat32 && backup > 0 {
		return []int64{0, backup * sectorSize}
	}
	return []int64{0}
}

// fileSectors follows the chain of a file of the root directory, named as in a directory entry.
func (v *volume) fileSectors(shortName string) ([]uint64, error) {
	le := binary.LittleEndian
	perCluster, reserved := uint64(v.boot[13]), uint64(le.Uint16(v.boot[14:]))
	tableSectors := uint64(le.Uint16(v.boot[22:]))
	if v.fat32 {
		tableSectors = uint64(le.Uint32(v.boot[36:]))
	}
	rootAt := reserved + uint64(v.boot[16])*tableSectors
	rootSectors := uint64(le.Uint16(v.boot[17:])) * 32 / sectorSize
	dataAt := rootAt + rootSectors
	table := make([]byte, tableSectors*sectorSize)
	if _, err := v.r.ReadAt(table, v.start+int64(reserved)*sectorSize); err != nil {
		return nil, err
	}
	chain := func(c uint32) (sectors []uint64) {
		for last := false; !last && c >= 2; {
			for i := range perCluster {
				sectors = append(sectors, dataAt+uint64(c-2)*perCluster+i)
			}
			if v.fat32 {
				c = le.Uint32(table[4*c:]) & 0x0fffffff
				last = c >= 0x0ffffff8
			} else {
				c = uint32(le.Uint16(table[2*c:]))
				last = c >= 0xfff8
			}
		}
		return sectors
	}
	var root []uint64
	if v.fat32 {
		root = chain(le.Uint32(v.boot[44:]))
	}
	for i := range rootSectors {
		root = append(root, rootAt+i)
	}
	b := make([]byte, sectorSize)
	for _, s := range root {
		if _, err := v.r.ReadAt(b, v.start+int64(s)*sectorSize); err != nil {
			return nil, err
		}
		for e := b; len(e) >= 32; e = e[32:] {
			if string(e[:11]) == shortName && e[11]&0x0f != 0x0f {
				return chain(uint32(le.Uint16(e[26:])) | uint32(le.Uint16(e[20:]))<<16), nil
			}
		}
	}
	return nil, fmt.Errorf("image: the volume has no file %q", shortName)
}
