package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf16"
)

// fat is a FAT12, FAT16 or FAT32 volume.
type fat struct {
	d           *device
	width       int // bits of a table entry
	name        string
	clusterSize int64
	clusters    uint32 // data clusters; valid numbers are 2 to clusters+1
	tableAt     int64
	dataAt      int64
	rootAt      int64 // of the fixed root directory of FAT12 and FAT16
	rootSize    int64
	rootCluster uint32 // of FAT32
}

// openFAT returns nil when the device holds no FAT, a volume with an error when it does but is damaged.
func openFAT(d *device) (fileSystem, error) {
	b := make([]byte, 512)
	if d.readAt(b, 0) != nil || b[510] != 0x55 || b[511] != 0xaa || b[0] != 0xeb && b[0] != 0xe9 {
		return nil, nil
	}
	le := binary.LittleEndian
	sector := int64(le.Uint16(b[11:]))
	perCluster := int64(b[13])
	reserved := int64(le.Uint16(b[14:]))
	tables := int64(b[16])
	rootEntries := int64(le.Uint16(b[17:]))
	total := int64(le.Uint16(b[19:]))
	tableSectors := int64(le.Uint16(b[22:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	fat32 := tableSectors == 0
	if fat32 {
		tableSectors = int64(le.Uint32(b[36:]))
	}
	if sector < 512 || sector > 4096 || bits.OnesCount64(uint64(sector)) != 1 || perCluster == 0 ||
		bits.OnesCount64(uint64(perCluster)) != 1 || reserved == 0 || tables == 0 || tables > 4 || total == 0 || tableSectors == 0 {
		return nil, nil // a boot sector, but not of a FAT
	}
	f := &fat{d: d, clusterSize: sector * perCluster, tableAt: reserved * sector}
	f.rootAt = f.tableAt + tables*tableSectors*sector
	f.rootSize = rootEntries * 32
	f.dataAt = f.rootAt + (f.rootSize+sector-1)/sector*sector
	count := (total*sector - f.dataAt) / f.clusterSize
	if count <= 0 || count > 1<<28 {
		return nil, nil
	}
	f.clusters = uint32(count)
	labelAt := 43
	switch { // the specification's own rule: the number of clusters decides, nothing else
	case fat32:
		f.width, f.rootCluster, labelAt = 32, le.Uint32(b[44:]), 71
	case count < 4085:
		f.width = 12
	case count < 65525:
		f.width = 16
	default:
		return nil, nil
	}
	f.name = strings.TrimRight(string(b[labelAt:labelAt+11]), " ")
	if need := (count + 2) * int64(f.width) / 8; need > tableSectors*sector {
		return f, fmt.Errorf("damaged %s: its table of %d bytes is too small for %d clusters", f.kind(), tableSectors*sector, count)
	}
	if total*sector > d.size {
		return f, fmt.Errorf("the %s volume is %d bytes long, but the disk ends at %d: it was cut short", f.kind(), total*sector, d.size)
	}
	if label, ok, err := f.rootLabel(); err != nil {
		return f, err
	} else if ok {
		f.name = label
	}
	return f, nil
}

func (f *fat) kind() string  { return fmt.Sprintf("FAT%d", f.width) }
func (f *fat) label() string { return f.name }
func (f *fat) root() node    { return node{dir: true, at: f.rootCluster} }

// next is the entry of a cluster in the table; end is true after the last one.
func (f *fat) next(c uint32) (n uint32, end bool, err error) {
	if c < 2 || c > f.clusters+1 {
		return 0, false, fmt.Errorf("damaged %s: cluster %d does not exist", f.kind(), c)
	}
	b := make([]byte, 4)
	le := binary.LittleEndian
	switch f.width {
	case 12:
		if err = f.d.readAt(b[:2], f.tableAt+int64(c)+int64(c)/2); err == nil {
			n = uint32(le.Uint16(b)) >> (4 * (c & 1)) & 0xfff
		}
	case 16:
		if err = f.d.readAt(b[:2], f.tableAt+int64(c)*2); err == nil {
			n = uint32(le.Uint16(b))
		}
	default:
		if err = f.d.readAt(b, f.tableAt+int64(c)*4); err == nil {
			n = le.Uint32(b) & 0x0fffffff
		}
	}
	last := uint32(1)<<min(f.width, 28) - 8
	return n, n >= last, err
}

// chain reads clusters from c on: exactly size bytes, or with size < 0 up to the chain's end or the limit for directories.
func (f *fat) chain(c uint32, size int64) ([]byte, error) {
	want := size
	if size < 0 {
		want = maxDirBytes
	}
	var out []byte
	for int64(len(out)) < want {
		if c < 2 || c > f.clusters+1 {
			return nil, fmt.Errorf("damaged %s: cluster %d does not exist", f.kind(), c)
		}
		n := f.clusterSize
		if size >= 0 {
			n = min(n, want-int64(len(out)))
		}
		b := make([]byte, n)
		if err := f.d.readAt(b, f.dataAt+int64(c-2)*f.clusterSize); err != nil {
			return nil, err
		}
		out = append(out, b...)
		following, end, err := f.next(c)
		if err != nil {
			return nil, err
		}
		if end {
			break
		}
		c = following
	}
	switch {
	case size < 0 && int64(len(out)) >= maxDirBytes:
		return nil, errors.New("the directory is too long, or runs in a circle")
	case size >= 0 && int64(len(out)) < size:
		return nil, fmt.Errorf("damaged %s: the file's chain ends after %d of %d bytes", f.kind(), len(out), size)
	}
	return out, nil
}

func (f *fat) directory(dir node) ([]byte, error) {
	if dir.at == 0 && f.width != 32 {
		b := make([]byte, f.rootSize)
		return b, f.d.readAt(b, f.rootAt)
	}
	return f.chain(dir.at, -1)
}

// Attributes of a directory entry.
const (
	attrVolume = 0x08
	attrDir    = 0x10
	attrLong   = 0x0f
)

func (f *fat) rootLabel() (string, bool, error) {
	b, err := f.directory(f.root())
	if err != nil {
		return "", false, err
	}
	for ; len(b) >= 32 && b[0] != 0; b = b[32:] {
		if b[0] != 0xe5 && b[11]&0x3f != attrLong && b[11]&attrVolume != 0 {
			return strings.TrimRight(string(b[:11]), " "), true, nil
		}
	}
	return "", false, nil
}

func (f *fat) list(dir node) ([]node, error) {
	b, err := f.directory(dir)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	var out []node
	var long longName
	for ; len(b) >= 32 && b[0] != 0; b = b[32:] {
		e := b[:32]
		switch {
		case e[0] == 0xe5:
			long = longName{}
			continue
		case e[11]&0x3f == attrLong:
			long.add(e)
			continue
		}
		name := long.take(e)
		if e[11]&attrVolume != 0 || name == "." || name == ".." {
			continue
		}
		n := node{name: name, dir: e[11]&attrDir != 0, at: uint32(le.Uint16(e[26:])), size: le.Uint32(e[28:])}
		if f.width == 32 {
			n.at |= uint32(le.Uint16(e[20:])) << 16
		}
		if n.dir && n.at == 0 {
			continue // would be the root again
		}
		out = append(out, n)
		if len(out) > maxFiles {
			return nil, fmt.Errorf("more than %d entries", maxFiles)
		}
	}
	return out, nil
}

func (f *fat) read(file node) ([]byte, error) {
	if file.size == 0 {
		return []byte{}, nil
	}
	return f.chain(file.at, int64(file.size))
}

// longName gathers the entries that stand before a file's own, the last part first.
type longName struct {
	units []uint16
	sum   byte
	next  byte
}

func (l *longName) add(e []byte) {
	seq := e[0] &^ 0x40
	if e[0]&0x40 != 0 {
		*l = longName{sum: e[13], next: seq}
	}
	if seq == 0 || seq > 20 || seq != l.next || e[13] != l.sum {
		*l = longName{}
		return
	}
	l.next--
	var part []uint16
	for _, at := range [...]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		u := binary.LittleEndian.Uint16(e[at:])
		if u == 0 || u == 0xffff {
			break
		}
		part = append(part, u)
	}
	l.units = append(part, l.units...)
}

// take returns the name of the entry e: the gathered one if it belongs to e, else the short one.
func (l *longName) take(e []byte) string {
	defer func() { *l = longName{} }()
	var sum byte
	for _, c := range e[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	if len(l.units) > 0 && l.next == 0 && l.sum == sum {
		return string(utf16.Decode(l.units))
	}
	base := strings.TrimRight(string(e[:8]), " ")
	if e[0] == 0x05 {
		base = "\xe5" + base[1:]
	}
	ext := strings.TrimRight(string(e[8:11]), " ")
	// Windows NT keeps "all lower case" in two bits instead of a long name.
	if e[12]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if e[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		return base + "." + ext
	}
	return base
}
