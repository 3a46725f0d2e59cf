// Package frr proves Felloe against FRR: DMVPN with nhrpd, the Linux kernel's GRE and its ESP in virtual machines, and BGP
// with bgpd.
//
// Every DMVPN arrangement runs plain and with the kernel's transport-mode ESP, negotiated by strongSwan: FRR's spokes at our
// hub, our spokes at FRR's hub, and a spoke of each that make a shortcut to each other, at either hub.
package frr
