package vnet

import (
	"encoding/binary"
	"errors"

	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// Len is the length of the header in bytes.
const Len = 10

const (
	flagNeedsCsum = 1

	gsoNone  = 0
	gsoTCP4  = 1
	gsoTCP6  = 4
	gsoUDPL4 = 5
	gsoECN   = 0x80

	// maxSegments bounds what one super-frame becomes.
	maxSegments = 1024
	// maxFrame is what a packet's buffer holds.
	maxFrame = 65536
)

var (
	// ErrHeader says that the header does not fit its frame.
	ErrHeader = errors.New("vnet: virtio-net header does not fit the frame")
	// ErrGSO says that the frame is of a kind of segmentation offload that nobody asked for.
	ErrGSO = errors.New("vnet: unknown segmentation offload")
	// ErrSize says that the frame is larger than any IP packet.
	ErrSize = errors.New("vnet: frame is too large")
)

// Header is a virtio-net header.
type Header struct {
	Flags, GSOType                         uint8
	HdrLen, GSOSize, CsumStart, CsumOffset uint16
}

// Decode reads the header at the front of b, which must be at least Len long.
func Decode(b []byte) Header {
	_ = b[Len-1]
	n := binary.NativeEndian
	return Header{
		Flags: b[0], GSOType: b[1],
		HdrLen: n.Uint16(b[2:]), GSOSize: n.Uint16(b[4:]), CsumStart: n.Uint16(b[6:]), CsumOffset: n.Uint16(b[8:]),
	}
}

// Encode writes the header to the front of b.
func (h Header) Encode(b []byte) {
	_ = b[Len-1]
	n := binary.NativeEndian
	b[0], b[1] = h.Flags, h.GSOType
	n.PutUint16(b[2:], h.HdrLen)
	n.PutUint16(b[4:], h.GSOSize)
	n.PutUint16(b[6:], h.CsumStart)
	n.PutUint16(b[8:], h.CsumOffset)
}

// Packets appends to out what the frame is on a wire: a copy with its checksum completed, or its segments. The frame
// itself may be written to. On an error nothing was appended.
func (h Header) Packets(frame []byte, out []*packet.Packet) ([]*packet.Packet, error) {
	if len(frame) > maxFrame {
		return out, ErrSize
	}
	if h.GSOType&^gsoECN != gsoNone {
		return h.segment(frame, out)
	}
	if h.Flags&flagNeedsCsum != 0 {
		start, field := int(h.CsumStart), int(h.CsumStart)+int(h.CsumOffset)
		if field+2 > len(frame) {
			return out, ErrHeader
		}
		// The field holds the sum of the pseudo header.
		sum := ^ip.Sum(frame[start:], 0)
		if sum == 0 {
			sum = 0xffff // RFC 768; and for TCP the same number in one's complement
		}
		binary.BigEndian.PutUint16(frame[field:], sum)
	}
	return append(out, packet.From(frame)), nil
}

// headers are the places of a frame's headers.
type headers struct {
	ip, l4, payload int
	six             bool
	protocol        uint8
}

// ipOffset finds the IP header behind Ethernet and VLAN tags.
func ipOffset(b []byte) (off int, six, ok bool) {
	for off = 14; off <= len(b) && off <= 22; off += 4 {
		switch binary.BigEndian.Uint16(b[off-2:]) {
		case 0x0800:
			return off, false, len(b) >= off+20
		case 0x86dd:
			return off, true, len(b) >= off+40
		case 0x8100, 0x88a8:
			continue
		}
		break
	}
	return 0, false, false
}

func (h Header) parse(b []byte) (at headers, err error) {
	var ok bool
	if at.ip, at.six, ok = ipOffset(b); !ok || h.Flags&flagNeedsCsum == 0 || h.GSOSize == 0 {
		return at, ErrHeader
	}
	at.l4 = int(h.CsumStart)
	ipLen := 40
	if !at.six {
		if ipLen = int(b[at.ip]&15) * 4; ipLen < 20 {
			return at, ErrHeader
		}
	}
	// IPv6 may have extension headers in between.
	if at.l4 < at.ip+ipLen || at.l4 > at.ip+ipLen && !at.six || at.l4 >= len(b) {
		return at, ErrHeader
	}
	switch kind := h.GSOType &^ gsoECN; {
	case kind == gsoTCP4 && !at.six, kind == gsoTCP6 && at.six:
		if at.protocol = 6; len(b) < at.l4+20 || h.CsumOffset != 16 {
			return at, ErrHeader
		}
		n := int(b[at.l4+12]>>4) * 4
		if at.payload = at.l4 + n; n < 20 {
			return at, ErrHeader
		}
	case kind == gsoUDPL4:
		if at.protocol, at.payload = 17, at.l4+8; h.CsumOffset != 6 {
			return at, ErrHeader
		}
	default:
		return at, ErrGSO
	}
	if at.payload > len(b) {
		return at, ErrHeader
	}
	if n := len(b) - at.payload; n > int(h.GSOSize)*maxSegments {
		return at, ErrHeader
	}
	return at, nil
}

// segment cuts a super-frame.
func (h Header) segment(b []byte, out []*packet.Packet) ([]*packet.Packet, error) {
	at, err := h.parse(b)
	if err != nil {
		return out, err
	}
	pseudo := at.pseudo(b)
	payload, size := b[at.payload:], int(h.GSOSize)
	for i := 0; ; i++ {
		n := min(size, len(payload))
		last := n == len(payload)
		p := packet.Get(at.payload + n)
		s := p.Append(at.payload + n)
		copy(s, b[:at.payload])
		copy(s[at.payload:], payload[:n])
		at.fix(s, i, i*size, last, pseudo)
		out = append(out, p)
		if payload = payload[n:]; last {
			return out, nil
		}
	}
}

// pseudo is the sum of the pseudo header without the length.
func (at headers) pseudo(b []byte) uint32 {
	addresses := b[at.ip+12 : at.ip+20]
	if at.six {
		addresses = b[at.ip+8 : at.ip+40]
	}
	return uint32(ip.Sum(addresses, uint32(at.protocol)))
}

// fix makes s, the i-th segment, a frame of its own.
func (at headers) fix(s []byte, i, offset int, last bool, pseudo uint32) {
	h, l4 := s[at.ip:], s[at.l4:]
	if at.six {
		binary.BigEndian.PutUint16(h[4:], uint16(len(h)-40))
	} else {
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)))
		binary.BigEndian.PutUint16(h[4:], binary.BigEndian.Uint16(h[4:])+uint16(i))
		finishIPv4(h)
	}
	field := l4[16:]
	if at.protocol == 6 {
		binary.BigEndian.PutUint32(l4[4:], binary.BigEndian.Uint32(l4[4:])+uint32(offset))
		const fin, psh, cwr = 1, 8, 0x80
		if !last {
			l4[13] &^= fin | psh
		}
		if i > 0 {
			l4[13] &^= cwr // RFC 3168 §6.1.2: once a window
		}
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
		field = l4[6:]
	}
	finish(l4, field, pseudo+uint32(len(l4)))
}

func finishIPv4(h []byte) {
	binary.BigEndian.PutUint16(h[10:], 0)
	binary.BigEndian.PutUint16(h[10:], ^ip.Sum(h[:int(h[0]&15)*4], 0))
}

func finish(l4, field []byte, pseudo uint32) {
	binary.BigEndian.PutUint16(field, 0)
	sum := ^ip.Sum(l4, pseudo)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(field, sum)
}

// FinishChecksum computes the TCP or UDP checksum of a frame of which it is only known that it was left out
// (TP_STATUS_CSUMNOTREADY without a header). Fragments and other protocols are left as they are.
func FinishChecksum(b []byte) {
	off, six, ok := ipOffset(b)
	if !ok {
		return
	}
	at := headers{ip: off, six: six}
	h := b[off:]
	if six {
		at.protocol, at.l4 = h[6], off+40
		if n := 40 + int(binary.BigEndian.Uint16(h[4:])); n <= len(h) {
			h = h[:n]
		}
	} else {
		if n := int(binary.BigEndian.Uint16(h[2:])); n >= 20 && n <= len(h) {
			h = h[:n] // without Ethernet's padding
		}
		at.protocol, at.l4 = h[9], off+int(h[0]&15)*4
		if binary.BigEndian.Uint16(h[6:])&0x3fff != 0 || at.l4 < off+20 {
			return
		}
	}
	if at.l4-off > len(h) {
		return
	}
	l4 := h[at.l4-off:]
	pseudo := at.pseudo(b) + uint32(len(l4))
	switch {
	case at.protocol == 6 && len(l4) >= 20:
		finish(l4, l4[16:], pseudo)
	case at.protocol == 17 && len(l4) >= 8:
		finish(l4, l4[6:], pseudo)
	}
}
