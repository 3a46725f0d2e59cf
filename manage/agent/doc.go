// Package agent lets a lab talk to a router in a virtual machine: command lines in, their output out, over a
// virtio-serial port that needs no network.
//
//	lab ─► unix socket ─► QEMU ─► /dev/vportNpM "felloe.agent" ─► Serve ─► Executor.Exec
//
// Requests and answers are JSON, one a line:
//
//	{"id":7,"exec":"show dmvpn","json":false}  ─►  {"id":7,"out":"Interface: Tunnel0, …"}
//	{"id":8,"boot":true}                       ─►  {"id":8,"boot":[{"name":"pid1","kernel_ns":…,"pid1_ns":0}, …]}
//	{"id":9,"cancel":7}                        ─►  (nothing; 7 answers with an error)
//
// Several requests run at once, each answered when it is done: a ping that runs for half a minute keeps nobody waiting.
// The line carries no framing but newlines; a client begins with an empty line, so that half a request that a client
// before it left behind spoils nothing, and ignores answers to identifiers that it did not give.
//
// The port is the hypervisor's: whoever has it has the machine. It is not a management interface for networks, and it is
// served only where the machine has such a port.
package agent
