#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Partitions of either kind of table, the image of which lies in a file or on a block device.
# timeout: 30
. "$(dirname "$0")/test_common.sh"
need qcow2ctl losetup cmp

images=$test_top/build/images
[ -e "$images/manifest" ] || skip_all "no images: make -C tests/tools"
modprobe -q loop
at_exit qcow2ctl detach --all

for label in dos gpt; do
	oracle=$images/partitions-$label.oracle
	cp "$images/partitions-$label.qcow2" "$test_dir/disk.qcow2"
	truncate -s %4096 "$test_dir/disk.qcow2"
	loop=$(losetup --find --show "$test_dir/disk.qcow2")
	for file in "$test_dir/disk.qcow2" "$loop"; do
		device=$(qcow2ctl attach -r "$file")
		check "$label on ${file##*/}: first partition" \
			cmp -n $((4096 * 512)) "${device}p1" "$oracle" 0 $((2048 * 512))
		check "$label on ${file##*/}: second partition" \
			cmp -n $((2048 * 512)) "${device}p2" "$oracle" 0 $((8192 * 512))
		check "$label on ${file##*/}: no third one" test ! -e "${device}p3"
		check "$label on ${file##*/}: detached" qcow2ctl detach "$device"
		check "$label on ${file##*/}: its partitions are gone" test ! -e "${device}p1"
	done
	losetup -d "$loop"
done
finish
