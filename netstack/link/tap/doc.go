// Package tap is a link.Driver over a TAP device of Linux: the router is what sits at the far end of the cable whose near
// end is a network interface of the kernel. It joins a router that runs as an ordinary process to its host, to a bridge,
// or to a virtual machine.
//
//	kernel's interface ══ /dev/net/tun ══ router
//	   its own MAC                          Info().MAC, another one
//
// With Options.Offload the device carries a virtio-net header, and the kernel may hand over super-frames without
// checksums, one read for 64 kB of a TCP stream; package vnet cuts them up. Reading takes a vector of frames each time
// the Go runtime's poller says that there are some; no thread is spent on a quiet device.
//
// The device is gone with the driver unless it was made persistent elsewhere (`ip tuntap add`); then Open joins it.
//
// Left out: several queues, sending super-frames.
package tap
