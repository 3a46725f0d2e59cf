package ip

import (
	"encoding/binary"
	"net/netip"

	"felloe/netstack/packet"
)

// Outer is what a header that we write needs. The family is that of Src.
type Outer struct {
	Src, Dst netip.Addr
	Proto    uint8
	TTL, TOS uint8
	DF       bool   // IPv4: do not fragment
	ID       uint16 // IPv4: of a datagram that may be fragmented; RFC 6864: otherwise 0 will do
}

// Size is the length of the header.
func (o *Outer) Size() int {
	if o.Src.Is4() {
		return MinV4
	}
	return SizeV6
}

// Prepend puts the header in front of p, whose bytes become its payload.
func (o *Outer) Prepend(p *packet.Packet) {
	n := p.Len()
	o.Put(p.Prepend(o.Size()), n)
}

// Put writes the header to b for a payload of n bytes.
func (o *Outer) Put(b []byte, n int) {
	if !o.Src.Is4() {
		_ = b[39]
		b[0], b[1], b[2], b[3] = 0x60|o.TOS>>4, o.TOS<<4, 0, 0
		binary.BigEndian.PutUint16(b[4:], uint16(n))
		b[6], b[7] = o.Proto, o.TTL
		src, dst := o.Src.As16(), o.Dst.As16()
		copy(b[8:24], src[:])
		copy(b[24:40], dst[:])
		return
	}
	_ = b[19]
	b[0], b[1] = 0x45, o.TOS
	binary.BigEndian.PutUint16(b[2:], uint16(n+MinV4))
	binary.BigEndian.PutUint16(b[4:], o.ID)
	b[6], b[7] = 0, 0
	if o.DF {
		b[6] = 0x40
	}
	b[8], b[9], b[10], b[11] = o.TTL, o.Proto, 0, 0
	src, dst := o.Src.As4(), o.Dst.As4()
	copy(b[12:16], src[:])
	copy(b[16:20], dst[:])
	binary.BigEndian.PutUint16(b[10:], ^sum20(b))
}

// PrependUDP puts a UDP header with checksum and the IP header o in front of p. o.Proto is set by it.
func PrependUDP(p *packet.Packet, o Outer, src, dst uint16) {
	b := p.Prepend(SizeUDP)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], uint16(p.Len()))
	b[6], b[7] = 0, 0
	binary.BigEndian.PutUint16(b[6:], L4Checksum(o.Src, o.Dst, UDP, p.Bytes()))
	o.Proto = UDP
	o.Prepend(p)
}

// SetTOS writes the traffic class of a header and mends its checksum.
func SetTOS(b []byte, tos uint8) {
	if b[0]>>4 == 6 {
		b[0], b[1] = 0x60|tos>>4, tos<<4|b[1]&15
		return
	}
	old := binary.BigEndian.Uint16(b)
	b[1] = tos
	binary.BigEndian.PutUint16(b[10:], replace(binary.BigEndian.Uint16(b[10:]), old, binary.BigEndian.Uint16(b)))
}

// SetID writes the identification of an IPv4 header and mends its checksum.
func SetID(b []byte, id uint16) {
	old := binary.BigEndian.Uint16(b[4:])
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[10:], replace(binary.BigEndian.Uint16(b[10:]), old, id))
}
