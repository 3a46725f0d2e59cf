package netstack

import (
	"fmt"
	"net/netip"

	"felloe/netstack/packet"
)

// PuntReason is why the data plane asks the control plane.
type PuntReason uint8

const (
	// PuntNHRP: an NHRP packet came in on a tunnel. Packet starts at the NHRP header.
	PuntNHRP PuntReason = iota + 1
	// PuntNoNeighbour: a next hop on a multipoint tunnel has no session. Packet is a copy of one that wanted to go
	// there; it went by the glean session, or it is lost.
	PuntNoNeighbour
	// PuntRedirect: a packet was forwarded between members of one NHRP network. Packet is a copy of it as it came
	// in, of at most 1,500 bytes.
	PuntRedirect
	// PuntNoSA: a session of a protected tunnel had a packet to send and no SA. Packet is nil.
	PuntNoSA
	// PuntUnknownSPI: an ESP packet came in with an SPI that nobody has. Packet is nil.
	PuntUnknownSPI
	// PuntMoved: an authentic packet of a UDP-encapsulated SA came from another address or port than the session
	// sends to (a NAT's mapping moved). Packet is nil, Remote says from where.
	PuntMoved
)

func (r PuntReason) String() string {
	switch r {
	case PuntNHRP:
		return "nhrp"
	case PuntNoNeighbour:
		return "no-neighbour"
	case PuntRedirect:
		return "redirect"
	case PuntNoSA:
		return "no-sa"
	case PuntUnknownSPI:
		return "unknown-spi"
	case PuntMoved:
		return "moved"
	}
	return fmt.Sprintf("punt(%d)", uint8(r))
}

// Punt is a question or a packet for the control plane.
type Punt struct {
	Reason PuntReason
	// Packet is the receiver's to release; nil where the reason says so.
	Packet *packet.Packet
	// Interface is the ingress, or the tunnel that the question is about.
	Interface *Interface
	// Session is the one that the packet came in on, or that the question is about; nil when there is none.
	Session *Session
	// NextHop is the overlay address that is asked for.
	NextHop netip.Addr
	// EgressInterface and EgressSession are where a redirected packet left.
	EgressInterface *Interface
	EgressSession   *Session
	// SPI, Local and Remote of an ESP packet's outer header. VRF is the VRF that it came in by.
	SPI           uint32
	Local, Remote netip.AddrPort
	VRF           *VRF
}

func (d *Dataplane) punt(p Punt) {
	d.stats.Punts.Add(1)
	d.opts.Punt(p)
}

func sessionOf(p *packet.Packet) *Session {
	s, _ := p.Session.(*Session)
	return s
}
