// Package message is the codec of IKEv2 messages: bytes to payloads and back, nothing else. It knows no state and no
// key; what is inside an SK payload is decoded after somebody has opened it.
//
//	datagram ─► Decode ─► Header, Payloads ┬► plain payloads (IKE_SA_INIT)
//	                                       └► *Encrypted (where the IV is) ─► open ─► DecodePayloads ─► Payloads
//
//	Payloads ─► AppendPayloads ─► plaintext ─► seal behind BeginEncrypted's prefix ─► datagram
//	Message.Encode ─► datagram (IKE_SA_INIT, errors outside an SA)
//
// Decoding is strict about lengths and counts: every field must fit the one around it exactly, a message may hold
// MaxPayloads payloads, an SA payload MaxProposals proposals, a TS payload MaxSelectors selectors. Reserved fields are
// ignored and written as zero. Unknown payloads are kept as *Unknown with their critical bit: whether that is an error
// is the machine's to say (RFC 7296 §2.5). Encoding is byte-exact: a message that was decoded, and had zeros in its
// reserved fields, encodes to the same bytes; one that holds only what this package writes always does.
//
// Decoded payloads point into the datagram: copy what must outlive it. Decoding allocates no more than a small
// multiple of the datagram.
//
// RFC 7296 §3, RFC 7383 §2.5 (SKF), RFC 7427 (method 14), RFC 7619 (ID_NULL). Left out: jumbo messages beyond 65,535
// bytes, IKEv1.
package message
