package guard

import (
	"encoding/binary"
	"net/netip"
)

// toUpdate corrects the engine's next hop in a session over one family that carries the other one. The engine announces
// its end of the session: mapped into IPv6 for an IPv6 path, which nobody can resolve, or as an IPv6 next hop of an IPv4
// path (RFC 8950), which was not agreed on. What the peer gets is our address of the path's family.
func (g *Guard) toUpdate(msg []byte) []byte {
	if g.cfg.Companion == nil || len(msg) < 23 {
		return msg
	}
	b := msg[HeaderLen:]
	w := int(binary.BigEndian.Uint16(b))
	if len(b) < 4+w {
		return msg
	}
	n := int(binary.BigEndian.Uint16(b[2+w:]))
	if len(b) < 4+w+n {
		return msg
	}
	attrs := b[4+w : 4+w+n]
	for rest := attrs; len(rest) >= 3; {
		head, size := 3, int(rest[2])
		if rest[0]&flagExtended != 0 {
			if len(rest) < 4 {
				return msg
			}
			head, size = 4, int(binary.BigEndian.Uint16(rest[2:]))
		}
		if len(rest) < head+size {
			return msg
		}
		if rest[1] == attrMPReach {
			return g.correct(msg, b[2:2+w], attrs, len(attrs)-len(rest), head, size)
		}
		rest = rest[head+size:]
	}
	return msg
}

// correct does so for the MP_REACH_NLRI at an offset of the attributes.
func (g *Guard) correct(msg, withdrawn, attrs []byte, at, head, size int) []byte {
	v := attrs[at+head : at+head+size]
	if len(v) < 5 || len(v) < 5+int(v[3]) {
		return msg
	}
	nh, ok := netip.AddrFromSlice(v[4 : 4+v[3]])
	v6 := binary.BigEndian.Uint16(v) == 2
	if !ok || v6 && !nh.Is4In6() && nh.Is6() || !v6 && nh.Is4() {
		return msg // of the path's family
	}
	ours := g.cfg.Companion()
	if !ours.IsValid() || ours.Is6() != v6 {
		return nil
	}
	var out []byte
	if v6 {
		out = append(out, attrs[:at]...)
		out = append(out, mpReach(v[5+v[3]:], ours.AsSlice(), true)...)
		return assemble(withdrawn, append(out, attrs[at+head+size:]...), nil)
	}
	// An IPv4 path belongs into the UPDATE itself; NEXT_HOP goes where its type has its place.
	next := appendAttribute(nil, flagTransitive, attrNextHop, ours.AsSlice())
	rest := append(append([]byte(nil), attrs[:at]...), attrs[at+head+size:]...)
	for len(rest) >= 3 && rest[1] < attrNextHop {
		n := 3 + int(rest[2])
		if rest[0]&flagExtended != 0 && len(rest) >= 4 {
			n = 4 + int(binary.BigEndian.Uint16(rest[2:]))
		}
		n = min(n, len(rest))
		out, rest = append(out, rest[:n]...), rest[n:]
	}
	out = append(append(out, next...), rest...)
	return assemble(withdrawn, out, v[5+v[3]:])
}
