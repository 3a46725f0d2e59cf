package ip

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Sum is the ones' complement sum of b in network order, added to initial (RFC 1071). The checksum to write is its
// complement; over bytes that hold a right checksum it is 0xffff.
func Sum(b []byte, initial uint32) uint16 {
	sum, carry := uint64(initial), uint64(0)
	for len(b) >= 32 {
		var c uint64
		sum, c = bits.Add64(sum, binary.BigEndian.Uint64(b), 0)
		sum, c = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), c)
		sum, c = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), c)
		sum, c = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), c)
		carry += c
		b = b[32:]
	}
	for len(b) >= 8 {
		var c uint64
		sum, c = bits.Add64(sum, binary.BigEndian.Uint64(b), 0)
		carry += c
		b = b[8:]
	}
	var rest uint64
	for i, v := range b {
		rest |= uint64(v) << (56 - 8*i)
	}
	var c uint64
	sum, c = bits.Add64(sum, rest, 0)
	return fold(sum, carry+c)
}

func sum20(b []byte) uint16 {
	_ = b[19]
	sum, c := bits.Add64(binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), 0)
	sum, c = bits.Add64(sum, uint64(binary.BigEndian.Uint32(b[16:])), c)
	return fold(sum, c)
}

func fold(sum, carry uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff + carry
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum)
}

// PseudoSum is the sum of the pseudo header that TCP, UDP and ICMPv6 checksums start with.
func PseudoSum(src, dst netip.Addr, proto uint8, length int) uint32 {
	var s uint32
	if src.Is4() {
		a, b := src.As4(), dst.As4()
		s = uint32(Sum(a[:], 0)) + uint32(Sum(b[:], 0))
	} else {
		a, b := src.As16(), dst.As16()
		s = uint32(Sum(a[:], 0)) + uint32(Sum(b[:], 0))
	}
	return s + uint32(proto) + uint32(length)>>16 + uint32(length)&0xffff
}

// L4Checksum computes the checksum of an upper-layer message b, whose checksum field is zero, as it is written on the
// wire: 0 is never the outcome for UDP, which reads it as "no checksum".
func L4Checksum(src, dst netip.Addr, proto uint8, b []byte) uint16 {
	var c uint16
	if proto == ICMP {
		c = ^Sum(b, 0)
	} else {
		c = ^Sum(b, PseudoSum(src, dst, proto, len(b)))
	}
	if c == 0 && proto == UDP {
		return 0xffff
	}
	return c
}

// L4Valid tells whether an upper-layer message carries a right checksum. A UDP checksum of 0 is right for IPv4.
func L4Valid(h *Header, b []byte) bool {
	if h.L4 == 0 || h.Len > len(b) {
		return false
	}
	m := b[h.L4:h.Len]
	switch h.Proto {
	case ICMP:
		return Sum(m, 0) == 0xffff
	case UDP:
		if len(m) < SizeUDP {
			return false
		}
		if h.Version == 4 && m[6] == 0 && m[7] == 0 {
			return true
		}
	}
	return Sum(m, PseudoSum(h.Src, h.Dst, h.Proto, len(m))) == 0xffff
}

// replace updates a ones' complement checksum for one 16-bit word that changed (RFC 1624).
func replace(sum, from, to uint16) uint16 {
	s := uint32(^sum) + uint32(^from) + uint32(to)
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return ^uint16(s)
}
