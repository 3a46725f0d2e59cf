package ip

import (
	"encoding/binary"
	"net/netip"

	"felloe/netstack/packet"
)

// ICMP types and codes (RFC 792, RFC 1812).
const (
	EchoReply       = 0
	DestUnreachable = 3
	CodeHost        = 1
	CodePort        = 3
	CodeFragNeeded  = 4
	CodeAdminDenied = 13
	CodeNet         = 0
	Echo            = 8
	TimeExceeded    = 11
	CodeTTL         = 0
	CodeReassembly  = 1
)

// ICMPv6 types and codes (RFC 4443).
const (
	V6Unreachable   = 1
	V6NoRoute       = 0
	V6AdminDenied   = 1
	V6AddrUnreach   = 3
	V6PortUnreach   = 4
	V6PacketTooBig  = 2
	V6TimeExceeded  = 3
	V6Echo          = 128
	V6EchoReply     = 129
	V6RouterSolicit = 133
	V6Redirect      = 137
)

// Error is an ICMP error of either family.
type Error struct {
	Type, Code uint8
	// Info is the 32 bits behind the checksum: the MTU of "fragmentation needed" and "packet too big".
	Info uint32
}

// Errors that a router sends, for a packet of the given version.
func Unreachable(version, code4, code6 uint8) Error {
	if version == 4 {
		return Error{Type: DestUnreachable, Code: code4}
	}
	return Error{Type: V6Unreachable, Code: code6}
}

// TTLExceeded is the answer to a packet whose time has run out.
func TTLExceeded(version uint8) Error {
	if version == 4 {
		return Error{Type: TimeExceeded}
	}
	return Error{Type: V6TimeExceeded}
}

// TooBig is the answer to a packet beyond an MTU that must not be fragmented.
func TooBig(version uint8, mtu int) Error {
	if version == 4 {
		return Error{Type: DestUnreachable, Code: CodeFragNeeded, Info: uint32(min(mtu, 0xffff))}
	}
	return Error{Type: V6PacketTooBig, Info: uint32(mtu)}
}

// Answerable tells whether an ICMP error may answer the packet b with header h (RFC 1812 §4.3.2.7, RFC 4443 §2.4):
// not an ICMP error, no fragment but the first, from one unicast host. multicastOK is for "packet too big".
func Answerable(h *Header, b []byte, multicastOK bool) bool {
	if h.FragOff != 0 || h.Src.IsUnspecified() || BadSource(h.Src) {
		return false
	}
	if !multicastOK && (h.Dst.IsMulticast() || h.Dst == Broadcast) {
		return false
	}
	switch h.Proto {
	case ICMP:
		if h.Version == 4 {
			if h.L4 >= h.Len {
				return false
			}
			switch b[h.L4] {
			case EchoReply, Echo, 9, 10, 13, 14, 15, 16, 17, 18: // RFC 1122 §3.2.2: the queries
				return true
			}
			return false
		}
	case ICMPv6:
		if h.Version == 6 {
			return h.L4 != 0 && h.L4 < h.Len && b[h.L4] >= 128 && b[h.L4] != V6Redirect
		}
	}
	return h.Version == 4 || h.L4 != 0 || h.FragHdr == 0
}

// NewError builds the ICMP error about the packet b (header h) from src to the packet's source.
func NewError(e Error, src netip.Addr, h *Header, b []byte) *packet.Packet {
	limit := 576 // RFC 1812 §4.3.2.3
	o := Outer{Src: src, Dst: h.Src, Proto: ICMP, TTL: 255, TOS: 0xc0}
	if h.Version == 6 {
		limit, o.Proto = MinMTUv6, ICMPv6 // RFC 4443 §2.4 (c)
	}
	quote := b[:min(h.Len, len(b), limit-o.Size()-8)]
	p := packet.Get(8 + len(quote))
	m := p.Append(8 + len(quote))
	m[0], m[1], m[2], m[3] = e.Type, e.Code, 0, 0
	binary.BigEndian.PutUint32(m[4:], e.Info)
	copy(m[8:], quote)
	binary.BigEndian.PutUint16(m[2:], L4Checksum(o.Src, o.Dst, o.Proto, m))
	o.Prepend(p)
	return p
}

// IsError tells whether an ICMP message at L4 is an error message, and which.
func IsError(h *Header, b []byte) (e Error, quoted []byte, ok bool) {
	if h.L4 == 0 || h.L4+8 > h.Len || h.Len > len(b) || h.FragOff != 0 {
		return e, nil, false
	}
	m := b[h.L4:h.Len]
	e = Error{m[0], m[1], binary.BigEndian.Uint32(m[4:])}
	switch {
	case h.Version == 4 && h.Proto == ICMP:
		switch e.Type {
		case DestUnreachable, 4, 5, TimeExceeded, 12:
			return e, m[8:], true
		}
	case h.Version == 6 && h.Proto == ICMPv6:
		if e.Type < 128 {
			return e, m[8:], true
		}
	}
	return e, nil, false
}
