package netstack

import (
	"io"
	"net/netip"
	"sync"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/ip"
	"felloe/netstack/packet"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// HostNIC is the number of the one NIC of a VRF's host stack.
const HostNIC tcpip.NICID = 1

const (
	// hostMTU lets the host stack make segments as long as it likes: the egress adjacency clamps the MSS of its
	// SYNs, and fragments or refuses the rest.
	hostMTU = 65535
	// hostQueue is how many packets to ourselves may wait.
	hostQueue = 1024
)

// host is a VRF's host stack and its NIC's link endpoint.
type host struct {
	vrf   *VRF
	stack *stack.Stack

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher

	lateMu  sync.Mutex
	late    []*packet.Packet // what we sent to ourselves
	timer   clock.Timer
	pending bool
}

// quiet ends the host stack's own log, which is the process's and names peers on its console; what it would say is in
// the stack's counters.
var quiet sync.Once

type silence struct{}

func (silence) Emit(int, log.Level, time.Time, string, ...any) {}

func newHost(v *VRF) (*host, error) {
	quiet.Do(func() { log.SetTarget(silence{}) })
	h := &host{vrf: v}
	h.timer = v.d.clock.AfterFunc(1<<62, h.drain)
	h.timer.Stop()
	h.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			ipv4.NewProtocolWithOptions(ipv4.Options{}),
			ipv6.NewProtocolWithOptions(ipv6.Options{}), // no router solicitations, no MLD, no duplicate detection: ours
		},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
		Clock:       clock.TCPIP(v.d.clock),
		HandleLocal: true,
		SecureRNG:   lockedReader(v.d.rand),
	})
	sack := tcpip.TCPSACKEnabled(true)
	h.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	var ep stack.LinkEndpoint = h
	if v.d.opts.WrapHost != nil {
		ep = v.d.opts.WrapHost(v.name, ep)
	}
	if err := h.stack.CreateNICWithOptions(HostNIC, ep, stack.NICOptions{Name: v.name}); err != nil {
		h.stack.Destroy()
		return nil, &hostError{"create the host NIC", err}
	}
	h.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: HostNIC},
		{Destination: header.IPv6EmptySubnet, NIC: HostNIC},
	})
	return h, nil
}

type hostError struct {
	what  string
	cause tcpip.Error
}

func (e *hostError) Error() string { return "host stack: " + e.what + ": " + e.cause.String() }

// lockedReader serialises an entropy source that tests may have made of something simple.
func lockedReader(r io.Reader) io.Reader { return &locked{r: r} }

type locked struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *locked) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(b)
}

func (h *host) addAddress(a netip.Addr) {
	proto, bits := ipv4.ProtocolNumber, 32
	if a.Is6() {
		proto, bits = ipv6.ProtocolNumber, 128
	}
	err := h.stack.AddProtocolAddress(HostNIC, tcpip.ProtocolAddress{
		Protocol:          proto,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(a.AsSlice()), PrefixLen: bits},
	}, stack.AddressProperties{})
	if err != nil {
		h.vrf.d.log.Error().Str("event", "host-address").Str("vrf", h.vrf.name).Stringer("addr", a).
			Str("error", err.String()).Msg("the host stack refused an address")
	}
}

func (h *host) removeAddress(a netip.Addr) {
	_ = h.stack.RemoveAddress(HostNIC, tcpip.AddrFromSlice(a.AsSlice()))
}

func (h *host) close() {
	h.timer.Stop()
	h.lateMu.Lock()
	h.vrf.d.dropAll(h.late, dropDown)
	h.late, h.pending = nil, true // nothing is accepted any more
	h.lateMu.Unlock()
	h.stack.Destroy()
}

// deliver gives a whole IP packet to the stack. It must not run on a goroutine of the stack's that sends.
func (h *host) deliver(p *packet.Packet, version uint8) {
	h.mu.RLock()
	dispatcher := h.dispatcher
	h.mu.RUnlock()
	if dispatcher == nil {
		h.vrf.d.drop(p, dropDown)
		return
	}
	proto := header.IPv4ProtocolNumber
	if version == 6 {
		proto = header.IPv6ProtocolNumber
	}
	b := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(p.Bytes())})
	p.Release()
	h.vrf.d.stats.ToHost.Add(1)
	dispatcher.DeliverNetworkPacket(proto, b)
	b.DecRef()
}

// defer_ puts a packet that we sent to ourselves aside: it comes in later, from the clock, since its sender may hold
// locks that its receiver needs.
func (h *host) defer_(p *packet.Packet) {
	h.lateMu.Lock()
	if len(h.late) >= hostQueue {
		h.lateMu.Unlock()
		h.vrf.d.drop(p, dropHostQueue)
		return
	}
	h.late = append(h.late, p)
	start := !h.pending
	h.pending = true
	h.lateMu.Unlock()
	if start {
		h.timer.Reset(0)
	}
}

func (h *host) drain() {
	defer h.vrf.d.guard("packets to ourselves")
	for {
		h.lateMu.Lock()
		v := h.late
		h.late = nil
		if len(v) == 0 {
			h.pending = false
			h.lateMu.Unlock()
			return
		}
		h.lateMu.Unlock()
		w := h.vrf.d.worker()
		for _, p := range v {
			w.own(h.vrf, p)
		}
		w.done()
	}
}

// The link endpoint: what the stack sends goes the way of all packets.

var _ stack.LinkEndpoint = (*host)(nil)

// WritePackets implements stack.LinkWriter.
func (h *host) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	w := h.vrf.d.worker()
	n := 0
	for _, b := range pkts.AsSlice() {
		size := b.Size()
		if size > 65535 {
			continue
		}
		p := packet.Get(size)
		at := p.Append(size)
		for _, part := range b.AsSlices() {
			at = at[copy(at, part):]
		}
		p.VRF, p.Flags = h.vrf.id, packet.FlagLocal
		w.local = append(w.local, p)
		n++
	}
	h.vrf.d.stats.FromHost.Add(uint64(n))
	w.originate(h.vrf, w.local)
	w.local = w.local[:0]
	w.done()
	return n, nil
}

// MTU implements stack.LinkEndpoint.
func (h *host) MTU() uint32 { return hostMTU }

// SetMTU implements stack.LinkEndpoint; the MTU is not its to set.
func (h *host) SetMTU(uint32) {}

// MaxHeaderLength implements stack.LinkEndpoint: the packet is copied, it needs no room in front.
func (h *host) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements stack.LinkEndpoint.
func (h *host) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress implements stack.LinkEndpoint.
func (h *host) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.LinkEndpoint.
func (h *host) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityNone }

// Attach implements stack.LinkEndpoint.
func (h *host) Attach(d stack.NetworkDispatcher) {
	h.mu.Lock()
	h.dispatcher = d
	h.mu.Unlock()
}

// IsAttached implements stack.LinkEndpoint.
func (h *host) IsAttached() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.dispatcher != nil
}

// Wait implements stack.LinkEndpoint.
func (h *host) Wait() {}

// ARPHardwareType implements stack.LinkEndpoint.
func (h *host) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader implements stack.LinkEndpoint.
func (h *host) AddHeader(*stack.PacketBuffer) {}

// ParseHeader implements stack.LinkEndpoint.
func (h *host) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close implements stack.LinkEndpoint.
func (h *host) Close() {}

// SetOnCloseAction implements stack.LinkEndpoint.
func (h *host) SetOnCloseAction(func()) {}

// listens tells whether an end point of the stack takes a datagram for dst.
func (h *host) listens(hd *ip.Header, src, dst uint16) bool {
	proto := header.IPv4ProtocolNumber
	if hd.Version == 6 {
		proto = header.IPv6ProtocolNumber
	}
	return h.stack.FindTransportEndpoint(proto, header.UDPProtocolNumber, stack.TransportEndpointID{
		LocalPort: dst, LocalAddress: tcpip.AddrFromSlice(hd.Dst.AsSlice()),
		RemotePort: src, RemoteAddress: tcpip.AddrFromSlice(hd.Src.AsSlice()),
	}, HostNIC) != nil
}
