// Package pki is X.509 for IKEv2: trustpoints from PEM files, verification of a peer's chain with revocation lists from
// files, the binding of a certificate to an IKE identity, certificate maps, and a small authority for labs. Nothing in it
// opens a socket or knows the time: `now` is an argument.
//
//	trustpoint                                      a peer's CERT payloads
//	  ca.pem ──► anchors, intermediates ──┐           leaf, intermediates ──► ParseChain (count, sizes, kinds of keys)
//	  ca.crl ──► CRLs ────────────────────┤                                        │
//	  router.pem, router.key              └──────────► Verify(trustpoints, chain, now) ──► path leaf … anchor, or an error
//	    │  our chain (leaf first), our key                  │                                that says which, what, since when
//	    ▼                                                   ▼
//	  ikev2 signs with it                            MatchesIdentity(leaf, IDi or IDr), Map.Match(leaf)
//
// # What a path must be
//
// From the leaf to an anchor by issuer and subject names, key identifiers and signatures; every certificate of it valid
// at `now`; authorities are ones (basic constraints), may sign certificates (key usage), keep their path lengths and name
// constraints (crypto/x509 checks the path once it is found; a constraint that it does not know, such as directoryName,
// refuses when it is critical). The leaf's key usage, where there is one, has digitalSignature or nonRepudiation
// (RFC 4945 §5.1.3.2); an extended key usage, where there is one, has ipsecIKE, serverAuth, clientAuth, the old
// iKEIntermediate or any. RSA keys have 2048 to 8192 bits, elliptic ones are P-256, P-384, P-521 or Ed25519. Signatures
// with MD5 or SHA-1 below an anchor are refused.
//
// With CheckRevocation every certificate of the path but the anchor needs a CRL of its issuer: signed by it, by an issuer
// that may (cRLSign), begun and not expired. A missing or expired CRL refuses, as `revocation-check crl` does. A serial on
// an expired CRL is still called revoked. Running IKE SAs are not ended by a new CRL: it counts from the next IKE_AUTH.
//
// An anchor is a certificate of the trustpoint's file whose issuer is not in that file: a root, or the lowest authority
// that the operator wants to trust. The rest of the file helps to find the path.
//
// # What a hostile chain costs
//
// At most MaxCertificates of MaxCertificateBytes; no public key that is slow to use; and in one Verify, over all
// trustpoints, at most maxSignatures signatures are checked while a path is looked for, and each again in the path that
// is found. Names decide first, so a chain of strangers costs none.
//
// RFCs: 5280, 4945 (profile for IKE), 7296 §3.6 and §3.7. Left out: fetching anything (CRL distribution points, AIA,
// OCSP, hash-and-URL), delta and partitioned CRLs, indirect CRLs, policies, encrypted key files, hardware keys.
package pki
