#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Changes at random on stores that can do less: vfat, which has no holes, and the VM's share, hostfs
# or 9p, where there is neither fallocate nor punching. test_write_01.sh has tmpfs.
# kernels: uml 6.1
# timeout: 90
. "$(dirname "$0")/test_common.sh"
need mkfs.vfat losetup qemu-img
. "$(dirname "$0")/test_stores.sh"

store_patterns=('zlib-512-raw' 'v2-4096-none' 'zstd-65536-qcow2' 'snapshots-4096-2')
case ${VM_KERNEL:-} in
uml)
	ops=300
	store_patterns+=('grows-refcount-table' 'zlib-2097152-unaligned')
	;;
*) ops=100 ;;
esac
run() { store_differ "$1" --ops "${DIFFER_OPS:-$ops}" "${@:2}"; }

share_linked() { mkdir "$VM_SHARE/store" && ln -s "$VM_SHARE/store" "$stores/share"; }

check "vfat is made" store_made vfat 256M 512 mkfs.vfat
check "images on it" run vfat
if [ -n "${VM_SHARE:-}" ]; then
	fs=$(findmnt -n -o FSTYPE -T "$VM_SHARE")
	at_exit rm -rf "$VM_SHARE/store"
	check "$fs is there" share_linked
	check "images on it" run share
fi
finish
