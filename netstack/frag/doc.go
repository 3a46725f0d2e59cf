// Package frag puts fragments of IPv4 and IPv6 datagrams together again (RFC 791, RFC 815, RFC 8200 §4.5), within
// bounds that hostile traffic cannot widen.
//
//	fragment ──► Add ──► not yet: kept        (nil, nil)
//	                ├──► the last one:        (whole packet, nil)
//	                └──► refused: counted     (nil, error)
//
// Bounds are on datagrams in the table, on those of one source, on fragments of one datagram and on bytes. When the
// table is full the oldest datagram goes. Fragments that overlap kill their datagram, in both families (RFC 5722):
// nothing honest sends them, and whoever reads first must not differ from who reads last. Exact repetitions are ignored.
//
// A whole packet has the context of its first fragment. The table owns no clock: the time comes in, and Expire ends
// what has waited too long.
package frag
