package netstack

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"felloe/netstack/ip"
	"felloe/netstack/link"
	"felloe/netstack/packet"
)

// Kind is what an interface is.
type Kind uint8

const (
	Ethernet Kind = iota + 1
	Loopback
	TunnelKind
)

func (k Kind) String() string {
	switch k {
	case Ethernet:
		return "Ethernet"
	case Loopback:
		return "Loopback"
	case TunnelKind:
		return "Tunnel"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Direction of a packet at an interface.
type Direction uint8

const (
	In Direction = iota
	Out
)

// CaptureMeta says what a captured packet is.
type CaptureMeta struct {
	Time      time.Time
	Interface *Interface
	// Length on the wire.
	Length int
	// Ethernet: the bytes start with an Ethernet header, else with an IP header.
	Ethernet bool
}

// Capture sees packets as they cross an interface, from several workers at once; it must not block nor keep the bytes.
type Capture func(dir Direction, p []byte, meta CaptureMeta)

// InterfaceCounters are what crossed an interface since it was made. Bytes are those of IP packets.
type InterfaceCounters struct {
	RxPackets, RxBytes, TxPackets, TxBytes uint64
	RxMulticast                            uint64
	// Drops of packets that came in here, by reason.
	Drops map[string]uint64
}

// EthernetConfig is what an Ethernet interface needs.
type EthernetConfig struct {
	Name   string
	VRF    *VRF // nil means the default
	Driver link.Driver
	MTU    int // 0 takes the driver's
	// Description is free text.
	Description string
}

// Interface is a logical interface of the router.
type Interface struct {
	d      *Dataplane
	name   string
	index  uint32
	kind   Kind
	vrf    *VRF
	driver link.Driver
	mac    [6]byte
	tunnel *Tunnel

	mtu, ipMTU, mss atomic.Int32
	addrs           atomic.Pointer[addresses]
	unnumbered      atomic.Pointer[Interface]
	neigh           neighbours
	out             *adjacency // multicast on Ethernet; everything on the others
	up              atomic.Bool
	capture         atomic.Pointer[Capture]
	defended        atomic.Int64 // an address, last
	desc            atomic.Pointer[string]

	rxPackets, rxBytes, txPackets, txBytes, rxMulticast atomic.Uint64
	drops                                               dropCounters

	mu       sync.Mutex // state and addresses
	adminUp  bool
	carrier  bool
	removed  bool
	handlers []func(bool)
	tellMu   sync.Mutex // handlers hear of changes one after the other
	told     bool
}

// addresses is an immutable snapshot of an interface's addresses.
type addresses struct {
	prefixes   []netip.Prefix
	own        []netip.Addr // link-local included
	broadcasts []netip.Addr
	v4, v6     netip.Addr // primary
	linkLocal  netip.Addr
}

func (a *addresses) has(x netip.Addr) bool       { return slices.Contains(a.own, x) }
func (a *addresses) broadcast(x netip.Addr) bool { return slices.Contains(a.broadcasts, x) }

func (a *addresses) primary(v4 bool) netip.Addr {
	if v4 {
		return a.v4
	}
	return a.v6
}

// near is the address of the prefix that covers x, or the primary address of its family.
func (a *addresses) near(x netip.Addr) netip.Addr {
	best, bits := netip.Addr{}, -1
	for _, p := range a.prefixes {
		if p.Contains(x) && p.Bits() > bits {
			best, bits = p.Addr(), p.Bits()
		}
	}
	if bits >= 0 {
		return best
	}
	if x.Is6() && x.IsLinkLocalUnicast() && !a.v6.IsValid() {
		return a.linkLocal
	}
	return a.primary(x.Is4())
}

// onLink tells whether x is on the interface's own subnets.
func (a *addresses) onLink(x netip.Addr) bool {
	for _, p := range a.prefixes {
		if p.Contains(x) {
			return true
		}
	}
	return x.IsLinkLocalUnicast() && x.Is6()
}

// AddEthernet makes an interface of a driver. It is administratively down until SetAdminUp: it says nothing before.
func (d *Dataplane) AddEthernet(c EthernetConfig) (*Interface, error) {
	info := c.Driver.Info()
	i := d.newInterface(c.Name, c.VRF, Ethernet)
	i.driver, i.mac = c.Driver, info.MAC
	i.mtu.Store(int32(i.carried(c.MTU)))
	i.desc.Store(&c.Description)
	if err := d.register(i); err != nil {
		return nil, err
	}
	if err := c.Driver.Start(i.receive); err != nil {
		_ = d.RemoveInterface(i)
		return nil, fmt.Errorf("interface %s: start its driver: %w", c.Name, err)
	}
	c.Driver.OnState(i.setCarrier)
	return i, nil
}

// AddLoopback makes a loopback interface, which is up.
func (d *Dataplane) AddLoopback(name string, vrf *VRF) (*Interface, error) {
	i := d.newInterface(name, vrf, Loopback)
	i.mtu.Store(65535)
	i.carrier = true
	if err := d.register(i); err != nil {
		return nil, err
	}
	i.SetAdminUp(true)
	return i, nil
}

func (d *Dataplane) newInterface(name string, vrf *VRF, kind Kind) *Interface {
	if vrf == nil {
		vrf = d.Default()
	}
	i := &Interface{d: d, name: name, kind: kind, vrf: vrf}
	i.addrs.Store(&addresses{})
	i.neigh.init(i)
	i.out = &adjacency{iface: i, always: true}
	empty := ""
	i.desc.Store(&empty)
	return i
}

// Name of the interface.
func (i *Interface) Name() string { return i.name }

// Index is the number that packets and the FIB carry.
func (i *Interface) Index() uint32 { return i.index }

// VRF is the VRF whose FIB decides about what comes in here.
func (i *Interface) VRF() *VRF { return i.vrf }

// Kind of the interface.
func (i *Interface) Kind() Kind { return i.kind }

// Driver of an Ethernet interface, nil for others.
func (i *Interface) Driver() link.Driver { return i.driver }

// MAC is the hardware address of an Ethernet interface.
func (i *Interface) MAC() [6]byte { return i.mac }

// Tunnel of a tunnel interface, nil for others.
func (i *Interface) Tunnel() *Tunnel { return i.tunnel }

// Description is free text of the operator's.
func (i *Interface) Description() string { return *i.desc.Load() }

// SetDescription changes the text.
func (i *Interface) SetDescription(s string) { i.desc.Store(&s) }

// MTU is the largest IP packet that the link carries.
func (i *Interface) MTU() int {
	if i.tunnel != nil {
		return i.tunnel.transportMTU()
	}
	return int(i.mtu.Load())
}

// SetMTU changes the link's MTU; it is cut down to what the NIC carries, and 0 is that. A tunnel's follows from its
// underlay; see SetIPMTU.
func (i *Interface) SetMTU(mtu int) {
	i.mtu.Store(int32(i.carried(mtu)))
	i.measureAnew()
}

// carried cuts an MTU down to what the NIC carries.
func (i *Interface) carried(mtu int) int {
	if i.driver == nil {
		return mtu
	}
	nic := i.driver.Info().MTU
	if mtu <= 0 || nic > 0 && mtu > nic {
		return nic
	}
	return mtu
}

// measureAnew says that MTUs which depend on this interface may have changed. Nothing depends on a tunnel's but its
// own sessions, unless tunnels run inside tunnels.
func (i *Interface) measureAnew() {
	if i.tunnel != nil {
		i.tunnel.mtuGen.Add(1)
		if !i.d.nested.Load() {
			return
		}
	}
	i.d.mtuGen.Add(1)
}

// IPMTU is the largest IP packet that is sent here: what SetIPMTU said, if the link carries that much.
func (i *Interface) IPMTU() int {
	m := i.MTU()
	if ipMTU := int(i.ipMTU.Load()); ipMTU > 0 {
		return min(m, ipMTU)
	}
	return m
}

// SetIPMTU limits the IP packets that are sent here; 0 takes the limit away.
func (i *Interface) SetIPMTU(mtu int) {
	i.ipMTU.Store(int32(mtu))
	i.measureAnew()
}

// SetAdjustMSS clamps the MSS of TCP connections that are forwarded through here; 0 ends that.
func (i *Interface) SetAdjustMSS(mss int) { i.mss.Store(int32(mss)) }

// SetCapture sets what sees the packets that cross here; nil ends it.
func (i *Interface) SetCapture(f Capture) {
	if f == nil {
		i.capture.Store(nil)
		return
	}
	i.capture.Store(&f)
}

func (i *Interface) captured(dir Direction, v []*packet.Packet) {
	c := i.capture.Load()
	if c == nil {
		return
	}
	meta := CaptureMeta{Time: i.d.clock.Now(), Interface: i, Ethernet: i.kind == Ethernet}
	for _, p := range v {
		meta.Length = p.Len()
		(*c)(dir, p.Bytes(), meta)
	}
}

// Counters are what crossed the interface.
func (i *Interface) Counters() InterfaceCounters {
	return InterfaceCounters{
		RxPackets: i.rxPackets.Load(), RxBytes: i.rxBytes.Load(), TxPackets: i.txPackets.Load(), TxBytes: i.txBytes.Load(),
		RxMulticast: i.rxMulticast.Load(), Drops: i.drops.snapshot(),
	}
}

// Addresses of the interface with their prefix lengths, without the link-local one that it made itself.
func (i *Interface) Addresses() []netip.Prefix { return slices.Clone(i.addrs.Load().prefixes) }

// LinkLocal is the IPv6 link-local address, the zero Addr while the interface has no IPv6 address.
func (i *Interface) LinkLocal() netip.Addr { return i.addrs.Load().linkLocal }

// SetAddresses replaces the addresses; the first of each family is the primary one. The FIB is not changed: connected
// and local routes are the RIB's to make.
func (i *Interface) SetAddresses(ps []netip.Prefix) {
	n := &addresses{}
	for _, p := range ps {
		if !p.IsValid() || slices.ContainsFunc(n.prefixes, func(q netip.Prefix) bool { return q.Addr() == p.Addr() }) {
			continue
		}
		n.prefixes = append(n.prefixes, p)
		n.own = append(n.own, p.Addr())
		switch {
		case p.Addr().Is4():
			if !n.v4.IsValid() {
				n.v4 = p.Addr()
			}
			if p.Bits() < 31 {
				n.broadcasts = append(n.broadcasts, lastAddr(p))
			}
		case p.Addr().IsLinkLocalUnicast():
			n.linkLocal = p.Addr()
		case !n.v6.IsValid():
			n.v6 = p.Addr()
		}
	}
	if n.v6.IsValid() && !n.linkLocal.IsValid() {
		n.linkLocal = i.makeLinkLocal()
		n.own = append(n.own, n.linkLocal)
	}
	i.mu.Lock()
	old := i.addrs.Swap(n)
	up := i.up.Load()
	i.mu.Unlock()
	hosted := func(a *addresses) (out []netip.Addr) {
		for _, x := range a.own {
			if !x.IsLinkLocalUnicast() || x.Is4() {
				out = append(out, x)
			}
		}
		return
	}
	for _, a := range hosted(n) {
		i.vrf.addAddress(a)
	}
	for _, a := range hosted(old) {
		i.vrf.removeAddress(a)
	}
	i.vrf.mu.Lock()
	listed(&i.vrf.numbered, i, len(n.prefixes) > 0)
	i.vrf.mu.Unlock()
	i.measureAnew()
	i.neigh.clearIf(func(adj *adjacency) bool { return adj.state != Static && old.onLink(adj.addr) && !n.onLink(adj.addr) })
	if up {
		for _, a := range n.own {
			if !old.has(a) {
				i.announce(a)
			}
		}
	}
	i.d.follow(i)
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	x := binary.BigEndian.Uint32(b[:]) | uint32(1<<(32-p.Bits())-1)
	binary.BigEndian.PutUint32(b[:], x)
	return netip.AddrFrom4(b)
}

// SetUnnumbered has the interface, which has no address of its own, send from the addresses of another one of its VRF;
// nil ends that.
func (i *Interface) SetUnnumbered(of *Interface) {
	if of == i || of != nil && of.vrf != i.vrf {
		of = nil
	}
	i.unnumbered.Store(of)
}

// Unnumbered is the interface whose addresses this one uses, nil when it has its own.
func (i *Interface) Unnumbered() *Interface { return i.unnumbered.Load() }

// lender has the addresses that the interface sends from: its own, or those that it borrows.
func (i *Interface) lender() *addresses {
	own := i.addrs.Load()
	if len(own.prefixes) == 0 {
		if of := i.unnumbered.Load(); of != nil {
			return of.addrs.Load()
		}
	}
	return own
}

// makeLinkLocal derives fe80::/64 from the MAC address (RFC 4291 appendix A). An interface without one takes the
// first Ethernet's and its own index.
func (i *Interface) makeLinkLocal() netip.Addr {
	mac := i.mac
	tag := [2]byte{0xff, 0xfe}
	if mac == [6]byte{} {
		for _, e := range *i.d.ethers.Load() {
			mac = e.mac
			break
		}
		binary.BigEndian.PutUint16(tag[:], uint16(i.index))
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: tag[0], 12: tag[1], 13: mac[3], 14: mac[4], 15: mac[5]})
}

// SetAdminUp is "no shutdown".
func (i *Interface) SetAdminUp(up bool) { i.change(func() { i.adminUp = up && !i.removed }) }

// AdminUp tells whether the operator wants the interface.
func (i *Interface) AdminUp() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.adminUp
}

// Up is the line protocol: wanted, and able to carry packets.
func (i *Interface) Up() bool { return i.up.Load() }

func (i *Interface) setCarrier(up bool) { i.change(func() { i.carrier = up }) }

// change runs f on the state and tells what follows from it.
func (i *Interface) change(f func()) {
	i.mu.Lock()
	f()
	up := i.adminUp && i.carrier
	was := i.up.Swap(up)
	i.mu.Unlock()
	if up != was {
		i.measureAnew()
		if !i.d.opts.QuietStates {
			i.d.log.Info().Str("event", "line-protocol").Str("interface", i.name).Bool("up", up).Msg("line protocol changed")
		}
		if !up {
			i.neigh.clear(true)
		} else {
			for _, a := range i.addrs.Load().own {
				i.announce(a)
			}
		}
	}
	if up != was {
		i.d.follow(i)
	}
	i.tell()
}

// tell brings the handlers up to the present state.
func (i *Interface) tell() {
	i.tellMu.Lock()
	defer i.tellMu.Unlock()
	up := i.up.Load()
	if up == i.told {
		return
	}
	i.told = up
	i.mu.Lock()
	hs := i.handlers
	i.mu.Unlock()
	for _, h := range hs {
		h(up)
	}
}

// OnState adds what is called with the line protocol's state, at once and at each change, one call at a time. f must
// not block and not call back into this interface's state.
func (i *Interface) OnState(f func(up bool)) {
	i.tellMu.Lock()
	defer i.tellMu.Unlock()
	i.mu.Lock()
	i.handlers = append(slices.Clone(i.handlers), f)
	i.mu.Unlock()
	f(i.told)
}

func (i *Interface) close() {
	i.mu.Lock()
	i.removed = true
	i.mu.Unlock()
	i.change(func() { i.adminUp = false })
	i.neigh.clear(false)
	i.out.dead.Store(true)
	if i.tunnel != nil {
		i.tunnel.close()
	}
	if i.driver != nil {
		_ = i.driver.Close()
	}
}

// SendIP sends a whole IP packet of ours out of this interface, whatever the FIB says: for what is meant for a link
// (a hello to a group, a probe). It takes the packet.
func (i *Interface) SendIP(p *packet.Packet) error { return i.sendVia(p, netip.Addr{}) }

// sendVia is SendIP to a neighbour; an invalid one is the packet's destination.
func (i *Interface) sendVia(p *packet.Packet, via netip.Addr) error {
	var h ip.Header
	if err := ip.Parse(p.Bytes(), &h); err != nil {
		i.d.drop(p, dropMalformed)
		return fmt.Errorf("send on %s: %w", i.name, err)
	}
	if !i.up.Load() {
		i.d.drop(p, dropInterfaceDown)
		return fmt.Errorf("send on %s: interface is down", i.name)
	}
	p.Flags |= packet.FlagLocal
	p.VRF = i.vrf.id
	w := i.d.worker()
	defer w.done()
	one := append(w.local[:0], p)
	if !via.IsValid() {
		via = h.Dst
	}
	if a := w.adjacency(i, via, p); a != nil {
		if p = w.fit(a, p, &h); p != nil {
			one[0] = p
			a.run(w, one)
		}
	}
	return nil
}
