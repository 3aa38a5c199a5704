#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The tool killed at any moment leaves a whole device or none, and no lock; many tools at once
# get a device each.
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io sfdisk
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
truncate -s 4M raw
printf '%s\n' 'label: dos' '2048,+' | sfdisk -q raw
qemu-img convert -O qcow2 raw base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2

# How long an attach takes here, the second time; then die at twenty moments of it.
mkfifo never
exec 9<>never
for i in 1 2; do
	start=${EPOCHREALTIME/./}
	qcow2ctl attach -r top.qcow2 >out
	whole=$(((${EPOCHREALTIME/./} - start) / 1000))
	qcow2ctl detach --all
done
attached=0 none=0 broken=0
for i in {1..20}; do
	qcow2ctl attach -r top.qcow2 >out &
	read -rt "$(printf '%d.%03d' $((whole * i / 18000)) $((whole * i / 18 % 1000)))" -u 9
	{ kill -KILL $! && wait $!; } 2>/dev/null
	if [ -e /sys/block/qcow0 ]; then
		attached=$((attached + 1))
		head -c 512 /dev/qcow0 | cmp -s -n 512 - raw || broken=$((broken + 1))
		qcow2ctl detach /dev/qcow0 || broken=$((broken + 1))
	else
		none=$((none + 1))
	fi
done
echo "# $attached attached, $none not, of an attach that takes $whole ms"
check "killed at any moment, a device is whole or not there" test $broken = 0
check "no lock is left" qemu-io -c 'write 3M 512' top.qcow2

# A device that cannot be made ready is not left behind: the partition table lies in a cluster
# that was cut off.
qemu-img create -q -f qcow2 cut.qcow2 1M
qemu-io -c 'write 0 64k' cut.qcow2 >/dev/null
truncate -s $((5 * 65536)) cut.qcow2
refuse "an unreadable partition table" 2 "cannot read the partition table: .*--no-partscan" \
	qcow2ctl attach -r cut.qcow2
refuse "nobody to be told the name" 2 "cannot write to standard output" \
	eval "qcow2ctl attach -r top.qcow2 >/dev/full"
check "no device is left of that" test -z "$(qcow2ctl list)"
check "--no-partscan attaches it" qcow2ctl attach -r --no-partscan cut.qcow2
qcow2ctl detach cut.qcow2

# Eight at once, of one image: eight devices, one name each.
for i in {1..8}; do
	qcow2ctl attach -r top.qcow2 >"device$i" &
done
wait
check "attaches at once get a device each" test "$(cat device? | sort -u | wc -l)" = 8
partitions=(/dev/qcow?p1)
check "and all have their partition" test ${#partitions[@]} = 8

# Detached all at once, twice each: one of two is told that there is no such device.
for i in {1..8} {1..8}; do
	qcow2ctl detach "$(cat "device$i")" 2>/dev/null || echo refused >>refused &
done
wait
check "of two detaches of a device one does it" test "$(wc -l <refused)" = 8
check "no device is left" test -z "$(qcow2ctl list)"
finish
