#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images that qemu-img has preallocated: what is there is used, nothing is allocated, no table is
# written; and an image on a logical volume, up to the volume's end.
# kernels: uml
# timeout: 60
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io dmsetup losetup
modprobe -q loop
modprobe -q dm-mod
export DM_DISABLE_UDEV=1
# shellcheck disable=SC2016 # expanded at exit
at_exit 'losetup -j "$test_dir/disk" -O NAME -n | xargs -r losetup -d'
at_exit dmsetup remove test-volume
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
M=$((1024 * 1024))
size=$((6 * M + 5 * 512))

stat_of() {	# NAME, of the only device
	qcow2ctl list --json | sed -n "s/^.*\"$1\": *\([0-9]*\).*/\1/p" | head -n 1
}
write() {	# DEVICE FILE DD-OPTION...
	dd if="$2" of="$1" bs=$M oflag=direct conv=fsync,notrunc status=none "${@:3}"
}

head -c $size /dev/urandom >want
for mode in metadata falloc full; do
	for options in compat=0.10 cluster_size=4096 cluster_size=2M data_file=data; do
		image=$mode-${options//[=.]/-}.qcow2
		qemu-img create -q -f qcow2 -o "preallocation=$mode,$options" "$image" $size
		before=$(stat -c %s "$image")
		device=$(qcow2ctl attach "$image")
		write "$device" want
		check "$mode, $options: all of it is written in place" test \
			"$(stat_of allocations) $(stat_of copies) $(stat_of commits)" = "0 0 0"
		qcow2ctl detach "$device"
		check "$mode, $options: the image is as long as it was" \
			test "$(stat -c %s "$image")" = "$before"
		check "$mode, $options: and whole" qemu-img check -q "$image"
		check "$mode, $options: and reads so" qemu-img compare -q -f raw -F qcow2 want "$image"
	done
done

# Clusters that are kept, but read as zeros, are used, too; that is a matter of entries.
for options in cluster_size=4096 cluster_size=65536; do
	qemu-img create -q -f qcow2 -o "preallocation=metadata,$options" zeros.qcow2 $size
	qemu-io -c "write -z 0 $size" zeros.qcow2 >/dev/null
	device=$(qcow2ctl attach zeros.qcow2)
	write "$device" want
	check "zeros, $options: written without an allocation" test "$(stat_of allocations)" = 0
	qcow2ctl detach "$device"
	check "zeros, $options: the image is whole" qemu-img check -q zeros.qcow2
	check "zeros, $options: and reads so" qemu-img compare -q -f raw -F qcow2 want zeros.qcow2
done

# A volume with somebody else's old data, smaller than the disk.
head -c 16M /dev/urandom >disk
loop=$(losetup --find --show disk)
volume=/dev/mapper/test-volume
dmsetup create test-volume --table "0 $((12 * M / 512)) linear $loop 0"
qemu-img create -q -f qcow2 $volume 64M
head -c 8M /dev/urandom >want
device=$(qcow2ctl attach $volume)
check "an image on a volume is written" write "$device" want
refuse "at the volume's end is no space left" 1 'No space left' \
	dd if=/dev/urandom of="$device" bs=$M seek=32 count=16 oflag=direct
check "what is there can be written" write "$device" want
blkdiscard -o $((2 * M)) -l $((4 * M)) "$device"
sync "$device"
fallocate -p -o $((2 * M)) -l $((4 * M)) want
check "what was discarded makes room" write "$device" want seek=16 count=2
check "and reads as zeros" cmp -n $((8 * M)) "$device" want
qcow2ctl detach "$device"
check "the image is whole" qemu-img check -q $volume

# lvextend
dmsetup suspend test-volume
dmsetup load test-volume --table "0 $((16 * M / 512)) linear $loop 0"
dmsetup resume test-volume
device=$(qcow2ctl attach $volume)
check "a larger volume has more room" write "$device" want seek=40 count=2
qcow2ctl detach "$device"
check "the image is whole still" qemu-img check -q $volume
finish
