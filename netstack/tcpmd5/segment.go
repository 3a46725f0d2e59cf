package tcpmd5

import (
	"crypto/md5"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"net/netip"
)

const (
	kindEOL  = 0
	kindNOP  = 1
	kindMSS  = 2
	kindSACK = 5
	kindMD5  = 19 // RFC 2385 §3.0

	md5Len    = 18
	maxOption = 40
	overhead  = 20 // NOP NOP and the option

	protocolTCP = 6
	flagSYN     = 0x02
	tcpMin      = 20
)

var (
	errNotTCP    = errors.New("packet is not TCP")
	errFragment  = errors.New("packet is a fragment")
	errMalformed = errors.New("segment is malformed")
)

// segment is a TCP segment in its IP packet. The slices share the packet's memory.
type segment struct {
	ip       []byte // the whole packet, without what follows its length
	tcp      []byte // TCP header, options and data
	v6       bool
	src, dst netip.Addr
	ttl      uint8
}

// parse finds the TCP segment in an IP packet. When the error is errFragment or errMalformed the addresses are set.
func parse(b []byte) (segment, error) {
	var s segment
	if len(b) < 1 {
		return s, errNotTCP
	}
	switch b[0] >> 4 {
	case 4:
		if len(b) < 20 {
			return s, errNotTCP
		}
		header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if header < 20 || total < header || total > len(b) || b[9] != protocolTCP {
			return s, errNotTCP
		}
		s.ip, s.ttl = b[:total], b[8]
		s.src, s.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // more fragments, or an offset
			return s, errFragment
		}
		s.tcp = s.ip[header:]
	case 6:
		if len(b) < 40 {
			return s, errNotTCP
		}
		total := 40 + int(binary.BigEndian.Uint16(b[4:]))
		if total > len(b) {
			return s, errNotTCP
		}
		s.v6, s.ip, s.ttl = true, b[:total], b[7]
		s.src, s.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		switch b[6] {
		case protocolTCP:
		case 0, 43, 44, 60: // extension headers: TCP may hide behind them
			return s, errFragment
		default:
			return s, errNotTCP
		}
		s.tcp = s.ip[40:]
	default:
		return s, errNotTCP
	}
	if len(s.tcp) < tcpMin || s.header() < tcpMin || s.header() > len(s.tcp) {
		return s, errMalformed
	}
	return s, nil
}

func (s *segment) header() int        { return int(s.tcp[12]>>4) * 4 }
func (s *segment) options() []byte    { return s.tcp[tcpMin:s.header()] }
func (s *segment) sourcePort() uint16 { return binary.BigEndian.Uint16(s.tcp) }
func (s *segment) destPort() uint16   { return binary.BigEndian.Uint16(s.tcp[2:]) }

// option finds an option's bytes, its kind and length octets included. ok is false when the list is malformed, in which
// case nothing behind the fault was looked at.
func option(opts []byte, kind byte) (found []byte, ok bool) {
	for len(opts) > 0 {
		switch opts[0] {
		case kindEOL:
			return found, true
		case kindNOP:
			opts = opts[1:]
			continue
		}
		if len(opts) < 2 || opts[1] < 2 || int(opts[1]) > len(opts) {
			return found, false
		}
		n := int(opts[1])
		if opts[0] == kind && found == nil {
			found = opts[:n]
		}
		opts = opts[n:]
	}
	return found, true
}

// plain says that more options can follow the list as it is.
func plain(opts []byte) bool {
	for len(opts) > 0 {
		switch {
		case opts[0] == kindNOP:
			opts = opts[1:]
			continue
		case opts[0] == kindEOL, opts[0] == kindMD5, len(opts) < 2, opts[1] < 2, int(opts[1]) > len(opts):
			return false
		}
		opts = opts[opts[1]:]
	}
	return true
}

// room makes an option list short enough for the signature: as it is if it fits, else without SACK blocks, else with
// nothing but the MSS. The outcome is appended to dst and padded.
func room(dst, opts []byte) []byte {
	if len(opts)+overhead <= maxOption && plain(opts) {
		return append(dst, opts...)
	}
	for _, keep := range []func(byte) bool{
		func(k byte) bool { return k != kindMD5 },
		func(k byte) bool { return k != kindSACK && k != kindMD5 },
		func(k byte) bool { return k == kindMSS },
	} {
		out := dst
		for rest := opts; len(rest) > 0 && rest[0] != kindEOL; {
			if rest[0] == kindNOP {
				rest = rest[1:]
				continue
			}
			if len(rest) < 2 || rest[1] < 2 || int(rest[1]) > len(rest) {
				break
			}
			if keep(rest[0]) {
				out = append(out, rest[:rest[1]]...)
			}
			rest = rest[rest[1]:]
		}
		for (len(out)-len(dst))%4 != 0 {
			out = append(out, kindNOP)
		}
		if len(out)-len(dst)+overhead <= maxOption {
			return out
		}
	}
	return dst
}

// digest is RFC 2385 §2.0: pseudo-header, TCP header without options and with checksum zero, data, key.
func (s *segment) digest(key []byte) [md5.Size]byte {
	h := md5.New()
	if s.v6 {
		var pseudo [40]byte
		a, b := s.src.As16(), s.dst.As16()
		copy(pseudo[:], a[:])
		copy(pseudo[16:], b[:])
		binary.BigEndian.PutUint32(pseudo[32:], uint32(len(s.tcp)))
		pseudo[39] = protocolTCP
		h.Write(pseudo[:])
	} else {
		var pseudo [12]byte
		a, b := s.src.As4(), s.dst.As4()
		copy(pseudo[:], a[:])
		copy(pseudo[4:], b[:])
		pseudo[9] = protocolTCP
		binary.BigEndian.PutUint16(pseudo[10:], uint16(len(s.tcp)))
		h.Write(pseudo[:])
	}
	var fixed [tcpMin]byte
	copy(fixed[:], s.tcp)
	fixed[16], fixed[17] = 0, 0
	h.Write(fixed[:])
	h.Write(s.tcp[s.header():])
	h.Write(key)
	return [md5.Size]byte(h.Sum(nil))
}

// sign returns a copy of the packet with the signature in it.
func (s *segment) sign(key []byte) ([]byte, error) {
	ipHeader := len(s.ip) - len(s.tcp)
	opts := room(make([]byte, 0, maxOption), s.options())
	data := s.tcp[s.header():]
	length := ipHeader + tcpMin + len(opts) + overhead + len(data)
	if length-map[bool]int{true: 40}[s.v6] > 65535 {
		return nil, errMalformed
	}
	out := make([]byte, 0, length)
	out = append(out, s.ip[:ipHeader+tcpMin]...)
	out = append(out, opts...)
	out = append(out, kindNOP, kindNOP, kindMD5, md5Len)
	at := len(out)
	out = append(out, make([]byte, md5.Size)...)
	out = append(out, data...)
	out[ipHeader+12] = byte((tcpMin+len(opts)+overhead)/4)<<4 | out[ipHeader+12]&15
	if s.v6 {
		binary.BigEndian.PutUint16(out[4:], uint16(len(out)-40))
	} else {
		binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
		out[10], out[11] = 0, 0
		binary.BigEndian.PutUint16(out[10:], ^sum(0, out[:ipHeader]))
	}
	n, err := parse(out)
	if err != nil {
		return nil, err
	}
	d := n.digest(key)
	copy(out[at:], d[:])
	n.checksum()
	return out, nil
}

// verdict is what verify found.
type verdict uint8

const (
	good verdict = iota
	missing
	bad
)

func (s *segment) verify(key []byte) verdict {
	o, ok := option(s.options(), kindMD5)
	if o == nil {
		return missing
	}
	if !ok || len(o) != md5Len {
		return bad
	}
	d := s.digest(key)
	if subtle.ConstantTimeCompare(d[:], o[2:]) != 1 {
		return bad
	}
	return good
}

// lowerMSS takes the signature's room off the MSS that a SYN announces, in place, and reports whether it did.
func (s *segment) lowerMSS() bool {
	if s.tcp[13]&flagSYN == 0 {
		return false
	}
	o, ok := option(s.options(), kindMSS)
	if !ok || len(o) != 4 {
		return false
	}
	mss := binary.BigEndian.Uint16(o[2:])
	if mss <= 88+overhead { // the smallest MSS that leaves room for data beside all options
		return false
	}
	binary.BigEndian.PutUint16(o[2:], mss-overhead)
	s.checksum()
	return true
}

// checksum computes the TCP checksum anew.
func (s *segment) checksum() {
	s.tcp[16], s.tcp[17] = 0, 0
	var c uint32
	a, b := s.src.AsSlice(), s.dst.AsSlice()
	c = uint32(sum(sum(0, a), b))
	c += protocolTCP + uint32(len(s.tcp)>>16) + uint32(len(s.tcp)&0xffff)
	c = c>>16 + c&0xffff
	c += c >> 16
	binary.BigEndian.PutUint16(s.tcp[16:], ^sum(uint16(c), s.tcp))
}

// sum is the Internet checksum's sum (RFC 1071), not complemented.
func sum(initial uint16, b []byte) uint16 {
	c := uint64(initial)
	for len(b) >= 2 {
		c += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		c += uint64(b[0]) << 8
	}
	for c > 0xffff {
		c = c>>16 + c&0xffff
	}
	return uint16(c)
}
