// Package events tells what happened to a router as stories: a failover is one paragraph, whichever parts of the router
// had to do with it.
//
//	log line with a field "event" ─► Recorder.Log ──┐
//	                                                ├─► ring ─► Stories ─► `show events`
//	change of a routing table ─────► Recorder.Routes┘
//
// The log is the only source of what happened, so that nothing has to be said twice; an event is a line of it, with the
// fields that the house's lines have:
//
//	event     what happened: "ike-down", "bfd-up", "track", …
//	state     "up" or "down": what something has become
//	reason    why
//	peer      whom it is about: a transport address, a BGP or BFD neighbour
//	tunnel, interface, vrf, client, track
//	from, to  where something was and is now
//	assigned  the address that a hub gave
//
// Lines belong to one story when they follow each other closely and are about the same thing: a peer, an interface of one
// peer only, a client block, a tracked object. A line about two things makes one story of two. A story that has come to a
// good end is over when something goes wrong again. Routes are counted by the interfaces that they left and came to, and
// are part of a story only where it is about such an interface. What a client block tries again and again, while nothing else
// becomes of it, is one event that says how often: a hub that is away for long pushes nothing out of the ring.
//
// What is not here: lines for debugging, and the past before the ring's oldest event.
package events
