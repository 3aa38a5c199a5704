#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Changes at random on file systems with direct I/O: XFS on sectors of 512 bytes and of 4096, where
# clusters, tables and compressed data are not aligned, and ext4, there through the page cache, too.
# kernels: uml
# timeout: 150
. "$(dirname "$0")/test_common.sh"
need mkfs.xfs mkfs.ext4 losetup qemu-img
. "$(dirname "$0")/test_stores.sh"

store_patterns=('zlib-512-raw' 'v2-1024-same' 'zstd-4096-short' 'zlib-16384-unaligned'
	'v2-65536-none' 'zlib-65536-raw' 'zstd-1048576-qcow2' 'snapshots-512-16' 'snapshots-65536-4'
	'grows-refcount-table' 'preallocation-falloc' 'data-512-raw' 'data-65536-data'
	'rawdata-4096-none' 'data-2097152-unaligned' 'extl2-16384-raw' 'extl2-65536-same'
	'extl2data-2097152-unaligned' 'extl2rawdata-65536-none')
run() { store_differ "$1" --ops "${DIFFER_OPS:-600}" "${@:2}"; }

check "XFS on sectors of 512 bytes is made" store_made xfs-512 600M 512 mkfs.xfs -q -s size=512
check "images on it, direct I/O" run xfs-512 --direct-io on
check "XFS on sectors of 4096 bytes is made" store_made xfs-4096 600M 4096 mkfs.xfs -q -s size=4096
check "images on it, direct I/O" run xfs-4096 --direct-io on
check "ext4 is made" store_made ext4 600M 512 mkfs.ext4 -q
check "images on it, direct I/O" run ext4 --direct-io on
check "and through the page cache" run ext4 --direct-io off
finish
