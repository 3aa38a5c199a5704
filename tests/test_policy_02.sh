#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images on block devices, images on devices of ours, and those stored on their own chain.
. "$(dirname "$0")/test_common.sh"
need qemu-img mkfs.ext4 losetup jq
modprobe loop 2>/dev/null
losetup -f >/dev/null || skip_all "the kernel has no loop devices"
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
qemu-img create -q -f qcow2 plain 1M
truncate -s 1M plain
loop=$(losetup -f --show plain)
at_exit losetup -d "$loop"
check "an image on a block device" qcow2ctl attach -r "$loop"
check "info finds its device" grep -qx "attached as: /dev/qcow0 (read-only)" <<<"$(qcow2ctl info "$loop")"
check "detach finds its device" qcow2ctl detach "$loop"
qemu-img create -q -f qcow2 -u -b "$loop" -F qcow2 top 1M
refuse "a backing file in /dev lies outside" 2 "--backing-dir /dev allows" qcow2ctl attach -r top
check "--backing-dir allows it" qcow2ctl attach -r --backing-dir /dev top
qcow2ctl detach --all

# An image on a block device, whoever wrote it, gets none of the host's disks.
truncate -s 1M secret top-file
secret=$(losetup -f --show secret)
at_exit losetup -d "$secret"
top=$(losetup -f --show top-file)
at_exit losetup -d "$top"
ln -s "$top" top-link
for name in "$secret" "${secret##*/}"; do
	qemu-img create -q -f qcow2 -u -b "$name" -F raw "$top" 1M
	refuse "/dev is no image's directory: $name" 2 \
		"$top: the backing file $secret lies outside .*an image on a block device has none\); --backing-dir /dev allows that, --allow-backing any" \
		qcow2ctl attach -r "$top"
done
qemu-img create -q -f qcow2 -u -b "$secret" -F raw "$top" 1M
refuse "nor the one of a symlink to it" 2 "an image on a block device has none" \
	qcow2ctl attach -r top-link
check "--backing-dir /dev allows it" qcow2ctl attach -r --backing-dir /dev "$top"
qcow2ctl detach "$top"
check "so does --allow-backing" qcow2ctl attach -r --allow-backing top-link
qcow2ctl detach "$top"
qemu-img create -q -f qcow2 -o data_file=none,data_file_raw=on "$top" 1M
qemu-img amend -q -f qcow2 -o data_file="$secret" "$top"
refuse "nor a data file" 2 "the data file $secret lies outside .*has none\); --backing-dir /dev allows" \
	qcow2ctl attach -r "$top"
check "but what --data-file names" qcow2ctl attach -r --data-file "$secret" "$top"
qcow2ctl detach "$top"

# A disk with a file system, and images on it: the device's own base may not back them.
mkdir mnt files
qemu-img create -q -f qcow2 -u -b "$test_dir/disk" -F qcow2 files/on-itself 4M
qemu-img create -q -f qcow2 -u -b "$test_dir/plain" -F qcow2 files/on-another 1M
truncate -s 4M raw
mkfs.ext4 -qF -d files raw
qemu-img convert -O qcow2 raw disk
disk=$(qcow2ctl attach -r disk)
check "a device of ours mounted" mount -o ro "$disk" mnt
at_exit umount "$test_dir/mnt"
check "an image on it" qcow2ctl attach -r --allow-backing mnt/on-another
qcow2ctl detach mnt/on-another
refuse "an image stored on its own base" 2 "on-itself: it is stored on $disk, which is made of $test_dir/disk" \
	qcow2ctl attach -r --allow-backing mnt/on-itself
qemu-img create -q -f qcow2 -u -b "$disk" -F raw disk-of-disk 4M
check "a device of ours as a raw layer" qcow2ctl attach -r --backing-dir /dev disk-of-disk
qcow2ctl detach disk-of-disk

# A file system with direct I/O, and one without: the refusal names the right layer.
mkdir ext4 ram
truncate -s 16M fs
mkfs.ext4 -qF fs
mount -o loop fs ext4
at_exit umount "$test_dir/ext4"
mount -t ramfs none ram
at_exit umount "$test_dir/ram"
qemu-img create -q -f qcow2 ram/base 1M
qemu-img create -q -f qcow2 -b ../ram/base -F qcow2 ext4/top
refuse "--direct-io on names the layer that cannot" 2 "ext4/../ram/base: .*direct" \
	qcow2ctl attach -r --backing-dir ram --direct-io on ext4/top
check "--direct-io auto takes it as it is" qcow2ctl attach -r --backing-dir ram ext4/top
check "list tells which layer is read how" test \
	"$(qcow2ctl info --json ext4/top | jq -c '[.attached[0].layers[]."direct-io"]')" = '[true,false]'
qcow2ctl detach ext4/top
finish
