package rib

import (
	"net/netip"

	"felloe/netstack/fib"
)

// Adjacent says whether dst is at the other end of one of our interfaces, and of which: on its subnet, or at the end of a
// host route over it that has no next hop (the peer of a Virtual-Access interface).
func (r *RIB) Adjacent(dst netip.Addr) (ifname string, ok bool) {
	r.settle()
	e, found := r.routed.Lookup(dst.Unmap())
	if !found || e.best.kind != fib.Forward || len(e.best.hops) == 0 || e.best.hops[0].Via.IsValid() {
		return "", false
	}
	return e.best.hops[0].Interface, e.best.source == Connected || e.prefix.Bits() == dst.Unmap().BitLen()
}
