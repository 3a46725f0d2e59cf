package netstack

import (
	"felloe/netstack/esp"
	"felloe/netstack/gre"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// encapRoom is the most that one encapsulation puts in front: outer IPv6, UDP, ESP header and IV, inner IPv6, GRE.
const encapRoom = 40 + 8 + 8 + 16 + 40 + 16

// tosControl is the precedence of internetwork control (CS6).
const tosControl = 0xc0

// output sends IP packets through the session.
func (s *Session) output(w *worker, v []*packet.Packet) {
	s.tunnel.iface.captured(Out, v)
	s.encapsulate(w, v, 0)
}

// encapsulate puts GRE, ESP and the outer header around packets and routes them in the underlay. proto is GRE's
// protocol type for all of them; 0 takes it from the IP version of each.
func (s *Session) encapsulate(w *worker, v []*packet.Packet, proto uint16) {
	t := s.tunnel
	x := s.sending.Load()
	switch {
	case s.closed.Load():
		w.d.dropAll(v, dropNoSession)
		return
	case !t.iface.up.Load():
		w.d.dropAll(v, dropInterfaceDown)
		return
	case t.cfg.Protected && x == nil:
		s.noSA(w, v)
		return
	case x == nil:
		s.encapsulateOn(w, nil, v, proto)
		return
	case x.list == nil || t.cfg.Mode != VTI:
		s.encapsulateOn(w, x.first, v, proto)
		return
	}
	// Stretches of packets for one SA each.
	for start := 0; start < len(v); {
		out := x.choose(v[start])
		end := start + 1
		for end < len(v) && x.choose(v[end]) == out {
			end++
		}
		if out != nil {
			s.encapsulateOn(w, out, v[start:end], proto)
		} else {
			t.iface.drops[dropSelectors].Add(uint64(end - start))
			for k, p := range v[start:end] {
				v[start+k] = nil
				w.unreachable(p, dropSelectors, ip.CodeHost, ip.V6AddrUnreach)
			}
		}
		start = end
	}
}

// choose is the SA that a packet goes on, nil when none is for it.
func (x *sending) choose(p *packet.Packet) *esp.Outbound {
	for k := range x.list {
		if x.list[k].Selectors.out(p.Bytes()) {
			return x.list[k].SA
		}
	}
	return nil
}

// encapsulateOn is encapsulate on one SA, or on none when the tunnel is not protected.
func (s *Session) encapsulateOn(w *worker, out *esp.Outbound, v []*packet.Packet, proto uint16) {
	t := s.tunnel
	i := t.iface
	var tos [vectorSize]uint8
	var bytes, data uint64
	n := 0
	inner := s.inner()
	for k, p := range v {
		v[k] = nil
		if p.Hops++; p.Hops > maxHops {
			w.d.drop(p, dropLoop)
			continue
		}
		if p.Headroom() < encapRoom || p.Tailroom() < packet.Tailroom {
			p = w.fresh(p)
		}
		bytes += uint64(p.Len())
		if p.Flags&packet.FlagControl == 0 {
			data++
		}
		b := p.Bytes()
		kind := proto
		switch {
		case kind != 0:
			tos[n] = tosControl
		case b[0]>>4 == 4:
			tos[n], kind = b[1], gre.ProtocolIPv4
		default:
			tos[n], kind = b[0]<<4|b[1]>>4, gre.ProtocolIPv6
		}
		if t.cfg.Mode != VTI {
			gre.Prepend(p, gre.Header{Protocol: kind, HasKey: t.cfg.HasKey, Key: t.cfg.Key})
			if out != nil && out.Mode() == esp.Tunnel {
				h := ip.Outer{Src: inner.local, Dst: inner.remote, Proto: ip.GRE, TTL: t.cfg.TTL, TOS: tos[n], DF: true}
				h.Prepend(p)
			}
		}
		v[n] = p
		n++
	}
	v = v[:n]
	i.txPackets.Add(uint64(n))
	i.txBytes.Add(bytes)
	s.txPackets.Add(uint64(n))
	s.txBytes.Add(bytes)
	s.txData.Add(data)
	h := ip.Outer{Src: t.Source(), Dst: s.NBMA(), Proto: ip.GRE, TTL: t.cfg.TTL}
	if out != nil {
		ends := out.Ends()
		v = s.seal(w, out, ends, v, tos[:n])
		h.Proto = ip.ESP
		if ends.UDPEncap {
			h.Proto = ip.UDP
		}
		if a := ends.Remote.Addr(); a.IsValid() {
			h.Dst = a
		}
		if a := ends.Local.Addr(); a.IsValid() {
			h.Src = a
		}
	}
	if !h.Src.IsValid() || !h.Dst.IsValid() || h.Src.Is4() != h.Dst.Is4() {
		w.d.dropAll(v, dropNoSession)
		return
	}
	path := s.path(0)
	n = 0
	for k, p := range v {
		v[k] = nil
		h.TOS = tos[k]
		h.DF = p.Len()+h.Size() <= path
		h.Prepend(p)
		p.Flags |= packet.FlagLocal
		p.Ingress, p.SA, p.Session, p.Flow = 0, nil, nil, 0
		if !h.DF {
			s.fragments(w, p, path)
			continue
		}
		v[n] = p
		n++
	}
	w.originateTo(t.cfg.Underlay, v[:n], h.Dst)
}

// fragments sends an outer packet that is too long for the path all the same (1,280 bytes of IPv6, NHRP) in pieces.
func (s *Session) fragments(w *worker, p *packet.Packet, path int) {
	var h ip.Header
	if ip.Parse(p.Bytes(), &h) != nil {
		w.d.drop(p, dropMalformed)
		return
	}
	var out []*packet.Packet
	if h.Version == 4 {
		ip.SetID(p.Bytes(), uint16(w.d.ipID.Add(1)))
		out = ip.Fragment4(p, &h, path, nil)
	} else {
		out = ip.Fragment6(p, &h, w.d.ipID.Add(1)*0x9e3779b1, path, nil)
	}
	w.d.stats.Fragmented.Add(1)
	w.originate(s.tunnel.cfg.Underlay, out)
}

// seal encrypts a vector in place; what cannot be sealed is dropped, and tos keeps step.
func (s *Session) seal(w *worker, out *esp.Outbound, ends *esp.Ends, v []*packet.Packet, tos []uint8) []*packet.Packet {
	next := func(p *packet.Packet) uint8 {
		switch {
		case s.tunnel.cfg.Mode != VTI && out.Mode() == esp.Transport:
			return ip.GRE
		case p.Bytes()[0]>>4 == 6:
			return ip.IPv6
		}
		return ip.IPv4
	}
	done, n := 0, 0
	for done < len(v) {
		proto := next(v[done])
		end := done + 1
		for end < len(v) && next(v[end]) == proto {
			end++
		}
		for done < end {
			k, err := out.SealVectorTo(ends, v[done:end], proto)
			copy(tos[n:], tos[done:done+k])
			if n != done {
				copy(v[n:], v[done:done+k])
			}
			n += k
			done += k
			if err != nil && done < end {
				w.d.drop(v[done], dropSeal)
				done++
			}
		}
	}
	clear(v[n:])
	return v[:n]
}

// noSA drops packets that a protected tunnel must not send, and asks for an SA.
func (s *Session) noSA(w *worker, v []*packet.Packet) {
	wanted := false
	for _, p := range v {
		wanted = wanted || p != nil && p.Flags&packet.FlagControl == 0
	}
	s.tunnel.iface.drops[dropNoSA].Add(uint64(len(v)))
	w.d.dropAll(v, dropNoSA)
	if wanted && s.limit(&s.noSAAt, w.time()) {
		w.d.punt(Punt{Reason: PuntNoSA, Interface: s.tunnel.iface, Session: s, NextHop: s.NBMA()})
	}
}
