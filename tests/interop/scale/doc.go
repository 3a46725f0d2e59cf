// Package scale proves what happens when there are many: a thousand sessions at one Felloe hub, of Felloe's load generator
// (`felloe bench ike`) and of strongSwan, come up, carry packets, are rekeyed and go, and leave nothing behind; and the load
// generator brings hundreds up on a strongSwan.
//
// Nothing here asserts a time: rows are about counts, and about memory beside what the sessions took. The figures are in the
// lab's diary and in its file `figures`.
package scale
