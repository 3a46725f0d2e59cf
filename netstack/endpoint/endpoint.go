package endpoint

import (
	"errors"
	"sync/atomic"

	"felloe/netstack/packet"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// errForeign says that a packet is not the tunnel's.
var errForeign = errors.New("endpoint: packet is not of this tunnel")

// codec is an encapsulation.
type codec interface {
	// wrap turns a packet of the stack above into one of the lower link.
	wrap(p *packet.Packet, protocol tcpip.NetworkProtocolNumber) (tcpip.NetworkProtocolNumber, error)
	// unwrap is its reverse.
	unwrap(p *packet.Packet) (tcpip.NetworkProtocolNumber, error)
	// mtu is the largest packet of the stack above that fits a lower packet.
	mtu(lower int) int
}

// tunnel is a stack.LinkEndpoint over another one.
type tunnel struct {
	nested.Endpoint
	lower stack.LinkEndpoint
	codec codec
	limit atomic.Uint32 // of the MTU, 0 when there is none

	sent, received, sendDrops, receiveDrops atomic.Uint64
}

var (
	_ stack.LinkEndpoint      = (*tunnel)(nil)
	_ stack.GSOEndpoint       = (*tunnel)(nil)
	_ stack.NetworkDispatcher = (*tunnel)(nil)
)

func (t *tunnel) init(lower stack.LinkEndpoint, c codec) {
	t.lower, t.codec = lower, c
	t.Endpoint.Init(lower, t)
}

// Counters are what an endpoint has carried and dropped.
type Counters struct{ Sent, Received, SendDrops, ReceiveDrops uint64 }

// Counters are a snapshot.
func (t *tunnel) Counters() Counters {
	return Counters{t.sent.Load(), t.received.Load(), t.sendDrops.Load(), t.receiveDrops.Load()}
}

// WritePackets implements stack.LinkWriter.
func (t *tunnel) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	var out stack.PacketBufferList
	defer out.Reset()
	for _, b := range list.AsSlice() {
		p, ok := take(b)
		if !ok {
			t.sendDrops.Add(1)
			continue
		}
		protocol, err := t.codec.wrap(p, b.NetworkProtocolNumber)
		if err != nil {
			t.sendDrops.Add(1)
		} else {
			out.PushBack(give(p, protocol, int(t.lower.MaxHeaderLength())))
		}
		p.Release()
	}
	if n := out.Len(); n > 0 {
		sent, err := t.lower.WritePackets(out)
		t.sent.Add(uint64(sent))
		t.sendDrops.Add(uint64(n - sent))
		if err != nil {
			return sent, err
		}
	}
	// What was dropped is gone as on any link.
	return list.Len(), nil
}

// DeliverNetworkPacket takes a packet of the lower link.
func (t *tunnel) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, b *stack.PacketBuffer) {
	p, ok := take(b)
	if !ok {
		t.receiveDrops.Add(1)
		return
	}
	defer p.Release()
	protocol, err := t.codec.unwrap(p)
	if err != nil {
		t.receiveDrops.Add(1)
		return
	}
	t.received.Add(1)
	inner := give(p, protocol, 0)
	defer inner.DecRef()
	t.Endpoint.DeliverNetworkPacket(protocol, inner)
}

// take copies a packet of gVisor's into one of ours.
func take(b *stack.PacketBuffer) (*packet.Packet, bool) {
	n := b.Size()
	if n > 65535 {
		return nil, false
	}
	p := packet.Get(n)
	room := p.Append(n)
	for _, part := range b.AsSlices() {
		room = room[copy(room, part):]
	}
	return p, true
}

// give copies a packet of ours into one of gVisor's.
func give(p *packet.Packet, protocol tcpip.NetworkProtocolNumber, headroom int) *stack.PacketBuffer {
	b := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: headroom,
		Payload:            buffer.MakeWithData(p.Bytes()),
	})
	b.NetworkProtocolNumber = protocol
	return b
}

// MTU implements stack.LinkEndpoint.
func (t *tunnel) MTU() uint32 {
	mtu := uint32(max(0, t.codec.mtu(int(t.lower.MTU()))))
	if limit := t.limit.Load(); limit > 0 {
		mtu = min(mtu, limit)
	}
	return mtu
}

// SetMTU implements stack.LinkEndpoint. It limits this endpoint's MTU, not the lower link's.
func (t *tunnel) SetMTU(mtu uint32) { t.limit.Store(mtu) }

// MaxHeaderLength implements stack.LinkEndpoint: packets are copied, no room is needed.
func (t *tunnel) MaxHeaderLength() uint16 { return 0 }

// Capabilities implements stack.LinkEndpoint: none, above all no checksum offload and no address resolution.
func (t *tunnel) Capabilities() stack.LinkEndpointCapabilities { return 0 }

// LinkAddress implements stack.LinkEndpoint.
func (t *tunnel) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress implements stack.LinkEndpoint.
func (t *tunnel) SetLinkAddress(tcpip.LinkAddress) {}

// ARPHardwareType implements stack.LinkEndpoint.
func (t *tunnel) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader implements stack.LinkEndpoint.
func (t *tunnel) AddHeader(*stack.PacketBuffer) {}

// ParseHeader implements stack.LinkEndpoint.
func (t *tunnel) ParseHeader(*stack.PacketBuffer) bool { return true }

// GSOMaxSize implements stack.GSOEndpoint.
func (t *tunnel) GSOMaxSize() uint32 { return 0 }

// SupportedGSO implements stack.GSOEndpoint.
func (t *tunnel) SupportedGSO() stack.SupportedGSO { return stack.GSONotSupported }

// protocolOf is the network protocol of an IP packet by its version.
func protocolOf(b []byte) (tcpip.NetworkProtocolNumber, bool) {
	if len(b) == 0 {
		return 0, false
	}
	switch b[0] >> 4 {
	case 4:
		return header.IPv4ProtocolNumber, true
	case 6:
		return header.IPv6ProtocolNumber, true
	}
	return 0, false
}
