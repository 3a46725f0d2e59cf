// Command bench measures what the data plane costs a packet, beside what the cipher alone costs in the same run.
//
//	wire ─► [ Ethernet, FIB, GRE, ESP, outer FIB, Ethernet ] ─► wire
//	        └── measured: from the driver's input to its Send ──┘
//
// A router of netstack's public interface stands between two drivers whose wires lead nowhere. Vectors of 64 packets are
// made ready outside the measured time, as a driver's ring would hold them, and then pushed through on one goroutine. The
// cases take turns in rounds of a few milliseconds, which are timed in windows of 512 packets, and each case's best window
// counts: on a machine that does other things too, that is what the code costs and not what the neighbours do. Allocations
// are counted over vectors of their own.
//
//	go run ./tests/bench [-time 1s] [-json]
//
// The figure that matters is the ratio: GRE + ESP (AES-256-GCM) of 1,400 B is to cost at most 1.5 times the bare seal of
// 1,400 B with one reused AEAD in place, the way back as much of the bare open, at 10 routes and at 10,000; and nothing is
// to be allocated. The exit status is 1 with -strict when that is missed.
package main
