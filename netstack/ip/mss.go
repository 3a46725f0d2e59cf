package ip

import "encoding/binary"

// ClampMSS lowers the maximum segment size option of a TCP SYN to mss (RFC 879; RFC 6691) and mends the checksum; it
// reports whether it changed something. A SYN without the option is left alone. Anything but a SYN is cheap to ask.
func ClampMSS(h *Header, b []byte, mss int) bool {
	if h.Proto != TCP || h.L4 == 0 || h.FragOff != 0 || h.L4+20 > h.Len || h.Len > len(b) {
		return false
	}
	t := b[h.L4:h.Len]
	if t[13]&0x02 == 0 { // SYN
		return false
	}
	n := int(t[12]>>4) * 4
	if n < 20 || n > len(t) {
		return false
	}
	for i := 20; i < n; {
		switch t[i] {
		case 0:
			return false
		case 1:
			i++
			continue
		}
		if i+2 > n || t[i+1] < 2 || i+int(t[i+1]) > n {
			return false
		}
		if t[i] == 2 && t[i+1] == 4 {
			old := int(binary.BigEndian.Uint16(t[i+2:]))
			if old <= mss {
				return false
			}
			sum := binary.BigEndian.Uint16(t[16:])
			if i&1 == 0 {
				sum = replace(sum, uint16(old), uint16(mss))
			} else {
				// The value straddles two checksum words.
				sum = replace(sum, uint16(old>>8), uint16(mss>>8))
				sum = replace(sum, uint16(old<<8), uint16(mss<<8))
			}
			binary.BigEndian.PutUint16(t[i+2:], uint16(mss))
			binary.BigEndian.PutUint16(t[16:], sum)
			return true
		}
		i += int(t[i+1])
	}
	return false
}
