package ndp

import (
	"errors"
	"net/netip"

	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// ICMPv6 types.
const (
	Solicitation  = 135
	Advertisement = 136
)

// Flags of an advertisement.
const (
	Router    = 0x80
	Solicited = 0x40
	Override  = 0x20
)

var (
	ErrHopLimit  = errors.New("ndp: hop limit is not 255")
	ErrMalformed = errors.New("ndp: message is malformed")
	ErrType      = errors.New("ndp: not a neighbor solicitation or advertisement")
)

// Message is a Neighbor Solicitation or Advertisement.
type Message struct {
	Type   uint8
	Flags  uint8 // of an advertisement
	Target netip.Addr
	// LinkAddr is the source (solicitation) or target (advertisement) link-layer address, when HasLink.
	LinkAddr [6]byte
	HasLink  bool
}

// AllNodes is the link-scope all-nodes group.
var AllNodes = netip.MustParseAddr("ff02::1")

// SolicitedNode is the group that the owner of an address listens to (RFC 4291 §2.7.1).
func SolicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// GroupMAC is the Ethernet address of an IPv6 multicast group (RFC 2464 §7).
func GroupMAC(a netip.Addr) [6]byte {
	b := a.As16()
	return [6]byte{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// Parse reads the message in the IPv6 packet b with header h and checks all that RFC 4861 §7.1 asks for.
func Parse(h *ip.Header, b []byte) (m Message, err error) {
	if h.Version != 6 || h.Proto != ip.ICMPv6 || h.L4 == 0 || h.Len > len(b) || h.Fragment() || h.L4+24 > h.Len {
		return m, ErrMalformed
	}
	body := b[h.L4:h.Len]
	if body[0] != Solicitation && body[0] != Advertisement {
		return m, ErrType
	}
	if h.TTL != 255 {
		return m, ErrHopLimit
	}
	if body[1] != 0 || !ip.L4Valid(h, b) {
		return m, ErrMalformed
	}
	m.Type, m.Target = body[0], netip.AddrFrom16([16]byte(body[8:24]))
	if m.Target.IsMulticast() || m.Target.IsUnspecified() || m.Target.Is4In6() {
		return m, ErrMalformed
	}
	want := byte(1) // source link-layer address
	if m.Type == Advertisement {
		m.Flags, want = body[4], 2
		if h.Dst.IsMulticast() && m.Flags&Solicited != 0 {
			return m, ErrMalformed
		}
	}
	for o := body[24:]; len(o) > 0; {
		if len(o) < 8 || o[1] == 0 || int(o[1])*8 > len(o) {
			return m, ErrMalformed
		}
		if o[0] == want && o[1] == 1 {
			m.LinkAddr, m.HasLink = [6]byte(o[2:8]), true
			if m.LinkAddr[0]&1 != 0 || m.LinkAddr == [6]byte{} {
				return m, ErrMalformed
			}
		}
		o = o[int(o[1])*8:]
	}
	if m.Type == Solicitation && h.Src.IsUnspecified() && (m.HasLink || h.Dst != SolicitedNode(m.Target)) {
		return m, ErrMalformed
	}
	return m, nil
}

// Packet builds the IPv6 packet of the message.
func (m *Message) Packet(src, dst netip.Addr) *packet.Packet {
	n := 24
	if m.HasLink {
		n += 8
	}
	p := packet.Get(n)
	b := p.Append(n)
	clear(b)
	b[0], b[4] = m.Type, m.Flags
	target := m.Target.As16()
	copy(b[8:], target[:])
	if m.HasLink {
		b[24], b[25] = 1, 1
		if m.Type == Advertisement {
			b[24] = 2
		}
		copy(b[26:], m.LinkAddr[:])
	}
	sum := ip.L4Checksum(src, dst, ip.ICMPv6, b)
	b[2], b[3] = byte(sum>>8), byte(sum)
	(&ip.Outer{Src: src, Dst: dst, Proto: ip.ICMPv6, TTL: 255}).Prepend(p)
	return p
}
