// Package ikeload is `felloe bench ike`: many IKEv2 peers in one process, to load a responder with.
//
//	           ┌ Load ──────────────────────────────┐
//	phase ───► │ session 1 … N ◄─actions─ ikev2.Engine │ ◄──► Wire: one UDP socket for all of them,
//	           │   └ Child SA: esp.Outbound, Inbound │       or UDP 500 and 4500
//	           └────────────────────────────────────┘
//
// It is the router's own initiator (vpn/ikev2) with an identity, a Child SA and an inner address for each session, and
// without a data plane: Child SAs carry the echo requests that prove them and nothing else. The sessions go through
// phases together, some of them at a time (Options.Parallel):
//
//	set-up      IKE_SA_INIT to the Child SA, whatever that takes: cookies, another group, retransmissions
//	probe       an echo request through each Child SA, until it is answered
//	hold        nothing, for a time: what the responder asks meanwhile is answered, its rekeying included
//	rekey       each Child SA and each IKE SA once, then probe again
//	delete      each IKE SA, until the responder has answered
//
// A phase's figures are how many sessions came through, why the others did not, the rate, and the latencies of those that
// did. A session that ends by itself is lost, and said with its reason.
//
// Between an ephemeral port and the responder there seems to be a NAT, for IKE believes itself on ports 500 and 4500; so ESP
// travels in UDP and nobody needs to be root. On the real ports ESP is protocol 50, unless Options.UDP claims a NAT.
//
// A Load belongs to one goroutine; its Wire hands it what arrives through a channel.
//
// RFCs: 7296, 3948, 4303, by vpn/ikev2 and netstack/esp.
//
// Left out: certificates (a load measures IKE, not path validation), responders' own load on initiators, more than one Child
// SA a session, data rates.
package ikeload
