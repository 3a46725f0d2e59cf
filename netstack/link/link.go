package link

import "felloe/netstack/packet"

// Driver carries Ethernet frames (without FCS).
//
// Send is safe for concurrent use. Input runs on the driver's goroutine (one a queue), which it may keep busy as long
// as it likes: backpressure is the driver's to handle, by dropping and counting.
type Driver interface {
	// Start begins delivery: input is called with vectors of received frames, whose packets it then owns. The
	// slice itself is the driver's again when input returns.
	Start(input func(v []*packet.Packet)) error
	// Send takes ownership of the packets of v and sends them in order; what cannot be sent is released and
	// counted. The slice stays the caller's.
	Send(v []*packet.Packet)
	// Info tells what the link is.
	Info() Info
	// Stats are the driver's counters.
	Stats() Stats
	// OnState sets what is called with the link's state (carrier), at once and at each change.
	OnState(f func(up bool))
	// Close ends delivery and frees the driver; it waits until input has returned for the last time.
	Close() error
}

// Info is what a driver knows of its link.
type Info struct {
	// Name of the link outside: the kernel's name of the NIC, the lab's name of the link.
	Name string
	// MAC is the hardware address.
	MAC [6]byte
	// MTU is the largest payload of a frame in bytes, without the Ethernet header.
	MTU int
	// SpeedMbps is the nominal speed in Mbit/s, 0 when unknown.
	SpeedMbps int
	// Driver is the kind: "mem", "af_packet", "tap".
	Driver string
}

// Stats are counters since the driver's start.
type Stats struct {
	RxFrames, RxBytes, TxFrames, TxBytes uint64
	// RxDrops were lost before the router saw them (ring full), TxDrops could not be sent.
	RxDrops, TxDrops uint64
}
