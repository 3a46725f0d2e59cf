// Package matrix says what is proven against software written by others, runs it, and writes it down.
//
//	Register(Case) ─► Run ─► a row each: passed | failed | failed as expected | passed against expectation
//	                            └─► terminal, docs/interop.md
//
// A Case is one lab (felloe/tests/interop/peers); its rows are what it proves. All of a case's rows are named beforehand: one
// that the case does not come to has failed, and no case is ever skipped. What a version of a peer is known to do wrong is
// written at the row as Expected, with what the failure looks like and with the peer's own log line or the number of its bug:
// the row then passes by failing in just this way, and fails the run when it does anything else, success included.
package matrix
