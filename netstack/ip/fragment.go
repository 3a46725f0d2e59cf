package ip

import (
	"encoding/binary"

	"felloe/netstack/packet"
)

// Fragment4 cuts an IPv4 packet into fragments that fit mtu and appends them to out. It consumes p. A packet that is
// a fragment itself is cut further. It returns nothing when the mtu has no room for data.
func Fragment4(p *packet.Packet, h *Header, mtu int, out []*packet.Packet) []*packet.Packet {
	b := p.Bytes()[:h.Len]
	head := h.L4
	room := (mtu - head) &^ 7
	if room < 8 {
		p.Release()
		return out
	}
	opts := head
	data := b[head:]
	for off := 0; off < len(data); off += room {
		n := min(room, len(data)-off)
		q := packet.Get(head + n)
		q.CopyContext(p)
		copy(q.Append(opts), b[:opts])
		if off > 0 && opts > MinV4 {
			laterOptions(q.Bytes()[MinV4:])
		}
		copy(q.Append(n), data[off:off+n])
		f := q.Bytes()
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		word := uint16((h.FragOff + off) / 8)
		if h.MF || off+n < len(data) {
			word |= 0x2000
		}
		binary.BigEndian.PutUint16(f[6:], word)
		f[10], f[11] = 0, 0
		binary.BigEndian.PutUint16(f[10:], ^Sum(f[:head], 0))
		out = append(out, q)
	}
	p.Release()
	return out
}

// laterOptions blanks with no-operations the options that belong to the first fragment only (RFC 791: copied flag).
func laterOptions(o []byte) {
	for len(o) > 0 {
		n := 1
		switch {
		case o[0] == 0:
			return
		case o[0] == 1:
		default:
			if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
				for i := range o {
					o[i] = 1
				}
				return
			}
			n = int(o[1])
			if o[0]&0x80 == 0 {
				for i := range o[:n] {
					o[i] = 1
				}
			}
		}
		o = o[n:]
	}
}

// Fragment6 cuts an IPv6 packet of our own (only a source may) into fragments that fit mtu and appends them to out.
// It consumes p. A packet with extension headers is not cut, since ours have none; it returns nothing then.
func Fragment6(p *packet.Packet, h *Header, id uint32, mtu int, out []*packet.Packet) []*packet.Packet {
	room := (mtu - SizeV6 - SizeFragHdr) &^ 7
	if h.L4 != SizeV6 || room < 8 {
		p.Release()
		return out
	}
	b := p.Bytes()[:h.Len]
	data := b[SizeV6:]
	for off := 0; off < len(data); off += room {
		n := min(room, len(data)-off)
		q := packet.Get(SizeV6 + SizeFragHdr + n)
		q.CopyContext(p)
		f := q.Append(SizeV6 + SizeFragHdr + n)
		copy(f, b[:SizeV6])
		binary.BigEndian.PutUint16(f[4:], uint16(SizeFragHdr+n))
		f[6] = fragment
		word := uint16(off)
		if off+n < len(data) {
			word |= 1
		}
		f[SizeV6], f[SizeV6+1] = h.Proto, 0
		binary.BigEndian.PutUint16(f[SizeV6+2:], word)
		binary.BigEndian.PutUint32(f[SizeV6+4:], id)
		copy(f[SizeV6+SizeFragHdr:], data[off:off+n])
		out = append(out, q)
	}
	p.Release()
	return out
}
