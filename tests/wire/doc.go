// Package wire reads captures of a lab's underlay links and says whether anything crossed them that must not: a GRE packet, or
// an address of the overlay or of a LAN in clear.
//
// It is deliberately simple-minded. It does not decide what a frame is and then look where an address should be; it looks
// at every byte of every frame:
//
//	offset  0                 14        34       42
//	        ├─ Ethernet ──────┼─ IP ────┼─ ESP ──┼─ ciphertext … ─┤
//	        ▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲▲
//	        at each offset: four bytes in an IPv4 prefix? sixteen in an IPv6 prefix? digits that spell an address?
//
// Only for GRE does it walk headers: VLAN tags, IPv4, IPv6 with its extension headers, IP in IP, fragments (the first and
// the later ones, which name their protocol too).
//
// Ciphertext is as good as random, so four of its bytes hit a /24 once in 16 million offsets. Such a hit is told apart
// from a leak by two facts: a leaked packet has two addresses, and it does not come alone. A hit inside of ESP or IKE
// is therefore a finding when its frame has another one, or when the capture has more of them than chance explains (less
// than one in a million). Everywhere else one hit is a finding.
//
// Dissect has tshark read a capture, with the keys of a key log, and says what it could not read or decrypt, where the
// NHRP packets went, and how they are laid out.
//
// Ended looks for packets of sessions that are over: with the times at which routers have given up SAs, no ESP packet of those
// SAs must be seen later.
//
// What it leaves out: captures that are not Ethernet, and frames that were cut by the capture are errors, not findings.
package wire
