#!/usr/bin/env bash
# recipe.sh OUT SUITE PACKAGE…
#
# Makes the image of a peer: OUT/vmlinuz, OUT/initrd.img and OUT/root.img, which machines share and never write to, out of
# Debian's packages by name. Package peers rebuilds it when a byte of this file or an argument changes.
set -euo pipefail
out=$1 suite=$2; shift 2
root=$out/root
rm -rf "$out"; mkdir -p "$out"
packages=$(IFS=,; echo "$*"),linux-image-cloud-amd64,busybox-static,iproute2,iputils-ping,iputils-tracepath,traceroute
packages+=,nftables,iperf3,tcpdump,ethtool,procps,kmod

# The kernel's own hooks would make an initramfs of a hundred megabytes; ours is below.
mmdebstrap --quiet --mode=root --variant=minbase \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --setup-hook='mkdir -p "$1/etc/kernel-img.d" "$1/etc/initramfs-tools/conf.d" "$1/usr/local/sbin"
    for c in update-initramfs; do printf "#!/bin/sh\nexit 0\n" >"$1/usr/local/sbin/$c"; chmod 755 "$1/usr/local/sbin/$c"; done' \
  --include="$packages" "$suite" "$root"

modules=$root/usr/lib/modules; version=$(ls "$modules" | head -n 1)
cp "$root/boot/vmlinuz-$version" "$out/vmlinuz"
rm -rf "$root"/boot/* "$root"/usr/local/sbin/update-initramfs "$root"/etc/rc?.d/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
(cd "$modules/$version/kernel" && rm -rf sound drivers/{gpu,media,infiniband,scsi,staging,usb,hid,iio,input,isdn,md,mmc,mtd,power,thermal,video,ata,bluetooth,nvme,target,hwmon} \
  drivers/net/{wireless,ethernet} fs/{btrfs,xfs,f2fs,nfs,nfsd,smb,ceph,ocfs2,gfs2})
depmod -b "$root" "$version"
mkdir -p "$root/lab"; : >"$root/etc/resolv.conf"; echo peer >"$root/etc/hostname"
truncate -s $(($(du -sm "$root" | cut -f1) + 64))M "$out/root.img"
mke2fs -q -F -t ext4 -O ^has_journal -d "$root" "$out/root.img"

initrd=$out/initrd
mkdir -p "$initrd"/{bin,modules,proc,sys,dev,mnt,new,rw}
cp "$root/usr/bin/busybox" "$initrd/bin/"
for m in virtio_pci virtio_blk ext4 overlay; do
  modprobe -d "$root" -S "$version" --show-depends "$m" 2>/dev/null || true
done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r m; do
  cp "$m" "$initrd/modules/"; basename "$m" >>"$initrd/order"
done
cat >"$initrd/init" <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sysfs /sys; $B mount -t devtmpfs dev /dev
for m in $($B cat /order); do $B insmod "/modules/$m" || echo "peer: insmod $m failed"; done
n=0; while [ ! -b /dev/vdb ] && [ $n -lt 200 ]; do $B sleep 0.05; n=$((n + 1)); done
$B mount -t ext4 -o ro /dev/vda /mnt || $B poweroff -f
$B mount -t tmpfs -o size=50% rw /rw; $B mkdir -p /rw/up /rw/work
$B mount -t overlay -o lowerdir=/mnt,upperdir=/rw/up,workdir=/rw/work root /new || $B poweroff -f
for d in proc sys dev; do $B mount --move /$d /new/$d; done
# The second disk is a tar: the machine's configuration and the program that takes it into effect.
$B tar xf /new/dev/vdb -C /new/lab || $B poweroff -f
exec $B switch_root /new /lab/.init
INIT
chmod 755 "$initrd/init"
(cd "$initrd" && find . | cpio --quiet -o -H newc | gzip -1) >"$out/initrd.img"
rm -rf "$root" "$initrd"
echo "$version" >"$out/kernel"
