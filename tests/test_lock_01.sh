#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Image locks, against QEMU's own programs: one writes, or any number read.
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
qemu-img create -q -f qcow2 base 1M
qemu-img create -q -f qcow2 -b base -F qcow2 top
qemu-img create -q -f raw raw 1M

check "attach, and the tool is gone" qcow2ctl attach -r top
for layer in top base; do
	refuse "QEMU does not write $layer of an attached chain" 1 'Failed to get .*"write" lock' \
		qemu-io -c 'write 0 512' $layer
done
refuse "qemu-img does not resize it" 1 'Failed to get' qemu-img resize -q top 2M
refuse "qemu-img does not commit it" 1 'Failed to get' qemu-img commit -q top
check "QEMU reads it" qemu-io -r -c 'read 0 512' top
check "a second device may be attached" qcow2ctl attach -r top
check "one of two detached" qcow2ctl detach qcow0
refuse "the other one still locks" 1 'Failed to get' qemu-io -c 'write 0 512' base
check "the other one detached" qcow2ctl detach qcow1
check "QEMU writes the top again" qemu-io -c 'write 0 512' top
check "QEMU writes the base again" qemu-io -c 'write 0 512' base

check "a raw image" qcow2ctl attach -r -f raw raw
refuse "is locked, too" 1 'Failed to get .*"write" lock' qemu-io -f raw -c 'write 0 512' raw
check "until it is detached" qcow2ctl detach raw
check "and no longer" qemu-io -f raw -c 'write 0 512' raw

# A QEMU that writes, as a running VM does, and one that reads.
hold() {	# OPTION...
	coproc QEMU { qemu-io "$@" 2>&1; }
	echo 'read 0 512' >&"${QEMU[1]}"
	read -r _ <&"${QEMU[0]}"
}
release() {
	local pid=$QEMU_PID
	echo quit >&"${QEMU[1]}"
	wait "$pid"
}
hold top
refuse "attach while QEMU writes the top" 2 "top: in use by another process .* that writes it" \
	qcow2ctl attach -r top
check "the base of a running VM is only read" qcow2ctl attach -r base
check "and let go" qcow2ctl detach base
release
hold base
refuse "attach while QEMU writes the base" 2 "base: in use by another process .* that writes it" \
	qcow2ctl attach -r top
release
hold -r top
check "attach while QEMU reads" qcow2ctl attach -r top
release
check "no device but that one" test "$(ls -d /sys/block/qcow*)" = /sys/block/qcow0
finish
