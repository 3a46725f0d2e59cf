// Package image makes what boots: a kernel, an initramfs whose only program is Felloe, a disk that carries both, and
// the small disks that carry a configuration.
//
//	linux-image-cloud-amd64 (.deb) ─┬─ vmlinuz ────────────────────────┬─► felloe.vmlinuz
//	                                └─ a few modules ─┐                │
//	felloe (static binary) ──────────── cpio, zstd ───┴──► felloe.initrd│
//	                                                          │        ▼
//	systemd-boot-efi (.deb) ── BOOTX64.EFI ──────────► one FAT partition, GPT ─► felloe.qcow2
//	syslinux, syslinux-common (.deb) ── boot sectors, ldlinux.sys ────▲
//
// Everything is done in Go on ordinary files: no root, no loop device, no mount, no helper but apt-get, which fetches the
// packages by name. The same inputs give the same bytes: times are fixed, orders are sorted, identifiers are derived
// from the content.
//
// The initramfs holds the modules that NICs, disks and consoles of virtual machines need, with modules.dep and
// modules.alias in depmod's text format: PID 1 loads only those whose devices it finds.
//
// The disk has a GPT with one EFI system partition. UEFI starts EFI/BOOT/BOOTX64.EFI (systemd-boot), which loads the
// kernel with the initramfs; a BIOS starts the MBR code, then the boot sector and ldlinux.sys of SYSLINUX, which load the
// same two files.
//
// References: GPT and removable-media path: UEFI 2.10 §5.3, §3.5.1.1; the Boot Loader Specification (entries); newc:
// Documentation/driver-api/early-userspace/buffer-format.rst of the kernel; qcow2: docs/interop/qcow2.txt of QEMU.
//
// Left out: Secure Boot signatures, other architectures, an update mechanism with two slots.
package image
