// Package protect is tunnel protection: it joins the IKEv2 machine (vpn/ikev2), its timers and its UDP ports to the
// sessions of protected tunnels in the data plane, by installing and removing ESP SAs.
//
//	dmvpn, boot ── Open/Close ──► Manager ── Initiate, DeleteChild … ─► ikev2.Engine
//	                                │  ▲                                    │
//	 events Up/Down/Moved ◄─────────┘  └──── actions, in their order ───────┘
//	                                │
//	   UDP 500/4500 of the VRF ◄────┤ Send, Keepalive          (non-ESP marker on 4500)
//	AddInboundFor, SetOutbounds ◄───┤ ChildUp, ChildRekeyed, ChildDown
//	   log, key log            ◄────┘ IKEUp, IKEDown, Log, KeyLog
//
// Everything runs on the control loop; the data plane's workers only post to it (HandlePunt, UDP, soft limits).
//
// # Sessions and their SAs
//
// A session is the far end of one tunnel: an authenticated identity at an address and port, so two spokes behind one NAT
// are two sessions. It has any number of pairs of Child SAs installed and sends on exactly one:
//
//   - A new pair's inbound SA is in the data plane before the message that lets the peer send on it leaves, because
//     actions are carried out in order.
//   - Outbound, a rekey's initiator moves when the response is there; its responder when the engine says so (the old
//     pair is deleted) or when the first packet comes in on the new pair (RFC 7296 §2.8).
//   - The old inbound SA lingers, for packets on their way.
//   - When both sides initiated at once both pairs receive, and both sides choose the same one to send on: the engine
//     decides between IKE SAs, the lower SPIs between pairs of one IKE SA. The one left over is deleted when nothing
//     came in on it for a minute.
//
// Up is told when the peer is sure to have its inbound SA: at once to the initiator; to the responder with the first
// packet that comes in, or a moment after its response has left. Answering comes to the responder before that, when its
// response leaves: the routes that the peer's first packets need for their answers are there in time.
//
// A VTI's peer may make several children, each for other selectors: a slot each (slot.go), in which all of the above
// happens by itself. The data plane chooses among what the slots send on by the packet, the narrowest selectors first.
//
// A session without a pair has no outbound SA, and the data plane drops what is sent to it: nothing leaves in clear.
//
// A session that was opened here is wanted until it is closed: failures are repeated with back-off. One that a peer began
// ends with its last pair. Idle sessions lose their SAs (IdleTime) and begin anew with the next packet (PuntNoSA).
//
// # Which tunnel a peer's Child SA belongs to
//
// The engine finds a ChildPolicy by local address, IKE profile and selectors; the tunnel that was added with that policy
// is it. Give each tunnel a policy of its own whenever source address or profile tell them apart, or when the peer
// offers the GRE key in its selectors (Linux, strongSwan, Felloe).
//
// Several tunnels with the same source and the same profile cannot be told apart otherwise: a GRE key is not seen in
// selectors. IOS has "tunnel protection … shared" for them. Here they are added with the same ChildPolicy: the SA is made
// for one of them, and the sessions of the others towards the same far end send on it too. What comes in is told apart by
// its GRE key in the data plane, which learns of the others by Session.SetSharers; a data plane without it drops their
// packets ("no-tunnel"). When the one with the SA is closed the others negotiate anew.
//
// Two tunnels to one peer with the same IKE profile use one IKE SA.
//
// # Virtual templates
//
// A Template is for child policies that no tunnel has. When a peer makes its first child under one of them, Clone makes a
// tunnel for its IKE SA (package flexvpn), all its children live on that tunnel's one session, and Release takes the tunnel
// away when the last of them is gone.
//
// OpenTemplate is the other way round, for shortcuts between spokes: the tunnel is made first and its peer called from it.
// When that peer calls us at the same time its Child SAs join the tunnel, so that both sides have one session and one
// interface each; both inbound SAs receive until the two IKE SAs have settled which of them stays. Such a session is not
// begun anew by itself once it has been up. No other peer of a template is ever called.
//
// # Moves
//
// PeerMoved changes the ends of all SAs under an IKE SA at once: a NAT's new mapping, or MOBIKE, which may also put ESP
// into UDP or take it out. A MOBIKE peer without a NAT speaks IKE on port 4500 and ESP as protocol 50.
//
// # What it costs
//
// A datagram, a child, a session that comes or goes are found by index (index.go), however many there are; once a second
// each session is looked at for dead peers, idle time and SAs that nobody uses.
//
// # Failures
//
// Each says itself once: an event name (auth-failed, no-proposal, peer-silent …), the peer and the reason at level warn,
// repetitions within five minutes only when debugging. Sessions and SessionInfo show the last error, how often, and when
// the next attempt is.
//
// A panic in the engine or here costs the IKE SA whose message or action caused it.
//
// RFCs: 7296 (what the driver of §2.8, §2.21, §2.23 has to do), 3948 (ports and marker), 4301 in spirit: the tunnel
// interface is the policy.
//
// Left out: crypto maps and other selector-based policies without a tunnel interface; per-packet anti-replay
// across routers; IKE over TCP.
package protect
