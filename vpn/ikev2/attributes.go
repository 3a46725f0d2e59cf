package ikev2

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"felloe/vpn/ikev2/message"
)

// Limits of what is taken of one configuration payload; the rest counts as unknown.
const (
	maxText      = 512 // bytes of a version or a domain
	maxSubnets   = 1024
	maxAddresses = 16 // of its own, of name servers, domains
)

// payload is a configuration on the wire. asks are the attributes that the peer has asked for.
func (c Configuration) payload(kind CFGType, asks []message.CFGAttributeType) *message.CP {
	cp := &message.CP{CFG: kind}
	add := func(t message.CFGAttributeType, v []byte) {
		cp.Attributes = append(cp.Attributes, message.CFGAttribute{Type: t, Value: v})
	}
	for _, p := range c.Addresses {
		a := p.Addr()
		switch {
		case a.IsUnspecified() && a.Is4():
			add(message.INTERNAL_IP4_ADDRESS, nil)
		case a.IsUnspecified():
			add(message.INTERNAL_IP6_ADDRESS, nil)
		case a.Is4():
			add(message.INTERNAL_IP4_ADDRESS, a.AsSlice())
			if p.Bits() < 32 || slices.Contains(asks, message.INTERNAL_IP4_NETMASK) {
				add(message.INTERNAL_IP4_NETMASK, mask(p.Bits()))
			}
		default:
			add(message.INTERNAL_IP6_ADDRESS, append(a.AsSlice(), uint8(p.Bits())))
		}
	}
	for _, a := range c.DNS {
		if a.Is4() {
			add(message.INTERNAL_IP4_DNS, a.AsSlice())
		} else {
			add(message.INTERNAL_IP6_DNS, a.AsSlice())
		}
	}
	for _, p := range c.Subnets {
		a := p.Masked().Addr()
		if a.Is4() {
			add(message.INTERNAL_IP4_SUBNET, append(a.AsSlice(), mask(p.Bits())...))
		} else {
			add(message.INTERNAL_IP6_SUBNET, append(a.AsSlice(), uint8(p.Bits())))
		}
	}
	if c.Version != "" {
		add(message.APPLICATION_VERSION, []byte(c.Version))
	}
	if len(c.Domains) > 0 {
		add(message.UNITY_DEF_DOMAIN, []byte(c.Domains[0]))
	}
	if slices.Contains(asks, message.INTERNAL_DNS_DOMAIN) { // RFC 8598 §3.2
		for _, d := range c.Domains {
			add(message.INTERNAL_DNS_DOMAIN, []byte(d))
		}
	}
	if c.PFS != nil {
		add(message.UNITY_PFS, binary.BigEndian.AppendUint16(nil, uint16(*c.PFS)))
	}
	for _, t := range c.Asks {
		add(t, nil)
	}
	return cp
}

func mask(n int) []byte { return be32(^uint32(0) << (32 - n)) }

// maskBits is the length of a netmask.
func maskBits(b []byte) (int, bool) {
	m := binary.BigEndian.Uint32(b)
	n := bits.LeadingZeros32(^m)
	return n, m == ^uint32(0)<<(32-n)
}

// parseConfiguration reads a configuration payload. What it does not know, or what makes no sense, is left out and
// counted (RFC 7296 §3.15.1: unknown attributes are ignored).
func parseConfiguration(cp *message.CP) Configuration {
	var c Configuration
	netmask := -1
	asking := cp.CFG == message.CFG_REQUEST || cp.CFG == message.CFG_ACK
	for _, a := range cp.Attributes {
		n, isMask := 0, false
		if a.Type == message.INTERNAL_IP4_NETMASK && len(a.Value) == 4 {
			n, isMask = maskBits(a.Value)
		}
		switch {
		case isMask:
			netmask = n
		case len(a.Value) == 0 && c.empty(a.Type, asking):
		case len(a.Value) > 0 && c.attribute(a, asking):
		default:
			c.Unknown++
		}
	}
	if at := slices.IndexFunc(c.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() && !p.Addr().IsUnspecified() }); at >= 0 && netmask > 0 {
		c.Addresses[at] = netip.PrefixFrom(c.Addresses[at].Addr(), netmask)
	}
	return c
}

// empty takes an attribute without a value: in a request the sender wants one, in CFG_ACK it has taken it, else it says
// nothing.
func (c *Configuration) empty(t message.CFGAttributeType, asking bool) bool {
	switch t {
	case message.INTERNAL_IP4_ADDRESS:
		if asking {
			return c.address(netip.PrefixFrom(netip.IPv4Unspecified(), 32), true)
		}
	case message.INTERNAL_IP6_ADDRESS:
		if asking {
			return c.address(netip.PrefixFrom(netip.IPv6Unspecified(), 128), true)
		}
	case message.INTERNAL_IP4_NETMASK, message.INTERNAL_IP4_DNS, message.INTERNAL_IP6_DNS, message.INTERNAL_IP4_SUBNET, message.INTERNAL_IP6_SUBNET,
		message.APPLICATION_VERSION, message.INTERNAL_DNS_DOMAIN, message.UNITY_DEF_DOMAIN, message.UNITY_PFS:
		if asking && !slices.Contains(c.Asks, t) {
			c.Asks = append(c.Asks, t)
		}
	default:
		return false
	}
	return true
}

// attribute takes one with a value.
func (c *Configuration) attribute(a message.CFGAttribute, asking bool) bool {
	v := a.Value
	address := func(n int) (netip.Addr, bool) {
		if len(v) < n {
			return netip.Addr{}, false
		}
		return netip.AddrFromSlice(v[:n])
	}
	switch a.Type {
	case message.INTERNAL_IP4_ADDRESS:
		ip, ok := address(4)
		return ok && len(v) == 4 && c.address(netip.PrefixFrom(ip, 32), asking)
	case message.INTERNAL_IP6_ADDRESS:
		ip, ok := address(16)
		n := 128
		if len(v) == 17 && !ip.IsUnspecified() {
			n = int(v[16])
		}
		return ok && len(v) <= 17 && n <= 128 && c.address(netip.PrefixFrom(ip, n), asking)
	case message.INTERNAL_IP4_DNS, message.INTERNAL_IP6_DNS:
		n := 4
		if a.Type == message.INTERNAL_IP6_DNS {
			n = 16
		}
		ip, ok := address(n)
		if !ok || len(v) != n || ip.IsUnspecified() || ip.IsMulticast() || ip.Is4In6() || len(c.DNS) == maxAddresses {
			return false
		}
		c.DNS = append(c.DNS, ip)
	case message.INTERNAL_IP4_SUBNET:
		ip, ok := address(4)
		if !ok || len(v) != 8 {
			return false
		}
		n, ok := maskBits(v[4:])
		return ok && c.subnet(netip.PrefixFrom(ip, n))
	case message.INTERNAL_IP6_SUBNET:
		ip, ok := address(16)
		return ok && len(v) == 17 && v[16] <= 128 && c.subnet(netip.PrefixFrom(ip, int(v[16])))
	case message.APPLICATION_VERSION:
		c.Version = printable(v[:min(len(v), maxText)])
	case message.INTERNAL_DNS_DOMAIN, message.UNITY_DEF_DOMAIN:
		d := printable(v)
		if len(v) > maxText || d == "" || len(c.Domains) == maxAddresses && !slices.Contains(c.Domains, d) {
			return false
		}
		if !slices.Contains(c.Domains, d) {
			c.Domains = append(c.Domains, d)
		}
	case message.UNITY_PFS:
		if len(v) > 4 {
			return false
		}
		n := uint(0)
		for _, b := range v {
			n = n<<8 | uint(b)
		}
		c.PFS = &n
	case message.INTERNAL_IP4_NETMASK: // of a length that is none
		return false
	default:
		return false
	}
	return true
}

func (c *Configuration) address(p netip.Prefix, asking bool) bool {
	a := p.Addr()
	if a.Is4In6() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a.IsUnspecified() && !asking || len(c.Addresses) == maxAddresses || slices.Contains(c.Addresses, p) {
		return false
	}
	c.Addresses = append(c.Addresses, p)
	return true
}

func (c *Configuration) subnet(p netip.Prefix) bool {
	p = p.Masked()
	if a := p.Addr(); a.IsMulticast() || a.Is4In6() {
		return false
	}
	if slices.Contains(c.Subnets, p) {
		return true
	}
	if len(c.Subnets) == maxSubnets {
		return false
	}
	c.Subnets = append(c.Subnets, p)
	return true
}

// printable keeps a peer's text on one line.
func printable(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return ' '
		}
		return r
	}, string(b)))
}

// acknowledge names what we have taken of a CFG_SET (RFC 7296 §3.15.3: types without values).
func acknowledge(cp *message.CP) *message.CP {
	ack := &message.CP{CFG: message.CFG_ACK}
	for _, a := range cp.Attributes {
		switch a.Type {
		case message.INTERNAL_IP4_SUBNET, message.INTERNAL_IP6_SUBNET, message.INTERNAL_IP4_DNS, message.INTERNAL_IP6_DNS, message.APPLICATION_VERSION,
			message.INTERNAL_DNS_DOMAIN, message.UNITY_DEF_DOMAIN, message.UNITY_PFS:
			if !slices.ContainsFunc(ack.Attributes, func(x message.CFGAttribute) bool { return x.Type == a.Type }) {
				ack.Attributes = append(ack.Attributes, message.CFGAttribute{Type: a.Type})
			}
		}
	}
	return ack
}

// String is a configuration in words, for the log.
func (c Configuration) String() string {
	var w []string
	add := func(word string, v any) { w = append(w, fmt.Sprintf("%s %v", word, v)) }
	for _, p := range c.Addresses {
		switch {
		case p.Addr().IsUnspecified() && p.Addr().Is4():
			add("address", "any-ipv4")
		case p.Addr().IsUnspecified():
			add("address", "any-ipv6")
		default:
			add("address", p)
		}
	}
	for _, a := range c.DNS {
		add("dns", a)
	}
	for i, p := range c.Subnets {
		if i == 32 {
			add("and more subnets:", len(c.Subnets)-i)
			break
		}
		add("subnet", p)
	}
	for _, d := range c.Domains {
		add("domain", d)
	}
	if c.Version != "" {
		add("version", c.Version)
	}
	if c.PFS != nil {
		add("pfs", *c.PFS)
	}
	if len(w) == 0 {
		return "nothing"
	}
	return strings.Join(w, ", ")
}
