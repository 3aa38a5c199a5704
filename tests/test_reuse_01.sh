#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A refcount table lies where the file has grown to, far ahead of what data have come to. Once it has
# moved away, its place is not one that was never written.
# kernels: uml uml-debug
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
state=/sys/kernel/debug/qcow2blk/state
[ -e "$state" ] || skip_all "no debugfs"

table() {	# IMAGE: the refcount table's offset, as the file says
	od -An -j 48 -N 8 -t u8 --endian=big "$1" | tr -d ' '
}
never_used() { sed -n 's/.*never used from \([0-9]*\).*/\1/p' "$state"; }

# Random bytes, in the place that they have in want, to the device, and to what it ought to be.
put() {	# DEVICE BS FIRST COUNT
	dd if=want of="$1" bs="$2" skip="$3" seek="$3" count="$4" conv=notrunc oflag=direct status=none
	dd if=want of=disk bs="$2" skip="$3" seek="$3" count="$4" conv=notrunc status=none
}

# Write on and on until the table lies so far ahead, about 14 MiB; sets done, in pieces of 128 KiB.
write_until_ahead() {	# DEVICE IMAGE
	put "$1" 128k 0 96
	for ((done = 96; done < 256; done++)); do
		put "$1" 128k $done 1
		[ $(($(table "$2") / cluster_size)) -le $(($(never_used) + 600)) ] || return 0
	done
	return 1
}

# What moves the table.
resize() { qcow2ctl resize "$1" +1M; }
snapshot() { qcow2ctl snapshot create "$1" taken; }

# Without punching, the old table's bytes are still there when its clusters are taken again: by tables.
moved() {	# CHANGE
	local old at i
	qemu-img create -q -f qcow2 -o "cluster_size=$cluster_size,refcount_bits=64" image.qcow2 64M
	rm -f disk
	truncate -s 64M disk
	device=$(qcow2ctl attach --discard=ignore image.qcow2)
	write_until_ahead "$device" image.qcow2
	check "$1: a table that is far ahead" test $? = 0
	old=$(table image.qcow2)
	"$1" "$device"
	check "it has moved" test "$(table image.qcow2)" != "$old"
	if [ "$1" = resize ]; then
		truncate -s 65M disk
	fi
	# Up to it, and then a new L2 table for each sector, one of which would get its place.
	for ((at = done + 1; at < 400 && $(never_used) + 300 < old / cluster_size; at++)); do
		put "$device" 128k $at 1
	done
	for ((i = 0; i < 300; i++)); do
		put "$device" 512 $((at * 256 + 64 * i)) 1
	done
	check "the disk is right" cmp disk "$device"
	qcow2ctl detach "$device" || qcow2ctl detach --force "$device"
	check "the image is whole" qemu-img check -q image.qcow2
	check "and reads so" qemu-img compare -q -f raw -F qcow2 disk image.qcow2
}

head -c 64M /dev/urandom >want
cluster_size=512
moved resize
moved snapshot
finish
