// Package qemu runs labs: networks of routers that one TOML file describes, as virtual machines, inside one process, or as
// processes in network namespaces, with checks of what must come out.
//
//	lab.toml ─► Lab ─► Backend ─┬─ QEMU: one machine a node, frames over unix sockets ─┐
//	              │             ├─ memory: one boot.Router a node ─────────────────────┤
//	              │             └─ netns: one namespace a node, frames over veth pairs ┤
//	              ▼                                                                    ▼
//	       checks and steps ──────────────── links of netstack/link/mem: delay, loss, cuts, captures
//
// In every case all links are those of netstack/link/mem: in memory the routers hold their ends; with QEMU a relay in the
// lab's process stands between each NIC's pair of unix datagram sockets and an end; with namespaces it holds the far ends
// of the veth pairs. So impairments, cuts and captures are the same thing in all, and need nothing of the kernel. Only
// namespaces need a privilege.
//
// In a namespace a node need not be a router of ours: an external node is what its shell commands start (External). Routers
// die with the lab's process; namespaces outlive it, with the software of others in them, so a lab's folder has their names,
// each from before it is made, and whoever comes next ends what is in them (bury).
//
// A lab file:
//
//	name = "two-routers"
//	[[node]]
//	name   = "left"
//	config = "left.toml"
//	[[node]]
//	name   = "right"
//	config = "right.toml"
//	[[link]]                       # two ends are a cable, more are a switch
//	ends  = ["left:GigabitEthernet1", "right:GigabitEthernet1"]
//	delay = "5ms"
//	[[check]]
//	description = "left reaches right"
//	node    = "left"
//	command = "ping 10.0.0.2"
//	expect  = ['Success rate is 100 percent']
//	within  = "20s"                # tried again until then
//	[[step]]                       # steps act, between the checks and in the file's order
//	cut = "left:GigabitEthernet1"
//
// README.md has all keys. A node's NICs are its link ends, sorted by the interfaces' names, which is the order in which
// a router binds its Ethernet interfaces to NICs.
//
// `lab run` brings a lab up, works through checks and steps, prints a table and takes everything down. `lab up` leaves it
// with a supervisor process, which the other commands reach over a unix socket. Virtual machines die with the process that
// started them (PR_SET_PDEATHSIG), so nothing is left after a crash.
//
// Left out: machines on several hosts, links to the world outside, other hypervisors.
package qemu
