// Package config is the configuration of a router: what may be written in TOML, what it means, and what is wrong with it.
//
// Tables are IOS's objects, keys are IOS's words, and both are plain structs here: [interface.Tunnel0.nhrp] holdtime is
// Config.Interface["Tunnel0"].NHRP.Holdtime. Whoever runs a part of the router translates from these structs.
//
//	files ──► tree (values with line and column) ──► decoder ──► Config, every default filled in
//	               │ syntax                              │ keys, types, ranges     │
//	               ▼                                     ▼                         ▼
//	          Diagnostics  ◄──────────────────────────────────────────────── validator: references, overlaps,
//	          all of them, in file order                                     what cannot work together
//
//	Config ──► Marshal ──► TOML in one fixed order, only what differs from the defaults
//	Config, Config ──► Diff ──► changes by object and key
//
// The struct tags are the schema (see field): keys, defaults, units, ranges, references. Together with the comments of the
// fields they make the JSON Schema (Schema) and docs/configuration.md; `go generate` writes the latter and descriptions.go,
// and a test fails when one is forgotten.
//
// # Rules to know
//
//   - Parse and Load give a Config or errors, never both. Warnings come with either. Every Diagnostic has file, line and
//     column, the key, and what would be right. After a syntax error nothing else is said: the rest would be guesses.
//   - Defaults are values, not holes: a Config is read without asking what is set. Where the default depends on something
//     else there is a method: NHRP.RegistrationInterval, Config.SourceAddress, BGPInstance.Peer (after its group),
//     IKEv2.ProfileDPD, IKEv2.ClientOf, Config.MultihopBFD, FlexClient.OrderedPeers and OrderedSources, Config.Proposals, Config.TransformSets and IKEv2.Authorization (the smart defaults),
//     Trustpoint.CheckRevocation, PrefixList.Ordered and RouteMap.Ordered (sequence numbers). A zero MTU of a tunnel, IPMTU
//     or TCPAdjustMSS means "derive it". Structs made in Go start with New, NewInterface or Default, and are checked with Validate.
//   - Marshal with WithSecrets is lossless: Parse gives an Equal Config. Without it secrets are ***, which Parse refuses.
//   - A Secret prints *** whatever prints it; Reveal is the only way to its value. A private key is a Secret in a file.
//   - A File is read with the configuration: who uses it needs no file system, and a changed file is a change (Diff).
//   - A word may stand for a value, or beside values: address = ["negotiated", "2001:db8::1/64"]. It sets a field of its own
//     (Interface.Negotiated): see field.
//   - A value that often says enough alone may stand for its table (redistribute.static = true): see shorthand.
//   - A Config is not changed after loading; then it is safe for concurrent use.
//
// # References
//
// TOML 1.1 (through go-toml); JSON Schema draft 2020-12. Limits that are checked here come from RFC 2332 (NHRP), RFC 2385
// (TCP MD5), RFC 4271 (BGP), RFC 1997 (communities), RFC 4364 (route distinguishers), RFC 5082 (GTSM), RFC 7296 (IKEv2) and
// RFC 8200 (IPv6), RFC 5685 (redirects) and RFC 5880 (BFD).
//
// # Left out, so far
//
// EAP, RADIUS, IKEv1, EIGRP, routes between VRFs, DHCP addresses, enrolment of certificates. Comments in a file do not
// survive Marshal.
package config
