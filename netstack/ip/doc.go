// Package ip reads and writes IPv4 and IPv6 headers as a router needs them: one Header for both families, checksums
// (RFC 1071, updated in place by RFC 1624), fragmentation (RFC 791, RFC 8200 §4.5), the TCP maximum segment size, the
// flow hash, and ICMP errors (RFC 792, RFC 1812, RFC 4443).
//
// Parse is for hostile bytes: it never panics, allocates nothing, and trusts no length that it has not compared with
// the bytes at hand. Everything else takes a Header that Parse has filled from the same bytes.
//
// IPv4 source routes are reported (Header.SourceRoute) so that the caller can refuse them; other options pass
// unread. IPv6 extension headers are walked to find the upper-layer header and a fragment header, nothing in them is
// acted upon.
package ip
