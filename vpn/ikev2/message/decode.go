package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

var (
	// ErrShort says that something ends before its fixed part.
	ErrShort = errors.New("message is truncated")
	// ErrLength says that a length field does not fit what is around it.
	ErrLength = errors.New("length does not fit")
	// ErrCount says that there are more parts than this package reads.
	ErrCount = errors.New("too many parts")
	// ErrValue says that a field has a value that the RFC forbids.
	ErrValue = errors.New("value is not allowed")
)

// Limits of what is decoded.
const (
	MaxPayloads   = 128
	MaxProposals  = 64
	MaxTransforms = 255
	MaxSelectors  = 64
	MaxSPIs       = 256
	MaxAttributes = 2048 // of a configuration: a hub may push many subnets
	MaxFragments  = 256
)

const (
	// HeaderLen is the length of the IKE header.
	HeaderLen  = 28
	genericLen = 4

	attrKeyLength = 14
)

// Flags of a header.
type Flags uint8

const (
	FlagInitiator Flags = 0x08 // the sender is the original initiator of the IKE SA
	FlagVersion   Flags = 0x10 // the sender could speak a higher major version
	FlagResponse  Flags = 0x20
)

// Header is the IKE header (RFC 7296 §3.1).
type Header struct {
	SPIi, SPIr   uint64
	NextPayload  PayloadType
	Major, Minor uint8
	Exchange     ExchangeType
	Flags        Flags
	MessageID    uint32
	Length       uint32
}

// Initiator and Response report the flags.
func (h Header) Initiator() bool { return h.Flags&FlagInitiator != 0 }
func (h Header) Response() bool  { return h.Flags&FlagResponse != 0 }

// Message is a header with its payloads.
type Message struct {
	Header
	Payloads []Payload
}

// DecodeHeader reads the header alone. It allocates nothing.
func DecodeHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, ErrShort
	}
	h := Header{
		SPIi:        binary.BigEndian.Uint64(b),
		SPIr:        binary.BigEndian.Uint64(b[8:]),
		NextPayload: PayloadType(b[16]),
		Major:       b[17] >> 4,
		Minor:       b[17] & 0x0f,
		Exchange:    ExchangeType(b[18]),
		Flags:       Flags(b[19]),
		MessageID:   binary.BigEndian.Uint32(b[20:]),
		Length:      binary.BigEndian.Uint32(b[24:]),
	}
	if uint64(h.Length) != uint64(len(b)) {
		return h, fmt.Errorf("header: %w: %d in a datagram of %d bytes", ErrLength, h.Length, len(b))
	}
	return h, nil
}

// Decode reads a message. An SK or SKF payload ends it as *Encrypted.
func Decode(b []byte) (*Message, error) {
	h, err := DecodeHeader(b)
	if err != nil {
		return nil, err
	}
	m := &Message{Header: h}
	m.Payloads, err = decodeChain(h.NextPayload, b, HeaderLen, true)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// DecodePayloads reads the payloads from inside SK; first is the type of the first one.
func DecodePayloads(first PayloadType, b []byte) ([]Payload, error) {
	return decodeChain(first, b, 0, false)
}

func decodeChain(next PayloadType, b []byte, at int, outer bool) ([]Payload, error) {
	var payloads []Payload
	for next != TypeNone {
		if len(payloads) == MaxPayloads {
			return nil, fmt.Errorf("payloads: %w", ErrCount)
		}
		if len(b)-at < genericLen {
			return nil, fmt.Errorf("%v: %w", next, ErrShort)
		}
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		if n < genericLen || n > len(b)-at {
			return nil, fmt.Errorf("%v: %w: %d of %d bytes", next, ErrLength, n, len(b)-at)
		}
		body := b[at+genericLen : at+n : at+n]
		if next == TypeSK || next == TypeSKF {
			if !outer || at+n != len(b) {
				return nil, fmt.Errorf("%v: %w: it must be the last payload and not inside another", next, ErrValue)
			}
			p, err := decodeEncrypted(next, PayloadType(b[at]), body, at+genericLen)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", next, err)
			}
			return append(payloads, p), nil
		}
		p, err := decodePayload(next, b[at+1]&0x80 != 0, body)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", next, err)
		}
		payloads = append(payloads, p)
		next = PayloadType(b[at])
		at += n
	}
	if at != len(b) {
		return nil, fmt.Errorf("%w: %d bytes after the last payload", ErrLength, len(b)-at)
	}
	return payloads, nil
}

func decodeEncrypted(t, first PayloadType, body []byte, at int) (Payload, error) {
	p := &Encrypted{First: first, IVOffset: at}
	if t == TypeSK {
		return p, nil
	}
	if len(body) < 4 {
		return nil, ErrShort
	}
	p.Fragment, p.IVOffset = true, at+4
	p.Number, p.Total = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	if p.Number == 0 || p.Number > p.Total {
		return nil, fmt.Errorf("%w: fragment %d of %d", ErrValue, p.Number, p.Total)
	}
	if p.Total > MaxFragments {
		return nil, fmt.Errorf("fragments: %w", ErrCount)
	}
	return p, nil
}

func decodePayload(t PayloadType, critical bool, b []byte) (Payload, error) {
	switch t {
	case TypeSA:
		return decodeSA(b)
	case TypeKE:
		// An empty public value is as wrong as one of the wrong length, which only the group's code can tell.
		if len(b) < 5 {
			return nil, ErrShort
		}
		return &KE{binary.BigEndian.Uint16(b), b[4:]}, nil
	case TypeIDi, TypeIDr:
		if len(b) < 4 {
			return nil, ErrShort
		}
		return decodeID(t, IDType(b[0]), b[4:])
	case TypeCERT:
		if len(b) < 1 {
			return nil, ErrShort
		}
		return &CERT{CertEncoding(b[0]), b[1:]}, nil
	case TypeCERTREQ:
		if len(b) < 1 {
			return nil, ErrShort
		}
		return &CERTREQ{CertEncoding(b[0]), b[1:]}, nil
	case TypeAUTH:
		if len(b) < 4 {
			return nil, ErrShort
		}
		return &AUTH{AuthMethod(b[0]), b[4:]}, nil
	case TypeNonce:
		// RFC 7296 §3.9.
		if len(b) < 16 || len(b) > 256 {
			return nil, fmt.Errorf("%w: a nonce of %d bytes", ErrValue, len(b))
		}
		return &Nonce{b}, nil
	case TypeNotify:
		return decodeNotify(b)
	case TypeDelete:
		return decodeDelete(b)
	case TypeVendorID:
		return &VendorID{b}, nil
	case TypeTSi, TypeTSr:
		return decodeTS(t, b)
	case TypeCP:
		return decodeCP(b)
	case TypeEAP:
		if len(b) < 4 {
			return nil, ErrShort
		}
		return &EAP{b}, nil
	}
	return &Unknown{t, critical, b}, nil
}

func decodeID(t PayloadType, idType IDType, b []byte) (Payload, error) {
	if idType == ID_IPV4_ADDR && len(b) != 4 || idType == ID_IPV6_ADDR && len(b) != 16 {
		return nil, fmt.Errorf("%w: %v of %d bytes", ErrValue, idType, len(b))
	}
	return &ID{t == TypeIDr, idType, b}, nil
}

func decodeSA(b []byte) (Payload, error) {
	sa := &SA{}
	for more := true; more; {
		if len(sa.Proposals) == MaxProposals {
			return nil, fmt.Errorf("proposals: %w", ErrCount)
		}
		if len(b) < 8 {
			return nil, ErrShort
		}
		n, spi, transforms := int(binary.BigEndian.Uint16(b[2:])), int(b[6]), int(b[7])
		if n < 8+spi || n > len(b) {
			return nil, fmt.Errorf("proposal: %w", ErrLength)
		}
		if b[0] != 0 && b[0] != 2 || (b[0] == 0) != (n == len(b)) {
			return nil, fmt.Errorf("proposal: %w: last-substructure field", ErrValue)
		}
		more = b[0] == 2
		p := Proposal{Number: b[4], Protocol: ProtocolID(b[5])}
		if spi > 0 {
			p.SPI = b[8 : 8+spi : 8+spi]
		}
		var err error
		if p.Transforms, err = decodeTransforms(b[8+spi:n], transforms); err != nil {
			return nil, err
		}
		sa.Proposals = append(sa.Proposals, p)
		b = b[n:]
	}
	return sa, nil
}

func decodeTransforms(b []byte, count int) ([]Transform, error) {
	// The count is the peer's word; the bytes that it needs are not.
	if count*8 > len(b) {
		return nil, fmt.Errorf("transforms: %w", ErrLength)
	}
	list := make([]Transform, 0, count)
	for i := range count {
		if len(b) < 8 {
			return nil, fmt.Errorf("transform: %w", ErrShort)
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n > len(b) {
			return nil, fmt.Errorf("transform: %w", ErrLength)
		}
		if b[0] != 0 && b[0] != 3 || (b[0] == 0) != (i == count-1) {
			return nil, fmt.Errorf("transform: %w: last-substructure field", ErrValue)
		}
		t := Transform{Type: TransformType(b[4]), ID: binary.BigEndian.Uint16(b[6:])}
		if err := decodeAttributes(&t, b[8:n]); err != nil {
			return nil, err
		}
		list = append(list, t)
		b = b[n:]
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("transforms: %w", ErrLength)
	}
	return list, nil
}

// decodeAttributes takes the Key Length if it is the first attribute and leaves the rest as bytes.
func decodeAttributes(t *Transform, b []byte) error {
	if len(b) >= 4 && b[0] == 0x80 && b[1] == attrKeyLength && binary.BigEndian.Uint16(b[2:]) != 0 {
		t.KeyBits = binary.BigEndian.Uint16(b[2:])
		b = b[4:]
	}
	if len(b) > 0 {
		t.Attributes = b
	}
	for len(b) > 0 {
		if len(b) < 4 {
			return fmt.Errorf("attribute: %w", ErrShort)
		}
		n := 4
		if b[0]&0x80 == 0 {
			n += int(binary.BigEndian.Uint16(b[2:]))
		}
		if n > len(b) {
			return fmt.Errorf("attribute: %w", ErrLength)
		}
		b = b[n:]
	}
	return nil
}

func decodeNotify(b []byte) (Payload, error) {
	if len(b) < 4 || len(b) < 4+int(b[1]) {
		return nil, ErrShort
	}
	n := &Notify{Protocol: ProtocolID(b[0]), Message: NotifyType(binary.BigEndian.Uint16(b[2:]))}
	if spi := int(b[1]); spi > 0 {
		n.SPI = b[4 : 4+spi : 4+spi]
	}
	n.Data = b[4+int(b[1]):]
	return n, nil
}

func decodeDelete(b []byte) (Payload, error) {
	if len(b) < 4 {
		return nil, ErrShort
	}
	d := &Delete{Protocol: ProtocolID(b[0]), SPISize: b[1]}
	size, count := int(b[1]), int(binary.BigEndian.Uint16(b[2:]))
	b = b[4:]
	if size*count != len(b) || size == 0 && count != 0 {
		return nil, fmt.Errorf("%w: %d SPIs of %d bytes", ErrLength, count, size)
	}
	if count > MaxSPIs {
		return nil, fmt.Errorf("SPIs: %w", ErrCount)
	}
	for ; len(b) > 0; b = b[size:] {
		d.SPIs = append(d.SPIs, b[:size:size])
	}
	return d, nil
}

func decodeTS(t PayloadType, b []byte) (Payload, error) {
	if len(b) < 4 {
		return nil, ErrShort
	}
	ts := &TS{Responder: t == TypeTSr}
	count := int(b[0])
	if count > MaxSelectors {
		return nil, fmt.Errorf("selectors: %w", ErrCount)
	}
	b = b[4:]
	for range count {
		if len(b) < 8 {
			return nil, fmt.Errorf("selector: %w", ErrShort)
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n > len(b) {
			return nil, fmt.Errorf("selector: %w", ErrLength)
		}
		s := TrafficSelector{Protocol: b[1], StartPort: binary.BigEndian.Uint16(b[4:]), EndPort: binary.BigEndian.Uint16(b[6:])}
		switch TSType(b[0]) {
		case TS_IPV4_ADDR_RANGE:
			if n != 16 {
				return nil, fmt.Errorf("selector: %w", ErrLength)
			}
			s.Start, s.End = netip.AddrFrom4([4]byte(b[8:12])), netip.AddrFrom4([4]byte(b[12:16]))
			ts.Selectors = append(ts.Selectors, s)
		case TS_IPV6_ADDR_RANGE:
			if n != 40 {
				return nil, fmt.Errorf("selector: %w", ErrLength)
			}
			s.Start, s.End = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
			ts.Selectors = append(ts.Selectors, s)
		default:
			// A kind that we do not know narrows to nothing (RFC 7296 §2.9): as if it were not there.
		}
		b = b[n:]
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("selectors: %w", ErrLength)
	}
	return ts, nil
}

func decodeCP(b []byte) (Payload, error) {
	if len(b) < 4 {
		return nil, ErrShort
	}
	cp := &CP{CFG: CFGType(b[0])}
	for b = b[4:]; len(b) > 0; {
		if len(b) < 4 {
			return nil, fmt.Errorf("attribute: %w", ErrShort)
		}
		n := 4 + int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return nil, fmt.Errorf("attribute: %w", ErrLength)
		}
		if len(cp.Attributes) == MaxAttributes {
			return nil, fmt.Errorf("attributes: %w", ErrCount)
		}
		cp.Attributes = append(cp.Attributes, CFGAttribute{CFGAttributeType(binary.BigEndian.Uint16(b) & 0x7fff), b[4:n:n]})
		b = b[n:]
	}
	return cp, nil
}
