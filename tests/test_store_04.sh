#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What a host does to the store below an attached image: it is unmounted lazily, or turned read-only.
# Nothing hangs. And a VM that is started on an attached image is told why not.
# kernels: uml uml-debug
# timeout: 90
. "$(dirname "$0")/test_common.sh"
need qemu-img mkfs.xfs mkfs.ext4 losetup
modprobe -q -a loop xfs ext4

cd "$test_dir" || exit 1
mkdir store mnt
truncate -s 1G disk
loop=$(losetup --find --show disk) || skip_all "no loop device"
at_exit losetup -d "$loop"
mkfs.xfs -q "$loop" && mount "$loop" store || exit 1
at_exit umount store
at_exit qcow2ctl detach --all
at_exit umount mnt
soon() { timeout 30 "$@"; }

qemu-img create -q -f qcow2 store/image 100M
device=$(qcow2ctl attach --no-partscan store/image)
mkfs.ext4 -q "$device" && mount "$device" mnt
cp -r "$test_top/include" mnt/

# As libvirt writes it.
start_vm() {
	qemu-system-x86_64 -S -nodefaults -display none -monitor stdio -machine none \
		-blockdev "{\"driver\":\"file\",\"filename\":\"$PWD/store/image\",\"node-name\":\"storage\",\"auto-read-only\":true}" \
		-blockdev '{"node-name":"format","read-only":false,"driver":"qcow2","file":"storage"}' <<<quit
}
if command -v qemu-system-x86_64 >/dev/null; then
	refuse "a VM does not start on it" 1 \
		'Failed to get (shared )?"(write|consistent read)" lock.*' start_vm
	refuse "and says who else may have it" 1 "Is another process using the image .*store/image" start_vm
else
	skip "a VM does not start on it" "no qemu-system-x86_64"
fi

check "the store is unmounted lazily" umount -l store
check "the file system above is written" cp -r "$test_top/kernel" mnt/
check "and flushed" soon sync -f mnt/kernel
check "and unmounted" soon umount mnt
check "the device is detached" soon qcow2ctl detach "$device"
for _ in {1..50}; do	# with the last file the store goes
	mount "$loop" store 2>/dev/null && break
	sleep 0.1
done
check "the image is whole" qemu-img check -q store/image
device=$(qcow2ctl attach --no-partscan store/image)
check "and has what was written" eval "mount $device mnt && diff -r $test_top/kernel mnt/kernel"
check "it is unmounted" eval "umount mnt && qcow2ctl detach $device"
if command -v qemu-system-x86_64 >/dev/null; then
	check "a VM starts on it now" start_vm
fi

# File systems are read-only from here on, the store under who writes.
device=$(qcow2ctl attach --no-partscan store/image)
# With pauses: to become read-only a file system waits until its journal is clean.
(while dd if=/dev/urandom of="$device" bs=64k count=100 oflag=direct; do sleep 0.1; done) 2>/dev/null &
writer=$!
sleep 0.5
# It gives up where the file system is just being written.
for ((i = 0; i < 100; i++)); do
	((i % 10)) || echo u >/proc/sysrq-trigger
	grep -q "^$loop .* ro[, ]" /proc/mounts && break
	sleep 0.1
done
check "the store has become read-only" grep -q "^$loop .* ro[, ]" /proc/mounts ||
	dmesg | tail -n 15 | sed 's/^/# /'
soon sync "$device"
kill $writer 2>/dev/null
for _ in {1..300}; do
	kill -0 $writer 2>/dev/null || break
	sleep 0.1
done
check "who writes does not hang" eval "! kill -0 $writer"
check "the device is detached" eval "soon qcow2ctl detach $device || soon qcow2ctl detach --force $device"
umount store && mount "$loop" store
check "the image is whole but for leaks" eval "qemu-img check -q store/image || [ \$? = 3 ]"
finish
