// Package commands is every command of the router's console: what may be typed, and which view or verb answers it. It
// knows the router only through Router, read-only views and a few verbs, so that it can be tested without one and
// serves every way in: serial console, lab, later SSH.
package commands
