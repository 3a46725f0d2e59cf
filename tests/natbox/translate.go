package natbox

import (
	"encoding/binary"
	"net/netip"
)

const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
	protoESP  = 50
)

// translate rewrites a packet on its way from a side to the other; next is the neighbour there.
func (n *NAT) translate(from int, b []byte) (to int, next netip.Addr, ok bool) {
	to = 1 - from
	if len(b) < 20 || b[0]>>4 != 4 || b[0]&15 < 5 {
		return
	}
	head, size := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if size < head || size > len(b) || b[8] <= 1 {
		return
	}
	b = b[:size]
	proto := b[9]
	if proto == protoESP {
		n.n.ESP++
		return
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	if from == inside && n.side[inside].own.Masked().Contains(dst) || from == outside && dst != n.side[outside].own.Addr() {
		return // not to the other side, or not to us
	}
	l4, fragment := b[head:], binary.BigEndian.Uint16(b[6:])
	offset, more := fragment&0x1fff, fragment&0x2000 != 0
	key := piece{src, dst, binary.BigEndian.Uint16(b[4:]), proto}
	var inner netip.AddrPort
	var port uint16
	switch {
	case offset > 0:
		p, seen := n.pieces[key]
		if !seen {
			return
		}
		if inner, port, ok = n.lookup(from, proto, netip.AddrPortFrom(src, p), p); !ok {
			return
		}
		l4 = nil
	case proto == protoICMP && len(l4) >= 28 && (l4[0] == 3 || l4[0] == 11 || l4[0] == 12):
		return to, n.icmpError(from, b, l4, &ok), ok
	default:
		at := portAt(from, proto, l4)
		if at < 0 {
			return
		}
		p := binary.BigEndian.Uint16(l4[at:])
		if inner, port, ok = n.lookup(from, proto, netip.AddrPortFrom(src, p), p); !ok {
			return
		}
		if more && len(n.pieces) < maxPieces {
			n.pieces[key] = p
		}
	}
	new := netip.AddrPortFrom(n.side[outside].own.Addr(), port)
	if from == outside {
		new = inner
	}
	rewrite(b, head, l4, proto, from, new)
	if next, ok = n.nextHop(to, netip.AddrFrom4([4]byte(b[16:20]))); !ok {
		return
	}
	b[8]--
	adjust(b[10:], []byte{b[8] + 1, proto}, []byte{b[8], proto})
	if from == inside {
		n.n.Out++
	} else {
		n.n.In++
	}
	return to, next, true
}

// portAt is where the port of the inside host is, or what stands for one; -1 when there is none.
func portAt(from int, proto uint8, l4 []byte) int {
	switch {
	case proto == protoUDP && len(l4) >= 8, proto == protoTCP && len(l4) >= 20:
		if from == inside {
			return 0
		}
		return 2
	case proto == protoICMP && len(l4) >= 8 && (l4[0] == 8 && from == inside || l4[0] == 0 && from == outside):
		return 4
	}
	return -1
}

// lookup finds the mapping of a packet; one from inside makes it.
func (n *NAT) lookup(from int, proto uint8, src netip.AddrPort, port uint16) (netip.AddrPort, uint16, bool) {
	if from == outside {
		m := n.in[public{proto, port}]
		if m == nil || !n.alive(m) {
			return netip.AddrPort{}, 0, false
		}
		m.Used = n.c.Clock.Now()
		return m.Inside, m.Port, true
	}
	k := inner{proto, src}
	m := n.out[k]
	if m != nil && !n.alive(m) {
		delete(n.in, public{proto, m.Port})
		m = nil
	}
	if m == nil {
		for range 10000 {
			if n.next < 1024 {
				n.next = 20000
			}
			if o := n.in[public{proto, n.next}]; o == nil || !n.alive(o) {
				if o != nil {
					delete(n.out, inner{proto, o.Inside})
				}
				m = &Mapping{Protocol: proto, Inside: src, Port: n.next}
				break
			}
			n.next += 7
		}
		if m == nil {
			return netip.AddrPort{}, 0, false
		}
		n.next += 7
		n.out[k], n.in[public{proto, m.Port}] = m, m
	}
	m.Used = n.c.Clock.Now()
	return m.Inside, m.Port, true
}

// rewrite puts the new address and port in place of the source's (from inside) or the destination's. l4 is nil for a
// fragment that has no ports.
func rewrite(b []byte, head int, l4 []byte, proto uint8, from int, new netip.AddrPort) {
	at := 12
	if from == outside {
		at = 16
	}
	var old, addr [4]byte
	copy(old[:], b[at:])
	addr = new.Addr().As4()
	copy(b[at:], addr[:])
	adjust(b[10:], old[:], addr[:])
	if l4 == nil {
		return
	}
	p := portAt(from, proto, l4)
	if p < 0 {
		return
	}
	var oldPort, port [2]byte
	copy(oldPort[:], l4[p:])
	binary.BigEndian.PutUint16(port[:], new.Port())
	copy(l4[p:], port[:])
	switch {
	case proto == protoICMP:
		adjust(l4[2:], oldPort[:], port[:])
	case proto == protoTCP:
		adjust(l4[16:], old[:], addr[:])
		adjust(l4[16:], oldPort[:], port[:])
	case binary.BigEndian.Uint16(l4[6:]) != 0:
		adjust(l4[6:], old[:], addr[:])
		adjust(l4[6:], oldPort[:], port[:])
	}
}

// icmpError translates an error and the header of the packet that it is about, which went the other way.
func (n *NAT) icmpError(from int, b, l4 []byte, ok *bool) (next netip.Addr) {
	about := l4[8:]
	head := int(about[0]&15) * 4
	if about[0]>>4 != 4 || head < 20 || len(about) < head+8 {
		return
	}
	proto := about[9]
	l4About := about[head:]
	// The packet's own direction was the opposite of the error's: what came from inside has the host as its source.
	at := 0
	if from == inside {
		at = 2
	}
	if proto == protoICMP {
		at = 4
	} else if proto != protoUDP && proto != protoTCP {
		return
	}
	port := binary.BigEndian.Uint16(l4About[at:])
	var new netip.AddrPort
	if from == outside {
		m := n.in[public{proto, port}]
		if m == nil || netip.AddrFrom4([4]byte(about[12:16])) != n.side[outside].own.Addr() {
			return
		}
		new = m.Inside
	} else {
		m := n.out[inner{proto, netip.AddrPortFrom(netip.AddrFrom4([4]byte(about[16:20])), port)}]
		if m == nil {
			return
		}
		new = netip.AddrPortFrom(n.side[outside].own.Addr(), m.Port)
	}
	addr := new.Addr().As4()
	field := 12
	if from == inside {
		field = 16
	}
	var old [4]byte
	copy(old[:], about[field:])
	copy(about[field:], addr[:])
	adjust(about[10:], old[:], addr[:])
	binary.BigEndian.PutUint16(l4About[at:], new.Port())
	l4[2], l4[3] = 0, 0
	binary.BigEndian.PutUint16(l4[2:], ^sum(l4))
	rewrite(b, 20, nil, protoICMP, from, new)
	next, *ok = n.nextHop(1-from, netip.AddrFrom4([4]byte(b[16:20])))
	b[8]--
	adjust(b[10:], []byte{b[8] + 1, protoICMP}, []byte{b[8], protoICMP})
	return next
}

// adjust changes a checksum for bytes that changed (RFC 1624).
func adjust(check, old, new []byte) {
	s := uint32(^binary.BigEndian.Uint16(check))
	for i := 0; i+1 < len(old); i += 2 {
		s += uint32(^binary.BigEndian.Uint16(old[i:])) + uint32(binary.BigEndian.Uint16(new[i:]))
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	binary.BigEndian.PutUint16(check, ^uint16(s))
}

// sum is the ones' complement sum of bytes.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
