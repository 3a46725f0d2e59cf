// Package dmvpn joins NHRP to the tunnels of the data plane, to their protection and to routing.
//
//	netstack punts (NHRP, no neighbour, redirect)   protection events (up, down, moved)   route changes
//	                   │                                        │                              │
//	                   └────────────► control loop ◄────────────┴──────────────────────────────┘
//	                                       │
//	                                  nhrp.Engine
//	                                       │
//	     neighbours, multicast list, NHRP packets ► netstack.Tunnel      sessions ► Protection      % and H ► Routes
//
// A Manager holds the tunnels of one router. Apply adds or changes one while it runs; a tunnel whose configuration did
// not change is not touched. A tunnel without protection uses Unprotected, which makes a session at once; everything
// else is the same.
//
// All of it runs on the control loop (felloe/netstack/loop). Snapshots for the shows are taken there too.
package dmvpn
