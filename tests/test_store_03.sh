#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A disk that is larger than what its store has room for: written until that is full, discarded, and
# written again when there is room (tests/tools/full.c). On file systems, and on a block device up to
# its end, which is full of old data before.
# kernels: uml
# timeout: 150
. "$(dirname "$0")/test_common.sh"
need mkfs.xfs mkfs.ext4 mkfs.vfat losetup qemu-img
. "$(dirname "$0")/test_stores.sh"

full() {	# IMAGE CLUSTER-SIZE [FILLER] OPTION...
	qemu-img create -q -f qcow2 -o "cluster_size=$2" "$1" 96M &&
		"$test_top/build/tests/full" "${@:4}" "$1" ${3:+"$3"}
}

full_store() {	# NAME CLUSTER-SIZE OPTION...
	full "$stores/$1/image" "$2" "$stores/$1/filler" "${@:3}" && rm "$stores/$1"/{image,filler}
}

full_device() {	# CLUSTER-SIZE
	local device
	head -c 20M /dev/urandom >"$stores/device.img" || return
	device=$(losetup --find --show "$stores/device.img") || return
	full "$device" "$1" '' && losetup -d "$device"
}

check "tmpfs is made" store_tmpfs 32M
check "what fills it, clusters of 4 KiB" full_store tmpfs 4096
check "vfat is made" store_made vfat 32M 512 mkfs.vfat
check "what fills it, clusters of 64 KiB" full_store vfat 65536
check "ext4 is made" store_made ext4 48M 512 mkfs.ext4 -q -m 0
check "what fills it, clusters of 512 bytes" full_store ext4 512
check "what fills it, through the page cache" full_store ext4 65536 --direct-io off
check "XFS is made" store_made xfs 300M 512 mkfs.xfs -q
check "what fills it, clusters of 4 KiB" full_store xfs 4096
check "a block device, clusters of 4 KiB" full_device 4096
check "a block device, clusters of 64 KiB" full_device 65536
finish
