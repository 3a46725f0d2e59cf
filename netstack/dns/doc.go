// Package dns finds the addresses of names by asking name servers through the router's own network.
//
//	Lookup ─► the host table ─► what is remembered ─► the servers, one after the other, twice
//	                                 ▲                   │ UDP; TCP when the answer does not fit
//	                                 └── as long as the ◄┘
//	                                     answer's TTL says
//
// It never looks at the resolver files of whatever it runs on, nor uses its network: the standard library's resolver reads
// them even when it is told to be pure Go. An answer must come from the server that was asked, to the port that it was
// asked from, with the number and the question of the question.
//
// When no server answers, what was known within the last day stands in (RFC 8767), so that a client finds its hubs while
// its name servers are gone.
//
// RFCs: 1035, 3596 (AAAA), 2308 (names that are not there are remembered too), 5452 (whose answer it is), 7766 (TCP).
//
// Left out: DNSSEC, EDNS, DNS over TLS, search lists, record types other than addresses.
package dns
