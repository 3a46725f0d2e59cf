// Package supervisor is the first program of a Felloe machine: a small loop that starts the router as a child, reaps
// what dies, and turns the router's end into a power-off, a reboot, or, after a crash, an orderly reboot.
//
//	kernel ─► /init (this package, PID 1) ─► /init (the router, pid1.Run)
//	               ▲   signals: power, Ctrl-Alt-Del ─► SIGTERM ─┘
//	               └── exit status: 0 power off, 10 reboot, anything else: the trace stays on the console, then reboot
//
// A Go program whose goroutine panics ends, and a kernel whose PID 1 ends stops with "Attempted to kill init". With a
// parent the same crash, a fatal runtime error or a kill for want of memory costs one reboot, and says why.
//
// It runs from the package's init function and imports only the standard library: Go initialises ready packages in the
// order of their import paths, so PID 1 starts the router before (and never pays for) the initialisation of what the
// router is made of. It does nothing at all in a process that is not PID 1 under the name /init: a container's first
// process is PID 1 too.
//
// Left out: restarting the router without a reboot.
package supervisor
