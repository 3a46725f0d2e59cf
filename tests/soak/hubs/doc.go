// Package hubs runs spokes at hubs that come and go, and says what must be true afterwards.
//
//	Spoke1 … SpokeN ── switch ── Internet ─┬─ Hub1 ─┐
//	  a LAN and a client block each         ├─ Hub2 ─┼─ switch: the hubs' LAN, a GRE tunnel between any two
//	                                        └─ Hub3 ─┘
//
// A spoke lists all hubs, each spoke beginning with another one, with tracks; every other one goes back when it can. Hubs are
// cut off (their interfaces stay up, and they go on) or killed (and begin from nothing), one or several at once, never all.
//
// At the end, when all hubs are there: every spoke has a session and reaches every other's LAN; when the shortcuts that this
// made have ended, each spoke has one IKE SA and the hubs together one for each spoke, as many addresses are in use as there
// are spokes; and after all routers have gone, no goroutine is left.
package hubs
