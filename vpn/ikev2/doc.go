// Package ikev2 is IKEv2 (RFC 7296) as a machine without sockets: an Engine holds all IKE SAs of a router. Datagrams,
// requests of the driver and the time go in; Actions and a deadline come out. It owns no goroutine, clock, socket or
// lock, and its only randomness is the reader that it was made with. So a negotiation is a table test, a day of
// rekeying takes a second, and a fuzzer can decide what arrives when.
//
//	 Initiate, Rekey…, Delete…        ┌──────────────── Engine ────────────────┐
//	 ────────────────────────────────►│ session (SAID)                         │  Actions, in order:
//	 Receive(now, Datagram)           │   ├ cur ─► ikeSA (keys, window, SPIs)  │  ChildUp … then Send
//	 ────────────────────────────────►│   ├ old ─► ikeSA, until it is deleted  ├──────────────────────►
//	 Tick(now) at Deadline()          │   └ kids ─► child, child (ChildID)     │
//	 ────────────────────────────────►└────────────────────────────────────────┘
//
//	 initiator                                             responder
//	   │ ── IKE_SA_INIT  SA KE Ni N(NAT) N(FRAG) ──────────────► │  [N(COOKIE), N(INVALID_KE_PAYLOAD): once more]
//	   │ ◄────────────── SA KE Nr N(NAT) N(FRAG) ─────────────── │  behind a NAT: from here on port 4500
//	   │ ── IKE_AUTH  SK{IDi N(INITIAL_CONTACT) AUTH SA TS} ────► │  IKEUp ChildUp
//	   │ ◄──────────  SK{IDr AUTH SA TS} ────────────────────────│
//	IKEUp ChildUp
//	   │ ◄── CREATE_CHILD_SA, INFORMATIONAL, from either side ──► │
//
// # The driver's contract
//
// Actions are carried out in order. A ChildUp's inbound SA is installed before the next action, which may be the Send
// that lets the peer use it. Data of a Send must not be changed: it is sent again. Sending follows
//
//   - ChildUp with OutboundReady, when nothing is replaced or after ChildRekeyed;
//   - without OutboundReady, the first packet that comes in on the pair, or ChildRekeyed;
//   - IKESuperseded, when both routers had begun an SA (see twins.go).
//
// After ChildDown the inbound SA stays for Linger. Down actions come once, children before their IKE SA, and at once when
// the driver deletes; the peer is told in the background. The driver calls Tick at Deadline, NoteTraffic about once a
// second while packets flow, NoteMoved when an ESP packet comes from a new address, UnknownSPI when one has none.
//
// # What is negotiated
//
// IKE proposals come from the policy that matches front VRF and local address, else from SmartDefaultProposal; the
// responder's order decides. Profiles are matched by the remote identity (the closest rule wins), local address and
// front VRF; keys are found in the profile's keyring by identity, then by the longest matching address. Child policies
// belong to a profile; which one an offer is for is said by a tunnel key's hint, else by what has no pair yet, else by
// their order. Transport mode is a wish: a peer that does not grant it gets tunnel mode, unless RequireTransport. Behind a
// NAT transport selectors are substituted (RFC 7296 §2.23.1). PFS is a policy with groups; a peer that asks for a key
// exchange gets one even if ours does not.
//
// # Proof of identity
//
// A profile says by which kind of proof we prove ourselves (LocalAuth) and which of the peer it takes (RemoteAuth); the
// two sides need not be alike. How a kind of key signs depends on what the peer's IKE_SA_INIT announces:
//
//	kind         peer announces SHA-2 or IDENTITY (RFC 7427)        peer announces nothing
//	rsa-sig      method 14, PKCS #1 v1.5 or PSS with that hash      method 1 with SHA-1 (RFC 7296 §3.8's default, what
//	                                                                old IOS and strongSwan do); not with RSAPSS
//	ecdsa-sig    method 14 with that hash                           method 9, 10 or 11 by the curve (RFC 4754)
//	ed25519-sig  method 14, if IDENTITY is announced (RFC 8420)     not at all
//
// The hash that is as strong as the key is preferred, then stronger ones. We announce SHA2-256, 384, 512 and IDENTITY, and
// only to and in profiles that sign. Of peers all of these are taken; method 1 with SHA-1 only of one that announces
// nothing, for a peer that can do better and does not was talked out of it. SHA-1 in method 14 is never taken.
//
// A responder's IKE_SA_INIT and an initiator's IKE_AUTH carry a CERTREQ with our anchors. The peer's decides which
// trustpoint proves us: the first with the right kind of key below what it names, else the first. CERT payloads are X.509
// (encoding 4), the leaf first, then what is between it and the anchor; URLs are never followed. Package pki says what a
// peer's chain must be. Then its leaf must name the identity that the peer claims, IDi or IDr, whatever the profile
// matches; and the AUTH payload must be signed by it. A profile with certificate maps fits peers that prove themselves by a
// certificate that meets one of them, besides what else it matches. The peer is told AUTHENTICATION_FAILED and no more;
// our log says what was wrong. Ours is said in the log, too, when it has expired or does not name our identity.
//
// # Errors: what they cost
//
//	what comes                                               what it costs
//	no IKE header, wrong lengths, IKEv1, unknown SPI         nothing; counted, answered rarely or not at all
//	IKE_SA_INIT that does not parse or fit                   nothing; answered without memory
//	IKE_SA_INIT response that does not parse or fit          nothing; the request is repeated
//	IKE_SA_INIT response that refuses (NO_PROPOSAL_CHOSEN…)  our attempt
//	unprotected bytes for an SA                              nothing; a hint (INVALID_SPI) is answered by a probe, and
//	                                                         INVALID_IKE_SPI leaves a request four more quick tries
//	integrity check fails                                    nothing; DecryptFailed
//	message id outside the window                            nothing; WindowDropped
//	authentic request that does not parse (INVALID_SYNTAX)   that IKE SA, on both sides
//	authentic request with a critical unknown payload        that request
//	authentic response that does not parse                   that IKE SA; it is deleted
//	AUTH, identity or profile do not fit                     that attempt, on both sides; a clear line in the log
//	child refused or unacceptable                            that child (ChildFailed); the IKE SA stays, for a while
//	TEMPORARY_FAILURE                                        some seconds
//	no response to a request                                 that IKE SA: IKEDown with ErrTimeout or ErrDead
//	a panic in the code                                      that IKE SA: IKEDown with ErrInternal
//
// Nothing that is not authentic changes an established SA. Before IKE_AUTH is authentic a peer costs at most one
// half-open SA, which are limited in all and by address; from CookieThreshold on it must show its address first. A
// failed SA still answers retransmissions for twenty seconds and counts as half-open meanwhile, and so does one whose peer was sent
// away in IKE_AUTH.
//
// # Collisions
//
// Both sides rekeying, deleting or creating at once follows RFC 7296 §2.8 and §2.25: the lowest nonce loses, requests
// that cannot be served now get TEMPORARY_FAILURE and are repeated after a random while, CHILD_SA_NOT_FOUND makes a new
// pair. Two routers that begin an SA with each other at once keep one: the rule is in twins.go.
//
// # Configurations, moving peers, children
//
//	CFG_REQUEST ─► Authorizer ─► CFG_REPLY      in IKE_AUTH, when the profile has an Authorization
//	               Authorizer ─► CFG_SET        by either side after IKE_AUTH, to a peer that has not asked; again at
//	                                            Reauthorize and SendConfiguration. Any response completes it.
//	a peer's CFG_REPLY, CFG_SET ─► ConfigReceived; a later one replaces an earlier one
//
// The Authorizer is asked when both sides are authenticated, and told once when the SA is gone: what fails or stays half-open
// is granted nothing. Without an address for who asks for one the IKE SA stays without a child (INTERNAL_ADDRESS_FAILURE).
// Selectors of a peer that was given an address are narrowed to it, unless it is a FlexVPN (it says so by a vendor ID).
//
// An IKE SA may be without a child for ChildlessTimeout (RFC 6023), and may have many. A new pair's policy is the one that
// has the first selectors of the offer, which are those of the packet that it is for (RFC 7296 §2.9); between GRE and
// everything decides what the offer names.
//
// A client's own addresses (InitiateRequest.Addresses) come by a ConfigReceived between its IKEUp and its first ChildUp, and last
// as long as its SA, whatever a CFG_SET says later.
//
// # Redirects, dead peers
//
// A gateway may send a client to another one (RFC 5685); Config.Redirect decides. It may do so three times:
//
//	in IKE_SA_INIT   REDIRECT with the client's nonce; nothing is kept       Redirected, IKEDown(ErrRedirected)
//	in IKE_AUTH      REDIRECT beside the proof, and no child                 Redirected, IKEDown(ErrRedirected); deleted
//	later            Engine.Redirect: REDIRECT in INFORMATIONAL              Redirected; the driver deletes when it has another
//
// The client's driver calls the other one, and says from where it comes (RedirectedFrom). After five redirects in five minutes
// no more is followed; a session that ends for another reason than a redirect ends the count. A redirect in IKE_SA_INIT proves
// nothing but that somebody saw our request, as with any refusal: the gateway that it leads to must prove itself as the first
// one would have had to.
//
// A gateway keeps nothing of whom it redirects or refuses in IKE_SA_INIT. From a number on such peers must show their addresses
// by a cookie first: Config.Redirect may count them.
//
// Dead peer detection is in dpd.go.
//
// MOBIKE is in mobike.go: the peer's new address is the IKE SA's at once, and the children's when the peer has answered
// from there; whether ESP travels in UDP is decided anew.
//
// A rekey that is refused costs nothing: the old pair is kept, both offers are logged in words, and it is tried again after
// 30 s, 1 min … 8 min until the pair's lifetime is over.
//
// RFCs: 4555, 5685, 6023, 7296, 7383 (fragmentation), 7427 and 4754 (signatures), 6989 (checks of public values, by package suite),
// 3948 (keepalives), 4868, 5282, 8598 (INTERNAL_DNS_DOMAIN).
// Left out here: EAP, IPComp, windows larger than one, several key exchanges (RFC 9370), redirects to a name, session resumption; of
// MOBIKE what an initiator does by itself (Roam is the driver's decision). Unknown vendor IDs, notifications and
// configuration attributes are ignored.
package ikev2
