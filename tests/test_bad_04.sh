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

# Snapshots with the largest L1 tables, in a hole of a file with the smallest clusters.
large_snapshots() {	# NUMBER
	local i at table=$((1 << 20)) fields=(nb_snapshots="$1" snapshots_offset=$((1 << 20)))
	rm -f image
	qemu-img create -q -f qcow2 -o cluster_size=512 image 1M
	for ((i = 0; i < $1; i++)); do
		at=$((table + 40 * i))
		fields+=("$at:8=$(((i + 1) << 25))" $((at + 8)):4=$((4 << 20)))
	done
	truncate -s $((($1 + 1) << 25)) image
	"$poke" image "${fields[@]}"
}
large_snapshots 300
SECONDS=0
refuse "snapshots with more tables than anybody has: not attached" 2 \
	"more metadata than can be protected" qcow2ctl attach --no-partscan image
check "and it took no minute: $SECONDS s" test $SECONDS -lt 30
large_snapshots 10
device=$(qcow2ctl attach --no-partscan image)
check "with fewer it is" qcow2ctl detach "$device"
"$poke" image $((1 << 20)):8=$((1 << 40))
refuse "a snapshot's L1 table past the end" 2 "snapshot table" qcow2ctl attach --no-partscan image

# The L1 table is as large as it may be, and the disk needs one entry.
rm -f image
qemu-img create -q -f qcow2 image 1M
truncate -s 64M image
"$poke" image l1_table_offset=$((16 << 20)) l1_size=$((4 << 20))
SECONDS=0
device=$(qcow2ctl attach --no-partscan image)
check "an L1 table that is much too large is read at once: $SECONDS s" test $SECONDS -lt 2
check "and detached" qcow2ctl detach "$device"
"$poke" image $((48 << 20)):8=1 $(((48 << 20) - 8)):8=1
refuse "its last entry is looked at" 2 "L1 entry has reserved bits set" \
	qcow2ctl attach --no-partscan image
finish
