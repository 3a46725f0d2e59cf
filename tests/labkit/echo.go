package labkit

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"felloe/netstack/packet"
)

// mark is in every ping.
var mark = []byte("FELLOE-OVERLAY-PAYLOAD")

// Echo is a ping with the mark in it.
func Echo(src, dst netip.Addr, seq uint16) *packet.Packet {
	if src.Is4() {
		b := append(make([]byte, 28, 100), mark...)
		b[0], b[8], b[9] = 0x45, 64, 1
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		b[20] = 8
		binary.BigEndian.PutUint16(b[24:], 77)
		binary.BigEndian.PutUint16(b[26:], seq)
		binary.BigEndian.PutUint16(b[10:], Sum(b[:20]))
		binary.BigEndian.PutUint16(b[22:], Sum(b[20:]))
		return packet.From(b)
	}
	b := append(make([]byte, 48, 120), mark...)
	b[0], b[6], b[7] = 0x60, 58, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	b[40] = 128
	binary.BigEndian.PutUint16(b[44:], 77)
	binary.BigEndian.PutUint16(b[46:], seq)
	pseudo := slices.Concat(b[8:40], []byte{0, 0, 0, byte(len(b) - 40), 0, 0, 0, 58}, b[40:])
	binary.BigEndian.PutUint16(b[42:], Sum(pseudo))
	return packet.From(b)
}

// Answer is the number of the ping that a packet answers.
func Answer(p *packet.Packet) (seq uint16, ok bool) {
	switch b := p.Bytes(); {
	case len(b) >= 28 && b[0]>>4 == 4 && b[9] == 1 && b[20] == 0:
		return binary.BigEndian.Uint16(b[26:]), true
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == 58 && b[40] == 129:
		return binary.BigEndian.Uint16(b[46:]), true
	}
	return 0, false
}

// Sum is the internet checksum (RFC 1071).
func Sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
