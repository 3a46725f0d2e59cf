// Package probe is ping and traceroute: ICMP and ICMPv6 echo, and UDP probes of growing hop limit whose answers tell the
// way (RFC 792, RFC 4443).
//
//	Ping ──► echo request ──► Host.SendIP ──► FIB, tunnels … like any packet of the router's
//	Prober ◄── replies and errors, by identifier or quoted ports ◄── Host.HandleICMP
//
// A Prober serves any number of probes at once; its methods are safe for concurrent use.
package probe
