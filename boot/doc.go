// Package boot makes a running router of a configuration. It is the one room that knows all the others.
//
//	config.Config ─► Apply ─► VRFs, interfaces ─► netstack
//	                          keys, profiles     ─► vpn/ikev2, vpn/protect
//	                          NHRP               ─► vpn/dmvpn
//	                          routes, BGP        ─► routing/rib ─► FIB
//
// Apply is the only way to start or to change: booting is Apply from empty. It compares what is desired with what was
// applied, object by object (VRF, interface, tunnel, profile, route, neighbour), takes away what is gone or must be made
// anew, then makes what is missing. An object whose desired state did not change is not touched, so its packets go on.
// Applying A, then B, then A again gives A.
//
// Everything that touches an engine runs on the router's control loop (netstack/loop), but for BFD and the probes of tracked
// objects: they have a loop of their own, since they must be on time when the first one is busy (see prompt). BFD sessions
// follow the routing table: which interface leads to a neighbour, and from which address. Tracked objects and sessions tell
// the control loop, where static routes, BGP, client blocks and NHRP act on it.
//
// A panic on a loop costs the session whose work it was; forwarding goes on with the SAs and routes that there are.
package boot
