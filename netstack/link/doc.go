// Package link is the seam between the data plane and what carries its frames: a Driver sends and receives vectors of
// Ethernet frames. Drivers live in folders beside it: mem (in one process), afpacket (a Linux NIC), tap.
package link
