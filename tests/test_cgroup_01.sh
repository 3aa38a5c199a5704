#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What a cgroup reads and writes on a device it reads and writes on the disk below: also what workers
# do for it. What is done for all is nobody's.
# kernels: uml
# timeout: 60
. "$(dirname "$0")/test_common.sh"
need qemu-img mkfs.xfs
modprobe -q xfs

cgroups=$test_dir/cgroup
mkdir "$cgroups" "$test_dir/mnt"
mount -t cgroup2 none "$cgroups" || skip_all "no cgroup2"
at_exit umount "$cgroups"
echo "+io +memory" >"$cgroups/cgroup.subtree_control" || skip_all "no controllers of I/O and memory"

# A disk whose memory is nobody's.
modprobe -q null_blk nr_devices=0
config=/sys/kernel/config/nullb/nullb7
mkdir $config || skip_all "no null_blk"
at_exit "echo 0 >$config/power; rmdir $config"
echo 400 >$config/size
echo 1 | tee $config/memory_backed $config/power >/dev/null
store=/dev/nullb7	# but older kernels count themselves
test -b $store || store=/dev/nullb$(cat "$config/index")
at_exit umount "$test_dir/mnt"
at_exit qcow2ctl detach --all
major_minor=$(cat "/sys/block/${store#/dev/}/dev")

# Run a command in a fresh cgroup of its own. It must not write to this disk but through a device.
inside() {	# COMMAND...
	[ ! -d "$cgroups/test" ] || rmdir "$cgroups/test"
	mkdir "$cgroups/test"
	# shellcheck disable=SC2016 # the new shell's
	bash -c 'echo $$ >"$0/test/cgroup.procs" && exec "$@"' "$cgroups" "$@" 2>/dev/null
}
# KiB that it has read or written there.
charged() {	# rbytes|wbytes
	sed -nE "s/^$major_minor .*$1=([0-9]+).*/\1/p" "$cgroups/test/io.stat" | awk '{ print int($1 / 1024) } END { if (!NR) print 0 }'
}
least() {	# WHAT rbytes|wbytes KIB
	local kib
	kib=$(charged "$2")
	# What cannot be done without waiting is counted twice.
	check "$1: $3 KiB, or twice that" test "$kib" -ge "$3" -a "$kib" -le $((2 * $3 + 1024))
}

qemu-img create -q -f raw "$test_dir/raw" 8M
dd if=/dev/urandom of="$test_dir/raw" bs=1M count=4 conv=notrunc status=none
qemu-img convert -q -n -c -O qcow2 -f raw "$test_dir/raw" "$test_dir/compressed" 2>/dev/null ||
	qemu-img convert -q -c -O qcow2 -f raw "$test_dir/raw" "$test_dir/compressed"
dd if="$test_dir/compressed" of="$store" bs=1M conv=sparse,notrunc status=none
device=$(qcow2ctl attach --no-partscan "$store")
inside dd if="$device" of=/dev/null bs=1M count=4 iflag=direct
least "decompressed by a worker" rbytes 4096
inside dd if=/dev/zero of="$device" bs=1M count=4 oflag=direct
least "written by a worker, and allocated" wbytes 4096
inside dd if="$device" of=/dev/null bs=1M count=4 iflag=direct
least "read by the task itself" rbytes 4096
qcow2ctl detach "$device"

mkfs.xfs -q -f "$store" && mount "$store" "$test_dir/mnt"
qemu-img create -q -f qcow2 "$test_dir/mnt/image" 64M
device=$(qcow2ctl attach --no-partscan --direct-io=off "$test_dir/mnt/image")
sync
inside dd if=/dev/zero of="$device" bs=1M count=8 oflag=direct
sync
check "the page cache is nobody's" test "$(charged wbytes)" -lt 1024

# Pages that wait for the device fill this cgroup's memory.
rmdir "$cgroups/test" && mkdir "$cgroups/test"
echo 32M >"$cgroups/test/memory.max"
# shellcheck disable=SC2016 # the new shell's
check "more than a cgroup has memory for" timeout 100 bash -c 'echo $$ >"$0/test/cgroup.procs" &&
	dd if=/dev/zero of="$1" bs=1M count=60 conv=fsync status=none' "$cgroups" "$device"
check "detached" qcow2ctl detach "$device"
rmdir "$cgroups/test"
finish
