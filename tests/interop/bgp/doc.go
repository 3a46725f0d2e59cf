// Package bgp proves Felloe's speaker against BIRD and FRR's bgpd on this machine, and against messages that no speaker should
// send, from a small sender of its own.
//
//	BIRD, AS 65002 ──┐                 100,000 prefixes, flapping
//	                 ├── Felloe, AS 65001 ── FRR bgpd, AS 65003: gets them all, and its session must stay up through everything
//	sender, AS 65004 ┘                 malformed attributes and messages
package bgp
