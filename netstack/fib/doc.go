// Package fib is the forwarding table of one VRF: prefixes to next hops, longest match first, IPv4 and IPv6 alike.
//
//	routing/rib ── []Change ──► Apply ──► new snapshot ──► atomic pointer
//	                                                           │
//	workers ────── Find(destination) ◄─────────────────────────┘   no lock, no allocation
//
// A snapshot never changes: Apply inserts persistently (only the trie's nodes on the way to a changed prefix are
// copied) and publishes the outcome with one store, so a worker sees all of a call's changes or none. One writer at a
// time is ensured by a lock; readers never wait.
//
// Routes that do the same with a packet share a Group, counted under the writer's lock: ten thousand routes over one
// next hop cost the workers' caches one hop. A Group offers one Hop for a flow hash: packets of one flow take one way,
// flows spread over the equal ways. A Hop remembers the adjacency that the data plane resolved it to, so that a packet
// needs no second look-up.
//
// The table does not fill itself and resolves nothing: connected and local routes come from the RIB too, recursive next
// hops are resolved before they get here. It rejects what could never forward (a Forward route without next hops).
package fib
