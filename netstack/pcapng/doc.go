// Package pcapng writes capture files that Wireshark and tshark read: several interfaces with their names in one file,
// nanoseconds, the direction of each packet, and secrets beside the packets.
//
//	Section Header ─ Interface Description (each link) ─ [Decryption Secrets] ─ Enhanced Packet … ─ Interface Statistics
//
// draft-ietf-opsawg-pcapng (block types 0x0A0D0D0A, 1, 5, 6, 10), always in little-endian order.
//
// It is our own and not gopacket's writer because it is small, because the router's binary should not carry gopacket's
// table of protocols, and because that writer knows neither secrets nor a way not to allocate. The tests read with
// gopacket what this package writes.
//
// Left out: reading (tests/ does that), name resolution, custom blocks. No secrets type is registered for IKE and ESP, so
// those keys go to tshark through a file of its preferences, not through this one.
package pcapng
