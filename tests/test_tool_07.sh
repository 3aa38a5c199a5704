#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What cannot be written is not attached read-write; the refusal names the file and the remedy, and
# the remedy works.
. "$(dirname "$0")/test_common.sh"
need qemu-img mkfs.ext4 losetup chattr
modprobe loop 2>/dev/null
losetup -f >/dev/null || skip_all "the kernel has no loop devices"
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
truncate -s 16M fs
mkfs.ext4 -qF fs
loop=$(losetup -f --show fs)
at_exit losetup -d "$loop"
mkdir mnt
mount "$loop" mnt
at_exit umount "$test_dir/mnt"
qemu-img create -q -f qcow2 mnt/image 1M
qemu-img create -q -f qcow2 -b mnt/image -F qcow2 overlay
qemu-img create -q -f raw mnt/raw 1M

# refuse_writing DESCRIPTION PATTERN ATTACH-ARGUMENT...: attached with -r only
refuse_writing() {
	local what=$1 pattern=$2
	shift 2
	refuse "$what" 2 "$pattern" qcow2ctl attach "$@"
	check "$what: -r attaches it" qcow2ctl attach -r "$@"
	qcow2ctl detach --all
}

# --- the file ---------------------------------------------------------------------------------
chattr +i mnt/image
refuse_writing "a file that is immutable" \
	"mnt/image: cannot open it for writing: Operation not permitted; attach it read-only with -r" mnt/image
chattr -i mnt/image
check "one that is not any more" qcow2ctl attach mnt/image
qcow2ctl detach --all
mount -o remount,ro mnt
for image in image raw; do
	format=${image/image/qcow2}
	refuse_writing "$format on a read-only file system" \
		"mnt/$image: cannot open it for writing: Read-only file system; attach it read-only with -r" \
		-f "$format" mnt/$image
done
check "a backing file there is only read" qcow2ctl attach overlay
qcow2ctl detach --all

# --- a block device ---------------------------------------------------------------------------
refuse_writing "a block device that is mounted" \
	"$loop: cannot open it for writing: it is mounted or part of another device; attach it" -f raw "$loop"
umount mnt
check "one that is not mounted any more" qcow2ctl attach -f raw "$loop"
check "cannot be mounted meanwhile" eval "! mount $loop mnt"
qcow2ctl detach --all
blockdev --setro "$loop"
refuse_writing "a block device that is read-only" \
	"$loop: cannot open it for writing: .*; attach it read-only with -r" -f raw "$loop"
blockdev --setrw "$loop"

# --- the image --------------------------------------------------------------------------------
# Byte 79 holds the low incompatible features.
feature() { printf '%b' "\\$1" | dd of=image bs=1 seek=79 conv=notrunc status=none; }
qemu-img create -q -f qcow2 image 1M
feature 2
refuse_writing "a corrupt image" "image: the image is marked corrupt, .*attach --repair mends it" image
qemu-img create -q -f qcow2 -b image -F qcow2 overlay
check "a corrupt backing file is only read" qcow2ctl attach overlay
qcow2ctl detach --all
check "nothing is left attached" test -z "$(qcow2ctl list)"
finish
