//go:build linux

package gobgp

import (
	"testing"

	"felloe/routing/bgp"
	"felloe/routing/rib"
)

func TestASessionCarriesTheOtherFamilyToo(t *testing.T) {
	t.Run("IPv6 over IPv4", func(t *testing.T) { otherFamily(t, "10.10.10.2", "10.10.10.1") })
	t.Run("IPv4 over IPv6", func(t *testing.T) { otherFamily(t, "fd00::2", "fd00::1") })
}

func otherFamily(t *testing.T, toSpoke, toHub string) {
	t.Parallel()
	b := newBus(t)
	both := func(a string, as uint32) func(*bgp.Config) {
		return func(c *bgp.Config) {
			c.Neighbors = []bgp.Neighbor{neighbor(a, as, func(n *bgp.Neighbor) { n.Families = []bgp.Family{bgp.IPv4, bgp.IPv6} })}
			c.Redistribute = []bgp.Redistribution{{Source: rib.Connected}}
		}
	}
	hub := newRouter(t, b, 1, 65010, both(toSpoke, 65011))
	newRouter(t, b, 2, 65011, both(toHub, 65010))
	eventually(t, "both families' prefixes are there", func() bool {
		return hub.route("192.168.2.2/32") == "bgp 10.10.10.2 Tunnel0" && hub.route("fd00:2::/64") == "bgp fd00::2 Tunnel0"
	})
	if p := hub.peer(toSpoke); p.Dropped != 0 || p.Malformed != 0 {
		t.Errorf("the hub shows %+v", p)
	}
}
