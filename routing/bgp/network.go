package bgp

import (
	"context"
	"net"
	"net/netip"
)

// Network is the router's own TCP, as a Speaker uses it. tcpnet makes one of a gVisor stack.
type Network interface {
	// DialTCP connects. A local address that is not valid is chosen by the network.
	DialTCP(ctx context.Context, local, remote netip.AddrPort, o SocketOptions) (net.Conn, error)
	// ListenTCP listens on a port of all addresses of a family when the address is unspecified.
	ListenTCP(local netip.AddrPort) (net.Listener, error)
	// SetPeer says what counts for connections with a remote prefix, in both directions, before any is made.
	SetPeer(remote netip.Prefix, o SocketOptions) error
	// RemovePeer ends that.
	RemovePeer(remote netip.Prefix)
}

// SocketOptions are options of a connection.
type SocketOptions struct {
	// TTL of what we send; 0 is the stack's default.
	TTL uint8
	// MinTTL of what we accept (RFC 5082); 0 is any.
	MinTTL uint8
	// MD5Key signs both directions (RFC 2385); empty does not.
	MD5Key string `json:"-"`
}

// SocketOptionsOf are the options of the sessions of a neighbour.
func SocketOptionsOf(n *Neighbor, local uint32) SocketOptions {
	o := SocketOptions{MD5Key: n.Password, TTL: 255}
	switch {
	case n.TTLSecurity > 0:
		// Sent with 255 (RFC 5082 §3). IOS counts the peer itself as a hop.
		o.MinTTL = 255 - n.TTLSecurity
	case n.External(local):
		o.TTL = max(n.EBGPMultihop, 1)
	}
	return o
}
