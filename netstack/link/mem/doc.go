// Package mem is Ethernet in memory: links and switches between routers of one process, with the faults of real ones.
//
//	port A ── Send ──► impairments (loss, rate, delay, jitter, …) ──► events, by time
//	                                                                      │
//	port B ◄── input(vector) ◄── the Network's scheduler ◄── one timer ◄──┘
//
// All links of a Network share one scheduler, which the injected clock drives: no goroutine a link, so a thousand
// routers fit in one process. It delivers one vector at a time, in the order of time and then of sending. With
// clock.Virtual everything happens inside Advance, and the same seed gives the same losses in the same places.
//
// Impairments are per direction and may change while frames are on their way; those keep the times they were given.
// What is on its way is bounded: 16,384 frames to a port, and 4,096 while the scheduler is late, which is when they wait as in
// a NIC's ring, not fly. Those that find no room are lost, counted at the port and by Overflows.
//
// Jitter alone never reorders; Reorder does. A cut (SetUp(false)) is silent, as an unplugged switch further on is: the
// carrier stays. SetCarrier is the cable in the port itself.
package mem
