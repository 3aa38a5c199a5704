#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A device in use is not detached, and the refusal says by whom it is used.
. "$(dirname "$0")/test_common.sh"
need qemu-img mkfs.ext4
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
truncate -s 4M raw
mkfs.ext4 -qF raw
qemu-img convert -O qcow2 raw image.qcow2
qemu-img create -q -f qcow2 idle.qcow2 1M
mkdir "mount point"
idle=$(qcow2ctl attach -r idle.qcow2)	# --all begins with the last one
device=$(qcow2ctl attach -r image.qcow2)

check "it can be mounted" mount -o ro "$device" "mount point"
at_exit umount "'$test_dir/mount point'"
refuse "detach while it is mounted" 2 "$device: it is in use: qcow1 is mounted on .*/mount point; end that" \
	qcow2ctl detach "$device"
refuse "detach --all goes on after a failure" 2 "$device: it is in use" qcow2ctl detach --all
check "and detaches the others" test -b "$device" -a ! -e "$idle"
umount "mount point"

exec 7<"$device"
refuse "detach while a process has it open" 2 "$device: it is in use: qcow1 is open in process [0-9]+ .bash.,? ?.*; end that" \
	qcow2ctl detach "$device"
exec 7<&-

# A process that lets go soon, as udev does, is waited for.
exec 7<"$device"
(sleep 1) &
exec 7<&-
check "detach waits for those who hold it for a moment" qcow2ctl detach "$device"
check "the device is gone" test ! -e "$device"
wait
finish
