package ip

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// IANA protocol numbers.
const (
	ICMP     = 1
	IPv4     = 4
	TCP      = 6
	UDP      = 17
	IPv6     = 41
	GRE      = 47
	ESP      = 50
	ICMPv6   = 58
	hopByHop = 0
	routing  = 43
	fragment = 44
	authHdr  = 51
	noNext   = 59
	destOpts = 60
)

// Sizes of headers in bytes.
const (
	MinV4       = 20
	SizeV6      = 40
	SizeUDP     = 8
	SizeFragHdr = 8
	// MinMTUv6 is the MTU that every IPv6 link has (RFC 8200 §5).
	MinMTUv6 = 1280
)

var (
	ErrTruncated = errors.New("ip: packet is shorter than its header says")
	ErrVersion   = errors.New("ip: version is neither 4 nor 6")
	ErrHeader    = errors.New("ip: header length is impossible")
	ErrChecksum  = errors.New("ip: header checksum is wrong")
)

// Header is what a router wants to know of a packet's IP header, of either family.
type Header struct {
	Src, Dst netip.Addr
	// Len is the length of the packet by its header; bytes behind it are padding of the link.
	Len int
	// L4 is the offset of the upper-layer header; 0 when the chain of extension headers could not be followed.
	L4 int
	// ID is the identification of a datagram's fragments.
	ID uint32
	// FragOff is the fragment's offset in bytes.
	FragOff int
	// FragHdr is the offset of the IPv6 fragment header, 0 when there is none.
	FragHdr int
	Version uint8
	// Proto is the protocol at L4.
	Proto uint8
	TTL   uint8
	TOS   uint8
	// DF: must not be fragmented on the way. Always set for IPv6.
	DF bool
	// MF: more fragments follow.
	MF bool
	// SourceRoute: an IPv4 source route option is there.
	SourceRoute bool
}

// RoutingProtocol tells whether a packet is of those that routers tell each other the ways and their own life by: BGP, BFD,
// EIGRP, OSPF, PIM, IGMP. b is the packet that the header was parsed from.
func (h *Header) RoutingProtocol(b []byte) bool {
	const igmp, eigrp, ospf, pim = 2, 88, 89, 103
	const bgp, bfdControl, bfdEcho, bfdMultihop = 179, 3784, 3785, 4784
	switch h.Proto {
	case igmp, eigrp, ospf, pim:
		return true
	case TCP, UDP:
	default:
		return false
	}
	if h.FragOff != 0 || h.L4 == 0 || len(b) < h.L4+4 {
		return false
	}
	src, dst := binary.BigEndian.Uint16(b[h.L4:]), binary.BigEndian.Uint16(b[h.L4+2:])
	if h.Proto == TCP {
		return src == bgp || dst == bgp
	}
	return dst == bfdControl || dst == bfdEcho || dst == bfdMultihop
}

// Fragment tells whether the packet is a part of a datagram.
func (h *Header) Fragment() bool { return h.MF || h.FragOff != 0 }

// Parse reads the header at the front of b.
func Parse(b []byte, h *Header) error {
	if len(b) < MinV4 {
		return ErrTruncated
	}
	switch b[0] >> 4 {
	case 4:
		return parse4(b, h)
	case 6:
		return parse6(b, h)
	}
	return ErrVersion
}

func parse4(b []byte, h *Header) error {
	n := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if n < MinV4 || total < n {
		return ErrHeader
	}
	if total > len(b) {
		return ErrTruncated
	}
	frag := binary.BigEndian.Uint16(b[6:])
	// Field by field: of a literal the compiler makes a copy first.
	h.Src, h.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	h.Len, h.L4, h.ID = total, n, uint32(binary.BigEndian.Uint16(b[4:]))
	h.FragOff, h.FragHdr = int(frag&0x1fff)*8, 0
	h.Version, h.Proto, h.TTL, h.TOS = 4, b[9], b[8], b[1]
	h.DF, h.MF, h.SourceRoute = frag&0x4000 != 0, frag&0x2000 != 0, false
	if n > MinV4 {
		if Sum(b[:n], 0) != 0xffff {
			return ErrChecksum
		}
		h.SourceRoute = sourceRoute(b[MinV4:n])
	} else if sum20(b) != 0xffff {
		return ErrChecksum
	}
	return nil
}

// sourceRoute finds a loose (131) or strict (137) source route among IPv4 options.
func sourceRoute(o []byte) bool {
	for len(o) > 0 {
		switch o[0] {
		case 0:
			return false
		case 1:
			o = o[1:]
		case 131, 137:
			return true
		default:
			if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
				return false
			}
			o = o[o[1]:]
		}
	}
	return false
}

func parse6(b []byte, h *Header) error {
	if len(b) < SizeV6 {
		return ErrTruncated
	}
	total := SizeV6 + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return ErrTruncated
	}
	*h = Header{
		Src: netip.AddrFrom16([16]byte(b[8:24])), Dst: netip.AddrFrom16([16]byte(b[24:40])),
		Len: total, L4: SizeV6, Version: 6, Proto: b[6], TTL: b[7], TOS: b[0]<<4 | b[1]>>4, DF: true,
	}
	switch h.Proto {
	case hopByHop, routing, fragment, authHdr, destOpts:
		h.walk(b[:total])
	}
	return nil
}

// walk follows IPv6 extension headers to the upper layer. A chain that cannot be followed leaves L4 at 0.
func (h *Header) walk(b []byte) {
	next, off := h.Proto, SizeV6
	for range 8 {
		switch next {
		default:
			h.Proto, h.L4 = next, off
			return
		case hopByHop, routing, destOpts:
			if off+8 > len(b) {
				h.L4 = 0
				return
			}
			next, off = b[off], off+8+int(b[off+1])*8
		case authHdr:
			if off+8 > len(b) {
				h.L4 = 0
				return
			}
			next, off = b[off], off+8+int(b[off+1])*4
		case fragment:
			if off+SizeFragHdr > len(b) || h.FragHdr != 0 {
				h.L4 = 0
				return
			}
			v := binary.BigEndian.Uint16(b[off+2:])
			h.FragHdr, h.FragOff, h.MF = off, int(v&0xfff8), v&1 != 0
			h.ID = binary.BigEndian.Uint32(b[off+4:])
			next, off = b[off], off+SizeFragHdr
			if h.FragOff != 0 {
				// What follows is the middle of something.
				h.Proto, h.L4 = next, off
				return
			}
		}
		if off > len(b) {
			h.L4 = 0
			return
		}
	}
	h.L4 = 0
}

// Ports returns the ports of TCP and UDP; ok is false for other protocols and for what a fragment does not have.
func (h *Header) Ports(b []byte) (src, dst uint16, ok bool) {
	if h.L4 == 0 || h.FragOff != 0 || h.Proto != TCP && h.Proto != UDP || h.L4+4 > h.Len || h.Len > len(b) {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(b[h.L4:]), binary.BigEndian.Uint16(b[h.L4+2:]), true
}

// Flow is a hash over addresses, protocol and ports, never 0. All fragments of a datagram have one flow.
func (h *Header) Flow(b []byte) uint32 {
	const k1, k2 = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	var x uint64
	if h.Version == 4 {
		x = binary.LittleEndian.Uint64(b[12:20])
	} else {
		x = binary.LittleEndian.Uint64(b[8:16])
		x = (x ^ x>>32 ^ binary.LittleEndian.Uint64(b[16:24])) * k1
		x = (x ^ x>>32 ^ binary.LittleEndian.Uint64(b[24:32])) * k2
		x = (x ^ x>>32 ^ binary.LittleEndian.Uint64(b[32:40]))
	}
	x = (x ^ x>>32) * k1
	x ^= uint64(h.Proto) << 56
	if !h.Fragment() {
		if src, dst, ok := h.Ports(b); ok {
			x ^= uint64(src)<<16 | uint64(dst)
		}
	}
	x = (x ^ x>>32) * k2
	x ^= x >> 29
	if f := uint32(x >> 16); f != 0 {
		return f
	}
	return 1
}

// DecTTL takes one from TTL or hop limit and mends the checksum (RFC 1624). The TTL must not be 0.
func DecTTL(b []byte) {
	if b[0]>>4 == 6 {
		b[7]--
		return
	}
	b[8]--
	// HC' = ~(~HC + ~m + m') with m' = m - 0x0100.
	sum := uint32(binary.BigEndian.Uint16(b[10:])) + 0x0100
	binary.BigEndian.PutUint16(b[10:], uint16(sum+sum>>16))
}

// Plain4 tells by the first byte of an IPv4 address that it is a unicast address that may travel: neither this network
// nor loopback, multicast or what is beyond.
func Plain4(first byte) bool { return first-1 < 223 && first != 127 }

// BadSource tells whether an address can never be a packet's source on a wire.
func BadSource(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return b[0] >= 224 || b[0] == 127 || b[0] == 0
	}
	return a.IsMulticast() || a.IsLoopback() || a.Is4In6()
}

// BadDestination tells whether an address can never be a packet's destination on a wire.
func BadDestination(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return b[0] == 127 || b[0] == 0 || b[0] >= 240 && a != Broadcast
	}
	return a.IsLoopback() || a.IsUnspecified() || a.Is4In6()
}

// Broadcast is the limited broadcast address.
var Broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
