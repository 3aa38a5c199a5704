#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A refcount table lies where the file has grown to, far ahead of what data have come to. Once it has
# moved away, its place is not one that was never written.
# kernels: uml
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img fio
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

# The first 1 KiB of each 32 KiB, which is what an L2 table maps.
pieces() {	# FILE FIRST-PIECE FIO-OPTION...
	fio --name=pieces --filename="$1" --rw=write:31k --bs=1k --offset=$(($2 * 128))k \
		--size=$((65536 - $2 * 128))k --number_ios=1200 --buffer_pattern=0xa5 \
		--allow_file_create=0 "${@:3}" >/dev/null
}

# Without punching, the old table's bytes are still there when its clusters are taken again: by tables.
head -c 64M /dev/urandom >want
cluster_size=512
qemu-img create -q -f qcow2 -o cluster_size=$cluster_size,refcount_bits=64 image.qcow2 64M
truncate -s 64M disk
device=$(qcow2ctl attach --discard=ignore image.qcow2)
write_until_ahead "$device" image.qcow2
check "a table that is far ahead" test $? = 0
old=$(table image.qcow2)
qcow2ctl resize "$device" +1M
truncate -s 65M disk
check "it has moved" test "$(table image.qcow2)" != "$old"
# A new L2 table for each piece: one of them gets its place.
pieces "$device" $((done + 1)) --direct=1
pieces disk $((done + 1))
check "its place is behind us" test "$(never_used)" -gt $((old / cluster_size))
check "the disk is right" cmp disk "$device"
qcow2ctl detach "$device" || qcow2ctl detach --force "$device"
check "the image is whole" qemu-img check -q image.qcow2
check "and reads so" qemu-img compare -q -f raw -F qcow2 disk image.qcow2
finish
