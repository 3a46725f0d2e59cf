package packet

import (
	"net/netip"
	"sync"
)

const (
	// Headroom is the room in front of a received packet, in bytes: Ethernet with a tag (18), outer IPv6 (40),
	// UDP (8), ESP header and IV (24), inner IPv6 (40) and a full GRE header (16) fit twice over.
	Headroom = 320
	// Tailroom is the room kept behind a packet, in bytes: ESP padding, trailer and ICV (at most 15+2+32).
	Tailroom = 64
	// SmallSize is the size of an ordinary buffer: an Ethernet frame of 1,518 bytes with both rooms, and jumbo
	// encapsulations of it.
	SmallSize = 2432
	// LargeSize is the size of a buffer that holds the largest IP packet (65,535 bytes) with both rooms.
	LargeSize = 65536 + Headroom + Tailroom
)

// SA is what a packet remembers of the Child SA that opened it. *esp.Inbound implements it.
type SA interface {
	// SPI is the security parameter index in host order.
	SPI() uint32
}

// Session is the far end of a tunnel as a packet remembers it. *netstack.Session implements it.
type Session interface {
	// SessionID is unique in the life of a data plane.
	SessionID() uint64
}

// Packet is one packet on its way through the router.
type Packet struct {
	buf        []byte
	start, end int
	large      bool

	// Ingress is the index of the interface the packet came in on last: the tunnel after decapsulation, the
	// Ethernet before. 0 means that the router itself made it.
	Ingress uint32
	// VRF is the index of the VRF whose FIB decides next.
	VRF uint32
	// SA is the Child SA that opened the packet, nil for a packet that came in clear.
	SA SA
	// Session is the tunnel session the packet came in on, nil when none did.
	Session Session
	// OuterSrc and OuterDst are the addresses of the header that decapsulation took off (the NBMA addresses).
	OuterSrc, OuterDst netip.Addr
	// LinkSrc is the source MAC address of the frame.
	LinkSrc [6]byte
	// Flow is the flow hash over addresses, protocol and ports; 0 until classified.
	Flow uint32
	// Flags is a set of Flag bits.
	Flags Flag
	// Hops counts encapsulations and decapsulations, to end a loop of tunnels.
	Hops uint8
}

// Flag marks a property of a packet.
type Flag uint8

const (
	// FlagLocal: made by this router (host stack or control plane), not forwarded.
	FlagLocal Flag = 1 << iota
	// FlagMulticastLink: arrived as a link-layer broadcast or multicast. No ICMP error may answer it.
	FlagMulticastLink
	// FlagControl: a packet of the control plane that keeps tunnels alive (IKE, NHRP); it never triggers a session.
	FlagControl
	// FlagNoTrigger: must not trigger a redirect or a resolution.
	FlagNoTrigger
)

var (
	smallPool = sync.Pool{New: func() any { return &Packet{buf: make([]byte, SmallSize)} }}
	largePool = sync.Pool{New: func() any { return &Packet{buf: make([]byte, LargeSize), large: true} }}
)

// Get returns an empty packet with room for at least size bytes between Headroom and Tailroom.
// size is at most 65,536; more panics, since nothing on the wire can ask for it.
func Get(size int) *Packet {
	var p *Packet
	switch {
	case size <= SmallSize-Headroom-Tailroom:
		p = smallPool.Get().(*Packet)
	case size <= LargeSize-Headroom-Tailroom:
		p = largePool.Get().(*Packet)
	default:
		panic("packet: size beyond the largest IP packet")
	}
	p.start, p.end = Headroom, Headroom
	return p
}

// From returns a packet that holds a copy of b.
func From(b []byte) *Packet {
	p := Get(len(b))
	p.end = p.start + copy(p.buf[p.start:], b)
	return p
}

// Clone returns a copy of the packet, bytes and context.
func (p *Packet) Clone() *Packet {
	q := From(p.Bytes())
	q.CopyContext(p)
	return q
}

// CopyContext takes over the context of another packet, not its bytes.
func (p *Packet) CopyContext(o *Packet) {
	p.Ingress, p.VRF, p.SA, p.Session = o.Ingress, o.VRF, o.SA, o.Session
	p.OuterSrc, p.OuterDst, p.LinkSrc = o.OuterSrc, o.OuterDst, o.LinkSrc
	p.Flow, p.Flags, p.Hops = o.Flow, o.Flags, o.Hops
}

// Release gives the packet back to its pool. The packet must not be used afterwards.
func (p *Packet) Release() {
	p.Ingress, p.VRF, p.SA, p.Session = 0, 0, nil, nil
	p.OuterSrc, p.OuterDst, p.LinkSrc = netip.Addr{}, netip.Addr{}, [6]byte{}
	p.Flow, p.Flags, p.Hops = 0, 0, 0
	if p.large {
		largePool.Put(p)
	} else {
		smallPool.Put(p)
	}
}

// ReleaseAll releases every packet of a vector and clears its slots.
func ReleaseAll(v []*Packet) {
	for i, p := range v {
		if p != nil {
			p.Release()
			v[i] = nil
		}
	}
}

// Bytes is the packet as it stands. The slice is valid until the next Prepend, Append or Release.
func (p *Packet) Bytes() []byte { return p.buf[p.start:p.end] }

// Len is the length of the packet in bytes.
func (p *Packet) Len() int { return p.end - p.start }

// Headroom is the room left in front, in bytes.
func (p *Packet) Headroom() int { return p.start }

// Tailroom is the room left behind, in bytes.
func (p *Packet) Tailroom() int { return len(p.buf) - p.end }

// Prepend grows the packet by n bytes in front and returns them; their content is undefined. It panics when the
// headroom is exhausted: encapsulation depth is bounded by Hops, so that is an error of ours.
func (p *Packet) Prepend(n int) []byte {
	p.start -= n
	return p.buf[p.start : p.start+n]
}

// TrimFront takes n bytes off the front. n must be at most Len.
func (p *Packet) TrimFront(n int) {
	if n > p.Len() {
		panic("packet: trim beyond the end")
	}
	p.start += n
}

// Append grows the packet by n bytes behind and returns them; their content is undefined.
func (p *Packet) Append(n int) []byte {
	b := p.buf[p.end : p.end+n]
	p.end += n
	return b
}

// Truncate cuts the packet to n bytes. n must be at most Len.
func (p *Packet) Truncate(n int) {
	if n > p.Len() {
		panic("packet: truncate beyond the end")
	}
	p.end = p.start + n
}

// Buffer is the writable room from the packet's start to the end of its buffer, for a driver that receives into it.
// Set the length with SetLen.
func (p *Packet) Buffer() []byte { return p.buf[p.start : len(p.buf)-Tailroom] }

// SetLen sets the packet's length after its Buffer was filled.
func (p *Packet) SetLen(n int) { p.end = p.start + n }
