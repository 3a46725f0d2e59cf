// Package packet holds the descriptor that every part of the data plane passes along: a buffer with room in front for
// all encapsulations and behind for ESP's trailer, and the context that the packet gathered on its way.
//
//	buf: [ headroom .............. | bytes of the packet | .............. tailroom ]
//	       ^ Prepend grows this way   ^ Bytes()            Append grows this way ^
//
// Context travels with the packet: the interface and VRF it came in on, the Child SA that opened it and the session
// (the far end of a tunnel) that it belongs to. Decapsulation changes the bytes and adds to the context; it never
// replaces the descriptor. So a punt handler at the end of the way still knows on whose SA a registration arrived.
//
// Internal interfaces take vectors ([]*Packet). Whoever is handed a vector owns its packets and ends their life with
// Release, exactly once. Descriptors and buffers come from pools; nothing is allocated per packet in steady state.
// A Packet belongs to one goroutine at a time.
package packet
