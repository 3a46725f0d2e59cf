// Package strongswan holds the cases with strongSwan: Debian bookworm's from the host's packages, trixie's in a folder of its
// own (chroot.go). Its daemons run in network namespaces, with ESP in user space, so that no kernel's IPsec is needed:
//
//	         10.1.0.1/24                                            10.2.N.1/24
//	hub ───── 192.0.2.1 ──── wan ──── 192.0.2.2 ───── charon (kernel-libipsec, TUN device ipsec0)
//	Felloe   2001:db8::1           2001:db8::2        any number of daemons and connections
//
// suites.go tries every combination of algorithms, initiate.go the other direction, the other files one feature each.
// A ping through the tunnel proves an SA: the routing tables of both sides know no other way between 10.1 and 10.2.
//
// bookworm's ESP in user space knows only encapsulation in UDP, and neither extended sequence numbers nor transport mode;
// frr's machines cover these with Linux's XFRM.
package strongswan
