// Package netstack is the data plane of a router: VRFs, interfaces, the way of a packet from wire to wire, and the
// host stack that ends what is addressed to us.
//
//	driver ─ vector ─► Ethernet ─► input: parse, classify once
//	                                 │ ours                     │ transit
//	                  ┌──────────────┼──────────────┐           ▼
//	                 ESP            GRE           other      FIB of the ingress VRF
//	              SA by SPI   session by         host stack,    │
//	              open        (vrf,src,dst,key)  UDP handlers   ▼
//	                  └── inner packets,                     adjacency ── TTL, MTU, MSS, redirect
//	                      tunnel interface ─► input             │
//	                                            Ethernet: MACs ─┴─ tunnel: GRE, ESP, outer FIB
//	                                            driver                back to the FIB of the underlay
//
// Packets travel in vectors. A stage cuts its vector into runs of packets with the same target (an adjacency, an SA, a
// session) and hands each run to the target's own stage, in the packets' order; what reaches a wire is gathered and
// sent once per input vector. Nothing is allocated per packet on the way from wire to wire, and nothing locked but for
// a counter's cache line: interfaces, FIB, neighbours, SAs and sessions are immutable snapshots behind atomic pointers.
// Counters move once a run, equal next hops are one hop in the FIB, and a worker remembers for the length of one pass
// what its last packet found.
//
// # Tunnels and their sessions
//
// A session is the far end of a tunnel, with the SAs that it sends on: one, or on a VTI several, each for what it was
// negotiated for (Selectors). A packet takes the first SA that it fits; with one SA for everything nothing is looked at.
// What comes out of a VTI's SA must fit its selectors (RFC 4301 §5.2) and is dropped as "ts-mismatch" otherwise. An SA's
// ends change in one step (esp.Ends): a peer may move, and into or out of UDP.
//
// What a session costs does not depend on how many there are: tables of SAs, sessions and neighbours grow and shrink in
// proportion (cow), interfaces are found by index in chunks, and an MTU is computed anew only when something below that
// very tunnel has changed (Tunnel.generation).
//
// # VRFs
//
// A packet belongs to the VRF of the interface that it came in on, and inside a tunnel to the tunnel's. Each VRF has its
// own FIB, host stack, addresses, handlers and fragments; SAs, clear GRE and path MTUs are found by the VRF outside as
// well, so peers of two VRFs may have the same addresses, keys and SPIs. Nothing goes from one into another but through a
// tunnel that has its inside here and its outside there.
//
// A stage that panics loses the packet it was at, counts it ("panic"), logs it, and goes on with the next.
//
// The host stack is one gVisor stack a VRF, with one NIC that holds all local addresses; its packets enter the same
// path at the FIB, so MSS, MTU, neighbours, encapsulation and counters are in one place. Protocols of ours do not use
// it: they have VRF.HandleUDP and SendUDP, the Punt callback, and Tunnel.SendNHRP.
//
// Every packet that ends here has a reason, a fixed word: see Drops. Nothing else disappears.
//
// RFCs: 791, 792, 826, 1191, 1624, 1812, 2473 (in spirit), 2784, 2890, 3948, 4301 (the tunnel's side, a VTI's selectors), 4303,
// 4443, 4861, 4884 (not), 5722, 6864, 8200, 8201.
//
// Left out on purpose: multicast routing (a packet to a group is forwarded only if the FIB has a route for the group),
// ICMP redirects, IPv4 source routes, router advertisements, VLAN tags, MLD reports.
package netstack
