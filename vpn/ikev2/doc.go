// Package ikev2 is IKEv2 (RFC 7296) as a machine without sockets.
package ikev2
