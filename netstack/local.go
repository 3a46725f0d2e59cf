package netstack

import (
	"encoding/binary"
	"net/netip"

	"felloe/netstack/esp"
	"felloe/netstack/gre"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// natPort is where IKE and ESP share UDP (RFC 3948).
const natPort = 4500

// ours is about a packet that is addressed to us: to a decapsulator, a handler, or the host stack. The result is nil
// when the packet has found its end here.
func (w *worker) ours(vrf *VRF, v []*packet.Packet, k int, h *ip.Header) target {
	p := v[k]
	if h.Fragment() {
		v[k] = nil
		w.reassemble(vrf, p, h)
		return nil
	}
	if h.L4 == 0 {
		return w.gone(v, k, dropMalformed)
	}
	switch h.Proto {
	case ip.ESP:
		return w.ourESP(vrf, v, k, h, h.L4, 0, 0)
	case ip.GRE:
		return w.ourGRE(vrf, v, k, h)
	case ip.UDP:
		if src, dst, ok := h.Ports(p.Bytes()); ok {
			if h.L4+ip.SizeUDP > h.Len || int(binary.BigEndian.Uint16(p.Bytes()[h.L4+4:])) < ip.SizeUDP ||
				h.L4+int(binary.BigEndian.Uint16(p.Bytes()[h.L4+4:])) > h.Len {
				return w.gone(v, k, dropMalformed)
			}
			if f := (*vrf.udp.Load())[dst]; f != nil {
				return w.ourUDP(vrf, v, k, h, src, dst, f)
			}
			if h.Dst.IsMulticast() {
				return w.gone(v, k, dropMulticast)
			}
			if !vrf.host.listens(h, src, dst) {
				v[k] = nil
				w.icmpError(p, h, ip.Unreachable(h.Version, ip.CodePort, ip.V6PortUnreach))
				w.d.drop(p, dropPort)
				return nil
			}
		}
	case ip.TCP:
		// What the peer may send to us must fit the way back to it as well as the way from it.
		if vrf.fib.Lookup(h.Src) != nil {
			w.clampOurs(vrf, p, h)
		}
	case ip.ICMP, ip.ICMPv6:
		v[k] = nil
		w.ourICMP(vrf, p, h)
		return nil
	default:
		if m := vrf.protocols.Load(); m != nil {
			if f := (*m)[h.Proto]; f != nil {
				v[k] = nil
				w.d.stats.Handled.Add(1)
				f(p)
				return nil
			}
		}
	}
	v[k] = nil
	vrf.host.deliver(p, h.Version)
	return nil
}

// own is where packets end up that we sent to ourselves.
func (w *worker) own(vrf *VRF, p *packet.Packet) {
	defer func() {
		if cause := recover(); cause != nil {
			w.d.contained("own packets", cause)
		}
	}()
	var h ip.Header
	if err := ip.Parse(p.Bytes(), &h); err != nil {
		w.d.drop(p, dropMalformed)
		return
	}
	v := [1]*packet.Packet{p}
	if t := w.ours(vrf, v[:], 0, &h); t != nil {
		t.run(w, v[:])
	}
}

// clampOurs lowers the MSS of a SYN to us to what our segments may have on the way back.
func (w *worker) clampOurs(vrf *VRF, p *packet.Packet, h *ip.Header) {
	if h.L4+20 > h.Len || p.Bytes()[h.L4+13]&0x02 == 0 || p.Flags&packet.FlagLocal != 0 {
		return
	}
	e := vrf.fib.Lookup(h.Src)
	hop := e.Select(0)
	if hop == nil {
		return
	}
	i := w.d.iface(hop.Interface)
	if i == nil {
		return
	}
	next := hop.Via
	if !next.IsValid() {
		next = h.Src
	}
	ip.ClampMSS(h, p.Bytes(), i.mtuTo(next, 0)-h.L4-20)
}

// reassemble keeps a fragment of a packet to us; the last one lets the whole go on.
func (w *worker) reassemble(vrf *VRF, p *packet.Packet, h *ip.Header) {
	whole, err := w.d.frags.Add(w.time(), p, h)
	if !w.d.fragging.Swap(true) {
		w.d.fragTime.Reset(w.d.opts.fragTick())
	}
	if err != nil || whole == nil {
		return
	}
	w.d.stats.Reassembled.Add(1)
	var hd ip.Header
	if err := ip.Parse(whole.Bytes(), &hd); err != nil || hd.Fragment() {
		w.d.drop(whole, dropReassembly)
		return
	}
	v := [1]*packet.Packet{whole}
	if t := w.ours(vrf, v[:], 0, &hd); t != nil {
		t.run(w, v[:])
	}
}

// ourESP finds the SA of an ESP packet and leaves it at the ESP header, off bytes in. The ports are those of its UDP
// encapsulation.
func (w *worker) ourESP(vrf *VRF, v []*packet.Packet, k int, h *ip.Header, off int, src, dst uint16) target {
	p := v[k]
	b := p.Bytes()
	if off+8 > h.Len {
		return w.gone(v, k, dropESP)
	}
	spi := binary.BigEndian.Uint32(b[off:])
	in := w.lastSA
	if in == nil || in.sa.SPI() != spi {
		in, _ = w.d.sas.get(spi)
	}
	if in == nil || in.session.tunnel.cfg.Underlay != vrf {
		if w.d.unknownSPI.allow(w.time(), h.Src, h.Dst, spi+vrf.id, punts) {
			w.d.punt(Punt{Reason: PuntUnknownSPI, Interface: w.d.iface(p.Ingress), SPI: spi, VRF: vrf,
				Local: netip.AddrPortFrom(h.Dst, dst), Remote: netip.AddrPortFrom(h.Src, src)})
		} else {
			w.d.stats.PuntsLimited.Add(1)
		}
		return w.gone(v, k, dropUnknownSPI)
	}
	w.lastSA = in
	if p.Hops++; p.Hops > maxHops {
		return w.gone(v, k, dropLoop)
	}
	p.OuterSrc, p.OuterDst = h.Src, h.Dst
	p.TrimFront(off)
	if in.sa.UDPEncap() {
		if from := netip.AddrPortFrom(h.Src, src); in.moved(from) {
			w.openMoved(in, v, k, from)
			return nil
		}
	}
	return in
}

// moved tells whether the peer's packets come from elsewhere than we send to.
func (in *inbound) moved(from netip.AddrPort) bool {
	out := in.session.Outbound()
	return out != nil && out.UDPEncap() && from.Port() != 0 && out.Remote() != from
}

// openMoved opens v[k] alone: only an authentic packet may say that the peer has moved.
func (w *worker) openMoved(in *inbound, v []*packet.Packet, k int, from netip.AddrPort) {
	before := in.sa.Counters().Packets
	in.run(w, v[k:k+1])
	v[k] = nil
	if in.sa.Counters().Packets == before || !in.session.limit(&in.session.movedAt, w.time()) {
		return
	}
	w.d.punt(Punt{Reason: PuntMoved, Session: in.session, Interface: in.session.tunnel.iface, SPI: in.sa.SPI(),
		Local: in.sa.Local(), Remote: from, VRF: in.session.tunnel.cfg.Underlay})
}

// ourGRE finds the tunnel of a clear GRE packet: an SA is not needed to get here, so a protected tunnel refuses.
func (w *worker) ourGRE(vrf *VRF, v []*packet.Packet, k int, h *ip.Header) target {
	p := v[k]
	g, _, err := gre.Parse(p.Bytes()[h.L4:h.Len])
	if err != nil {
		return w.gone(v, k, dropGRE)
	}
	key := clearKey{vrf: vrf.id, local: h.Dst, remote: h.Src, key: g.Key, hasKey: g.HasKey}
	t, ok := w.d.clear.get(key)
	if !ok {
		key.remote = netip.Addr{}
		if t, ok = w.d.clear.get(key); !ok {
			return w.gone(v, k, dropNoTunnel)
		}
	}
	if t.cfg.Protected {
		w.d.count(p, dropClearGRE)
		t.iface.drops[dropClearGRE].Add(1)
		p.Release()
		v[k] = nil
		return nil
	}
	if !t.iface.up.Load() {
		return w.gone(v, k, dropInterfaceDown)
	}
	s := t.clearSession(h.Src)
	if s == nil {
		return w.gone(v, k, dropSessionTable)
	}
	if p.Hops++; p.Hops > maxHops {
		return w.gone(v, k, dropLoop)
	}
	p.OuterSrc, p.OuterDst = h.Src, h.Dst
	p.TrimFront(h.L4)
	return s
}

// ourUDP hands a datagram to its handler. On port 4500 ESP and keepalives are told from IKE first.
func (w *worker) ourUDP(vrf *VRF, v []*packet.Packet, k int, h *ip.Header, src, dst uint16, f func(UDP)) target {
	p := v[k]
	b := p.Bytes()
	off := h.L4 + ip.SizeUDP
	end := h.L4 + int(binary.BigEndian.Uint16(b[h.L4+4:]))
	body := b[off:end]
	h.Len = end
	if dst == natPort && len(body) >= 4 && binary.BigEndian.Uint32(body) != 0 {
		// The ICV is check enough, and RFC 3948 §2.1 sends no checksum.
		p.Truncate(end)
		return w.ourESP(vrf, v, k, h, off, src, dst)
	}
	if !ip.L4Valid(h, b) {
		return w.gone(v, k, dropMalformed)
	}
	v[k] = nil
	if dst == natPort {
		if len(body) < 4 {
			if len(body) == 1 && body[0] == 0xff {
				w.d.stats.Keepalives.Add(1)
				p.Release()
				return nil
			}
			w.d.drop(p, dropMalformed)
			return nil
		}
		off += 4 // the non-ESP marker
	}
	p.OuterSrc, p.OuterDst = h.Src, h.Dst
	p.Truncate(end)
	p.TrimFront(off)
	w.d.stats.Handled.Add(1)
	defer p.Release()
	f(UDP{
		Local: netip.AddrPortFrom(h.Dst, dst), Remote: netip.AddrPortFrom(h.Src, src), HopLimit: h.TTL,
		Payload: p.Bytes(), Packet: p,
	})
	return nil
}

// ourICMP is about messages to us: path MTU, listeners, neighbours, and the host stack for the rest.
func (w *worker) ourICMP(vrf *VRF, p *packet.Packet, h *ip.Header) {
	b := p.Bytes()
	if h.L4+8 > h.Len || !ip.L4Valid(h, b) {
		w.d.drop(p, dropMalformed)
		return
	}
	kind := b[h.L4]
	if h.Version == 6 && kind >= ip.V6RouterSolicit && kind <= ip.V6Redirect {
		if i := w.d.iface(p.Ingress); i != nil {
			i.neighbourMessage(p, h)
		} else {
			w.d.drop(p, dropND)
		}
		return
	}
	if h.Version == 4 && kind == 5 {
		w.d.drop(p, dropMalformed) // a router does not learn from redirects
		return
	}
	e, quoted, isError := ip.IsError(h, b)
	if isError {
		w.pathMTU(vrf, e, quoted)
	}
	if isError || h.Version == 4 && kind == ip.EchoReply || h.Version == 6 && kind == ip.V6EchoReply {
		for _, f := range *vrf.icmp.Load() {
			f(p)
		}
	}
	if isError && outerError(quoted) {
		p.Release() // about a packet of a tunnel: the host stack has nothing to do with it
		return
	}
	vrf.host.deliver(p, h.Version)
}

// outerError tells whether an ICMP error quotes a packet that a tunnel sent.
func outerError(quoted []byte) bool {
	var q quote
	return q.parse(quoted) && (q.proto == ip.GRE || q.proto == ip.ESP || q.proto == ip.UDP && q.srcPort == natPort)
}

// run opens the packets of one SA and hands what was in them to the tunnel's interface.
func (in *inbound) run(w *worker, v []*packet.Packet) {
	s := in.session
	i := s.tunnel.iface
	defer func() {
		if cause := recover(); cause != nil {
			w.d.contained("esp open", cause)
			clear(v)
		}
	}()
	next, errs := w.next[:len(v)], w.errs[:len(v)]
	in.sa.OpenVector(v, next, errs)
	n := 0
	for k, p := range v {
		v[k] = nil
		if errs[k] != nil {
			w.d.drop(p, espDrop(errs[k]))
			continue
		}
		p.SA = in.sa
		if !i.up.Load() && s.sharers.Load() == nil {
			w.d.drop(p, dropInterfaceDown)
			continue
		}
		if s.tunnel.cfg.Mode == VTI {
			if in.sa.Mode() != esp.Tunnel || next[k] != ip.IPv4 && next[k] != ip.IPv6 {
				w.d.drop(p, dropNotForTunnel)
				continue
			}
			if in.sel != nil && !in.sel.in(p.Bytes(), next[k]) {
				i.drops[dropSelectors].Add(1)
				w.d.drop(p, dropSelectors)
				continue
			}
		} else if !s.stripInner(p, in.sa.Mode(), next[k]) {
			w.d.drop(p, dropNotForTunnel)
			continue
		}
		v[n] = p
		n++
	}
	if s.tunnel.cfg.Mode == VTI {
		s.receive(w, v[:n])
		return
	}
	s.run(w, v[:n])
}

// stripInner leaves a packet of an SA at its GRE header: directly in transport mode, behind an IP header with the
// session's addresses in tunnel mode.
func (s *Session) stripInner(p *packet.Packet, mode esp.Mode, next uint8) bool {
	if mode == esp.Transport {
		return next == ip.GRE
	}
	if next != ip.IPv4 && next != ip.IPv6 {
		return false
	}
	var h ip.Header
	if ip.Parse(p.Bytes(), &h) != nil || h.Proto != ip.GRE || h.Fragment() || h.L4 == 0 || h.Version == 6 != (next == ip.IPv6) {
		return false
	}
	if ends := s.inner(); h.Src != ends.remote || h.Dst != ends.local {
		return false
	}
	p.Truncate(h.Len)
	p.TrimFront(h.L4)
	return true
}

func espDrop(err error) drop {
	switch err {
	case esp.ErrReplay:
		return dropReplay
	case esp.ErrAuth:
		return dropAuth
	}
	return dropESP
}
