// Package cli is the router's command language: IOS words, abbreviations, completion, "?" and output filters.
//
// A command is registered with a pattern:
//
//	show ip route [vrf <name>] [bgp|static|connected|nhrp]
//	ping <host> {source <interface>|repeat <count>|size <bytes>|df-bit}*
//
// Words are keywords, <words> are arguments, [a b] is optional, [a|b] chooses at most one, {a|b}* takes any number in any
// order. All patterns grow one graph:
//
//	show ── ip ──┬── route ──┬── bgp      Keywords match by any unambiguous prefix ("sh ip ro"); an exact word wins.
//	             └── nhrp    └── vrf <name>
//
// Running a line gives a typed result. It prints itself as the IOS table, or as JSON after "| json"; include, exclude,
// begin, section and count filter the table's lines. A Session is one person or program at the command line: it holds the
// monitor switch and the terminal's size. Console joins a Session to any terminal byte stream.
package cli
