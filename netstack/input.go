package netstack

import (
	"net/netip"

	"felloe/netstack/fib"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// input takes IP packets that came in on an interface: from the wire, or out of a tunnel.
func (w *worker) input(i *Interface, v []*packet.Packet) {
	var bytes uint64
	for _, p := range v {
		bytes += uint64(p.Len())
	}
	i.rxPackets.Add(uint64(len(v)))
	i.rxBytes.Add(bytes)
	for k := 0; k < len(v); {
		k = w.inputFrom(i, v, k)
	}
}

func (w *worker) inputFrom(i *Interface, v []*packet.Packet, k int) (next int) {
	r := runs{start: k}
	defer func() {
		if cause := recover(); cause != nil {
			w.d.contained("input", cause)
			v[k] = nil
			next = k + 1
		}
		r.flush(w, v, min(k, len(v)))
	}()
	for routes := i.vrf.fib.View(); k < len(v); k++ {
		r.add(w, v, k, w.classify(i, routes, v, k))
	}
	return k
}

// classify decides about one packet that came in: nil when it is gone, else where it goes on.
func (w *worker) classify(i *Interface, routes fib.View, v []*packet.Packet, k int) target {
	p := v[k]
	var h ip.Header
	b := p.Bytes()
	if err := ip.Parse(b, &h); err != nil {
		return w.gone(v, k, dropMalformed)
	}
	p.Truncate(h.Len)
	p.Ingress, p.VRF = i.index, i.vrf.id
	if h.SourceRoute {
		return w.gone(v, k, dropSourceRoute)
	}
	if !(h.Version == 4 && ip.Plain4(b[12]) && ip.Plain4(b[16])) {
		switch {
		case ip.BadSource(h.Src) || ip.BadDestination(h.Dst):
			return w.gone(v, k, dropMartian)
		case h.Dst.IsMulticast() || h.Dst == ip.Broadcast:
			return w.group(i, v, k, &h)
		case h.Src.IsUnspecified():
			return w.gone(v, k, dropMartian)
		case h.Version == 6 && (h.Dst.IsLinkLocalUnicast() || h.Src.IsLinkLocalUnicast()):
			return w.linkLocal(i, v, k, &h)
		}
	}
	g := routes.Find(h.Dst)
	if g != nil && g.Kind == fib.Local {
		return w.ours(i.vrf, v, k, &h)
	}
	if p.Flags&packet.FlagMulticastLink != 0 {
		return w.gone(v, k, dropBroadcast) // RFC 1812 §5.3.4
	}
	return w.route(i.vrf, v, k, &h, g)
}

// gone drops v[k].
func (w *worker) gone(v []*packet.Packet, k int, why drop) target {
	p := v[k]
	v[k] = nil
	w.d.drop(p, why)
	return nil
}

// group is about multicast and broadcast that came in. Groups that the router belongs to have handlers; the FIB may
// have a route for a group.
func (w *worker) group(i *Interface, v []*packet.Packet, k int, h *ip.Header) target {
	p := v[k]
	i.rxMulticast.Add(1)
	if h.Version == 6 && h.Proto == ip.ICMPv6 && h.L4 != 0 && h.L4 < h.Len {
		if t := p.Bytes()[h.L4]; t >= ip.V6RouterSolicit && t <= ip.V6Redirect {
			v[k] = nil
			i.neighbourMessage(p, h)
			return nil
		}
	}
	if h.Proto == ip.UDP && h.FragOff == 0 && !h.MF {
		if _, dst, ok := h.Ports(p.Bytes()); ok && (*i.vrf.udp.Load())[dst] != nil {
			return w.ours(i.vrf, v, k, h)
		}
	}
	if f := i.vrf.protocols.Load(); f != nil {
		if g := (*f)[h.Proto]; g != nil && !h.Fragment() && h.L4 != 0 {
			v[k] = nil
			w.d.stats.Handled.Add(1)
			g(p)
			return nil
		}
	}
	if e := i.vrf.fib.Lookup(h.Dst); e != nil && e.Kind == fib.Forward && e.Prefix.Addr().IsMulticast() && !linkScope(h.Dst) {
		return w.route(i.vrf, v, k, h, i.vrf.fib.Find(h.Dst))
	}
	return w.gone(v, k, dropMulticast)
}

// linkScope tells whether a group never leaves its link.
func linkScope(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return b[0] == 224 && b[1] == 0 && b[2] == 0 || a == ip.Broadcast
	}
	return a.As16()[1]&15 <= 2
}

// linkLocal is about IPv6 packets that must not leave the link they are on.
func (w *worker) linkLocal(i *Interface, v []*packet.Packet, k int, h *ip.Header) target {
	p := v[k]
	if own := i.addrs.Load(); own.has(h.Dst) {
		if h.Proto == ip.ICMPv6 && !h.Fragment() && h.L4 != 0 && h.L4 < h.Len {
			t := p.Bytes()[h.L4]
			if t >= ip.V6RouterSolicit && t <= ip.V6Redirect {
				v[k] = nil
				i.neighbourMessage(p, h)
				return nil
			}
			if t == ip.V6Echo && h.Len == p.Len() && ip.L4Valid(h, p.Bytes()) {
				v[k] = nil
				w.echo6(i, p, h)
				return nil
			}
		}
		if g := i.vrf.fib.Find(h.Dst); g != nil && g.Kind == fib.Local || !h.Dst.IsLinkLocalUnicast() {
			return w.ours(i.vrf, v, k, h)
		}
		// Handlers of ours see link-local traffic; the host stack has no link scope.
		if h.Proto == ip.UDP && !h.Fragment() {
			if _, dst, ok := h.Ports(p.Bytes()); ok && (*i.vrf.udp.Load())[dst] != nil {
				return w.ours(i.vrf, v, k, h)
			}
		}
	}
	return w.gone(v, k, dropLinkLocal)
}

// echo6 answers a ping to a link-local address: the answer goes out where the question came in.
func (w *worker) echo6(i *Interface, p *packet.Packet, h *ip.Header) {
	b := p.Bytes()
	src, dst := h.Dst.As16(), h.Src.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
	b[7] = 64
	m := b[h.L4:h.Len]
	m[0], m[2], m[3] = ip.V6EchoReply, 0, 0
	sum := ip.L4Checksum(h.Dst, h.Src, ip.ICMPv6, m)
	m[2], m[3] = byte(sum>>8), byte(sum)
	p.Flags |= packet.FlagLocal
	_ = i.SendIP(p)
}

// neighbourMessage sorts ND from what we do not read.
func (i *Interface) neighbourMessage(p *packet.Packet, h *ip.Header) {
	switch p.Bytes()[h.L4] {
	case 135, 136:
		i.ndInput(p, h)
	default:
		i.d.drop(p, dropMulticast)
	}
}
