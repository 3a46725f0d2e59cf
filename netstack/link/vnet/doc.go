// Package vnet finishes what the kernel left undone on a frame: it reads the virtio-net header that AF_PACKET and TAP can
// put in front of each frame, completes the checksum that it speaks of, and cuts a segmentation-offload super-frame into
// the frames that the wire would have carried.
//
//	virtio-net header │ Ethernet  IP  TCP  64 kB of payload
//	        │                        │
//	        ▼                        ▼
//	gso_type, gso_size,      frame 1: Ethernet IP TCP seq    1,448 bytes
//	csum_start, offset       frame 2: Ethernet IP TCP seq+   1,448 bytes   … FIN and PSH on the last, CWR on the first
//
// A kernel peer on a veth, or another guest of the same host, hands its frames over without checksums and unsegmented,
// since no wire is between; whoever forwards them to a real wire or into a tunnel has to do that work. The header comes
// from the kernel but its content may come from a neighbour, so every field is checked against the frame.
//
// Virtual I/O Device 1.2 §5.1.6 (the header; here always in the machine's byte order, as AF_PACKET and TAP have it).
//
// Left out: UFO (deprecated fragmentation offload), tunnelled GSO (a host that has not been told of it does not send it),
// and coalescing on the way out.
package vnet
