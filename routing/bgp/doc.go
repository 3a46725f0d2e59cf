// Package bgp is the BGP speaker of one VRF: its table, what it makes of the paths that it hears, and what each peer is
// told.
//
//	           Speaker (GoBGP behind the gobgp package, or a simulation)
//	peers ◄──────────────────────────────────────────────────────────────► sessions
//	                   │ Event: path, state, refresh       ▲ Apply, Advertise, Clear
//	                   ▼                                   │
//	      policy in (prefix list, route map, weight)   policy out, next hop, AS path
//	                   │                                   ▲
//	                   ▼                                   │ best path, per peer: what it knows
//	      BGP:  table of all paths ── decision (RFC 4271 §9.1) ◄─ next hops tracked ◄── RIB
//	                   │      ▲ summaries, network, redistribution ◄────────────────────┤
//	                   ▼                                                                │
//	      RIB.Update: every reachable path, ranked ─────────────────────────────────────┘
//
// The seam is Speaker: it keeps sessions, and carries paths in and out. Everything that is decided is decided here, once:
// what goes into the RIB is what peers are told. BGP tracks the next hop of each path with the RIB, ranks the paths by
// weight and RFC 4271's decision process, cost to the next hop included, and hands all that are reachable to the RIB,
// which uses the best ones that resolve.
//
// A prefix of Networks is announced while the RIB has exactly that route from another source; so is what Redistribute
// names and its route map permits, a default route only with DefaultInformation. A summary is announced while the table
// has something within it, and stands in the RIB as a discard route of distance 200; it counts what it covers as that
// comes and goes, so that a change costs the same however much there is. A neighbour's default route is not subject to
// what is filtered towards it.
//
// What a peer has been told is remembered per peer, so that only differences are sent: a changed policy takes effect at
// once and resets nothing. For what a changed inbound policy had refused the peer is asked again (RFC 2918), unless it
// is kept (soft reconfiguration). A full table is told in pieces; between them others on the control loop have their
// turn, and peers are read no faster than the loop works.
//
// The way to each neighbour is followed in the RIB. When there is a new one the neighbour is tried at once. A session whose
// way is a point-to-point tunnel, or a route of IKE's, ends with it, and so does one of which BFD says that its peer is gone:
// what was learned by it is not used in the same turn. A dynamic neighbour is forgotten then. A listed one whose tunnel
// leads to another router (Moved) begins anew.
//
// With graceful restart the paths of a session that was lost stay, marked stale, for as long as its peer said that it may
// take to come back, and never longer than the stale path time; those for which there is no way are not used meanwhile, and
// of paths between which nothing else decides one that is not stale is best. When the peer is back, or another router at its
// address, what it cannot have kept goes at once and the rest when it has said everything (End-of-RIB). Policies, tracked
// objects and clear ip bgp count for what is stale as for what is not. A router that has just begun hears first what its
// peers have, for half a minute at most, and tells them then. An external neighbour at one hop whose subnet is gone, and a
// peer whose hold time ran out, keep nothing: the first cannot forward, and the other hears a NOTIFICATION, as on IOS.
//
// What was learned through a tunnel of any kind resolves by no other default route than the tunnel's: it never leaves in
// clear when the tunnel is gone.
//
//	session up ── paths ──► lost ── stale ──► back ── said again ──► End-of-RIB: the rest goes
//	                          │       └─ restart time over: all go      └─ stale path time over: the rest goes
//	                          └─ NOTIFICATION (the hold time, too), or no graceful restart: all go
//
// BGP runs on the control loop: its methods are called there, and the events of the Speaker, which has goroutines of its
// own, are posted to it.
//
// RFC 4271, 2858/4760 (IPv4 and IPv6 unicast), 4456 (route reflection), 4724 (graceful restart), 5882 (with BFD), 1997 (communities), 2918 (route refresh), 2385
// (MD5, by netstack/tcpmd5), 5082 (GTSM), 6793 (four-octet AS numbers), 7606 (by routing/bgp/guard), 4486 (cease
// subcodes), 9687 (send hold timer).
//
// However often a peer asks to be told again, it is told once at a time; each family of a peer has its own maximum of
// prefixes.
//
// Left out: that the next hop of an external peer at one hop is on the shared subnet (it must resolve), add-path, graceful
// restart over a NOTIFICATION (RFC 8538), enhanced route refresh, confederations, VPN families (the route distinguisher is
// for show).
package bgp
