// Package house holds the tests that keep the house in order: which room may import which, that every package explains
// itself, and that what must build without a host builds so.
package house
