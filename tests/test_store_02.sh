#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Changes at random where there is no space, or hardly any: what needs some gets ENOSPC, all else goes
# on, and the images stay whole. Half of the time not a byte is free.
# kernels: uml
# timeout: 150
. "$(dirname "$0")/test_common.sh"
need mkfs.xfs mkfs.ext4 mkfs.vfat losetup qemu-img
. "$(dirname "$0")/test_stores.sh"

store_patterns=('zlib-512-raw' 'v2-4096-none' 'zstd-65536-qcow2' 'snapshots-4096-2'
	'grows-refcount-table' 'zlib-131072-unaligned' 'data-4096-raw')
run() { store_differ "$1" --ops "${DIFFER_OPS:-300}" --room 1024 "${@:2}"; }

check "tmpfs is made" store_tmpfs 64M
check "images on it, when it is full" run tmpfs
check "vfat is made" store_made vfat 48M 512 mkfs.vfat
check "images on it, when it is full" run vfat
check "ext4 is made" store_made ext4 64M 512 mkfs.ext4 -q -m 0
check "images on it, when it is full" run ext4
check "XFS is made" store_made xfs 300M 512 mkfs.xfs -q
check "images on it, when it is full" run xfs
finish
