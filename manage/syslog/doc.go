// Package syslog is where a router's log lines go: a bounded buffer ("show logging"), the console and every session with
// "terminal monitor", each as an IOS line; and, when wanted, the structured JSON line itself to a writer.
//
//	zerolog event ─► Log.Write (JSON) ─┬─► sink (file, stdout), as it is
//	                                   └─► IOS line ─┬─► buffer
//	                                                 └─► watchers (console, monitors)
//
// Debug lines cost nothing while no debug is on: the logger asks Log whether anybody listens before an event is built.
// A debug line has a field "debug" (its category: "ikev2", "nhrp packet", …) and is kept only when that category is
// on and the conditions (peer, tunnel, …) that name its fields hold.
//
// Fields have a fixed vocabulary: event, peer (the transport address), peer-tunnel (the address inside), tunnel, vrf,
// interface, spi, exchange, state, reason. A line may carry a
// "mnemonic" ("CRYPTO-5-IKEV2_SESSION_STATUS") that is shown as IOS shows it.
package syslog
