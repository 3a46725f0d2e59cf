// Package rib holds the routes of one VRF: all sources offer paths, the best ones become the FIB.
//
//	connected, local ── SetInterface ─┐
//	static, BGP, EIGRP, IKE ─ Update ─┤    candidates of a prefix (every path is kept)
//	                                  ▼
//	               usable paths: interface up, next hop resolves ◄──── next-hop table
//	                                  │ lowest distance, then rank         ▲ a route changed:
//	                                  ▼                                    │ resolve again
//	                     best route, "routed" table ──────────────────────┘
//	                                  │              └──► Subscribe (redistribution), TrackNextHop, OnChange
//	NHRP ── SetNHRP ── override (%) or H
//	                                  ▼
//	                        Output([]fib.Change), one ordered batch
//
// A path names an interface, a next hop on it, or a next hop alone. The last kind is recursive: the longest routed prefix
// that covers the next hop gives the interface and the neighbour. A next hop never resolves through the route that needs
// it: the resolving route must be more specific than the route itself if the latter covers its own next hop, and a ring
// of routes that resolve through each other is found and left out. The default route resolves next hops, as in IOS,
// unless NoResolveViaDefault is set. A route whose every path is unresolved is not in the table, but its paths are
// remembered and come back with their next hop.
//
// Work is incremental. A change marks the prefix; Flush, which runs once at the end of the control loop's turn, looks at
// what is marked and at what follows from it. NHRP routes stand beside the routed table, never in it: they resolve no
// next hop, and Lookup does not see them. An NHRP entry for a prefix that is routed replaces the next hop of that route
// on its tunnel (IOS prints %), one for a prefix that is not routed becomes a route of its own (H). Both stand only as
// long as the routed path still leaves by the same tunnel, and both come back when the routed path does. A shortcut that is
// a tunnel of its own takes over from others, its parents, and stands until NHRP takes it back. Beside a shortcut the FIB
// has the routed path too, for the packets of our own routing protocols (fib.Route.Routed).
//
// Far ends of tunnels are pinned (Pins): the way to them never leads through the tunnel itself, whatever it has told. Where
// the table would have it so, a host route (T) keeps the best of the other ways.
//
// A RIB has no lock, goroutine, clock or socket; it belongs to the control loop.
//
// Left out: route leaking between VRFs, per-source import policy, and MPLS labels.
package rib
