// Package awake is a clock that stands still while nobody could look at it.
//
// A machine that declares a peer dead after 300 ms of silence must not count the time in which it was not running itself
// (a busy machine, a suspended VM): the packets that arrived meanwhile wait below it, and timers that fell due run before
// anybody has read them. So silence is measured in awake time: when a machine is called later than it asked for, the time
// that it was late does not count, nor does a moment after it, in which what waits can be read.
//
//	wall    ──┬────────┬───── late ─────┬─ grace ─┬──────►
//	awake   ──┴────────┘                          └──────►
//
// A machine that is late again and again would wait for ever. Whoever has had Looks moments of that kind since it last heard
// something, and nothing came, need not wait any longer.
//
// The zero value is ready. A Clock belongs to one machine and has no lock.
package awake
