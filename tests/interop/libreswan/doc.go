// Package libreswan proves Felloe against libreswan with the Linux kernel's ESP, in a virtual machine of its own: the package
// conflicts with strongSwan's.
//
//	Felloe, Tunnel0 172.31.0.1 ── 192.0.2.1 ═══ ESP ═══ 192.0.2.2 ── libreswan, kernel VTI or GRE, 172.31.0.2
package libreswan
