// Package deadline keeps things in the order in which they are due.
//
//	Set ──► Heap ──► Due, First: the earliest, of several at one time the one that was set first
//	          ▲
//	          └──── Remove
//
// What has a deadline embeds an Item, which knows its place: a deadline is moved, or taken back, without looking for it. A
// thing is in one heap at a time. A Heap has no clock and no lock; its zero value is empty.
package deadline
