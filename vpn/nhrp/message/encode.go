package message

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Encode writes the packet: sizes, offset and checksum are computed, and the End extension follows the last one.
func (p *Packet) Encode() ([]byte, error) {
	afn, protocol, err := p.families()
	if err != nil {
		return nil, fmt.Errorf("nhrp %s: %w", p.Type, err)
	}
	w := writer{nbma: nbmaBytes(afn), proto: protoBytes(protocol)}
	w.b = make([]byte, fixedLen, 256)
	binary.BigEndian.PutUint16(w.b, afn)
	binary.BigEndian.PutUint16(w.b[2:], protocol)
	w.b[9] = p.HopCount
	w.b[16] = Version
	w.b[17] = byte(p.Type)
	w.b[18] = addrLen(p.SrcNBMA)

	w.b = append(w.b, addrLen(p.SrcProto), addrLen(p.DstProto))
	if p.Type.Indication() {
		w.b = append(w.b, 0, 0)
		w.b = binary.BigEndian.AppendUint16(w.b, uint16(p.ErrorCode))
		w.b = binary.BigEndian.AppendUint16(w.b, p.ErrorOffset)
	} else {
		w.b = binary.BigEndian.AppendUint16(w.b, p.Flags)
		w.b = binary.BigEndian.AppendUint32(w.b, p.RequestID)
	}
	w.addr(p.SrcNBMA, w.nbma)
	w.addr(p.SrcProto, w.proto)
	w.addr(p.DstProto, w.proto)
	if p.Type.Indication() {
		w.b = append(w.b, p.Payload...)
	} else {
		w.cies(p.CIEs, false)
	}
	if len(p.Extensions) > 0 {
		if len(w.b) > 0xffff {
			return nil, fmt.Errorf("nhrp %s: packet of %d bytes is too long", p.Type, len(w.b))
		}
		binary.BigEndian.PutUint16(w.b[14:], uint16(len(w.b)))
		for i := range p.Extensions {
			w.extension(&p.Extensions[i])
		}
		w.b = append(w.b, 0x80, 0, 0, 0)
	}
	if w.err != nil {
		return nil, fmt.Errorf("nhrp %s: %w", p.Type, w.err)
	}
	if len(w.b) > 0xffff {
		return nil, fmt.Errorf("nhrp %s: packet of %d bytes is too long", p.Type, len(w.b))
	}
	binary.BigEndian.PutUint16(w.b[10:], uint16(len(w.b)))
	binary.BigEndian.PutUint16(w.b[12:], Checksum(w.b))
	return w.b, nil
}

func (p *Packet) families() (afn, protocol uint16, err error) {
	afn, protocol = p.AFN, p.Protocol
	if afn == 0 {
		afn = AFNIPv4
		if p.SrcNBMA.Is6() {
			afn = AFNIPv6
		}
	}
	if protocol == 0 {
		protocol = ProtocolIPv4
		if p.SrcProto.Is6() || p.DstProto.Is6() {
			protocol = ProtocolIPv6
		}
	}
	if afn > AFNIPv6 || protocol != ProtocolIPv4 && protocol != ProtocolIPv6 {
		return 0, 0, ErrFamily
	}
	return afn, protocol, nil
}

type writer struct {
	b           []byte
	nbma, proto int
	err         error
}

func (w *writer) addr(a netip.Addr, want int) {
	if !a.IsValid() {
		return
	}
	if a.BitLen()/8 != want {
		w.err = fmt.Errorf("address %s: %w", a, ErrAddress)
		return
	}
	w.b = append(w.b, a.AsSlice()...)
}

func (w *writer) cies(list []CIE, anyFamily bool) {
	for i := range list {
		c := &list[i]
		proto := w.proto
		if anyFamily && c.Proto.IsValid() {
			proto = c.Proto.BitLen() / 8
		}
		w.b = append(w.b, byte(c.Code), c.PrefixLen, 0, 0)
		w.b = binary.BigEndian.AppendUint16(w.b, c.MTU)
		w.b = binary.BigEndian.AppendUint16(w.b, c.HoldTime)
		w.b = append(w.b, addrLen(c.NBMA), 0, addrLen(c.Proto), c.Preference)
		w.addr(c.NBMA, w.nbma)
		w.addr(c.Proto, proto)
	}
}

func (w *writer) extension(e *Extension) {
	kind := uint16(e.Type) & 0x3fff
	if e.Compulsory {
		kind |= 0x8000
	}
	w.b = binary.BigEndian.AppendUint16(w.b, kind)
	at := len(w.b)
	w.b = append(w.b, 0, 0)
	if e.Type.CIEs() {
		w.cies(e.CIEs, e.Type.AnyFamily())
	} else {
		w.b = append(w.b, e.Data...)
	}
	n := len(w.b) - at - 2
	if n > 0xffff || e.Type == ExtEnd {
		w.err = fmt.Errorf("extension %d: %w", e.Type, ErrExtension)
		return
	}
	binary.BigEndian.PutUint16(w.b[at:], uint16(n))
}

func addrLen(a netip.Addr) byte { return byte(a.BitLen() / 8) }
