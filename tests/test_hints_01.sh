#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Queue limits tell what is good to know of an image: io_min and discards a subcluster, io_opt a
# cluster, the physical block what the file below wants.
# timeout: 60
. "$(dirname "$0")/test_common.sh"
need qemu-img losetup mkfs.xfs mkfs.ext4 dumpe2fs
modprobe -q -a loop xfs
at_exit qcow2ctl detach --all

hints() {	# OPTION...: of an image, as "physical min opt discard"
	local device queue
	device=$(qcow2ctl attach "$@") || return
	queue=/sys/block/${device#/dev/}/queue
	cat "$queue"/{physical_block_size,minimum_io_size,optimal_io_size,discard_granularity} | xargs
	qcow2ctl detach "$device"
}
hinted() {	# WHAT HINTS CREATE-OPTIONS
	qemu-img create -q -f qcow2 -o "$3" image 64M
	check "$1" test "$(hints image)" = "$2"
	rm image
}

store() {	# SECTOR-SIZE: a file system on such a device
	truncate -s 1G "$test_dir/disk"
	loop=$(losetup --find --show --sector-size "$1" "$test_dir/disk") || skip_all "no loop device"
	at_exit losetup -d "$loop"
	mkfs.xfs -q "$loop" && mkdir "$test_dir/xfs" && mount "$loop" "$test_dir/xfs" && cd "$test_dir/xfs" || exit 1
	at_exit umount "$test_dir/xfs"
	at_exit cd /
}

store 512
hinted "a cluster is the unit" "512 65536 65536 65536" cluster_size=64k
hinted "the smallest" "512 512 512 512" cluster_size=512
hinted "the largest" "512 2097152 2097152 2097152" cluster_size=2M
hinted "subclusters" "512 4096 131072 4096" cluster_size=128k,extended_l2=on
qemu-img create -q -f qcow2 image 64M
check "no discard of what is read-only" test "$(hints -r image)" = "512 65536 65536 0"
check "no discard where it is not wanted" test "$(hints --discard=ignore image)" = "512 65536 65536 0"
truncate -s 64M raw
check "a raw file has no clusters" test "$(hints -f raw raw)" = "512 512 0 4096"

# Files then begin where clusters do.
device=$(qcow2ctl attach --no-partscan image)
mkfs.ext4 -q -b 4096 "$device"
check "mkfs.ext4 goes by it" eval "dumpe2fs -h $device 2>/dev/null | grep -qE 'stride: *16$'"
qcow2ctl detach "$device"

cd "$test_dir" || exit 1
umount xfs && losetup -d "$loop" && rmdir xfs && rm disk
store 4096
hinted "the file wants 4 KiB at a time" "4096 65536 65536 65536" cluster_size=64k
hinted "also where clusters are smaller" "4096 4096 4096 4096" cluster_size=512
finish
