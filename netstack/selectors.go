package netstack

import (
	"net/netip"

	"felloe/netstack/ip"
)

// Selector is a range of addresses, a protocol (0: any) and a range of ports (0 to 65535: any, and packets without).
type Selector struct {
	Protocol           uint8
	StartPort, EndPort uint16
	Start, End         netip.Addr
}

// Selectors are what an SA was negotiated for: packets between one of the local and one of the remote selectors
// (RFC 4301 §4.4.1). They are immutable; nil is everything.
type Selectors struct {
	local, remote []Selector
	all4, all6    bool // every packet of the family
	deep          bool // protocol or ports count
}

// NewSelectors makes Selectors; it returns nil when they let everything pass.
func NewSelectors(local, remote []Selector) *Selectors {
	s := &Selectors{local: local, remote: remote, all4: whole(local, true) && whole(remote, true), all6: whole(local, false) && whole(remote, false)}
	if s.all4 && s.all6 {
		return nil
	}
	for _, list := range [][]Selector{local, remote} {
		for _, x := range list {
			s.deep = s.deep || x.Protocol != 0 || !x.anyPort()
		}
	}
	return s
}

// whole tells whether one of the selectors has every packet of a family.
func whole(list []Selector, v4 bool) bool {
	lo, hi := netip.IPv4Unspecified(), ip.Broadcast
	if !v4 {
		lo, hi = netip.IPv6Unspecified(), lastV6
	}
	for _, x := range list {
		if x.Protocol == 0 && x.anyPort() && x.Start == lo && x.End == hi {
			return true
		}
	}
	return false
}

var lastV6 = netip.AddrFrom16([16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})

// anyPort: OPAQUE (65535 to 0, RFC 7296 §3.13.1) means that ports do not count.
func (x *Selector) anyPort() bool {
	return x.StartPort == 0 && x.EndPort == 65535 || x.StartPort > x.EndPort
}

func (x *Selector) has(a netip.Addr, l4 *upper) bool {
	if a.Is4() != x.Start.Is4() || a.Compare(x.Start) < 0 || a.Compare(x.End) > 0 {
		return false
	}
	if l4 == nil {
		return true
	}
	if x.Protocol != 0 && x.Protocol != l4.proto {
		return false
	}
	return x.anyPort() || l4.known && l4.port >= x.StartPort && l4.port <= x.EndPort
}

// upper is what a packet says above IP, at one of its ends.
type upper struct {
	proto uint8
	known bool // a fragment that is not the first has no ports
	port  uint16
}

// out tells whether a packet that is to be sent may go on the SA, in whether one that was received may have come on it.
func (s *Selectors) out(b []byte) bool { return s == nil || s.match(b, s.local, s.remote) }

// in also looks at the next header of the ESP trailer: it must say what the packet is.
func (s *Selectors) in(b []byte, next uint8) bool {
	if len(b) == 0 || b[0]>>4 == 6 != (next == ip.IPv6) {
		return false
	}
	return s.match(b, s.remote, s.local)
}

func (s *Selectors) match(b []byte, from, to []Selector) bool {
	var src, dst netip.Addr
	switch {
	case len(b) >= ip.MinV4 && b[0]>>4 == 4:
		if s.all4 {
			return true
		}
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	case len(b) >= ip.SizeV6 && b[0]>>4 == 6:
		if s.all6 {
			return true
		}
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	default:
		return false
	}
	if !s.deep {
		return anyHas(from, src, nil) && anyHas(to, dst, nil)
	}
	var h ip.Header
	if ip.Parse(b, &h) != nil {
		return false
	}
	near, far := upper{proto: h.Proto}, upper{proto: h.Proto}
	if h.Proto == ip.UDP || h.Proto == ip.TCP {
		near.port, far.port, near.known = h.Ports(b)
		far.known = near.known
	}
	return anyHas(from, src, &near) && anyHas(to, dst, &far)
}

func anyHas(list []Selector, a netip.Addr, l4 *upper) bool {
	for k := range list {
		if list[k].has(a, l4) {
			return true
		}
	}
	return false
}
