package labkit

import (
	"encoding/binary"
	"net/netip"

	"felloe/netstack/ip"
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
		binary.BigEndian.PutUint16(b[10:], ^ip.Sum(b[:20], 0))
		binary.BigEndian.PutUint16(b[22:], ^ip.Sum(b[20:], 0))
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
	binary.BigEndian.PutUint16(b[42:], ip.L4Checksum(src, dst, ip.ICMPv6, b[40:]))
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
