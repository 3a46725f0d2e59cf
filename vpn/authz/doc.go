// Package authz decides what an authenticated IKEv2 peer may have: an authorization policy gives it an address out of a
// pool, name servers, a domain, the routes behind us, and says whether its own routes are accepted, and which.
//
//	profile ── authorization ──► name mangler(identity) ──► policy of that name, if there is one
//	                        └──► policy by its name, else
//	policy ─── pool, ipv6-pool ─► an address per family that the peer asks for (CFG_REQUEST)
//	      └─── route set ───────► subnets; dns, def-domain, pfs ──► ikev2.Configuration, in CFG_REPLY or CFG_SET
//
// Manager is an ikev2.Authorizer: a pure machine without clock, goroutine or lock that runs on the control loop with the
// engine. The engine calls it when both sides are authenticated and calls Release once for whatever was granted, so
// negotiations that fail or stay half-open hold nothing.
//
// # Pools
//
// An identity gets the address that it had before (it is sticky), as long as nobody else needed it: addresses that were
// never given go first, in order, then the one that is free the longest. Two SAs of one identity at once have two
// addresses, unless the second asks for the first one's: that is a client which makes a new SA before it leaves the old
// one. Giving costs the same whatever the pool's size, so that an IPv6 /64 is a pool like any other. A change of the
// configuration leaves leases as they are; addresses that are no longer in the pool are not given again.
//
// # Accounting
//
// Accounting keeps the books of the profiles that ask for it: what a session carried, how long it lasted, why it ended. The
// driver writes them as lines of the log.
//
// RFC 7296 §2.19 and §3.15. Left out: DHCP, RADIUS, and addresses by identity that are fixed in the configuration.
package authz
