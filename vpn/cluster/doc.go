// Package cluster makes several hubs one: they elect who owns the address that spokes call, and that one sends each caller to
// the hub with the least load (IOS: `crypto ikev2 cluster`, on top of HSRP). It is a machine without sockets, clock, goroutine
// or lock, like the IKEv2 machine beside it; boot/cluster.go drives it.
//
//	                  hello: priority, master?, sessions, limit … (UDP, unicast, HMAC-SHA-256)
//	     ┌─────────────────────────────┬─────────────────────────────┐
//	hub1 │ priority 120, master   hub2 │ priority 110, backup   hub3 │ priority 100, backup
//	     │ 172.25.1.100 ◄─ Own         │                             │
//	     ▲                             ▲
//	     │ 1: IKE_SA_INIT              │ 3: IKE_SA_INIT, REDIRECTED_FROM 172.25.1.100
//	     │ 2: REDIRECT 172.25.1.2      │
//	   spoke ──────────────────────────┘
//
// # Election
//
// A member is alive while its hellos come, and able while its interface is up. Without a master that is alive the able member
// of the highest priority becomes master, of equal ones that with the highest address. A member that begins listens for the
// hold time first, or until it has heard all. With preempt a member of a higher priority takes the address from who has it. Of
// two masters (the network was in pieces) the better one stays and announces the address anew. A member that leaves says so:
// the next one takes over at once; and its driver sends its callers to others before it goes (Another).
//
//	init ── interface up ─► backup ── no master, and the best ─► master
//	  ▲                       ▲  └─── preempt, and better ────────►  │
//	  │                       └───────── a better master ────────────┤
//	  └──────────────────────── interface down, Resign ──────────────┘
//
// # Load
//
// Each hello carries how many sessions a hub has and may have, and its weight. A caller of the virtual address is sent to the
// member with the fewest sessions for its weight of those that are below their overload limit; that may be the master itself,
// under its own address, so that the session outlives a change of the master. Who was sent to a member counts as its session
// for some seconds, until its hellos can say so: a crowd of callers spreads. One that calls again counts anew, not twice, and of
// one address (of one /64 in IPv6) few count. A caller of a hub's own address is sent on only when that hub is over its limit, another one is not,
// and nobody has sent the caller here; or when that hub is leaving. When all are full, callers of the virtual address are
// refused. Callers that do not follow redirects are served where they call.
//
// # Trust
//
//	magic "FLCL" | version | flags | priority | reserved | our start (8) | your start (8) | sequence (8)
//	  | virtual address (1+16) | redirect-to (1+16) | sessions (4) | max (4) | weight (2) | limit (1) | HMAC-SHA-256 (32)
//
// The HMAC covers the message and both addresses. Every member begins with a random number, its start; a hello counts only
// when it names the receiver's start, so it was made since, is not of a start that the sender had before, and has a higher
// sequence than any other of its start. A member that comes to the configuration has the receiver choose a new start. No clock
// need be right, and nothing that was recorded counts again, not even after a restart. A hello that does not know our start
// yet is answered at once by one that tells it. Only configured members are listened to; all else is counted.
//
// RFC 5685 (the redirect itself is package ikev2's), RFC 9568 in spirit (the election). Left out: a virtual hardware address
// (the owner announces its own), several clusters on one router, HSRP on the wire.
package cluster
