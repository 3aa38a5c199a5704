#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Swap on an image, and a process larger than memory: pages come back as they were, nothing waits for
# itself, nothing is killed. The disk below has its memory beforehand.
# kernels: uml
# timeout: 300
. "$(dirname "$0")/test_common.sh"
need qemu-img mkswap swapon

modprobe null_blk nr_devices=0 2>/dev/null
config=/sys/kernel/config/nullb/nullb7
mkdir "$config" || skip_all "no null_blk"
at_exit rmdir "$config"
for setting in size=640 memory_backed=1 blocksize=512 power=1; do
	echo "${setting#*=}" >"$config/${setting%=*}" || skip_all "null_blk has no ${setting%=*}"
done
disk=/dev/nullb7	# but older kernels count themselves
test -b $disk || disk=/dev/nullb$(cat "$config/index")
test -b "$disk" || skip_all "no $disk"
dd if=/dev/zero of="$disk" bs=1M oflag=direct status=none 2>/dev/null	# up to its end
mkdir "$test_dir/below"

swap_on() {	# IMAGE DIRECT-IO
	local status device
	device=$(qcow2ctl attach --no-partscan --direct-io "$2" "$1") || return
	mkswap "$device" >/dev/null || return
	swapon "$device" || return
	"$test_top/build/tests/hog" 160 260 3
	status=$?
	swapoff "$device" || status=1
	qcow2ctl detach "$device" && qemu-img check "$1" || status=1
	return "$status"
}

at_exit umount "$test_dir/below"
at_exit qcow2ctl detach --all
at_exit swapoff -a
qemu-img create -q -f qcow2 "$disk" 320M
check "swap on an image on a block device" swap_on "$disk" on
finish
