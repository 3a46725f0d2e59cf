// Package guard reads every BGP message between a peer and the router and hands on only what is well-formed.
//
//	peer ──► ReadMessage (framing) ──► FromPeer ──► OPEN checked and reduced, KEEPALIVE, NOTIFICATION ──► engine
//	                                      │
//	                                      └───────► UPDATE taken apart: prefixes and attributes ────────► bgp
//	peer ◄───────────────────────────── ToPeer ◄── OPEN reduced ◄──────────────────────────────────────── engine
//	peer ◄───────────────────────────── Encode ◄── prefixes and attributes ◄───────────────────────────── bgp
//
// The engine (GoBGP v3) is frozen and has public faults that a peer can crash it with: an AS4_PATH in front of the
// AS_PATH, a withdrawn route that reaches over the end of its field. It gets no UPDATE at all. FromPeer takes them apart,
// and what Encode makes of them is written anew: attributes in the order of their types, each once; AS numbers of four
// octets, with AS4_PATH and AS4_AGGREGATOR merged (RFC 6793 §4.2.3), or split again for a peer with two; prefixes with
// no bits behind their length; only the address families that both sides want. Routes with the same attributes share
// them. The fuzz tests hold that to GoBGP's own decoder, which must read the same.
//
// Errors in an UPDATE are handled as RFC 7606 says: the attribute is discarded, the prefixes are treated as withdrawn,
// or the session is reset with a *Notification. Loops (our AS, our ORIGINATOR_ID, our CLUSTER_ID) are withdrawn too: the
// engine would leave the older path in place. An external path that does not begin with its peer's AS is withdrawn.
//
// Prefixes that can be nobody's network are ignored, and so is a NEXT_HOP that no prefix goes with. A mapped IPv4 address
// (::ffff:a.b.c.d) is a next hop, though one that nothing leads to.
//
// OPEN is where the peer's AS is checked, so that a wrong one gives an error of ours with both numbers in it. The AS
// that the engine reads can be another one (Config.StandIn), as it wants to know it beforehand. Capabilities other than multiprotocol, route refresh and
// four-octet AS numbers are taken out in both directions. That of graceful restart is ours: the engine never hears of it.
//
// Optional transitive attributes that nobody here knows are passed on with the Partial bit, as they came; others that are
// not known end here.
//
// A Guard is a machine without sockets for one connection. It is not safe for concurrent use, except that FromPeer and
// ToPeer may run beside each other.
//
// RFC 4271, 4456, 4724, 4760, 5492, 6286, 6793, 7606, 7607, 9072. Left out: add-path, extended messages, extended next hops.
package guard
