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
// Everything that touches an engine runs on the router's control loop (netstack/loop). A panic there costs the session
// whose work it was; forwarding goes on with the SAs and routes that there are.
package boot
