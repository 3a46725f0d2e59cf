// Package policy decides which routes pass, and with which attributes: prefix lists, AS-path lists, community lists and
// the route maps that combine them, as on Cisco IOS.
//
//	Route ──► RouteMap: entry 10 ─ match prefix-list, as-path, community, next-hop, tag, interface, metric, track
//	                       │ no          │ all of them
//	                    entry 20         ├─ permit: passes, with what the entry sets
//	                       │ no          └─ deny: does not
//	                    (implicit deny)
//
// Lists are looked through in the order of their sequence numbers; the first entry that matches decides, and nothing
// that no entry matches passes. Inside one kind of match one of several lists is enough; of different kinds each must
// match. An empty list permits nothing, as everything that is written down here must say what it lets through.
//
// Every entry counts its hits. Everything else is immutable, so that a policy can be used from several goroutines.
// Compile keeps what has not changed since the last configuration, counters included; a policy that is the same pointer
// is the same policy.
//
// A map that looks at tracked objects asks for their state each time; whoever uses it looks again when one has changed.
//
// AS-path lists take Cisco's regular expressions, in which `_` is the start, the end, or anything between two numbers.
// They run on Go's regexp, whose time is linear in the path; their length is bounded.
//
// Left out: `continue`, extended and large community lists, `match source-protocol`.
package policy
