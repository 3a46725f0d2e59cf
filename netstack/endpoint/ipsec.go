package endpoint

import (
	"encoding/binary"
	"sync/atomic"

	"felloe/netstack/esp"
	"felloe/netstack/ip"
	"felloe/netstack/packet"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// pair is the Child SA of an endpoint, replaced at a rekey.
type pair struct {
	out atomic.Pointer[esp.Outbound]
	in  atomic.Pointer[esp.Inbound]
}

// SetOutbound sets the SA that packets are sealed with from now on; nil means that none are sent.
func (s *pair) SetOutbound(o *esp.Outbound) { s.out.Store(o) }

// SetInbound sets the SA that packets are opened with from now on; nil means that none are received.
func (s *pair) SetInbound(in *esp.Inbound) { s.in.Store(in) }

func proto(udp bool) uint8 {
	if udp {
		return ip.UDP
	}
	return ip.ESP
}

// open opens p, whose outer IP header is off, with the SA that it must name.
func (s *pair) open(p *packet.Packet) (next uint8, err error) {
	in := s.in.Load()
	if in == nil {
		return 0, errForeign
	}
	if in.UDPEncap() {
		b := p.Bytes()
		if len(b) < ip.SizeUDP || binary.BigEndian.Uint16(b[2:]) != in.Local().Port() {
			return 0, errForeign
		}
		p.TrimFront(ip.SizeUDP)
	}
	if b := p.Bytes(); len(b) < 4 || binary.BigEndian.Uint32(b) != in.SPI() {
		return 0, errForeign
	}
	return in.Open(p)
}

// ESP protects the IP packets of the stack above in transport mode: their own header stays in front. The addresses of
// the SAs are the stack's and its peer's.
type ESP struct {
	tunnel
	pair
}

// NewESP wraps lower with a Child SA; either direction may be nil and be set later.
func NewESP(lower stack.LinkEndpoint, out *esp.Outbound, in *esp.Inbound) *ESP {
	e := &ESP{}
	e.SetOutbound(out)
	e.SetInbound(in)
	e.init(lower, e)
	return e
}

// header is the IP header of a packet in transport mode while its payload changes; long enough for IPv4 with options.
type ipHeader struct {
	bytes [60]byte
	n     int
}

// takeHeader takes the IP header off p.
func takeHeader(p *packet.Packet) (h ipHeader, parsed ip.Header, err error) {
	if err := ip.Parse(p.Bytes(), &parsed); err != nil {
		return h, parsed, err
	}
	if parsed.Fragment() || parsed.L4 == 0 || parsed.L4 > len(h.bytes) || parsed.Version == 6 && parsed.L4 != ip.SizeV6 {
		return h, parsed, errForeign
	}
	h.n = copy(h.bytes[:], p.Bytes()[:parsed.L4])
	p.Truncate(parsed.Len)
	p.TrimFront(parsed.L4)
	return h, parsed, nil
}

// put puts the header back in front of p, with another protocol behind it.
func (h *ipHeader) put(p *packet.Packet, proto uint8) {
	n := p.Len()
	b := p.Prepend(h.n)
	copy(b, h.bytes[:h.n])
	if b[0]>>4 == 6 {
		b[6] = proto
		binary.BigEndian.PutUint16(b[4:], uint16(n))
		return
	}
	b[9] = proto
	binary.BigEndian.PutUint16(b[2:], uint16(n+h.n))
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^ip.Sum(b, 0))
}

func (e *ESP) wrap(p *packet.Packet, protocol tcpip.NetworkProtocolNumber) (tcpip.NetworkProtocolNumber, error) {
	out := e.out.Load()
	if out == nil {
		return 0, errForeign
	}
	h, parsed, err := takeHeader(p)
	if err != nil {
		return 0, err
	}
	if parsed.Src != out.Local().Addr() || parsed.Dst != out.Remote().Addr() {
		return 0, errForeign
	}
	if err := out.Seal(p, parsed.Proto); err != nil {
		return 0, err
	}
	h.put(p, proto(out.UDPEncap()))
	return protocol, nil
}

func (e *ESP) unwrap(p *packet.Packet) (tcpip.NetworkProtocolNumber, error) {
	in := e.in.Load()
	h, parsed, err := takeHeader(p)
	if err != nil {
		return 0, err
	}
	if in == nil || parsed.Proto != proto(in.UDPEncap()) || parsed.Src != in.Remote().Addr() || parsed.Dst != in.Local().Addr() {
		return 0, errForeign
	}
	next, err := e.open(p)
	if err != nil {
		return 0, err
	}
	h.put(p, next)
	protocol, _ := protocolOf(p.Bytes())
	return protocol, nil
}

func (e *ESP) mtu(lower int) int {
	out := e.out.Load()
	if out == nil {
		return lower
	}
	o := outerOf(out) // the stack's own header is as long as one that we would put in front
	return o.Size() + out.MaxPayload(lower-o.Size())
}

// VTI is a virtual tunnel interface: IP packets of either family in ESP tunnel mode. The outer addresses are the SAs'.
type VTI struct {
	tunnel
	pair
}

// NewVTI wraps lower with a Child SA; either direction may be nil and be set later.
func NewVTI(lower stack.LinkEndpoint, out *esp.Outbound, in *esp.Inbound) *VTI {
	v := &VTI{}
	v.SetOutbound(out)
	v.SetInbound(in)
	v.init(lower, v)
	return v
}

// Protocols of a tunnel mode payload.
const (
	ipInIP = 4
	ip6In  = 41
)

func (v *VTI) wrap(p *packet.Packet, _ tcpip.NetworkProtocolNumber) (tcpip.NetworkProtocolNumber, error) {
	out := v.out.Load()
	if out == nil {
		return 0, errForeign
	}
	next := uint8(ipInIP)
	switch b := p.Bytes(); {
	case len(b) == 0 || b[0]>>4 != 4 && b[0]>>4 != 6:
		return 0, errForeign
	case b[0]>>4 == 6:
		next = ip6In
	}
	outer := outerOf(out)
	outer.TOS = tos(p.Bytes())
	if err := out.Seal(p, next); err != nil {
		return 0, err
	}
	outer.Prepend(p)
	lower, _ := protocolOf(p.Bytes())
	return lower, nil
}

func outerOf(out *esp.Outbound) ip.Outer {
	return ip.Outer{Src: out.Local().Addr(), Dst: out.Remote().Addr(), Proto: proto(out.UDPEncap()), TTL: ttl, DF: true}
}

func (v *VTI) unwrap(p *packet.Packet) (tcpip.NetworkProtocolNumber, error) {
	in := v.in.Load()
	if in == nil {
		return 0, errForeign
	}
	if err := strip(p, proto(in.UDPEncap()), in.Remote().Addr(), in.Local().Addr()); err != nil {
		return 0, err
	}
	next, err := v.open(p)
	if err != nil {
		return 0, err
	}
	protocol, ok := protocolOf(p.Bytes())
	if !ok || next == ipInIP && p.Bytes()[0]>>4 != 4 || next == ip6In && p.Bytes()[0]>>4 != 6 || next != ipInIP && next != ip6In {
		return 0, errForeign
	}
	return protocol, nil
}

func (v *VTI) mtu(lower int) int {
	out := v.out.Load()
	if out == nil {
		return lower
	}
	o := outerOf(out)
	return out.MaxPayload(lower - o.Size())
}
