package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

const isoSector = 2048

// iso is an ISO 9660 volume.
type iso struct {
	d      *device
	name   string
	start  node
	joliet bool
}

// openISO returns nil when the device holds no ISO 9660, a volume with an error when it does but is damaged.
func openISO(d *device) (fileSystem, error) {
	var v *iso
	for sector := int64(16); sector < 32; sector++ {
		b := make([]byte, isoSector)
		if err := d.readAt(b, sector*isoSector); err != nil {
			return orNil(v), nil
		}
		if string(b[1:6]) != "CD001" {
			break
		}
		switch kind := b[0]; {
		case kind == 1 && v == nil:
			v = &iso{d: d, name: strings.TrimRight(string(b[40:72]), " \x00")}
			v.start = isoRoot(b)
			blocks := int64(binary.LittleEndian.Uint32(b[80:]))
			if blocks*isoSector > d.size {
				return v, fmt.Errorf("the ISO 9660 volume is %d bytes long, but the disk ends at %d: it was cut short", blocks*isoSector, d.size)
			}
			if block := binary.LittleEndian.Uint16(b[128:]); block != isoSector {
				return v, fmt.Errorf("the ISO 9660 volume has blocks of %d bytes; only %d is supported", block, isoSector)
			}
		case kind == 2 && v != nil && strings.Contains("%/@ %/C %/E", string(b[88:91])):
			v.start, v.joliet = isoRoot(b), true
		case kind == 255:
			return orNil(v), nil
		}
	}
	return orNil(v), nil
}

// orNil keeps a nil *iso from becoming a non-nil fileSystem.
func orNil(v *iso) fileSystem {
	if v == nil {
		return nil
	}
	return v
}

func isoRoot(b []byte) node {
	r := b[156:190]
	return node{dir: true, at: binary.LittleEndian.Uint32(r[2:]), size: binary.LittleEndian.Uint32(r[10:])}
}

func (v *iso) kind() string  { return "ISO 9660" }
func (v *iso) label() string { return v.name }
func (v *iso) root() node    { return v.start }

func (v *iso) read(file node) ([]byte, error) {
	b := make([]byte, file.size) // walk has checked it against maxFileBytes
	return b, v.d.readAt(b, int64(file.at)*isoSector)
}

func (v *iso) list(dir node) ([]node, error) {
	if dir.size > maxDirBytes {
		return nil, fmt.Errorf("a directory of %d bytes", dir.size)
	}
	b, err := v.read(dir)
	if err != nil {
		return nil, err
	}
	var out []node
	for at := 0; at < len(b); {
		n := int(b[at])
		if n == 0 { // records do not cross sectors: the rest of this one is padding
			at = (at/isoSector + 1) * isoSector
			continue
		}
		if n < 34 || at+n > len(b) || 33+int(b[at+32]) > n {
			return nil, errors.New("damaged ISO 9660: a directory record runs over its end")
		}
		r := b[at : at+n]
		at += n
		id := r[33 : 33+int(r[32])]
		if len(id) == 1 && id[0] <= 1 {
			continue // the directory itself and its parent
		}
		if r[25]&0x80 != 0 {
			return nil, fmt.Errorf("%q has several extents, which is not supported", id)
		}
		out = append(out, node{name: v.fileName(id, r), dir: r[25]&2 != 0,
			at: binary.LittleEndian.Uint32(r[2:]), size: binary.LittleEndian.Uint32(r[10:])})
		if len(out) > maxFiles {
			return nil, fmt.Errorf("more than %d entries", maxFiles)
		}
	}
	return out, nil
}

// fileName is the Joliet name, the Rock Ridge name, or the plain one in lower case without its version.
func (v *iso) fileName(id, record []byte) string {
	if v.joliet {
		units := make([]uint16, len(id)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(id[2*i:])
		}
		name, _, _ := strings.Cut(string(utf16.Decode(units)), ";")
		return name
	}
	use := 33 + len(id) + (len(id)+1)&1
	if name := rockRidgeName(record[min(use, len(record)):]); name != "" {
		return name
	}
	name, _, _ := strings.Cut(string(id), ";")
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// rockRidgeName joins the NM entries of a record's system use area.
func rockRidgeName(b []byte) string {
	name := ""
	for len(b) >= 4 {
		n := int(b[2])
		if n < 4 || n > len(b) {
			break
		}
		if string(b[:2]) == "NM" && n >= 5 && b[4]&6 == 0 {
			name += string(b[5:n])
		}
		b = b[n:]
	}
	return name
}
