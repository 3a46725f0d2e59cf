//go:build race

package bgp

// many is how many prefixes a full table has here: the race detector makes each of them five times as slow.
const many = 20000
