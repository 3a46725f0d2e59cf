package rib

import "net/netip"

// SetIKE installs a route that an IKEv2 peer's selectors or configuration payload gave: prefix leads over the interface of
// its session. Distance 0 is the usual one (1).
func (r *RIB) SetIKE(prefix netip.Prefix, ifname string, distance uint8, tag uint32) {
	r.Update(IKE, ifname, prefix, []Path{{Source: IKE, Distance: distance, Tag: tag, NextHops: []NextHop{{Interface: ifname}}}})
}

// DeleteIKE takes such a route back.
func (r *RIB) DeleteIKE(prefix netip.Prefix, ifname string) { r.Withdraw(IKE, ifname, prefix) }
