// Package endpoint shows the data plane's encapsulations to gVisor as link endpoints: each wraps a lower
// stack.LinkEndpoint and puts what the stack above writes into packets of the lower link.
//
//	stack ── GRE ── lower          inner packet → GRE, outer IP
//	stack ── ESP ── lower          IP packet → the same header with ESP behind it (transport mode)
//	stack ── VTI ── lower          inner packet → ESP, outer IP (tunnel mode)
//	stack ── GRE ── ESP ── lower   what a protected GRE tunnel is on the wire
//
// The bytes are made by packages gre, esp and ip, the same that transit packets go through; the router itself drives
// those with vectors and needs no endpoint a tunnel. The endpoints are for whoever has a gVisor stack and wants a tunnel
// under it, and they keep the encapsulations honest: a foreign stack pings and speaks TCP through each of them.
//
// The lower link carries IP packets to one far end without link addresses (gVisor's channel, pipe and tun are such). What
// comes in and is not of the tunnel is dropped and counted, and so is whatever has no keys: nothing is ever passed on in
// clear.
//
// RFC 2784, 2890, 4303, 3948. Left out: reassembly of outer fragments (the tunnel's MTU is chosen so that there are none),
// path MTU discovery, segmentation offload, IPv6 packets with extension headers in transport mode.
package endpoint
