// Package pid1 turns a bare Linux kernel into a machine that a router can run on: it mounts, loads modules, finds NICs,
// consoles and the configuration disk, keeps the kernel silent, and listens for the power button.
//
//	supervisor (PID 1) ─► Run
//	   mounts ─► silence ─► modules whose devices are there ─► NICs in PCI order ─► config disk ─► the router
//	                                                                    power button ─► context cancelled ─┘
//
// The kernel gives NIC queues, block devices, a clock and entropy and nothing else: IPv6 is off and ARP unanswered before
// the first NIC appears, no interface gets an address, no file system of a disk is ever mounted.
//
// Boot milestones (Times) are kept from the kernel's start on: PID 1, router running, and what the router marks itself,
// such as the first IKE packet.
//
// Left out: hot-plugged NICs, swap, any file system but the initramfs.
package pid1
