package rib

import (
	"net/netip"
	"testing"
)

func TestAPathTakesItsOwnTunnelsPartOfADefaultRoute(t *testing.T) {
	for _, six := range []bool{false, true} {
		dflt, dst, hop := pfx("0.0.0.0/0"), "192.168.9.0/24", ip("192.168.0.2")
		if six {
			dflt, dst, hop = pfx("::/0"), "2001:db8:9::/48", ip("2001:db8:77::2")
		}
		b, _ := wan(t)
		b.Update(IBGP, "bgp 1", pfx(dst), []Path{{Source: IBGP, NextHops: []NextHop{{Via: hop}}, DefaultBy: "Tunnel1"}})
		b.want(dst, "none") // the WAN's alone
		over := func(names ...string) {
			p := Path{Source: Static}
			for _, n := range names {
				p.NextHops = append(p.NextHops, NextHop{Interface: n})
			}
			b.Update(Static, "config", dflt, []Path{p})
		}
		over("Tunnel2")
		b.want(dst, "none") // another tunnel's alone
		over("Tunnel1", "Tunnel2")
		b.want(dst, "forward 2/"+hop.String()) // of two that share the traffic, its own
		b.SetInterface("Tunnel1", 2, false, []netip.Prefix{})
		b.want(dst, "none")
	}
}
