// Package clock is where all time comes from. A router gets one Clock at its start and hands it to everything that
// waits or stamps: control loops, link impairments, the host stack (through TCPIP).
//
// Real is the system's clock. Virtual stands still until somebody moves it, and runs what falls due in order: with it a
// negotiation of hours is a test of milliseconds. A Clock is safe for concurrent use.
package clock
