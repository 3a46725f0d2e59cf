package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/packet"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Host is the part of a VRF that probes use.
type Host interface {
	// SendIP routes and sends a complete IP packet and takes ownership of it.
	SendIP(p *packet.Packet) error
	// HandleICMP registers f for echo replies and ICMP errors addressed to the router; f may look at the packet
	// during the call only.
	HandleICMP(f func(p *packet.Packet))
	// SourceFor chooses the source address for a destination.
	SourceFor(dst netip.Addr) (netip.Addr, bool)
}

// ErrNoRoute says that no source address serves the destination: there is no route.
var ErrNoRoute = errors.New("no route to the destination")

// Prober sends probes from one VRF.
type Prober struct {
	host  Host
	clock clock.Clock

	mu     sync.Mutex
	nextID uint16
	wait   map[uint16]chan<- answer
}

// answer is what came back for a probe.
type answer struct {
	seq  uint16
	from netip.Addr
	kind Kind
	mtu  int
	ttl  uint8
	at   time.Time
}

// Kind is what an answer says.
type Kind uint8

const (
	// Reply: the destination answered.
	Reply Kind = iota
	// TimeExceeded: a router on the way answered.
	TimeExceeded
	// Unreachable: a router or the destination refuses (network, host, protocol).
	Unreachable
	// PortUnreachable: the destination has no listener: the end of a traceroute.
	PortUnreachable
	// Prohibited: administratively prohibited.
	Prohibited
	// TooBig: the packet does not fit the next link.
	TooBig
	// Timeout: nothing came back in time.
	Timeout
)

// New returns a prober of the host.
func New(host Host, c clock.Clock) *Prober {
	p := &Prober{host: host, clock: c, wait: map[uint16]chan<- answer{}, nextID: uint16(c.Now().UnixNano())}
	host.HandleICMP(p.receive)
	return p
}

func (p *Prober) open(room int) (uint16, <-chan answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		p.nextID++
		// Identifiers double as UDP source ports, so they stay in the ephemeral range.
		id := p.nextID | 0xc000
		if _, used := p.wait[id]; !used {
			ch := make(chan answer, room)
			p.wait[id] = ch
			return id, ch
		}
	}
}

func (p *Prober) close(id uint16) {
	p.mu.Lock()
	delete(p.wait, id)
	p.mu.Unlock()
}

func (p *Prober) deliver(id uint16, a answer) {
	a.at = p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if ch := p.wait[id]; ch != nil {
		select {
		case ch <- a:
		default: // the prober has more answers waiting than it sent probes: duplicates
		}
	}
}

func (p *Prober) receive(pkt *packet.Packet) {
	from, proto, ttl, body, ok := parseIP(pkt.Bytes())
	if !ok || len(body) < 8 {
		return
	}
	a := answer{from: from, ttl: ttl}
	switch proto {
	case header.ICMPv4ProtocolNumber:
		h := header.ICMPv4(body)
		switch h.Type() {
		case header.ICMPv4EchoReply:
			a.seq = h.Sequence()
			p.deliver(h.Ident(), a)
			return
		case header.ICMPv4TimeExceeded:
			a.kind = TimeExceeded
		case header.ICMPv4DstUnreachable:
			switch h.Code() {
			case header.ICMPv4PortUnreachable:
				a.kind = PortUnreachable
			case header.ICMPv4FragmentationNeeded:
				a.kind, a.mtu = TooBig, int(h.MTU())
			case header.ICMPv4NetProhibited, header.ICMPv4HostProhibited, header.ICMPv4AdminProhibited:
				a.kind = Prohibited
			default:
				a.kind = Unreachable
			}
		default:
			return
		}
	case header.ICMPv6ProtocolNumber:
		h := header.ICMPv6(body)
		switch h.Type() {
		case header.ICMPv6EchoReply:
			a.seq = h.Sequence()
			p.deliver(h.Ident(), a)
			return
		case header.ICMPv6TimeExceeded:
			a.kind = TimeExceeded
		case header.ICMPv6PacketTooBig:
			a.kind, a.mtu = TooBig, int(h.MTU())
		case header.ICMPv6DstUnreachable:
			switch h.Code() {
			case header.ICMPv6PortUnreachable:
				a.kind = PortUnreachable
			case header.ICMPv6Prohibited:
				a.kind = Prohibited
			default:
				a.kind = Unreachable
			}
		default:
			return
		}
	default:
		return
	}
	// An error quotes the packet that it is about.
	_, proto, _, quoted, ok := parseIP(body[8:])
	if !ok || len(quoted) < 8 {
		return
	}
	switch proto {
	case header.UDPProtocolNumber:
		a.seq = binary.BigEndian.Uint16(quoted[2:]) - tracePort
		p.deliver(binary.BigEndian.Uint16(quoted), a)
	case header.ICMPv4ProtocolNumber, header.ICMPv6ProtocolNumber:
		a.seq = binary.BigEndian.Uint16(quoted[6:])
		p.deliver(binary.BigEndian.Uint16(quoted[4:]), a)
	}
}

// parseIP returns source, protocol, hop limit and payload of an IP packet that may be cut short.
func parseIP(b []byte) (src netip.Addr, proto tcpip.TransportProtocolNumber, ttl uint8, payload []byte, ok bool) {
	if len(b) < 1 {
		return
	}
	switch {
	case b[0]>>4 == 4 && len(b) >= header.IPv4MinimumSize:
		n := int(b[0]&15) * 4
		if n < header.IPv4MinimumSize || len(b) < n {
			return
		}
		return netip.AddrFrom4([4]byte(b[12:16])), tcpip.TransportProtocolNumber(b[9]), b[8], b[n:], true
	case b[0]>>4 == 6 && len(b) >= header.IPv6MinimumSize:
		return netip.AddrFrom16([16]byte(b[8:24])), tcpip.TransportProtocolNumber(b[6]), b[7], b[40:], true
	}
	return
}

// tracePort is the first destination port of a traceroute.
const tracePort = 33434

// build makes an IP packet with room for body bytes of payload behind the IP header.
func build(src, dst netip.Addr, proto tcpip.TransportProtocolNumber, ttl, tos uint8, df bool, id uint16, body int) (*packet.Packet, []byte) {
	if dst.Is4() {
		p := packet.Get(header.IPv4MinimumSize + body)
		b := p.Append(header.IPv4MinimumSize + body)
		clear(b)
		f := header.IPv4Fields{TotalLength: uint16(len(b)), TTL: ttl, TOS: tos, Protocol: uint8(proto), ID: id,
			SrcAddr: tcpip.AddrFrom4(src.As4()), DstAddr: tcpip.AddrFrom4(dst.As4())}
		if df {
			f.Flags = header.IPv4FlagDontFragment
		}
		h := header.IPv4(b)
		h.Encode(&f)
		h.SetChecksum(^h.CalculateChecksum())
		return p, b[header.IPv4MinimumSize:]
	}
	p := packet.Get(header.IPv6MinimumSize + body)
	b := p.Append(header.IPv6MinimumSize + body)
	clear(b)
	header.IPv6(b).Encode(&header.IPv6Fields{PayloadLength: uint16(body), TransportProtocol: proto, HopLimit: ttl,
		TrafficClass: tos, SrcAddr: tcpip.AddrFrom16(src.As16()), DstAddr: tcpip.AddrFrom16(dst.As16())})
	return p, b[header.IPv6MinimumSize:]
}

func fill(b []byte) {
	for i := range b {
		b[i] = byte(i)
	}
}

func sum(src, dst netip.Addr, proto tcpip.TransportProtocolNumber, body []byte) uint16 {
	return checksum.Checksum(body, header.PseudoHeaderChecksum(proto, addr(src), addr(dst), uint16(len(body))))
}

func addr(a netip.Addr) tcpip.Address {
	if a.Is4() {
		return tcpip.AddrFrom4(a.As4())
	}
	return tcpip.AddrFrom16(a.As16())
}

func (p *Prober) source(src, dst netip.Addr) (netip.Addr, error) {
	if src.IsValid() {
		if src.Is4() != dst.Is4() {
			return src, fmt.Errorf("source %s and destination %s are of different families", src, dst)
		}
		return src, nil
	}
	src, ok := p.host.SourceFor(dst)
	if !ok {
		return src, fmt.Errorf("%w %s", ErrNoRoute, dst)
	}
	return src, nil
}

// after returns a channel that gets a value d from now on the prober's clock.
func (p *Prober) after(d time.Duration) (<-chan struct{}, clock.Timer) {
	ch := make(chan struct{}, 1)
	return ch, p.clock.AfterFunc(d, func() {
		select {
		case ch <- struct{}{}:
		default:
		}
	})
}

func done(ctx context.Context) bool { return ctx.Err() != nil }
