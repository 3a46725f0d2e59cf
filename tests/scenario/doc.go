// Package scenario holds the tests of whole networks: every ready lab of qemu/labs, and what needs more than a lab file
// can say, with all routers in this process over in-memory links.
//
//	qemu/labs/NAME/lab.toml ─► qemu.Memory ─► a boot.Router a node ─► checks
//	                               │
//	                               └─ captures of all links, from before the first frame to after the last
//	                                      ▼
//	                          tests/wire: no GRE, no inner address in clear, tshark reads and decrypts
//
// So every test here proves two things: that the network does what it should, and that nothing leaked meanwhile.
//
// Labs with software of others, and two of ours, run in network namespaces (qemu.Netns), as root or in a user namespace; this
// program is then also their `felloe run`. What they need of Debian must be there: iproute2, ethtool, procps, iputils-ping,
// bird2, charon-systemd, strongswan-swanctl, libcharon-extra-plugins, libstrongswan-standard-plugins.
//
// The labs run in real time, since netstack's TCP does not run in virtual time by itself; their timers are short, and most
// of the time they wait, so several run at once. Nothing is asserted about how long something takes, only that it
// happens within a generous deadline.
package scenario
