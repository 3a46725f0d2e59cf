package netstack

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"felloe/netstack/fib"
	"felloe/netstack/packet"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// VRF is one routing and forwarding instance: a FIB and a host stack.
type VRF struct {
	d    *Dataplane
	name string
	id   uint32
	fib  fib.Table
	host *host

	mu    sync.Mutex
	addrs map[netip.Addr]int // local addresses, by how many interfaces have them
	udp   atomic.Pointer[map[uint16]func(UDP)]
	icmp  atomic.Pointer[[]func(*packet.Packet)]
	// protocols are handlers of whole IP protocols (EIGRP), by number.
	protocols atomic.Pointer[map[uint8]func(*packet.Packet)]
	// numbered are the interfaces with addresses of their own; uses counts the interfaces inside and the tunnels outside;
	// mtuGen changes with the FIB.
	numbered atomic.Pointer[[]*Interface]
	uses     atomic.Int64
	mtuGen   atomic.Uint64
}

func newVRF(d *Dataplane, name string, id uint32) (*VRF, error) {
	v := &VRF{d: d, name: name, id: id, addrs: map[netip.Addr]int{}}
	v.udp.Store(&map[uint16]func(UDP){})
	v.numbered.Store(&[]*Interface{})
	v.icmp.Store(&[]func(*packet.Packet){})
	h, err := newHost(v)
	if err != nil {
		return nil, err
	}
	v.host = h
	return v, nil
}

// Name of the VRF.
func (v *VRF) Name() string { return v.name }

// ID is the number that packets carry.
func (v *VRF) ID() uint32 { return v.id }

// Stack is the host stack: TCP and UDP end points of ours live there. Bind to a local address, or ask SourceFor: the
// stack has one NIC and cannot choose a source by route.
func (v *VRF) Stack() *stack.Stack { return v.host.stack }

// FIB is the forwarding table, to read.
func (v *VRF) FIB() *fib.Table { return &v.fib }

// Program changes the FIB, in order and at once. Changes that can never forward are logged and left out.
func (v *VRF) Program(changes []fib.Change) {
	if err := v.fib.Apply(changes); err != nil {
		v.d.log.Error().Str("event", "fib").Str("vrf", v.name).Err(err).Msg("part of a FIB update was refused")
	}
	v.mtuGen.Add(1)
	if v.d.nested.Load() {
		v.d.mtuGen.Add(1)
	}
}

// HandleUDP takes over what arrives for a port of this VRF; nil gives it back to the host stack. f runs on data
// workers and must not block.
func (v *VRF) HandleUDP(port uint16, f func(UDP)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := map[uint16]func(UDP){}
	for k, old := range *v.udp.Load() {
		m[k] = old
	}
	if f == nil {
		delete(m, port)
	} else {
		m[port] = f
	}
	v.udp.Store(&m)
}

// HandleICMP adds a listener to echo replies and ICMP errors that are addressed to us. f runs on data workers, must
// not block, and must not keep or release the packet: it is whole, from its IP header.
func (v *VRF) HandleICMP(f func(p *packet.Packet)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fs := append(slices.Clone(*v.icmp.Load()), f)
	v.icmp.Store(&fs)
}

// HandleProtocol takes over what arrives for one of our addresses or for a multicast group with an IP protocol number
// of ours (EIGRP's 88, for instance); nil ends it. f runs on data workers, must not block, and owns the packet, which
// is whole from its IP header and carries its ingress interface.
func (v *VRF) HandleProtocol(proto uint8, f func(p *packet.Packet)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := map[uint8]func(*packet.Packet){}
	if old := v.protocols.Load(); old != nil {
		for k, f := range *old {
			m[k] = f
		}
	}
	if f == nil {
		delete(m, proto)
	} else {
		m[proto] = f
	}
	v.protocols.Store(&m)
}

// UDP is a datagram for a handler.
type UDP struct {
	Local, Remote netip.AddrPort
	// HopLimit is what was left of it (TTL).
	HopLimit uint8
	// Payload is valid during the call.
	Payload []byte
	// Packet is the datagram's context (ingress, SA, session); its bytes are the payload. Valid during the call.
	Packet *packet.Packet
}

// SourceFor chooses the source address for a destination: the address of the interface that the packet would leave
// by, preferably of the prefix that has the next hop.
func (v *VRF) SourceFor(dst netip.Addr) (netip.Addr, bool) {
	e := v.fib.Lookup(dst)
	if e == nil {
		return netip.Addr{}, false
	}
	if e.Kind == fib.Local {
		return dst, true
	}
	h := e.Select(0)
	if h == nil {
		return netip.Addr{}, false
	}
	i := v.d.iface(h.Interface)
	if i == nil {
		return netip.Addr{}, false
	}
	near := h.Via
	if !near.IsValid() {
		near = dst
	}
	if a := i.lender().near(near); a.IsValid() && a.Is4() == dst.Is4() && i.vrf == v {
		return a, true
	}
	// An interface without an address of its own borrows one; so does a route that leads into another VRF.
	for _, i := range *v.numbered.Load() {
		if !i.Up() {
			continue
		}
		if a := i.addrs.Load().primary(dst.Is4()); a.IsValid() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// addAddress makes an address the host stack's.
func (v *VRF) addAddress(a netip.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.addrs[a]++
	if v.addrs[a] == 1 {
		v.host.addAddress(a)
	}
}

func (v *VRF) removeAddress(a netip.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.addrs[a]--; v.addrs[a] <= 0 {
		delete(v.addrs, a)
		v.host.removeAddress(a)
	}
}

func (v *VRF) close() { v.host.close() }
