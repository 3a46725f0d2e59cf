package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// MaxExtensions is the number of extensions that Decode takes; the field has at most six.
const MaxExtensions = 32

// MaxCIEs is the number of entries that Decode takes in one list.
const MaxCIEs = 64

const fixedLen = 20

var (
	ErrTruncated   = errors.New("packet is truncated")
	ErrChecksum    = errors.New("checksum is wrong")
	ErrVersion     = errors.New("version is not 1")
	ErrType        = errors.New("packet type is unknown")
	ErrFamily      = errors.New("address family is not IPv4 or IPv6")
	ErrAddress     = errors.New("address length does not fit its family")
	ErrExtension   = errors.New("extension is malformed")
	ErrTooMany     = errors.New("too many entries")
	ErrUnsupported = errors.New("not supported")
)

// Checksum is the Internet checksum over b; over a whole packet with its checksum field in place it is 0.
func Checksum(b []byte) uint16 {
	var sum uint32
	for len(b) >= 2 {
		sum += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// Decode reads a packet. Bytes behind the packet's own size (padding of the link) are ignored.
func Decode(b []byte) (*Packet, error) {
	if len(b) < fixedLen {
		return nil, fmt.Errorf("nhrp fixed header: %w", ErrTruncated)
	}
	size := int(binary.BigEndian.Uint16(b[10:]))
	if size < fixedLen || size > len(b) {
		return nil, fmt.Errorf("nhrp packet size %d of %d: %w", size, len(b), ErrTruncated)
	}
	b = b[:size]
	p := &Packet{
		AFN:      binary.BigEndian.Uint16(b),
		Protocol: binary.BigEndian.Uint16(b[2:]),
		HopCount: b[9],
		Type:     Type(b[17]),
	}
	switch {
	case b[16] != Version:
		return nil, fmt.Errorf("nhrp version %d: %w", b[16], ErrVersion)
	case Checksum(b) != 0:
		return nil, fmt.Errorf("nhrp: %w", ErrChecksum)
	case p.Type == 0 || p.Type > maxType:
		return nil, fmt.Errorf("nhrp type %d: %w", b[17], ErrType)
	case p.AFN != AFNIPv4 && p.AFN != AFNIPv6:
		return nil, fmt.Errorf("nhrp address family %d: %w", p.AFN, ErrFamily)
	case p.Protocol != ProtocolIPv4 && p.Protocol != ProtocolIPv6:
		return nil, fmt.Errorf("nhrp protocol 0x%04x: %w", p.Protocol, ErrFamily)
	case b[19] != 0:
		return nil, fmt.Errorf("nhrp source subaddress: %w", ErrUnsupported)
	}
	extensions := int(binary.BigEndian.Uint16(b[14:]))
	body := b[fixedLen:]
	var tail []byte
	if extensions != 0 {
		if extensions < fixedLen || extensions > size {
			return nil, fmt.Errorf("nhrp extension offset %d of %d: %w", extensions, size, ErrTruncated)
		}
		body, tail = b[fixedLen:extensions], b[extensions:]
	}
	if err := p.mandatory(body, b[18]); err != nil {
		return nil, fmt.Errorf("nhrp %s: %w", p.Type, err)
	}
	if extensions != 0 {
		if err := p.extensions(tail); err != nil {
			return nil, fmt.Errorf("nhrp %s: %w", p.Type, err)
		}
	}
	return p, nil
}

func (p *Packet) mandatory(b []byte, nbmaLen byte) (err error) {
	if len(b) < 8 {
		return ErrTruncated
	}
	srcLen, dstLen := b[0], b[1]
	if p.Type.Indication() {
		p.ErrorCode = ErrorCode(binary.BigEndian.Uint16(b[4:]))
		p.ErrorOffset = binary.BigEndian.Uint16(b[6:])
	} else {
		p.Flags = binary.BigEndian.Uint16(b[2:])
		p.RequestID = binary.BigEndian.Uint32(b[4:])
	}
	b = b[8:]
	if p.SrcNBMA, b, err = takeAddr(b, nbmaLen, nbmaBytes(p.AFN)); err != nil {
		return fmt.Errorf("source NBMA address: %w", err)
	}
	if p.SrcProto, b, err = takeAddr(b, srcLen, protoBytes(p.Protocol)); err != nil {
		return fmt.Errorf("source protocol address: %w", err)
	}
	if p.DstProto, b, err = takeAddr(b, dstLen, protoBytes(p.Protocol)); err != nil {
		return fmt.Errorf("destination protocol address: %w", err)
	}
	if p.Type.Indication() {
		p.Payload = append([]byte(nil), b...)
		return nil
	}
	p.CIEs, err = p.cies(b, false)
	return err
}

// cies reads client information entries. anyFamily lets their protocol addresses be of either family.
func (p *Packet) cies(b []byte, anyFamily bool) (list []CIE, err error) {
	for len(b) > 0 {
		if len(list) == MaxCIEs {
			return nil, fmt.Errorf("client information: %w", ErrTooMany)
		}
		if len(b) < 12 {
			return nil, fmt.Errorf("client information: %w", ErrTruncated)
		}
		c := CIE{Code: Code(b[0]), PrefixLen: b[1], MTU: binary.BigEndian.Uint16(b[4:]),
			HoldTime: binary.BigEndian.Uint16(b[6:]), Preference: b[11]}
		nbmaLen, sub, protoLen := b[8], b[9], b[10]
		if sub != 0 {
			return nil, fmt.Errorf("client subaddress: %w", ErrUnsupported)
		}
		b = b[12:]
		if c.NBMA, b, err = takeAddr(b, nbmaLen, nbmaBytes(p.AFN)); err != nil {
			return nil, fmt.Errorf("client NBMA address: %w", err)
		}
		want := protoBytes(p.Protocol)
		if anyFamily && (protoLen == 4 || protoLen == 16) {
			want = int(protoLen)
		}
		if c.Proto, b, err = takeAddr(b, protoLen, want); err != nil {
			return nil, fmt.Errorf("client protocol address: %w", err)
		}
		list = append(list, c)
	}
	return list, nil
}

func (p *Packet) extensions(b []byte) error {
	for {
		if len(b) < 4 {
			return fmt.Errorf("extension: %w", ErrTruncated)
		}
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		e := Extension{Type: ExtensionType(kind & 0x3fff), Compulsory: kind&0x8000 != 0}
		b = b[4:]
		if n > len(b) {
			return fmt.Errorf("extension %d: %w", e.Type, ErrTruncated)
		}
		body := b[:n]
		b = b[n:]
		if e.Type == ExtEnd {
			if n != 0 || len(b) != 0 {
				return fmt.Errorf("end of extensions: %w", ErrExtension)
			}
			return nil
		}
		if len(p.Extensions) == MaxExtensions {
			return fmt.Errorf("extensions: %w", ErrTooMany)
		}
		if e.Type.CIEs() {
			var err error
			if e.CIEs, err = p.cies(body, e.Type.AnyFamily()); err != nil {
				return fmt.Errorf("extension %d: %w: %w", e.Type, ErrExtension, err)
			}
		} else if n > 0 {
			e.Data = append([]byte(nil), body...)
		}
		p.Extensions = append(p.Extensions, e)
	}
}

func nbmaBytes(afn uint16) int {
	if afn == AFNIPv6 {
		return 16
	}
	return 4
}

func protoBytes(protocol uint16) int {
	if protocol == ProtocolIPv6 {
		return 16
	}
	return 4
}

// takeAddr reads an address of n bytes, which must be 0 (absent) or want. The two upper bits of an NBMA length say
// that it is not of the family's own kind (E.164), so they fail here too.
func takeAddr(b []byte, n byte, want int) (netip.Addr, []byte, error) {
	if n == 0 {
		return netip.Addr{}, b, nil
	}
	if int(n) != want {
		return netip.Addr{}, nil, ErrAddress
	}
	if len(b) < want {
		return netip.Addr{}, nil, ErrTruncated
	}
	// A 4-in-6 address stays one: it must not pass for the IPv4 address in a comparison, nor fail to encode again.
	a, _ := netip.AddrFromSlice(b[:want])
	return a, b[want:], nil
}
