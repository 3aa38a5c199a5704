#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Extended L2 entries: what goes by subcluster does, and a broken bitmap is told from a good one.
# timeout: 60
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io jq

PATH=$test_top/build/tests:$PATH
cd "$test_dir" || exit 1
at_exit qcow2ctl detach --all
sub=8192 cluster=262144
fill base.raw $((4 << 20)) 1
fill new.raw $((1 << 20)) 2

overlay() { qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=256k -b base.raw -F raw "$1"; }
# SECTOR COUNT, in one request: to the disk; to what it should hold.
put_to() { dd if=new.raw of="$1" bs=$(($3 * 512)) count=1 conv=notrunc status=none oflag="$4seek_bytes" seek=$(($2 * 512)); }
put() { put_to "$dev" "$@" direct,; }
want() { put_to want.raw "$@" ''; }
stat() { qcow2ctl list --json | jq ".[0].stats.\"$1\""; }
queue() { cat "/sys/block/${dev#/dev/}/queue/$1"; }

# The first entries of an image whose first L2 table is at cluster 4: word and bitmap, a line each.
entries() { od -An -v -tx8 --endian=big -w16 -j $((4 * cluster)) -N $((9 * 16)) "$1"; }

overlay top.qcow2
dev=$(qcow2ctl attach top.qcow2)
check "subclusters are what is discarded, and what I/O had better be of at least" \
	test "$(queue discard_granularity) $(queue minimum_io_size)" = "$sub $sub"

cp base.raw want.raw
whole_subclusters() {
	local at
	# of a new cluster, across two of them, others of the same, all of one
	for at in '0 16' '80 48' '496 32' '16 32' '1024 512'; do
		# shellcheck disable=SC2086 # two words
		put $at && want $at || return
	done
	echo "$(stat copies) copies" && [ "$(stat copies)" = 0 ]
}
check "a write of whole subclusters copies nothing" whole_subclusters
check "nor does it change others" cmp "$dev" want.raw
put 2053 1
want 2053 1
check "a write of a part copies the rest of the subcluster" test "$(stat copies)" = 1
check "and no more" cmp "$dev" want.raw
qcow2ctl detach "$dev"
bitmaps() { entries top.qcow2 | awk 'NR <= 5 { printf "%s ", $2 }'; }
check "just these are allocated" test "$(bitmaps)" = \
	"00000000800000e7 0000000000000001 00000000ffffffff 0000000000000000 0000000000000001 "
check "QEMU reads the same" qemu-img compare -f raw -F qcow2 want.raw top.qcow2

# --- space ----------------------------------------------------------------------------------

qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=2M space.qcow2 64M
dev=$(qcow2ctl attach space.qcow2)
dd if=/dev/urandom of="$dev" bs=1M count=4 oflag=direct status=none
by_subcluster() {
	local before after i
	sync "$dev"
	before=$(du -k space.qcow2 | cut -f 1)
	for ((i = 0; i < 4 * 16; i++)); do echo "discard $((i * 65536)) 65536"; done |
		shuf --random-source=new.raw | qemu-io -f raw "$dev" >discards || return
	sync "$dev"
	qcow2ctl detach "$dev"
	after=$(du -k space.qcow2 | cut -f 1)
	echo "$before KiB before, $after after"
	[ $((before - after)) -ge 4096 ]
}
check "a cluster is given back when the last of its subclusters is discarded" by_subcluster
check "and the image is whole" qemu-img check space.qcow2

# --- broken bitmaps --------------------------------------------------------------------------

overlay bad.qcow2
qemu-io -f qcow2 -c 'write 0 1M' bad.qcow2 >/dev/null
# allocated and zero, of cluster 1; allocated where there is no cluster, of cluster 8
poke bad.qcow2 $((4 * cluster + 16 + 8)):8=0x10000ffffffff $((4 * cluster + 8 * 16 + 8)):8=0x8
cp bad.qcow2 before.qcow2
dev=$(qcow2ctl attach bad.qcow2)
for i in 1 8; do
	refuse "cluster $i cannot be read" 1 'Input/output error' \
		dd if="$dev" of=/dev/null bs=$cluster skip=$i count=1 iflag=direct
	refuse "nor written" 1 'Input/output error' \
		dd if=new.raw of="$dev" bs=$sub seek=$((i * 32 + 2)) count=1 oflag=direct conv=notrunc
	refuse "nor discarded" 1 'Input/output error' blkdiscard -o $((i * cluster)) -l $cluster "$dev"
	refuse "nor made zero" 1 'Input/output error' blkdiscard -z -o $((i * cluster)) -l $sub "$dev"
done
check "the log says why" grep -q 'subcluster bitmap 0x10000ffffffff has subclusters that are allocated and read as zeros' \
	<(dmesg)
check "its neighbours can" put 1024 2
qcow2ctl detach "$dev"
check "what is broken is as it was" test "$(entries bad.qcow2 | sed -n '2p;9p')" = \
	"$(entries before.qcow2 | sed -n '2p;9p')"
finish
