//go:build !race

package bgp

// many is how many prefixes a full table has.
const many = 100000
