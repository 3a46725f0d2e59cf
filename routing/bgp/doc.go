// Package bgp is the BGP speaker of one VRF as the router sees it: what it announces, what becomes of the paths that it
// hears, and what there is to show.
//
//	           Speaker (GoBGP behind the gobgp package, or a simulation)
//	peers ◄──────────────────────────────────────────────────────────────► sessions, adj-RIB-in, advertising
//	                   │ Event: path, state                ▲ Apply, Originate, NextHop, Clear
//	                   ▼                                   │
//	      BGP:  table of all paths ── next hops tracked ───┘ ◄── RIB: exact routes of `network`, redistribution
//	                   │ decision (RFC 4271 §9.1)
//	                   ▼
//	      RIB.Update: every reachable path, ranked
//
// The seam is Speaker: paths in, paths out, next-hop validity in. A Speaker keeps the sessions and decides what a peer
// is told; it knows no next hops and no routing table. BGP tracks the next hop of each path with the RIB, tells the
// Speaker which are not reachable (those paths are not advertised), ranks the paths by RFC 4271's decision process,
// cost to the next hop included, and hands all that are reachable to the RIB, which uses the best ones that resolve.
//
// A prefix of Networks is announced while the RIB has exactly that route from another source; so is what Redistribute
// names. Their next hop is the address of the session they are told on.
//
// BGP runs on the control loop: its methods are called there, and the events of the Speaker, which has goroutines of its
// own, are posted to it.
//
// RFC 4271, 2858/4760 (IPv4 and IPv6 unicast), 4456 (route reflection), 2918 (route refresh), 2385 (MD5, by
// netstack/tcpmd5), 5082 (GTSM), 6793 (four-octet AS numbers), 7606 (by routing/bgp/guard), 4486 (cease subcodes).
//
// Left out: aggregate-address and unsuppress-map (to be built here, where the table is), route-maps, add-path, graceful
// restart, confederations, VPN families.
package bgp
