// Package gobgp makes a bgp.Speaker of GoBGP v3, with its public API only, on the router's own TCP.
//
//	the router's TCP (bgp.Network)                                the arena: an empty network namespace
//	─────────────────────────────                                ────────────────────────────────────
//	dialler ──┐                  collision                ┌────► GoBGP's listener, port 179
//	          ├─► session ──► (RFC 4271 §6.8) ──► relay ──┤      bound to the peer's true address,
//	listener ─┘                                  guard    └────  dialled to the router's true address
//	                                          both ways
//
// GoBGP v3 accepts and dials kernel sockets only. So every peer is passive in it, and its listener lives in the arena: a
// network namespace with nothing in it but a loopback device to which every address is local. The connector here dials
// and accepts with the peers on the router's own stack, decides which of two colliding connections stays, and relays the
// one that does into the arena, message by message, through routing/bgp/guard. GoBGP sees the true addresses of both
// ends, so its next hops are right. It never sees TTLs, passwords or update-source: those belong to our side.
//
// What is known about GoBGP and handled here:
//
//   - It closes a connection that comes while its peer is not ACTIVE. A connection is handed over when it is, and one
//     that comes earlier waits.
//   - Its Serve never ends. It is ended from its timing hook, on its own goroutine, with runtime.Goexit; the thread that
//     it is locked to, and with it the arena, goes too.
//   - Best-path options and multipath are package variables. A second instance with other options is refused; multipath
//     is ours. StartBgp writes those variables while other instances read them: all of them stand still for it.
//   - It leaves paths with the peer's AS in them out of what it tells the peer, which defeats allowas-in there. It reads
//     a stand-in (65535, which RFC 7300 keeps out of every path) for the AS of external peers, unless as-override needs
//     the true one.
//   - It has no next-hop tracking. Next hops that bgp says are unreachable are rejected by an import policy, and the
//     paths of the peers concerned go through it again.
//   - Dynamic peers are added when they connect and deleted when they go; its own dynamic neighbours, which are left
//     behind when a session does not come up, are not used.
//
// next-hop-self is an export policy on what is external (NextHopSelfAll: on everything), next-hop-unchanged one on
// everything; the latter is how a hub leaves the spokes' next hops alone (DMVPN phase 2), where GoBGP would put its own.
//
// The arena needs the right to make a network namespace: root, or a user namespace around the whole process. Available
// says whether it is there; an ordinary user's program starts itself again with UserNamespace.
//
// GoBGP keeps its own time: the timers of sessions are the system clock's, whatever clock the router has.
//
// The package is empty for js; the arena is for Linux.
package gobgp
