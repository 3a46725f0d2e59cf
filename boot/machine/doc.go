// Package machine runs a router where it lives: as the only program of a machine (Run, under PID 1), or as an ordinary
// process in somebody's network namespace (Process).
//
//	kernel ─► pid1 (mounts, modules, NICs, config disk) ─► boot.Router ─┬─ consoles: serial line, screen
//	                                                                   ├─ agent: virtio-serial port or unix socket
//	                                                                   └─ power: button, command
//
// A configuration that is missing or wrong does not stop the machine: it boots to a console that says exactly what is
// wrong, with the defaults applied and every interface silent.
package machine
