// Package client decides which hub a FlexVPN client's tunnel is connected to: the client block of IOS
// (`crypto ikev2 client flexvpn`) as a machine without sockets.
//
//	connect, disconnect ─┐
//	track went up, down ─┤                    ┌─► Dial, Hangup             a session in the place of the one before
//	source is up, down ──┼─► Manager ─ Host ──┼─► Prepare, Commit, Abandon  a second session beside it, then move
//	name is resolved ────┤      ▲             ├─► Resolve
//	session up, failed, ─┤   Deadline, Tick   ├─► Backup                    the interface of a dial backup
//	down, redirected ────┘                    └─► Event                     for the log
//
// # A client's way
//
//	              connect manual, or somebody's backup          connect track
//	    IDLE ◄──────────────────────────────────┐        ┌──────────► TRACKING
//	     │ wanted, a source, a peer             │        │ not in the state that is asked for
//	     ▼                                      │        │
//	NEGOTIATION ── the next address, the next peer ◄─────┤
//	  │      └─ nobody is left: WAITING 1 s, 2 s, … 30 s ┘
//	  ▼                                                  │
//	ACTIVE ── dead, deleted, track or source down ───────┘
//	  └── a better peer or source is there again, or the hub redirects: prepared beside, moved to when it is up
//
// Peers are tried in the order of their numbers; one whose track is not in its state is passed over, and so is one that
// another block of the same backup group is using or trying. After a session has ended the next peer is the first to be
// tried, and after the last the first one. A name is resolved anew whenever its turn comes, and all its addresses are
// tried. An attempt may take AttemptTime.
//
// Peers are called one after the other: a hub that answers makes a session, gives an address and tells routes, and what the one
// that comes too late has made would have to be taken back on all sides, in the sight of routing. So each peer that is silent costs
// AttemptTime, unless it has a track: while that is down the peer is not called, and a call ends when it goes down.
//
// With Reactivate a client goes back to a better peer: at once when the peer's track comes up, else by calling it every
// ReactivateInterval; and to a better source, at once when its line or its track comes up. The session in use stays until the new one can be sent on, so nothing is lost.
//
// Every method takes the time and does what is due; the Host is called from within, and may call back: that is queued.
//
// RFCs: 5685 (following redirects; the engine counts loops).
//
// Left out: peers learned from a hub (`backup gateway`), and EAP prompts.
package client
