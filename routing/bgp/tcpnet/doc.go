// Package tcpnet makes a bgp.Network of a gVisor stack.
//
//	bgp/gobgp ──► Network ──► gonet over *stack.Stack     TTL, local address
//	                   └────► *tcpmd5.Table               keys and least TTLs by remote prefix
//
// The stack's NICs must have tcpmd5 endpoints that share the table; without a table a peer with a password or with TTL
// security is an error. A connection that was accepted gets its peer's TTL at once; its SYN-ACK was sent with the
// listener's, which is 255.
package tcpnet
