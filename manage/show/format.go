package show

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"
)

// Clock prints a span as IOS does: 00:01:02, 1d02h, 3w4d.
func Clock(d time.Duration) string {
	s := int64(d / time.Second)
	switch {
	case s < 0:
		return "never"
	case s < 86400:
		return clock(s)
	case s < 7*86400:
		return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
	}
	return fmt.Sprintf("%dw%dd", s/(7*86400), s/86400%7)
}

// clock is hours, minutes and seconds, however many hours.
func clock(s int64) string { return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60) }

// seconds is a span in whole seconds, never negative.
func seconds(d time.Duration) int64 { return max(int64(d/time.Second), 0) }

// yes is IOS's Y or N.
func yes(b bool) string {
	if b {
		return "Y"
	}
	return "N"
}

// text is the address, or nothing.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// or is s, or the other when s is empty.
func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// vrfName is a VRF as IOS's crypto tables name it.
func vrfName(s string) string {
	if s == "" || s == "default" {
		return "none"
	}
	return s
}

// noVRF is the same with the brackets that some of them want.
func noVRF(s string) string {
	if s = vrfName(s); s == "none" {
		return "(none)"
	}
	return s
}

// mask is a prefix length as IOS writes it: 255.255.255.224 for IPv4, the number for IPv6.
func mask(p netip.Prefix) string {
	if p.Addr().Is6() {
		return fmt.Sprint(p.Bits())
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], ^uint32(0)<<(32-p.Bits()))
	return netip.AddrFrom4(b).String()
}

// network is "10.0.0.0 255.0.0.0", or a prefix for IPv6.
func network(p netip.Prefix) string {
	if p.Addr().Is6() {
		return p.String()
	}
	return p.Addr().String() + " " + mask(p)
}

// slash is an address and a port as the IKE tables write them: 10.0.0.1/4500.
func slash(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return fmt.Sprintf("%s/%d", a.Addr(), a.Port())
}

// prefixOf is the prefix that a selector's range is, if it is one.
func prefixOf(t ikev2.TrafficSelector) (netip.Prefix, bool) {
	if !t.Start.IsValid() || !t.End.IsValid() || t.Start.BitLen() != t.End.BitLen() {
		return netip.Prefix{}, false
	}
	a, b := t.Start.AsSlice(), t.End.AsSlice()
	bits := 0
	for bits < len(a)*8 && (a[bits/8]^b[bits/8])&(0x80>>(bits%8)) == 0 {
		bits++
	}
	p := netip.PrefixFrom(t.Start, bits)
	for i := bits; i < len(a)*8; i++ {
		if a[i/8]&(0x80>>(i%8)) != 0 || b[i/8]&(0x80>>(i%8)) == 0 {
			return netip.Prefix{}, false
		}
	}
	return p, true
}

// ident is a selector in IOS's columns: addr/mask/prot/port.
func ident(t ikev2.TrafficSelector) string {
	port := 0
	if t.StartPort == t.EndPort {
		port = int(t.StartPort)
	}
	if p, ok := prefixOf(t); ok {
		return fmt.Sprintf("(%s/%s/%d/%d)", p.Addr(), mask(p), t.Protocol, port)
	}
	return fmt.Sprintf("(%s-%s/%d/%d)", t.Start, t.End, t.Protocol, port)
}

// flowEnd is a selector in the words of an access list.
func flowEnd(t ikev2.TrafficSelector) string {
	p, ok := prefixOf(t)
	switch {
	case !ok:
		return fmt.Sprintf("%s-%s", t.Start, t.End)
	case p.IsSingleIP():
		return "host " + p.Addr().String()
	}
	return p.Addr().String() + "/" + mask(p)
}

// flow is a pair of selectors: "permit ip 0.0.0.0/0.0.0.0 10.1.0.0/255.255.0.0", "permit 47 host A host B".
func flow(local, remote ikev2.TrafficSelector) string {
	proto := "ip"
	switch {
	case local.Protocol != 0:
		proto = fmt.Sprint(local.Protocol)
	case local.Start.Is6():
		proto = "ipv6"
	}
	return fmt.Sprintf("permit %s %s %s", proto, flowEnd(local), flowEnd(remote))
}

// transform is a suite as a transform set has it: "esp-256-aes esp-sha512-hmac".
func transform(s esp.Suite) string {
	if s.Encr == esp.ENCR_AES_GCM_16 {
		return fmt.Sprintf("esp-gcm %d", s.KeyBits)
	}
	out := "esp-aes"
	if s.KeyBits != 128 {
		out = fmt.Sprintf("esp-%d-aes", s.KeyBits)
	}
	switch word := s.Integ.String(); word {
	case "none":
	case "sha1":
		out += " esp-sha-hmac"
	default:
		out += " esp-" + word + "-hmac"
	}
	return out
}

// group is a Diffie-Hellman group as IOS names it in words: "group14", "none".
func group(g suite.Group) string {
	if g == suite.GROUP_NONE {
		return "none"
	}
	return fmt.Sprintf("group%d", g)
}

// title makes the first letter a capital.
func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// Short is an interface's name in two letters and its number: Gi1, Vi2, Lo80.
func Short(name string) string {
	at := strings.IndexAny(name, "0123456789")
	if at < 2 {
		return name
	}
	word := map[string]string{"Virtual-Access": "Vi", "Virtual-Template": "Vt"}[name[:at]]
	return or(word, name[:2]) + name[at:]
}
