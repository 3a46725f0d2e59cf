// Package gobgp makes a bgp.Speaker of GoBGP v3, with its public API only, on the router's own TCP.
//
//	the router's TCP (bgp.Network)                                the arena: an empty network namespace
//	─────────────────────────────                                ────────────────────────────────────
//	dialler ──┐                  collision                ┌────► GoBGP's listener, port 179
//	          ├─► session ──► (RFC 4271 §6.8) ──► relay ──┤      bound to the peer's true address,
//	listener ─┘                                  guard    └────  dialled to the router's true address
//	                                          both ways
//
// GoBGP keeps the sessions: it negotiates, and says when one is up. Routes do not pass through it: what
// an UPDATE says goes from the guard to bgp, and what bgp tells a peer is written here. So nothing that a peer says of
// routes can hurt GoBGP, best paths are chosen in one place only, and a full table is kept once.
//
// GoBGP v3 accepts and dials kernel sockets only. So every peer is passive in it, and its listener lives in the arena: a
// network namespace with nothing in it but a loopback device to which every address is local. The connector here dials
// and accepts with the peers on the router's own stack, decides which of two colliding connections stays, and relays the
// one that does into the arena, message by message, through routing/bgp/guard. GoBGP never sees TTLs, passwords or
// update-source: those belong to our side.
//
// What is known about GoBGP and handled here:
//
//   - It closes a connection that comes while its peer is not ACTIVE. A connection is handed over when it is, and one
//     that comes earlier waits.
//   - Its peer is idle for five seconds after each session. It is deleted and added again instead, which takes none.
//   - Its Serve never ends. It is ended from its timing hook, on its own goroutine, with runtime.Goexit; the thread that
//     it is locked to, and with it the arena, goes too.
//   - StartBgp writes package variables while other instances read them: all of them stand still for it.
//   - It wants to know a peer's AS beforehand. It reads a stand-in (65535, which RFC 7300 keeps out of every path) for
//     that of external peers; the guard knows the true one.
//   - Graceful restart is none of its business: the capability and End-of-RIB are written here, and whether a session was
//     lost or closed in order is seen here.
//   - Dynamic peers are added when they connect and deleted when they go; its own dynamic neighbours, which are left
//     behind when a session does not come up, are not used.
//   - It says that a session is up on another goroutine than the one that writes its KEEPALIVE. No UPDATE is sent before
//     that has left, and none is taken before bgp knows of the session.
//   - Its hold timer does not look whether what the peer has said waits to be read. It is told of a hold time of 0 by both
//     sides: the relay sends KEEPALIVEs and watches the hold time itself, and time in which it could not look, or in which
//     bgp had no room for more, is no silence of the peer's.
//
// What a peer is still to be told is kept per prefix, the last word only: a peer that reads slowly costs no more than a
// table, and one that reads nothing for eight minutes is given up.
//
// The arena needs the right to make a network namespace: root, or a user namespace around the whole process. Available
// says whether it is there; an ordinary user's program starts itself again with UserNamespace.
//
// The timers of sessions are the system clock's, whatever clock the router has, as GoBGP's are.
//
// The package is empty for js; the arena is for Linux.
package gobgp
