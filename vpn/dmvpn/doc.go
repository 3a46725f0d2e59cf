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
// not change is not touched. A tunnel without protection has its sessions at once, told apart by their address outside;
// everything else is the same. Shortcuts of a point-to-point tunnel (FlexVPN) are tunnels of their own, which protection
// makes of a virtual template and which are given to Apply by who made the interface (package flexvpn).
//
// All of it runs on the control loop (felloe/netstack/loop). Snapshots for the shows are taken there too.
package dmvpn
