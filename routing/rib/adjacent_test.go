package rib

import (
	"net/netip"
	"testing"

	"felloe/netstack/fib"
)

func TestANeighbourIsOnASubnetOrAtTheEndOfItsHostRoute(t *testing.T) {
	r := New(Options{Output: func([]fib.Change) {}})
	p := netip.MustParsePrefix
	r.SetInterface("GigabitEthernet1", 1, true, []netip.Prefix{p("192.0.2.1/24")})
	r.SetInterface("Virtual-Access1", 2, true, nil)
	r.SetIKE(p("10.1.1.100/32"), "Virtual-Access1", 0, 0)
	r.SetIKE(p("192.168.101.0/24"), "Virtual-Access1", 0, 0)
	r.Update(Static, "config", p("10.9.9.9/32"), []Path{{Source: Static, NextHops: []NextHop{{Via: netip.MustParseAddr("192.0.2.2")}}}})
	for dst, want := range map[string]string{"192.0.2.7": "GigabitEthernet1", "10.1.1.100": "Virtual-Access1", "192.168.101.1": "", "10.9.9.9": "", "192.0.2.1": "", "8.8.8.8": ""} {
		if got, ok := r.Adjacent(netip.MustParseAddr(dst)); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q %v, want %q", dst, got, ok, want)
		}
	}
}
