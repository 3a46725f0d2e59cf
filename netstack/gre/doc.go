// Package gre is the header of Generic Routing Encapsulation: reading it off hostile bytes and putting it in front of a
// packet.
//
//	 0                   1                   2                   3
//	|C| |K|S| Reserved0       | Ver |         Protocol Type         |
//	|      Checksum (C)             |       Reserved1 (C)           |
//	|                         Key (K)                               |
//	|                    Sequence number (S)                        |
//
// RFC 2784 (the header, its checksum), RFC 2890 (key and sequence number). Whoever looks up the tunnel decides what a
// key means; whoever keeps tunnels decides what a sequence number means, which here is nothing: GRE's own are parsed and
// can be sent, but nothing is reordered or dropped for them (ESP's anti-replay does that work).
//
// Left out: RFC 1701's source routing (a packet with the routing bit is refused, as RFC 2784 §2.3 demands) and PPTP's
// version 1.
package gre
