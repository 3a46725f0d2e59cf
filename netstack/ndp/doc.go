// Package ndp reads and writes Neighbor Solicitations and Advertisements (RFC 4861 §4.3, §4.4) as ICMPv6 messages.
//
// It is a codec only: the neighbour table, its timers and duplicate address detection are the data plane's. A message
// is refused unless its hop limit is 255 (it cannot come from beyond the link), its checksum right, and its options
// well formed. Router solicitations, advertisements and redirects are not read: a router of ours does not learn from them.
package ndp
