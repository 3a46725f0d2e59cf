package message

import (
	"encoding/binary"
	"net/netip"
)

// Encode is the whole message. NextPayload and Length of the header are filled in.
func (m *Message) Encode() []byte {
	first, body := AppendPayloads(nil, m.Payloads)
	h := m.Header
	h.NextPayload, h.Length = first, uint32(HeaderLen+len(body))
	return append(h.append(make([]byte, 0, h.Length)), body...)
}

// AppendPayloads appends a chain of payloads and returns the type of its first. *Encrypted is skipped.
func AppendPayloads(b []byte, payloads []Payload) (PayloadType, []byte) {
	first, nextAt := TypeNone, -1
	for _, p := range payloads {
		if _, ok := p.(*Encrypted); ok {
			continue
		}
		if nextAt < 0 {
			first = p.Type()
		} else {
			b[nextAt] = uint8(p.Type())
		}
		nextAt = len(b)
		var critical uint8
		if u, ok := p.(*Unknown); ok && u.Critical {
			critical = 0x80
		}
		b = append(b, 0, critical, 0, 0)
		b = p.appendBody(b)
		binary.BigEndian.PutUint16(b[nextAt+2:], uint16(len(b)-nextAt))
	}
	return first, b
}

// BeginEncrypted is the beginning of a protected message: the header and the generic header of SK (total 0) or SKF
// (fragment number of total), with their final lengths. sealed is the length of IV, ciphertext and ICV that follow;
// first is the type of the first payload inside, TypeNone in every fragment but the first.
func BeginEncrypted(h Header, first PayloadType, sealed int, number, total uint16) []byte {
	n := genericLen
	h.NextPayload = TypeSK
	if total > 0 {
		h.NextPayload, n = TypeSKF, genericLen+4
	}
	h.Length = uint32(HeaderLen + n + sealed)
	b := h.append(make([]byte, 0, h.Length))
	b = append(b, uint8(first), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(n+sealed))
	if total > 0 {
		b = binary.BigEndian.AppendUint16(b, number)
		b = binary.BigEndian.AppendUint16(b, total)
	}
	return b
}

func (h Header) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, h.SPIi)
	b = binary.BigEndian.AppendUint64(b, h.SPIr)
	b = append(b, uint8(h.NextPayload), h.Major<<4|h.Minor&0x0f, uint8(h.Exchange), uint8(h.Flags))
	b = binary.BigEndian.AppendUint32(b, h.MessageID)
	return binary.BigEndian.AppendUint32(b, h.Length)
}

func (p *SA) appendBody(b []byte) []byte {
	for i, prop := range p.Proposals {
		at := len(b)
		last := uint8(2)
		if i == len(p.Proposals)-1 {
			last = 0
		}
		number := prop.Number
		if number == 0 {
			number = uint8(i + 1)
		}
		b = append(b, last, 0, 0, 0, number, uint8(prop.Protocol), uint8(len(prop.SPI)), uint8(len(prop.Transforms)))
		b = append(b, prop.SPI...)
		for j, t := range prop.Transforms {
			tAt := len(b)
			more := uint8(3)
			if j == len(prop.Transforms)-1 {
				more = 0
			}
			b = append(b, more, 0, 0, 0, uint8(t.Type), 0)
			b = binary.BigEndian.AppendUint16(b, t.ID)
			if t.KeyBits != 0 {
				b = append(b, 0x80, attrKeyLength)
				b = binary.BigEndian.AppendUint16(b, t.KeyBits)
			}
			b = append(b, t.Attributes...)
			binary.BigEndian.PutUint16(b[tAt+2:], uint16(len(b)-tAt))
		}
		binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-at))
	}
	return b
}

func (p *KE) appendBody(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, p.Group)
	return append(append(b, 0, 0), p.Data...)
}

func (p *ID) appendBody(b []byte) []byte { return append(b, p.Body()...) }

// Body is the payload without its generic header: what AUTH is computed over (RFC 7296 §2.15).
func (p *ID) Body() []byte { return append([]byte{uint8(p.IDType), 0, 0, 0}, p.Data...) }

func (p *CERT) appendBody(b []byte) []byte    { return append(append(b, uint8(p.Encoding)), p.Data...) }
func (p *CERTREQ) appendBody(b []byte) []byte { return append(append(b, uint8(p.Encoding)), p.Data...) }
func (p *AUTH) appendBody(b []byte) []byte {
	return append(append(b, uint8(p.Method), 0, 0, 0), p.Data...)
}
func (p *Nonce) appendBody(b []byte) []byte    { return append(b, p.Data...) }
func (p *VendorID) appendBody(b []byte) []byte { return append(b, p.Data...) }
func (p *EAP) appendBody(b []byte) []byte      { return append(b, p.Data...) }
func (p *Unknown) appendBody(b []byte) []byte  { return append(b, p.Data...) }
func (*Encrypted) appendBody(b []byte) []byte  { return b }

func (p *Notify) appendBody(b []byte) []byte {
	b = append(b, uint8(p.Protocol), uint8(len(p.SPI)))
	b = binary.BigEndian.AppendUint16(b, uint16(p.Message))
	return append(append(b, p.SPI...), p.Data...)
}

func (p *Delete) appendBody(b []byte) []byte {
	b = append(b, uint8(p.Protocol), p.SPISize)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.SPIs)))
	for _, spi := range p.SPIs {
		b = append(b, spi...)
	}
	return b
}

func (p *TS) appendBody(b []byte) []byte {
	b = append(b, uint8(len(p.Selectors)), 0, 0, 0)
	for _, s := range p.Selectors {
		t, n := TS_IPV6_ADDR_RANGE, uint16(40)
		if s.Start.Is4() {
			t, n = TS_IPV4_ADDR_RANGE, 16
		}
		b = append(b, uint8(t), s.Protocol)
		b = binary.BigEndian.AppendUint16(b, n)
		b = binary.BigEndian.AppendUint16(b, s.StartPort)
		b = binary.BigEndian.AppendUint16(b, s.EndPort)
		b = appendAddr(b, s.Start)
		b = appendAddr(b, s.End)
	}
	return b
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return append(b, v[:]...)
	}
	v := a.As16()
	return append(b, v[:]...)
}

func (p *CP) appendBody(b []byte) []byte {
	b = append(b, uint8(p.CFG), 0, 0, 0)
	for _, a := range p.Attributes {
		b = binary.BigEndian.AppendUint16(b, uint16(a.Type)&0x7fff)
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.Value)))
		b = append(b, a.Value...)
	}
	return b
}
