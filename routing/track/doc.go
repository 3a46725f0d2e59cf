// Package track keeps objects that are up or down, for those who act on it: client blocks, static routes, next hop servers,
// route maps.
//
//	Prober ── probes due ──► Host: ping, TCP, HTTP          (a loop of its own: it must be on time)
//	   ▲ Answer                      │ up or down
//	   └─────────────────────────────┼──► Report ─┐
//	interfaces, routes, BFD ─────────┘            ▼
//	                                   Manager: delays, lists ──► watchers, one log line a change
//
// A Prober asks at each interval, whether or not the last question was answered, and counts: so many failures in a row are
// down, so many successes in a row are up. Time in which it could not look is no failure (felloe/routing/awake), and who
// drives it hands over the answers that have come before it says that time has passed.
//
// A Manager has objects by number. Leaves are what others report; lists are made of other objects, which their members may
// not lead back to. An object is not known before the first report; a list is known as soon as what is known of its members
// settles it. A change counts after it has lasted as long as the object's delay says, and one of an object that keeps
// changing a second after the one before. An object that is defined anew keeps its state until more is known.
//
// Neither has a goroutine, clock, socket or lock.
//
// Left out: the values that IOS can put in the place of up and down (metrics, thresholds of a route's distance).
package track
