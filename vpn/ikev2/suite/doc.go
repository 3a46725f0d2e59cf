// Package suite is the arithmetic of IKEv2: algorithm identifiers, Diffie-Hellman groups, pseudo-random functions, the
// key hierarchy, authentication by pre-shared key, and the protection of the SK payload. It knows no message, no peer
// and no state: bytes go in, bytes come out.
//
//	KEi, KEr ──► DH.Shared ──► g^ir ┐
//	                                ├─► PRF.SKEYSEED ─► PRF.Derive ─► Keys: SK_d ─► PRF.ChildKeys ─► ESP
//	                        Ni, Nr ─┘   (rekey: from the old SK_d)          SK_ai/ar, SK_ei/er ─► Protector ─► SK{…}
//	                                                                        SK_pi/pr ─► PRF.PSKAuth ─► AUTH
//
// Identifiers are IANA's numbers with the RFCs' names. String prints that name; Word is the word of a configuration
// ("aes-cbc-256", "sha256"), IOS the word of a show command ("AES-CBC", "SHA256").
//
// A secret is a Key: it prints as *** however it is formatted or marshalled. MODP arithmetic with private exponents
// runs in constant time (bigmod), the elliptic curves are those of crypto/ecdh. A peer's public value is validated
// before it is used: 1 < y < p-1 for MODP (RFC 6989 §2.1; the primes are safe primes), on the curve and not at infinity
// for ECP, not of low order for Curve25519.
//
// Implemented: RFC 7296 §2.13 to §2.18, RFC 2404, RFC 2409 and RFC 3526 (groups 2, 5, 14, 15, 16), RFC 3602, RFC 4868,
// RFC 5282, RFC 5903 (19, 20, 21), RFC 8031 (31), RFC 6989.
//
// Left out on purpose: 3DES and DES, MD5, AES-XCBC and AES-CMAC, GCM with short tags, CCM, Camellia, the groups with
// small subgroups (22 to 24), signatures (they belong to certificates) and several key exchanges (RFC 9370).
//
// All types are for one goroutine at a time, except that a PRF and the identifiers are values.
package suite
