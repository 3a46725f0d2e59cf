// Package disk finds a router's configuration on the machine's disks and reads it without the kernel's file systems.
//
//	block devices ─► FAT or ISO 9660 labelled FELLOE ─► felloe.toml, or the only *.toml
//	              ─► the same labelled CIDATA (NoCloud) ─► felloe.toml, or user-data
//	              ─► a device that begins with TOML ─► that text
//
// Labelled volumes come before raw text, FELLOE before CIDATA; among equals the first device wins. Other files of the
// volume (keys, certificates) come along, so that a configuration can name them.
//
// A disk is bytes from outside: every offset, length and chain is checked against the device's size and against fixed
// limits. What is cut short or contradicts itself is an error that names the device, never a guess.
//
// References: Microsoft's FAT32 File System Specification 1.03; ECMA-119 (ISO 9660), Joliet, and the NM entries of Rock
// Ridge (IEEE P1282); cloud-init's NoCloud source for the label.
//
// Left out: writing, exFAT, NTFS, ext4, cloud-config YAML.
package disk
