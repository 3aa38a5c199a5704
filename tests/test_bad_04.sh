#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images whose tables say that there is much more than what they have: what is done with them takes
# neither the memory nor the time that they ask for.
# kernels: uml
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io
at_exit qcow2ctl detach --force --all

cd "$test_dir" || exit 1
poke=$test_top/build/tests/poke
be64() { echo $((0x$(od -An -tx1 -j "$2" -N 8 "$1" | tr -d ' \n'))); }	# FILE OFFSET

available() {	# sets free, KiB
	while read -r name free _; do
		[ "$name" != MemAvailable: ] || return 0
	done </proc/meminfo
}

# How much memory does this take at most, KiB? It is watched until the command has ended.
memory_of() {	# COMMAND... ; sets taken
	local before least pid
	available
	before=$free least=$free
	"$@" &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		available
		((free >= least)) || least=$free
	done
	taken=$((before - least))
	wait $pid
}

# Each entry of an L2 table points to another refcount block's part of a file that is not that large.
far_data() {
	local l1 l2 i copied=$((1 << 63)) entries=()
	qemu-img create -q -f qcow2 -o cluster_size=64k,refcount_bits=64 image 512M
	qemu-img snapshot -c empty image && qemu-io -f qcow2 -c 'write -q -P 0 0 64k' image
	l1=$(be64 image 40)
	l2=$(($(be64 image "$l1") & 0xfffffffffffe00))
	for ((i = 1; i < 8192; i++)); do
		printf -v "entries[i]" '%d:8=0x%x' $((l2 + 8 * i)) $((copied | i << 29))
	done
	"$poke" image "${entries[@]}"
}
far_data
device=$(qcow2ctl attach --no-partscan image)
memory_of qcow2ctl snapshot delete "$device" empty
check "a snapshot of an image with data far away goes" test $? = 0
check "and takes no memory for each of them: $taken KiB" test $taken -lt 100000
check "what is there is read" cmp -n 65536 "$device" /dev/zero
check "detached" qcow2ctl detach "$device"
finish
