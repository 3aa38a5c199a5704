#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Memory that cannot be had: no request fails for it, an attach fails in one piece, and what the disk
# holds is right (tests/crash/memory.c). While kmemleak watches, everything is slow, and a few will do:
# tests/check runs the rest without.
# kernels: uml-debug
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io mkfs.xfs losetup
modprobe -q -a loop xfs

memory=$test_top/build/crash/memory
[ -x "$memory" ] || skip_all "no memory: make -C tests/crash"
differ=$test_top/build/tests/differ
# Else detach does little but wait.
echo 1 >/sys/kernel/rcu_expedited && at_exit 'echo 0 >/sys/kernel/rcu_expedited'
truncate -s 640M "$test_dir/disk"
loop=$(losetup --find --show --direct-io=on "$test_dir/disk") || skip_all "no loop device"
at_exit losetup -d "$loop"
mkfs.xfs -q "$loop" && mkdir "$test_dir/xfs" && mount "$loop" "$test_dir/xfs" || exit 1
at_exit umount "$test_dir/xfs"
at_exit qcow2ctl detach --force --all
at_exit "$memory" random own 0
head -c 1M /dev/urandom >"$test_dir/base.raw"

# Zones of 64 KiB: data, data that a snapshot shares, compressed data, zeros, nothing; and again from
# 512 KiB on.
make_image() {	# FILE SIZE QEMU-IMG-OPTIONS
	qemu-img create -q -f qcow2 -o "$3" -b "$test_dir/base.raw" -F raw "$1" "$2" &&
		qemu-io -f qcow2 -c 'write -q -P 1 0 128k' -c 'write -q -P 4 512k 128k' "$1" &&
		qemu-img snapshot -c before "$1" &&
		qemu-io -f qcow2 -c 'write -q -P 2 0 64k' -c 'write -q -c -P 3 128k 64k' \
			-c 'write -q -z 192k 64k' -c 'write -q -P 5 512k 64k' \
			-c 'write -q -c -P 6 640k 64k' -c 'write -q -z 704k 64k' "$1"
}

# Random operations on three images at once, while so many allocations of a hundred fail.
work() {	# DIR own|all PERCENT OPERATIONS
	local status=0 options image devices=() jobs=() i
	for options in cluster_size=512 cluster_size=4096 cluster_size=64k,compression_type=zstd; do
		image=$1/${options//[=,]/-}.qcow2
		make_image "$image" 8M "$options" || return
		devices+=("$(qcow2ctl attach --no-partscan --backing-dir "$test_dir" "$image")") || return
	done
	"$memory" random "$2" "$3" || return
	for i in "${devices[@]}"; do
		"$differ" --ops "$4" --threads 4 --seed "$3" --device "$i" &
		jobs+=($!)
	done
	for i in "${jobs[@]}"; do
		wait "$i" || status=1
	done
	# A list of devices needs memory, and there is none in reserve for that; detaching has it.
	for i in {1..50}; do
		qcow2ctl detach --all 2>"$test_dir/said" && break
	done
	grep -v 'cannot list devices: Cannot allocate memory' "$test_dir/said"
	"$memory" random own 0
	[ -z "$(qcow2ctl list)" ] || status=1
	for image in "$1"/*.qcow2; do
		qemu-img check -q "$image" || status=1
		rm "$image"
	done
	return "$status"
}

step=1 ops=150
if grep -q kmemleak=on /proc/cmdline; then
	step=8 ops=30
fi
make_image "$test_dir/image" 1M cluster_size=4096 || exit 1
check "attach, detach and questions, each allocation in turn" \
	"$memory" control "$test_dir/xfs" "$test_dir/image" "$test_dir/base.raw" "$step"
check "requests, each allocation in turn" \
	"$memory" requests "$test_dir/xfs" "$test_dir/image" "$test_dir/base.raw" "$step"
check "half of our allocations" work "$test_dir/xfs" own 50 "$ops"
check "a tenth of all, on XFS" work "$test_dir/xfs" all 10 "$ops"
check "a tenth of all, on tmpfs" work "$test_dir" all 10 "$ops"
finish
