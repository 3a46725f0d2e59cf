package tcpmd5

import (
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Endpoint signs what its NIC sends and verifies what it receives.
type Endpoint struct {
	nested.Endpoint
	table *Table
}

var (
	_ stack.LinkEndpoint      = (*Endpoint)(nil)
	_ stack.NetworkDispatcher = (*Endpoint)(nil)
	_ stack.GSOEndpoint       = (*Endpoint)(nil)
)

// New puts an endpoint in front of lower. Create the NIC with it instead of lower.
func New(lower stack.LinkEndpoint, table *Table) *Endpoint {
	e := &Endpoint{table: table}
	e.Init(lower, e)
	return e
}

// WritePackets implements stack.LinkEndpoint.
func (e *Endpoint) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	peers := e.table.peers.Load()
	if peers == nil {
		return e.Child().WritePackets(pkts)
	}
	var out stack.PacketBufferList
	var mine []*stack.PacketBuffer
	for _, pkt := range pkts.AsSlice() {
		if pkt.TransportProtocolNumber == header.TCPProtocolNumber {
			v := pkt.ToView()
			signed, pass := e.table.outgoing(peers, v.AsSlice())
			v.Release()
			if !pass {
				continue
			}
			if signed != nil {
				pkt = e.replace(pkt, signed)
				mine = append(mine, pkt)
			}
		}
		out.PushBack(pkt)
	}
	dropped := pkts.Len() - out.Len()
	n, err := e.Child().WritePackets(out)
	for _, pkt := range mine {
		pkt.DecRef()
	}
	return n + dropped, err
}

// replace makes a packet of signed with the headers and the routing of old.
func (e *Endpoint) replace(old *stack.PacketBuffer, signed []byte) *stack.PacketBuffer {
	ipLen := len(old.NetworkHeader().Slice())
	if ipLen == 0 {
		ipLen = header.IPv4MinimumSize
		if signed[0]>>4 == 6 {
			ipLen = header.IPv6MinimumSize
		}
	}
	tcpLen := int(signed[ipLen+12]>>4) * 4
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(e.MaxHeaderLength()) + ipLen + tcpLen,
		Payload:            buffer.MakeWithData(signed[ipLen+tcpLen:]),
		Mark:               old.Mark,
	})
	copy(pkt.TransportHeader().Push(tcpLen), signed[ipLen:])
	copy(pkt.NetworkHeader().Push(ipLen), signed)
	pkt.NetworkProtocolNumber, pkt.TransportProtocolNumber = old.NetworkProtocolNumber, old.TransportProtocolNumber
	pkt.Hash, pkt.Owner, pkt.EgressRoute, pkt.GSOOptions = old.Hash, old.Owner, old.EgressRoute, old.GSOOptions
	pkt.NICID = old.NICID
	return pkt
}

// DeliverNetworkPacket implements stack.NetworkDispatcher.
func (e *Endpoint) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	peers := e.table.peers.Load()
	if peers == nil || protocol != header.IPv4ProtocolNumber && protocol != header.IPv6ProtocolNumber {
		e.Endpoint.DeliverNetworkPacket(protocol, pkt)
		return
	}
	v := pkt.Data().AsRange().ToView()
	pass, changed := e.table.incoming(peers, v.AsSlice())
	if !pass {
		v.Release()
		return
	}
	if !changed {
		v.Release()
		e.Endpoint.DeliverNetworkPacket(protocol, pkt)
		return
	}
	lowered := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(v)})
	defer lowered.DecRef()
	lowered.NICID, lowered.InputNICID, lowered.PktType = pkt.NICID, pkt.InputNICID, pkt.PktType
	lowered.RXChecksumValidated, lowered.Mark = pkt.RXChecksumValidated, pkt.Mark
	e.Endpoint.DeliverNetworkPacket(protocol, lowered)
}
