package endpoint

import (
	"net/netip"
	"sync/atomic"

	"felloe/netstack/gre"
	"felloe/netstack/ip"
	"felloe/netstack/packet"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// ttl is that of outer headers.
const ttl = 255

// GRE is a point-to-point GRE tunnel as a link endpoint. It carries whatever protocol the stack above speaks.
type GRE struct {
	tunnel
	outer  ip.Outer
	header gre.Header
	seq    atomic.Uint32
}

// GREOptions are what a tunnel's header has beside the protocol.
type GREOptions struct {
	Key              uint32
	HasKey           bool
	Checksum, HasSeq bool
}

// NewGRE wraps lower; local and remote are the outer addresses, of one family.
func NewGRE(lower stack.LinkEndpoint, local, remote netip.Addr, o GREOptions) *GRE {
	g := &GRE{
		outer:  ip.Outer{Src: local, Dst: remote, Proto: ip.GRE, TTL: ttl, DF: true},
		header: gre.Header{HasChecksum: o.Checksum, HasKey: o.HasKey, Key: o.Key, HasSeq: o.HasSeq},
	}
	g.init(lower, g)
	return g
}

func (g *GRE) wrap(p *packet.Packet, protocol tcpip.NetworkProtocolNumber) (tcpip.NetworkProtocolNumber, error) {
	outer, h := g.outer, g.header
	outer.TOS = tos(p.Bytes())
	h.Protocol = uint16(protocol)
	if h.HasSeq {
		h.Seq = g.seq.Add(1) - 1 // RFC 2890 §2.2: from 0 on
	}
	gre.Prepend(p, h)
	outer.Prepend(p)
	lower, _ := protocolOf(p.Bytes())
	return lower, nil
}

func (g *GRE) unwrap(p *packet.Packet) (tcpip.NetworkProtocolNumber, error) {
	if err := strip(p, ip.GRE, g.outer.Dst, g.outer.Src); err != nil {
		return 0, err
	}
	h, n, err := gre.Parse(p.Bytes())
	if err != nil {
		return 0, err
	}
	if h.HasKey != g.header.HasKey || h.Key != g.header.Key {
		return 0, errForeign
	}
	p.TrimFront(n)
	return tcpip.NetworkProtocolNumber(h.Protocol), nil
}

func (g *GRE) mtu(lower int) int { return lower - g.outer.Size() - g.header.Len() }

// strip takes the outer IP header off a packet that must have that protocol and those addresses.
func strip(p *packet.Packet, proto uint8, src, dst netip.Addr) error {
	var h ip.Header
	if err := ip.Parse(p.Bytes(), &h); err != nil {
		return err
	}
	if h.L4 == 0 || h.Fragment() || h.Proto != proto || h.Src != src || h.Dst != dst {
		return errForeign
	}
	p.Truncate(h.Len)
	p.TrimFront(h.L4)
	return nil
}

// tos is the traffic class of an IP packet, to be copied to the outer header; 0 of anything else.
func tos(b []byte) uint8 {
	switch {
	case len(b) >= ip.MinV4 && b[0]>>4 == 4:
		return b[1]
	case len(b) >= ip.SizeV6 && b[0]>>4 == 6:
		return b[0]<<4 | b[1]>>4
	}
	return 0
}
