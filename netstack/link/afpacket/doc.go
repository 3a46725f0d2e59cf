// Package afpacket drives a network interface of the Linux kernel: a link.Driver that receives through a ring in shared
// memory and sends vectors of frames with one system call, past the kernel's queues.
//
//	NIC ─► kernel ─► ring (mmap) ─► one worker a queue, on a thread of its own ─► input(vector)
//	                                  super-frames cut up, checksums finished, VLAN tags put back
//	NIC ◄─ kernel ◄─ sendmmsg, PACKET_QDISC_BYPASS ◄─ Send(vector), any worker
//
// There are two layouts of the ring. In TPACKET_V3 (Blocks) the kernel packs frames into blocks and hands a block over
// when it is full or when its timer says so: little work and little memory a frame, but a lone frame waits for 1 ms, and
// for up to 8 ms on kernels before 6.18. In TPACKET_V2 (Frames) each frame has a slot and comes at once. A worker has
// one ring of each and takes what the traffic asks for: see queue_linux.go.
//
// Frames of a kernel on the other side of a veth, or of a guest on the same host, can come without checksums and as
// super-frames of 64 kB: the virtio-net header in front of each (PACKET_VNET_HDR) says so and package vnet does the work.
// On our own NIC GRO and LRO are switched off, so that forwarding sees the frames of the wire; Close switches them on
// again. What we send is not received back (PACKET_IGNORE_OUTGOING). The interface is put into all-multicast mode, not
// promiscuous. Its carrier is followed through netlink.
//
// The kernel keeps seeing the frames too: it must have no addresses on the interface, and IPv6 off, or it answers as
// well. That is boot's matter, as is the namespace: Open looks for the interface in that of the calling thread.
//
// Left out: AF_XDP (measured: no faster in copy mode), sending super-frames, a transmit ring (sendmmsg is as fast and
// has no slots to run out of).
package afpacket
