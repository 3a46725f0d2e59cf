package netstack

import (
	"encoding/binary"
	"net/netip"

	"felloe/netstack/ip"
)

// quote is what an ICMP error tells of the packet that it is about. It need not be whole.
type quote struct {
	src, dst         netip.Addr
	proto            uint8
	srcPort, dstPort uint16
	rest             []byte // from the upper-layer header
}

func (q *quote) parse(b []byte) bool {
	switch {
	case len(b) >= ip.MinV4 && b[0]>>4 == 4:
		n := int(b[0]&15) * 4
		if n < ip.MinV4 || len(b) < n || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return false
		}
		q.src, q.dst, q.proto, q.rest = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[9], b[n:]
	case len(b) >= ip.SizeV6 && b[0]>>4 == 6:
		q.src, q.dst, q.proto, q.rest = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[6], b[ip.SizeV6:]
	default:
		return false
	}
	if q.proto == ip.UDP && len(q.rest) >= 4 {
		q.srcPort, q.dstPort = binary.BigEndian.Uint16(q.rest), binary.BigEndian.Uint16(q.rest[2:])
	}
	return true
}

// pathMTU lowers the path MTU of a session when an ICMP "too big" is about a packet that it has truly sent: the quoted
// addresses and SPI, or addresses and GRE key, must be those of a session (RFC 4301 §8.2.1, as far as one can check).
func (w *worker) pathMTU(vrf *VRF, e ip.Error, quoted []byte) {
	var q quote
	if !q.parse(quoted) {
		return
	}
	v4 := q.src.Is4()
	if v4 && (e.Type != ip.DestUnreachable || e.Code != ip.CodeFragNeeded) || !v4 && e.Type != ip.V6PacketTooBig {
		return
	}
	mtu := int(e.Info)
	if v4 {
		mtu &= 0xffff
	}
	if mtu == 0 {
		mtu = minPathMTU4 // a router from before RFC 1191
	}
	if s := w.sender(vrf, &q); s != nil {
		s.learnPathMTU(mtu)
		for _, x := range s.shared() {
			x.learnPathMTU(mtu)
		}
	}
}

// sender finds the session that sent a quoted packet.
func (w *worker) sender(vrf *VRF, q *quote) *Session {
	var spi []byte
	switch {
	case q.proto == ip.ESP && len(q.rest) >= 4:
		spi = q.rest
	case q.proto == ip.UDP && q.srcPort == natPort && len(q.rest) >= ip.SizeUDP+4:
		spi = q.rest[ip.SizeUDP:]
	case q.proto == ip.UDP && q.srcPort == natPort:
		return w.senderByPort(vrf, q)
	case q.proto == ip.GRE && len(q.rest) >= 4:
		key := clearKey{vrf: vrf.id, local: q.src, remote: q.dst}
		if q.rest[0]&0x20 != 0 {
			if len(q.rest) < 8 {
				return nil
			}
			key.hasKey, key.key = true, binary.BigEndian.Uint32(q.rest[4:])
		}
		t, ok := w.d.clear.get(key)
		if !ok {
			key.remote = netip.Addr{}
			if t, ok = w.d.clear.get(key); !ok {
				return nil
			}
		}
		if s, ok := t.byNBMA.get(q.dst); ok && !t.cfg.Protected {
			return s
		}
		return nil
	default:
		return nil
	}
	id := binary.BigEndian.Uint32(spi)
	s, ok := w.d.outer.get(outerKey{vrf.id, q.dst, id})
	if !ok || s.tunnel.cfg.Underlay != vrf {
		return nil
	}
	x := s.sending.Load()
	if x == nil {
		return nil
	}
	o := x.first
	for _, y := range x.list {
		if y.SA.SPI() == id {
			o = y.SA
		}
	}
	if o.Local().Addr().IsValid() && o.Local().Addr() != q.src {
		return nil
	}
	return s
}

// senderByPort is for routers that quote no more than the UDP header. It looks at all sessions, so not often.
func (w *worker) senderByPort(vrf *VRF, q *quote) (found *Session) {
	if !w.d.quotes.allow(w.time()) {
		return nil
	}
	to := netip.AddrPortFrom(q.dst, q.dstPort)
	w.d.outer.each(func(_ outerKey, s *Session) {
		if o := s.Outbound(); o != nil && o.UDPEncap() && o.Remote() == to && s.tunnel.cfg.Underlay == vrf {
			found = s
		}
	})
	return found
}
