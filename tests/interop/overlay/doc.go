// Package overlay brings the ready labs in which software of others takes part into the matrix: a case a lab, a row a check.
//
//	qemu/labs/secure-overlay*/lab.toml ─► qemu.Netns ─► felloe run, charon-systemd, bird ─► checks ─► rows
//
// What the labs are, their files say; the default variant of the secure overlay is in tests/scenario too.
package overlay
