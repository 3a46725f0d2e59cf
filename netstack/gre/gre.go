package gre

import (
	"encoding/binary"
	"errors"

	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// Number is GRE's IP protocol number.
const Number = 47

// Protocol types (EtherTypes) that a tunnel carries.
const (
	ProtocolIPv4 uint16 = 0x0800
	ProtocolIPv6 uint16 = 0x86dd
	// ProtocolNHRP: RFC 2332 §5.1, as Cisco and FRR put NHRP on GRE.
	ProtocolNHRP uint16 = 0x2001
)

// MaxLen is the longest header in bytes.
const MaxLen = 16

var (
	// ErrTruncated says that the bytes end before the header does.
	ErrTruncated = errors.New("gre: packet is truncated")
	// ErrVersion says that the version is not 0.
	ErrVersion = errors.New("gre: version is not 0")
	// ErrReserved says that a bit is set that RFC 2784 §2.3 demands to be zero (routing, strict source route,
	// recursion).
	ErrReserved = errors.New("gre: reserved bit is set")
	// ErrChecksum says that the checksum over header and payload is wrong.
	ErrChecksum = errors.New("gre: checksum is wrong")
)

const (
	flagChecksum = 0x8000
	flagKey      = 0x2000
	flagSequence = 0x1000
	// RFC 2784 §2.3: bits 1 to 5 must be zero; RFC 2890 gives 2 and 3 a meaning. Bits 6 to 12 are ignored.
	flagsRefused = 0x4c00
	flagsVersion = 0x0007
)

// Header is a GRE header. The zero Protocol is legal on the wire and means nothing to us.
type Header struct {
	Protocol    uint16
	HasChecksum bool
	// Checksum is what Parse read; Prepend computes its own.
	Checksum uint16
	HasKey   bool
	Key      uint32
	HasSeq   bool
	Seq      uint32
}

// Len is the length of the header on the wire in bytes.
func (h Header) Len() int {
	n := 4
	if h.HasChecksum {
		n += 4
	}
	if h.HasKey {
		n += 4
	}
	if h.HasSeq {
		n += 4
	}
	return n
}

// Parse reads the header of b, a whole GRE packet, and returns it with its length. A checksum is verified over all of b.
func Parse(b []byte) (h Header, n int, err error) {
	if len(b) < 4 {
		return Header{}, 0, ErrTruncated
	}
	flags := binary.BigEndian.Uint16(b)
	switch {
	case flags&flagsVersion != 0:
		return Header{}, 0, ErrVersion
	case flags&flagsRefused != 0:
		return Header{}, 0, ErrReserved
	}
	h = Header{
		Protocol:    binary.BigEndian.Uint16(b[2:]),
		HasChecksum: flags&flagChecksum != 0,
		HasKey:      flags&flagKey != 0,
		HasSeq:      flags&flagSequence != 0,
	}
	if len(b) < h.Len() {
		return Header{}, 0, ErrTruncated
	}
	n = 4
	if h.HasChecksum {
		if ip.Sum(b, 0) != 0xffff {
			return Header{}, 0, ErrChecksum
		}
		h.Checksum = binary.BigEndian.Uint16(b[n:])
		n += 4
	}
	if h.HasKey {
		h.Key = binary.BigEndian.Uint32(b[n:])
		n += 4
	}
	if h.HasSeq {
		h.Seq = binary.BigEndian.Uint32(b[n:])
		n += 4
	}
	return h, n, nil
}

// Encode writes the header to the front of b, which must be at least Len long, and returns its length. A checksum is
// left zero: SetChecksum fills it in when the payload stands behind.
func Encode(b []byte, h Header) int {
	var flags uint16
	n := 4
	if h.HasChecksum {
		flags |= flagChecksum
		binary.BigEndian.PutUint32(b[n:], 0)
		n += 4
	}
	if h.HasKey {
		flags |= flagKey
		binary.BigEndian.PutUint32(b[n:], h.Key)
		n += 4
	}
	if h.HasSeq {
		flags |= flagSequence
		binary.BigEndian.PutUint32(b[n:], h.Seq)
		n += 4
	}
	binary.BigEndian.PutUint16(b, flags)
	binary.BigEndian.PutUint16(b[2:], h.Protocol)
	return n
}

// SetChecksum computes the checksum of b, a whole GRE packet whose header was encoded with one.
func SetChecksum(b []byte) {
	binary.BigEndian.PutUint16(b[4:], 0)
	binary.BigEndian.PutUint16(b[4:], ^ip.Sum(b, 0))
}

// Prepend puts the header in front of a packet, its checksum computed if it has one.
func Prepend(p *packet.Packet, h Header) {
	Encode(p.Prepend(h.Len()), h)
	if h.HasChecksum {
		SetChecksum(p.Bytes())
	}
}
