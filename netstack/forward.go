package netstack

import (
	"net/netip"
	"time"

	"felloe/netstack/fib"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// originate sends packets that this router made, through the FIB of a VRF.
func (w *worker) originate(vrf *VRF, v []*packet.Packet) {
	for k := 0; k < len(v); {
		k = w.originateFrom(vrf, v, k)
	}
}

func (w *worker) originateFrom(vrf *VRF, v []*packet.Packet, k int) (next int) {
	r := runs{start: k}
	defer func() {
		if cause := recover(); cause != nil {
			w.d.contained("originate", cause)
			v[k] = nil
			next = k + 1
		}
		r.flush(w, v, min(k, len(v)))
	}()
	for ; k < len(v); k++ {
		r.add(w, v, k, w.originateOne(vrf, v, k))
	}
	return k
}

// originateTo is originate for packets that have one destination and one flow: the FIB is asked once for all of them.
// Whatever is not plain is left to originate.
func (w *worker) originateTo(vrf *VRF, v []*packet.Packet, dst netip.Addr) {
	if len(v) == 0 {
		return
	}
	g := vrf.fib.Find(dst)
	if g == nil || g.Kind != fib.Forward || g.Hops() > 1 || dst.IsMulticast() {
		w.originate(vrf, v)
		return
	}
	longest := 0
	for _, p := range v {
		p.VRF = vrf.id
		longest = max(longest, p.Len())
	}
	a := w.resolve(g.Select(0), dst, v[0])
	if a == nil {
		v[0] = nil
		w.originate(vrf, v[1:])
		return
	}
	if a.iface.kind == Loopback || longest > a.mtu() {
		w.originate(vrf, v)
		return
	}
	a.run(w, v)
}

func (w *worker) originateOne(vrf *VRF, v []*packet.Packet, k int) target {
	p := v[k]
	var h ip.Header
	if err := ip.Parse(p.Bytes(), &h); err != nil {
		return w.gone(v, k, dropMalformed)
	}
	p.VRF = vrf.id
	g := vrf.fib.Find(h.Dst)
	if g != nil && g.Kind == fib.Local {
		v[k] = nil
		vrf.host.defer_(p)
		return nil
	}
	if linkScope(h.Dst) && h.Dst.IsMulticast() || h.Dst == ip.Broadcast {
		return w.gone(v, k, dropMulticast) // SendIP of an interface is for those
	}
	return w.route(vrf, v, k, &h, g)
}

// route takes one packet from the FIB's answer to the adjacency it leaves by, all that a router does to it on the way
// included: nil when it is gone.
func (w *worker) route(vrf *VRF, v []*packet.Packet, k int, h *ip.Header, g *fib.Group) target {
	p := v[k]
	local := p.Flags&packet.FlagLocal != 0
	if !local && h.TTL <= 1 {
		v[k] = nil
		w.icmpError(p, h, ip.TTLExceeded(h.Version))
		w.d.drop(p, dropTTL)
		return nil
	}
	if g == nil {
		v[k] = nil
		w.unreachable(p, dropNoRoute, ip.CodeNet, ip.V6NoRoute)
		return nil
	}
	if r := g.Routed(); r != nil && local && h.RoutingProtocol(p.Bytes()) {
		g = r
	}
	switch g.Kind {
	case fib.Forward:
	case fib.Unreachable:
		v[k] = nil
		w.unreachable(p, dropUnreachable, ip.CodeHost, ip.V6NoRoute)
		return nil
	default:
		return w.gone(v, k, dropDiscard)
	}
	if g.Hops() > 1 && p.Flow == 0 {
		p.Flow = h.Flow(p.Bytes())
	}
	a := w.resolve(g.Select(p.Flow), h.Dst, p)
	if a == nil {
		v[k] = nil // counted and answered there
		return nil
	}
	if a.iface.kind == Loopback {
		v[k] = nil // nobody but us lives there
		w.unreachable(p, dropNoNeighbour, ip.CodeHost, ip.V6AddrUnreach)
		return nil
	}
	if !local {
		if a.iface.tunnel != nil {
			if in := w.d.iface(p.Ingress); in != nil && in.tunnel != nil {
				w.redirect(in, a, p, h)
			}
		}
		if h.Proto == ip.TCP {
			w.clampForwarded(w.d.iface(p.Ingress), a, p, h)
		}
		ip.DecTTL(p.Bytes())
		if p.Len() <= a.mtu() {
			return a
		}
		h.TTL--
	} else if h.Proto == ip.TCP {
		// The SYNs of our own stack know nothing of the way's MTU.
		ip.ClampMSS(h, p.Bytes(), a.mtu()-h.L4-20)
	}
	if p = w.fit(a, p, h); p == nil {
		v[k] = nil
		return nil
	}
	return a
}

// clampForwarded is "ip tcp adjust-mss" of the interfaces that a connection crosses.
func (w *worker) clampForwarded(in *Interface, a *adjacency, p *packet.Packet, h *ip.Header) {
	mss := a.iface.mss.Load()
	if in != nil {
		if m := in.mss.Load(); m > 0 && (mss == 0 || m < mss) {
			mss = m
		}
	}
	if mss == 0 {
		return
	}
	m := int(mss)
	if h.Version == 6 {
		m -= ip.SizeV6 - ip.MinV4
	}
	ip.ClampMSS(h, p.Bytes(), m)
}

// resolve finds the adjacency of a FIB hop. The hop remembers it as long as it lives.
func (w *worker) resolve(hop *fib.Hop, dst netip.Addr, p *packet.Packet) *adjacency {
	if hop == nil {
		w.unreachable(p, dropNoRoute, ip.CodeNet, ip.V6NoRoute)
		return nil
	}
	if hop.Via.IsValid() {
		if a, _ := hop.Adjacency.Load().(*adjacency); a != nil && !a.dead.Load() {
			return a
		}
		dst = hop.Via
	} else if a := w.last.adj; hop == w.last.hop && dst == w.last.dst && !a.dead.Load() && a.iface.up.Load() {
		return a
	}
	i := w.d.iface(hop.Interface)
	if i == nil {
		w.unreachable(p, dropNoInterface, ip.CodeNet, ip.V6NoRoute)
		return nil
	}
	a := w.adjacency(i, dst, p)
	switch {
	case a == nil || a.addr != dst: // gone, or not the neighbour but what stands in for it
	case hop.Via.IsValid():
		hop.Adjacency.Store(a)
	case i.kind == Ethernet:
		w.last.hop, w.last.dst, w.last.adj = hop, dst, a
	}
	return a
}

// adjacency finds how to reach a next hop on an interface; when there is no way the packet is gone.
func (w *worker) adjacency(i *Interface, nextHop netip.Addr, p *packet.Packet) *adjacency {
	if !i.up.Load() {
		w.unreachable(p, dropInterfaceDown, ip.CodeNet, ip.V6NoRoute)
		return nil
	}
	switch i.kind {
	case Ethernet:
		if nextHop.IsMulticast() || nextHop == ip.Broadcast {
			return i.out
		}
		if own := i.addrs.Load(); nextHop.Is4() && own.broadcast(nextHop) {
			if p.Flags&packet.FlagLocal == 0 {
				w.d.drop(p, dropBroadcast) // RFC 2644: no directed broadcasts
				return nil
			}
			return i.out
		}
		a := i.neigh.get(nextHop)
		if a == nil {
			w.unreachable(p, dropNeighbourTable, ip.CodeHost, ip.V6AddrUnreach)
		}
		return a
	case TunnelKind:
		return i.tunnel.adjacency(w, nextHop, p)
	}
	return i.out
}

// mtu is the largest packet that the adjacency takes.
func (a *adjacency) mtu() int {
	if a.iface.kind != TunnelKind {
		m := int(a.iface.mtu.Load())
		if ipMTU := int(a.iface.ipMTU.Load()); ipMTU > 0 {
			m = min(m, ipMTU)
		}
		return m
	}
	if s := a.session.Load(); s != nil {
		return s.mtu()
	}
	return a.iface.tunnel.groupMTU()
}

// fit makes a packet fit its adjacency: it returns the packet, or nil when it went out in fragments or was refused.
func (w *worker) fit(a *adjacency, p *packet.Packet, h *ip.Header) *packet.Packet {
	mtu := a.mtu()
	if p.Len() <= mtu {
		return p
	}
	local := p.Flags&packet.FlagLocal != 0
	var out []*packet.Packet
	switch {
	case h.Version == 4 && !h.DF:
		if h.ID == 0 && !h.Fragment() && local {
			h.ID = uint32(uint16(w.d.ipID.Add(1)))
			ip.SetID(p.Bytes(), uint16(h.ID))
		}
		out = ip.Fragment4(p, h, mtu, nil)
	case h.Version == 6 && p.Len() <= ip.MinMTUv6 && a.iface.kind == TunnelKind:
		return p // RFC 2473 §7.1: the tunnel fragments outside then
	case h.Version == 6 && local && h.Proto != ip.TCP && !h.Fragment():
		out = ip.Fragment6(p, h, w.d.ipID.Add(1)*0x9e3779b1, max(mtu, ip.MinMTUv6), nil)
	default:
		if h.Version == 6 {
			mtu = max(mtu, ip.MinMTUv6)
		}
		w.icmpError(p, h, ip.TooBig(h.Version, mtu))
		w.d.drop(p, dropTooBig)
		return nil
	}
	if len(out) == 0 {
		w.d.drops[dropTooBig].Add(1)
		return nil
	}
	w.d.stats.Fragmented.Add(1)
	a.run(w, out)
	return nil
}

// run is the stage of packets that leave by an adjacency.
func (a *adjacency) run(w *worker, v []*packet.Packet) {
	defer func() {
		if cause := recover(); cause != nil {
			w.d.contained("output", cause)
			clear(v)
		}
	}()
	for ; len(v) > vectorSize; v = v[vectorSize:] {
		a.run(w, v[:vectorSize])
	}
	switch a.iface.kind {
	case Ethernet:
		w.ethernetOutput(a, v)
	case TunnelKind:
		a.iface.tunnel.output(w, a, v)
	default:
		w.d.dropAll(v, dropDiscard)
	}
}

// unreachable drops a packet and tells its source.
func (w *worker) unreachable(p *packet.Packet, why drop, code4, code6 uint8) {
	var h ip.Header
	if ip.Parse(p.Bytes(), &h) == nil {
		w.icmpError(p, &h, ip.Unreachable(h.Version, code4, code6))
	}
	w.d.drop(p, why)
}

// icmpError answers the packet p, which stays the caller's, from the address of the interface that it came in on.
func (w *worker) icmpError(p *packet.Packet, h *ip.Header, e ip.Error) {
	if p.Flags&packet.FlagMulticastLink != 0 || !ip.Answerable(h, p.Bytes(), false) {
		return
	}
	if p.Flags&packet.FlagControl != 0 {
		return // our own control plane hears of it otherwise
	}
	if !w.d.icmp.allow(w.time()) {
		w.d.stats.ICMPLimited.Add(1)
		return
	}
	vrf := w.d.vrf(p.VRF)
	if vrf == nil {
		return
	}
	if p.Flags&packet.FlagLocal != 0 {
		// Our own packet: the host stack hears of it, from one of its own addresses.
		if vrf.isLocal(h.Src) {
			q := ip.NewError(e, h.Src, h, p.Bytes())
			q.VRF = vrf.id
			q.Flags = packet.FlagLocal
			vrf.host.defer_(q)
		}
		return
	}
	src, ok := w.errorSource(vrf, p, h)
	if !ok {
		return
	}
	q := ip.NewError(e, src, h, p.Bytes())
	q.VRF, q.Flags = vrf.id, packet.FlagLocal|packet.FlagNoTrigger
	w.d.stats.ICMPErrors.Add(1)
	w.originate(vrf, []*packet.Packet{q})
}

// errorSource is RFC 1812 §4.3.2.4 with the ingress interface for the egress one, as routers do it.
func (w *worker) errorSource(vrf *VRF, p *packet.Packet, h *ip.Header) (netip.Addr, bool) {
	if i := w.d.iface(p.Ingress); i != nil {
		if a := i.lender().near(h.Src); i.vrf == vrf && a.IsValid() && a.Is4() == h.Src.Is4() {
			return a, true
		}
	}
	return vrf.SourceFor(h.Src)
}

func (v *VRF) isLocal(a netip.Addr) bool {
	g := v.fib.Find(a)
	return g != nil && g.Kind == fib.Local
}

// redirect punts a copy of a packet that enters and leaves the same NHRP network, so that its source can be told of a
// shorter way. The packet itself goes on.
func (w *worker) redirect(in *Interface, a *adjacency, p *packet.Packet, h *ip.Header) {
	from, to := in.tunnel, a.iface.tunnel
	id := from.networkID.Load()
	if id == 0 || id != to.networkID.Load() || !from.redirect.Load() || p.Flags&(packet.FlagNoTrigger|packet.FlagControl) != 0 {
		return
	}
	if h.Dst.IsMulticast() || h.RoutingProtocol(p.Bytes()) {
		return
	}
	out := a.session.Load()
	if out != nil && p.Session == packet.Session(out) {
		return // back to where it came from: no way is shorter
	}
	if !w.d.redirects.allow(w.time(), h.Src, h.Dst, id, time.Duration(from.redirectInterval.Load())) {
		w.d.stats.PuntsLimited.Add(1)
		return
	}
	q := p.Clone()
	q.Truncate(min(q.Len(), 1500))
	w.d.punt(Punt{Reason: PuntRedirect, Packet: q, Interface: in, Session: sessionOf(p), NextHop: a.addr, EgressInterface: a.iface, EgressSession: out})
}
