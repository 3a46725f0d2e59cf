// Package esp seals and opens packets with the Encapsulating Security Payload: the arithmetic of one Child SA, in place,
// with nothing allocated.
//
//	Outbound.Seal                                     Inbound.Open
//
//	              payload                             [UDP taken off by the caller]
//	                 │ pad, next header               SPI seq IV  ciphertext  ICV
//	SPI seq IV  payload+trailer                          │ replay window: seen? too old?
//	                 │ encrypt, authenticate             │ authenticate, decrypt
//	SPI seq IV  ciphertext  ICV                          │ replay window: mark
//	[UDP 4500]       │                                   │ check and take off padding
//	                 ▼                                   ▼
//	outer IP header: the caller's                     payload, its protocol; packet.SA names this SA
//
// An SA is one direction of a Child SA: an Outbound or an Inbound, each made from the keys that IKE agreed on. All
// methods are safe for several workers at once: the sequence number is an atomic, the replay window sits under a lock
// that is held for a few instructions, and the states that CBC and HMAC need come from a pool of the SA.
//
// AES-GCM's 8 byte IV is the 64 bit sequence number, so a nonce cannot repeat under one key. CBC's IV must be
// unpredictable: it is the sequence number encrypted with a random key that the SA draws for that alone.
//
// The replay window is a ring of bits as RFC 6479 describes it: moving forward clears words, never shifts. With extended
// sequence numbers the upper half is guessed from the window (RFC 4303 appendix A) and proved by the ICV.
//
// RFC 4303 (ESP, extended sequence numbers), RFC 4106 (AES-GCM), RFC 3602 (AES-CBC), RFC 2404 (HMAC-SHA-1-96), RFC 4868
// (HMAC-SHA-2), RFC 3948 (UDP encapsulation; over IPv6 the UDP checksum is computed, over IPv4 it is zero), RFC 6479.
//
// Left out: traffic flow confidentiality on sending (padding of that kind is understood when it comes in, since the
// inner packet's own length tells where it ends, and a dummy packet opens as NextNone), ICVs of 8 and 12 bytes for GCM,
// encryption without integrity, AH. Which SA a packet belongs to, its selectors and its tunnel are netstack's matter; keys
// and lifetimes in time are IKE's.
package esp
