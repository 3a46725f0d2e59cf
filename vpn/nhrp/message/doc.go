// Package message reads and writes NHRP packets (RFC 2332) as they travel over GRE.
//
//	fixed header 20   afn, protocol, hop count, size, checksum, extension offset, version, type, shtl, sstl
//	mandatory part    address lengths, flags, request ID (or error code), source NBMA, source and destination
//	                  protocol address, then CIEs; for indications the packet that caused them
//	extensions        type and length each, ended by an End extension; none at all when the offset is 0
//
// What Cisco and FRR add to the RFC is here too: the Traffic Indication (type 8, the redirect of DMVPN phase 3), the
// clear-text authentication (extension 7 with SPI 1) and the NAT address extension (9). Both protocol and NBMA
// addresses may be IPv4 or IPv6, in any pairing.
//
// Decode is strict: every length is checked, the checksum too, addresses have the length that their family says, and
// at most MaxExtensions extensions are taken. It copies what it keeps; the input may be reused. Extensions keep
// their order, so that a transit server forwards what it got.
//
// Left out: NBMA subaddresses and addresses that are not IP (ATM, E.164), which no IP underlay has, and the RFC 2332
// keyed authentication, which no router in the field offers.
package message
