// Package labkit is what labs of routers in virtual time have in common: a clock that moves only when a test says so, wires
// that are watched for what must not be seen in clear, randomness that repeats, and pings that carry a mark to look for.
//
//	test ── Run, Until ──► clock ──► wires (netstack/link/mem), data planes, control loops
//	                                   │
//	                          Watch ◄──┘  GRE or the mark in clear fails the test at its end
//
// Run goes from one due moment to the next and lets every control loop that has joined come to rest in between, so that a
// lab's seconds cost what happens in them, and happen the same way each time.
//
// Pings are ICMP (RFC 792) and ICMPv6 (RFC 4443) echoes. What a router of a lab is made of, and which addresses it has, is
// left to the labs.
package labkit
