// Package flexvpn makes interfaces of virtual templates for the peers that call, and routes of what IKEv2 peers say.
//
//	[interface.Virtual-Template1] ─ SetTemplate ─► Manager ─ AddTemplate ─► vpn/protect
//	                                                  ▲                        │ a peer's first Child SA
//	                                                  │◄──────── clone ────────┘
//	                                                  ├─► netstack: Virtual-Access1, 2, … (the lowest free number)
//	   IKEUp, ConfigReceived, IKEDown ── Exchanged ──►│
//	   session up, changed, down ─────── HandleEvent ►├─► routing/rib of the inner VRF: IKE routes
//
// A Virtual-Access interface belongs to one peer. It is made when that is authenticated and its first Child SA has been
// agreed on, or before it is called for a shortcut (protect.OpenTemplate), and goes with the last one: its session. With the
// template's NHRP it is a member of its network (vpn/nhrp) as long as it is there. All the peer's children live on it, and the data plane chooses
// by their selectors. It is unnumbered: it sends from the addresses of the interface that the template names. Its
// packets are in the template's VRF (ivrf), the ones around them in tunnel-vrf (fvrf).
//
// Addresses is for the other side, our own tunnels with `address = "negotiated"`: it tells which addresses their peers have given.
// Which hub such a tunnel leads to is package client's.
//
// # Routes
//
//	where from                                                       prefixes
//	selectors of the peer's children (a template's VTI)              its side of them, but for 0.0.0.0/0 and ::/0
//	the address that we assigned to it                               that host
//	what it told by a configuration payload, if the policy accepts   those subnets
//
// They are rib.IKE routes through the peer's interface, of distance 1 unless the authorization policy says otherwise, and
// go when it does not say so any more, or with the session. Static point-to-point tunnels get routes of what their peers
// told as well, but none of selectors: the operator has routes there. Left out, and logged, are a prefix that would lead a
// tunnel's own packets into the tunnel, an address that is assigned to another peer, what the policy's prefix list does not
// permit, and what is more than maxRoutes. Connected and static routes win against a peer's of the same prefix. Of two peers
// that tell the same prefix the one with the lower interface has it, and who tells a longer one has all of that: without a
// prefix list for each peer (a name mangler finds the peer's policy) a peer is trusted with every network that nobody assigns.
//
// # Changes
//
// A template's description, unnumbered, ip-mtu, tcp-adjust-mss, shutdown, idle time, volume and NHRP change on the interfaces
// that there are. Everything else, and what protects it, ends the template's sessions; the peers call again. Nothing here
// grows with the number of sessions but what is shown of them.
//
// RFCs: 7296 §3.15 (the driver's side), 4301 §4.4 in spirit: the interface is the policy.
//
// Left out: per-user attributes of AAA; QoS.
package flexvpn
