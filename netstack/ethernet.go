package netstack

import (
	"encoding/binary"
	"net/netip"
	"time"

	"felloe/netstack/arp"
	"felloe/netstack/ip"
	"felloe/netstack/ndp"
	"felloe/netstack/packet"
)

const (
	etherSize = 14
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
)

var broadcastMAC = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func (i *Interface) ethernetHeader(dst [6]byte, v4 bool) (h [14]byte) {
	copy(h[:], dst[:])
	copy(h[6:], i.mac[:])
	h[12], h[13] = 0x86, 0xdd
	if v4 {
		h[12], h[13] = 0x08, 0x00
	}
	return
}

// receive is the driver's input.
func (i *Interface) receive(v []*packet.Packet) {
	w := i.d.worker()
	defer w.done()
	defer i.d.guard("receive")
	i.captured(In, v)
	for _, p := range v {
		p.Ingress, p.VRF = i.index, i.vrf.id
	}
	if !i.up.Load() {
		i.d.dropAll(v, dropInterfaceDown)
		return
	}
	n := 0
	for k := 0; k < len(v); {
		k, n = w.ethernetInput(i, v, k, n)
	}
	w.input(i, v[:n])
}

// ethernetInput takes the Ethernet headers off v[k:], hands ARP over, and leaves the IP packets in v[:n].
func (w *worker) ethernetInput(i *Interface, v []*packet.Packet, k, n int) (next, kept int) {
	defer func() {
		if cause := recover(); cause != nil {
			w.d.contained("ethernet input", cause)
			next, kept = k+1, n
		}
	}()
	for ; k < len(v); k++ {
		p := v[k]
		v[k] = nil
		b := p.Bytes()
		if len(b) < etherSize {
			w.d.drop(p, dropFrame)
			continue
		}
		if b[0]&1 != 0 {
			p.Flags |= packet.FlagMulticastLink
		} else if [6]byte(b[:6]) != i.mac {
			w.d.drop(p, dropNotOurMAC)
			continue
		}
		p.LinkSrc = [6]byte(b[6:12])
		kind := binary.BigEndian.Uint16(b[12:])
		p.TrimFront(etherSize)
		switch kind {
		case etherIPv4, etherIPv6:
			if p.Len() == 0 || p.Bytes()[0]>>4 == 6 != (kind == etherIPv6) {
				w.d.drop(p, dropMalformed)
				continue
			}
			v[n] = p
			n++
		case etherARP:
			i.arpInput(p)
		default:
			w.d.drop(p, dropEtherType)
		}
	}
	return k, n
}

// ethernetOutput puts the header of the adjacency in front and gives the packets to the interface's queue.
func (w *worker) ethernetOutput(a *adjacency, v []*packet.Packet) {
	if a.always {
		w.groupOutput(a.iface, v)
		return
	}
	rw := a.rewrite.Load()
	if rw == nil {
		a.iface.neigh.wait(a, v)
		return
	}
	if !a.used.Load() {
		a.used.Store(true)
	}
	for k, p := range v {
		if p.Headroom() < etherSize {
			v[k] = w.fresh(p)
			p = v[k]
		}
		*(*[14]byte)(p.Prepend(etherSize)) = *rw
	}
	w.transmit(a.iface, v)
}

// groupOutput sends multicast and broadcast on an Ethernet (RFC 1112 §6.4, RFC 2464 §7).
func (w *worker) groupOutput(i *Interface, v []*packet.Packet) {
	for k, p := range v {
		b := p.Bytes()
		mac, v4 := broadcastMAC, b[0]>>4 == 4
		if !v4 {
			mac = ndp.GroupMAC(netip.AddrFrom16([16]byte(b[24:40])))
		} else if b[16] >= 224 && b[16] < 240 {
			mac = [6]byte{1, 0, 0x5e, b[17] & 0x7f, b[18], b[19]}
		}
		if p.Headroom() < etherSize {
			v[k] = w.fresh(p)
			p = v[k]
		}
		h := i.ethernetHeader(mac, v4)
		copy(p.Prepend(etherSize), h[:])
	}
	w.transmit(i, v)
}

// arpInput is RFC 826's reception, for addresses that this interface has and neighbours of its subnets.
func (i *Interface) arpInput(p *packet.Packet) {
	a, err := arp.Parse(p.Bytes())
	own := i.addrs.Load()
	if err != nil || a.SenderMAC == i.mac {
		i.d.drop(p, dropARP)
		return
	}
	p.Release()
	if own.has(a.SenderIP) {
		i.conflict(a.SenderIP, a.SenderMAC)
		i.defend(a.SenderIP)
		return
	}
	forUs := own.has(a.TargetIP)
	if !a.Probe() && own.onLink(a.SenderIP) && !own.broadcast(a.SenderIP) && !a.SenderIP.IsMulticast() {
		i.neigh.learn(a.SenderIP, a.SenderMAC, forUs && a.Op == arp.Request, a.Op == arp.Reply && forUs, true)
	}
	if forUs && a.Op == arp.Request && (a.Probe() || own.onLink(a.SenderIP)) {
		i.sendARP(arp.Packet{Op: arp.Reply, SenderMAC: i.mac, SenderIP: a.TargetIP, TargetMAC: a.SenderMAC, TargetIP: a.SenderIP}, a.SenderMAC)
	}
}

// ndInput handles a neighbour message that came in here.
func (i *Interface) ndInput(p *packet.Packet, h *ip.Header) {
	m, err := ndp.Parse(h, p.Bytes())
	if err != nil || i.kind != Ethernet || p.LinkSrc == i.mac {
		i.d.drop(p, dropND)
		return
	}
	mac := p.LinkSrc
	p.Release()
	own := i.addrs.Load()
	if m.HasLink {
		mac = m.LinkAddr
	}
	if m.Type == ndp.Advertisement {
		switch {
		case own.has(m.Target):
			i.conflict(m.Target, mac)
		case (m.HasLink || m.Flags&ndp.Solicited != 0) && own.onLink(m.Target):
			i.neigh.learn(m.Target, mac, false, m.Flags&ndp.Solicited != 0, m.Flags&ndp.Override != 0)
		}
		return
	}
	if !own.has(m.Target) {
		return
	}
	na := ndp.Message{Type: ndp.Advertisement, Flags: ndp.Router | ndp.Override, Target: m.Target, LinkAddr: i.mac, HasLink: true}
	if h.Src.IsUnspecified() {
		// Somebody probes for an address of ours: tell all (RFC 4861 §7.2.4).
		i.conflict(m.Target, mac)
		i.sendFrame(na.Packet(m.Target, ndp.AllNodes), ndp.GroupMAC(ndp.AllNodes))
		return
	}
	if own.has(h.Src) || !own.onLink(h.Src) {
		return
	}
	if m.HasLink {
		i.neigh.learn(h.Src, mac, true, false, true)
	}
	na.Flags |= ndp.Solicited
	i.sendFrame(na.Packet(m.Target, h.Src), mac)
}

func (i *Interface) conflict(a netip.Addr, mac [6]byte) {
	if i.d.errorLog.allow(i.d.clock.Now()) {
		i.d.log.Warn().Str("event", "address-conflict").Str("interface", i.name).Stringer("addr", a).
			Hex("mac", mac[:]).Msg("another station uses an address of ours: change one of the two")
	}
}

// defendInterval is RFC 5227's: two stations that both defend an address must not answer each other for ever.
const defendInterval = 10 * time.Second

// defend tells the link whose an address is that somebody else claims (RFC 5227 §2.4 (c)).
func (i *Interface) defend(a netip.Addr) {
	now, last := i.d.clock.Now().UnixNano(), i.defended.Load()
	if (last == 0 || now-last >= int64(defendInterval)) && i.defended.CompareAndSwap(last, now) {
		i.announce(a)
	}
}

// solicit asks for the hardware address of a neighbour, of all or, to confirm it, of the one we know.
func (i *Interface) solicit(a netip.Addr, known *[6]byte) {
	if !i.up.Load() {
		return
	}
	own := i.addrs.Load()
	if a.Is4() {
		src := own.near(a)
		if !src.IsValid() {
			src = netip.IPv4Unspecified()
		}
		dst := broadcastMAC
		if known != nil {
			dst = *known
		}
		i.sendARP(arp.Packet{Op: arp.Request, SenderMAC: i.mac, SenderIP: src, TargetIP: a}, dst)
		return
	}
	src := own.near(a)
	if !src.IsValid() {
		src = own.linkLocal
	}
	if !src.IsValid() {
		return
	}
	m := ndp.Message{Type: ndp.Solicitation, Target: a, LinkAddr: i.mac, HasLink: true}
	dst := ndp.SolicitedNode(a)
	mac := ndp.GroupMAC(dst)
	if known != nil {
		dst, mac = a, *known
	}
	i.sendFrame(m.Packet(src, dst), mac)
}

// announce tells the link of an address that has come up: a gratuitous ARP, or a probe (whose answer is a conflict to
// log) and an unsolicited advertisement.
func (i *Interface) announce(a netip.Addr) {
	if i.kind != Ethernet || !i.up.Load() {
		return
	}
	if a.Is4() {
		i.sendARP(arp.Packet{Op: arp.Request, SenderMAC: i.mac, SenderIP: a, TargetIP: a}, broadcastMAC)
		return
	}
	ns := ndp.Message{Type: ndp.Solicitation, Target: a}
	group := ndp.SolicitedNode(a)
	i.sendFrame(ns.Packet(netip.IPv6Unspecified(), group), ndp.GroupMAC(group))
	na := ndp.Message{Type: ndp.Advertisement, Flags: ndp.Router | ndp.Override, Target: a, LinkAddr: i.mac, HasLink: true}
	i.sendFrame(na.Packet(a, ndp.AllNodes), ndp.GroupMAC(ndp.AllNodes))
}

// Announce tells the link once more whose an address of the interface is.
func (i *Interface) Announce(a netip.Addr) {
	if i.addrs.Load().has(a) {
		i.announce(a)
	}
}

func (i *Interface) sendARP(a arp.Packet, dst [6]byte) {
	p := packet.Get(arp.Size)
	a.Put(p.Append(arp.Size))
	h := i.ethernetHeader(dst, true)
	binary.BigEndian.PutUint16(h[12:], etherARP)
	copy(p.Prepend(etherSize), h[:])
	i.send(p)
}

// sendFrame sends an IPv6 packet to a hardware address.
func (i *Interface) sendFrame(p *packet.Packet, dst [6]byte) {
	h := i.ethernetHeader(dst, false)
	copy(p.Prepend(etherSize), h[:])
	i.send(p)
}

func (i *Interface) send(p *packet.Packet) {
	w := i.d.worker()
	one := append(w.local[:0], p)
	w.transmit(i, one)
	w.done()
}
