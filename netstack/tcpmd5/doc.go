// Package tcpmd5 signs and verifies TCP segments with MD5 (RFC 2385) and keeps the distance of peers (GTSM, RFC 5082)
// for a host stack that knows neither.
//
//	gVisor stack ──► Endpoint.WritePackets ──► + option 19 (NOP NOP MD5), length, checksums ──► lower endpoint
//	gVisor stack ◄── Endpoint.Deliver… ◄────── TTL, option 19 verified, MSS of a SYN - 20  ◄── lower endpoint
//
// An Endpoint is a stack.LinkEndpoint between a stack's NIC and the endpoint that it would have had. All endpoints of a
// VRF share one Table: remote prefixes with what counts for them, for one TCP port on either side. While the table is
// empty a packet costs one atomic load.
//
// Signing needs 20 bytes of the 40 that a TCP header has for options. When they are not there the SACK blocks go first
// (the peer then resends more than it must), then what else is not the MSS. The stack does not know of the 20 bytes, so
// the MSS in a peer's SYN is lowered by as much.
//
// A segment of a peer with a key that is not signed, or signed wrongly, is dropped before the stack sees it, resets
// included; so is a signed segment of a peer without a key. Fragments of such peers cannot be verified and are dropped:
// reassembly comes before.
//
// Left out: TCP-AO (RFC 5925), and IPv6 extension headers in front of TCP (a peer in the table that sends them is
// dropped).
package tcpmd5
