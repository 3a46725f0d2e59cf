package wire

import "encoding/binary"

// walk follows a frame's headers. It returns where a GRE packet begins (-1: nowhere) and from where on the frame is
// ESP or IKE, which is as good as random (len(frame): nowhere).
func walk(frame []byte) (gre, opaque int) {
	gre, opaque = -1, len(frame)
	if len(frame) < 14 {
		return
	}
	at, kind := 12, binary.BigEndian.Uint16(frame[12:])
	for (kind == 0x8100 || kind == 0x88a8) && at+6 <= len(frame) {
		at += 4
		kind = binary.BigEndian.Uint16(frame[at:])
	}
	at += 2
	if kind != 0x0800 && kind != 0x86dd {
		return
	}
	const (
		ipip = 4
		udp  = 17
		ipv6 = 41
		esp  = 50
		greN = 47
	)
	next, first := uint8(ipip), true
	if kind == 0x86dd {
		next = ipv6
	}
	for {
		switch next {
		case ipip:
			if at+20 > len(frame) {
				return
			}
			length := int(frame[at]&15) * 4
			next = frame[at+9]
			first = binary.BigEndian.Uint16(frame[at+6:])&0x1fff == 0
			at += max(length, 20)
		case ipv6:
			if at+40 > len(frame) {
				return
			}
			next = frame[at+6]
			at += 40
		case 0, 43, 60: // hop by hop, routing, destination options
			if at+8 > len(frame) {
				return
			}
			next, at = frame[at], at+8+int(frame[at+1])*8
		case 44: // fragment
			if at+8 > len(frame) {
				return
			}
			next = frame[at]
			first = binary.BigEndian.Uint16(frame[at+2:])>>3 == 0
			at += 8
		case greN:
			return at, opaque
		case esp:
			return -1, min(at, len(frame))
		case udp:
			if !first {
				// A later fragment of UDP: only IKE's messages and encapsulated ESP are that large here.
				return -1, min(at, len(frame))
			}
			if at+8 > len(frame) {
				return
			}
			for _, port := range []int{at, at + 2} {
				if p := binary.BigEndian.Uint16(frame[port:]); p == 500 || p == 4500 {
					return -1, at + 8
				}
			}
			return
		default:
			return
		}
		if !first && next != greN && next != esp && next != udp {
			return
		}
	}
}
