// Package natbox is a small NAT for labs: one public address in front of any number of hosts, as a home router has it.
//
//	hosts ── inside ─┤ natbox ├─ outside ── gateway ── the world
//	10.0.0.2:500  ─────────────► 203.0.113.9:20000
//	10.0.0.3:500  ─────────────► 203.0.113.9:20007
//
// It stands between two netstack/link.Driver and translates UDP, TCP and ICMP echo over IPv4 (RFC 3022; endpoint-independent
// mapping and filtering, RFC 4787), and ICMP errors about what it translated. ESP and GRE, which have no ports, it drops:
// that is what it is for. It answers ARP for its two addresses, resolves its neighbours, and decrements the TTL.
//
// Mappings end when they are idle, and Rebind forgets all of them at once, as a reboot does.
//
// Left out: IPv6, port forwarding, hairpins, reassembly (a fragment is translated if its first piece has been seen).
package natbox
