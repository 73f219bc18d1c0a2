#!/bin/sh
# make-debian.sh amd64|arm64 [APT-SOURCES]: a Debian 12 guest, made only from Debian's packages: the stock kernel with
# its modules, systemd, a login (root, password root) on the terminal that console= names.
#
# Writes vmlinuz, initrd.img and root.ext4 (no partition table: root=/dev/vda) into .lab/debian-ARCH.
# Needs: apt install mmdebstrap fakeroot e2fsprogs, and for an architecture other than the host's also
# arch-test qemu-user-static binfmt-support, which run the packages' own scripts.
set -eu
arch=$1
case $arch in
  amd64) kernel=linux-image-cloud-amd64 ;;
  arm64) kernel=linux-image-arm64 ;;
  *) echo "$0: amd64 or arm64, not $arch" >&2; exit 2 ;;
esac
sources=${2:-/etc/apt/sources.list.d/debian.sources}
[ -e "$sources" ] || sources=/etc/apt/sources.list
mkdir -p ".lab/debian-$arch"
cd ".lab/debian-$arch"

# An initrd with few modules: packing all of them takes ten minutes and more under an emulator.
mmdebstrap --architectures="$arch" --variant=minbase \
  --include="$kernel",initramfs-tools,zstd,systemd-sysv,udev,kmod,dbus \
  --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"' \
  --essential-hook='echo MODULES=list >"$1/etc/initramfs-tools/conf.d/modules"' \
  --essential-hook='printf "%s\n" virtio_pci virtio_blk ext4 crc32c_generic >"$1/usr/share/initramfs-tools/modules.d/virtio"' \
  --customize-hook='echo root:root | chroot "$1" chpasswd' \
  --customize-hook='echo debian >"$1/etc/hostname"' \
  --customize-hook='echo "/dev/vda / ext4 defaults 0 1" >"$1/etc/fstab"' \
  bookworm root.tar "$sources"

# fakeroot keeps the owners and the modes that the tar file records.
fakeroot sh -euc '
  mkdir tree
  tar -C tree -xf root.tar
  cp tree/boot/vmlinuz-* vmlinuz
  cp tree/boot/initrd.img-* initrd.img
  mke2fs -q -F -t ext4 -d tree root.ext4 1G
'
rm -rf tree root.tar
