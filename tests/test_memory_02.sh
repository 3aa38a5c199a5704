#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is known of metadata takes memory for what there is, not for what ever was.
# kernels: uml
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img
[ -r /proc/vmallocinfo ] || skip_all "no /proc/vmallocinfo"
at_exit qcow2ctl detach --force --all

cd "$test_dir" || exit 1
# Each snapshot, and its end, puts all 2048 L2 tables elsewhere.
qemu-img create -q -f qcow2 -o cluster_size=512,preallocation=metadata image 64M
device=$(qcow2ctl attach --no-partscan image)
again_and_again() {
	for _ in {1..80}; do
		qcow2ctl snapshot create "$device" one && qcow2ctl snapshot delete "$device" one || return
	done
}
check "a snapshot is made and deleted, again and again" again_and_again
bytes=$(awk '/ qcow2_overlap/ { sum += $2 } END { print sum + 0 }' /proc/vmallocinfo)
check "and the tables that were are forgotten: $bytes" test "$bytes" -lt 1000000
check "detached" qcow2ctl detach "$device"
check "the image is whole" qemu-img check -q image
finish
