// Package nhrp is the Next Hop Resolution Protocol of one router as a machine without sockets: client, server and
// cache (RFC 2332, with what Cisco and FRR do over multipoint GRE).
//
//	       packets, session events, route changes, time
//	                         │
//	┌────────────────────────▼─────────────────────────┐
//	│ Engine                                           │
//	│   tunnel ─ NHS clients ─ cache ─ pending requests │──► Host: send, open/close/probe a session,
//	│   tunnel ─ …            claims   answers given   │     neighbour, multicast list, shortcut route, event
//	└──────────────────────────────────────────────────┘◄── Host: look a route or a session up
//
// A redirect, from the first packet to the shortcut (spoke A, hub H, spoke B):
//
//	A ══data══► H ══► B          both tunnels of H have one network-id and A's has redirect on
//	A ◄─traffic indication─ H    "there is a better way to B's network"
//	A ─resolution request─► H ─► B   hop by hop along the routed path, a transit record for each hop
//	A ◄──── session, resolution reply ──── B   directly; A learns B's prefix and the session to reach it by
//
// # Point-to-point tunnels (FlexVPN)
//
// There nobody registers: what leads where is routing's, and a tunnel has one far end. A spoke's shortcut is a tunnel of its
// own, which the Host makes of the virtual template that the spoke's tunnel names:
//
//	A: Tunnel0 ══► H: Virtual-Access1 │ Virtual-Access2 ══► B: Tunnel0       one network-id
//	A ◄─ traffic indication ─ H
//	A ── resolution request, along the routed path ──► H ──► B
//	                                      B makes a tunnel for A (OpenTemplate) and enters A on it
//	A: Virtual-Access1 ◄══════ session ══════► B: Virtual-Access1
//	A ◄─────────────── resolution reply ────── B            A enters B and B's network on its side of it
//
// Entries belong to the shortcut's tunnel, and everything learned is a route there, also the far end's address. Until the
// answer is there an entry is shown as temporary, with the hub. When both ask at once both answer, over one session. An
// entry in use is confirmed by whoever is at the tunnel's end, whatever becomes of the hubs; when that one is not the end
// any more it hands the question on, or has redirected before. Who has given an answer tells the requester directly when it
// is not true any more. Shortcuts stay where there is no other way, or only a default route out of the network, and beside shorter
// prefixes while no configured tunnel leads into it: a hub is being changed. With that tunnel itself they go, when it is shut
// or made anew from another address outside. A change of our own address inside withdraws what names the old one, not the
// networks behind us.
//
// Ours to end are the sessions of shortcuts alone, when their entries are gone: idle ones at once, used ones when nobody
// sends on them any more, those that the operator clears whatever is sent. A hub has no entries, so that nothing that is
// done to its NHRP touches its spokes' sessions. Without registrations it is the hub that tells how a requester or an answerer
// looks from outside (NAT extension), but not to one who looks the same: behind one NAT the own addresses work.
//
// # Trust
//
// Cache entries point at sessions (the far end of a tunnel), never at NBMA addresses: so two clients behind one NAT
// are two entries. What a session may claim: a registered address stays with the session that it came in on while
// that lives; another one that claims it has the old one probed first, and is refused when it answers.
//
// Over point-to-point tunnels there is no registration to go by. There the far end of a configured tunnel (the hub) is
// trusted with what it forwards, a hub takes routing's word for whose an address is, and everybody else speaks for himself:
//
//	who           says                 and is believed
//	a spoke       a request, a purge   by its hub, when routing leads to the source by the very tunnel that it came on, or knows
//	                                   nothing of the source
//	a spoke       another's request    by the hub, when the source is where the hub knows it; purges are not handed on
//	anybody       a redirect           when our packets go over him, by routing or by a shortcut
//	anybody       an answer            who knows the request's number, which nobody guesses: who was asked, or is on the way
//	a hub         a purge              for what its next hop has told, when that one is the purge's source
//	a shortcut    a purge              for what is entered on its own session
//	a hub         how a spoke looks    in the NAT extension. It is on its session; what a spoke says of it, of itself or of
//	                                   others, goes no further than the hub, and no spoke believes it of itself
//
// An answer from the far end of a shortcut binds to that session, whatever address it names. One from the far end of a
// configured tunnel makes none: there is no shorter way. One that came over a hub makes a tunnel of the template to the
// address that it names, never to our own nor to a configured tunnel's far end. A request that came over a hub is answered
// over such a tunnel too, and refused where there is no template; one that came directly makes none, and enters nobody new.
//
// A tunnel address has one session: when somebody answers or asks with one that lives on a session of another identity (or,
// where that is not known yet, of another address outside), that session is probed, and until it is found dead the answer
// counts for nothing, or goes over the hub. A requester that is being called is not called elsewhere. Addresses of ours, of servers and of configured tunnels' far ends, inside and outside, are nobody's to
// give: no entry is made for them and no shortcut covers them.
//
// Every packet type is authenticated before anything else is looked at; every packet sent carries exactly one
// authentication extension when a string is configured, but for one: the error indication that says
// "authentication failure" does not tell the string to somebody who has just shown not to know it. An error indication
// without the right authentication is only logged, as hearsay.
//
// The error contract: no packet ends the machine. A packet that cannot be used is counted and dropped with an event.
// All methods of an Engine run on one goroutine (the control loop). It owns no clock: every method is told the time,
// and Deadline says when Tick is wanted next. It calls its Host synchronously; the Host must not call back into the
// Engine from such a call.
//
// Left out: registration of whole prefixes by clients, server cache synchronisation (RFC 2334), NBMA subnetworks other
// than IP.
package nhrp
