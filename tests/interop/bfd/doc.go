// Package bfd proves Felloe's BFD against BIRD and FRR's bfdd on this machine.
//
//	Felloe ─── lan ─── BIRD or FRR       single hop, IPv4 and IPv6
//	   │        │          │
//	   └──── transit ──────┘             multihop, between Loopbacks
//
// The link is cut in the switch, so that no end loses its carrier.
package bfd
