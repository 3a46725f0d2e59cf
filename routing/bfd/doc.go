// Package bfd finds out within a few hundred milliseconds that a neighbour, or the path to it, is gone: bidirectional
// forwarding detection in asynchronous mode.
//
//	packets ── Receive ──►┐                        ┌─► Host.Send: UDP 3784 (single hop), 4784 (multihop)
//	                      ├─ Engine ─ sessions ────┤
//	timers ─── Tick ─────►┘   ▲                    └─► clients: BGP, static routes, tracks
//	                          └── Open, Close, SetTimers
//
// A session is between two addresses, over one interface (single hop: the neighbour is at the other end of it, and a packet
// whose hop limit is not 255 has come from farther away) or over whatever way there is (multihop). All who want to know of
// the same neighbour share it; the last one that goes ends it, and the neighbour hears AdminDown for as long as it takes to
// notice. Until a session is up both ends send about once a second, and at once when something has changed; then a poll
// changes to what was configured. Changed timers take effect by another poll and lose nothing.
//
//	         Down ◄────────── detection time expired, or the peer says Down, AdminDown ───┐
//	          │  ▲                                                                        │
//	peer Down │  └── the same ──┐                                                         │
//	          ▼                 │                                                         │
//	         Init ──────────────┴── peer Init, Up ──► Up ─────────────────────────────────┘
//	          Down ── peer Init ────────────────────► Up
//
// # A busy machine
//
// Silence is measured in awake time (felloe/routing/awake): what the engine was called late by is not the peer's silence.
// Whoever drives the engine hands over all packets that have arrived before it calls Tick, with the times when they came,
// and should not make the engine wait for other work; boot gives it a goroutine of its own.
//
// # Strangers
//
// The hop limit is looked at first, then the packet's form, then its discriminator. A packet that no session is for is
// counted, and nothing is kept of it. Only sessions that Answer permits begin from the wire, multihop ones, at most
// MaxAnswering; one that does not come up in five seconds goes, and coming up takes an answer from the address that it
// says it has. A multihop session that is up listens to nobody who does not know its discriminator.
//
// A Demand bit of the peer's is honoured. RFC 5880, 5881, 5882 (what clients should do with a change), 5883.
//
// Left out: the echo function, demand mode of our own, authentication (a packet that has some is refused; single hop
// sessions have the hop limit, those inside tunnels the tunnel's), and seamless and micro BFD.
//
// An Engine has no goroutine, clock, socket or lock.
package bfd
