// Command init is a PID 1 that tests boot from an image: the router's place is taken by a program that only looks around.
// It prints what it found (boot times, NICs, the config disk, warnings) on its first console, and obeys single words there:
// reboot, poweroff, panic.
package main
