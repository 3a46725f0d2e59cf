// Package arp reads and writes ARP packets for IPv4 over Ethernet (RFC 826; announcements and probes: RFC 5227).
//
// It is a codec only: the neighbour table and its timers are the data plane's. Other hardware or protocol types are
// refused, and so is a sender hardware address that no station can have.
package arp
