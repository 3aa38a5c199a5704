#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Image locks, against QEMU's own programs: one writes, or any number read.
# timeout: 90
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
qemu-img create -q -f qcow2 base 1M
for top in top other; do
	qemu-img create -q -f qcow2 -b base -F qcow2 $top
done
qemu-img create -q -f raw raw 1M

# --- read-only ----------------------------------------------------------------------------------
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
qcow2ctl detach --all

# --- read-write ---------------------------------------------------------------------------------
check "an overlay" qcow2ctl attach top
check "and another one share a base" qcow2ctl attach other
refuse "QEMU does not write it" 1 'Failed to get .*"write" lock' qemu-io -c 'write 0 512' base
check "QEMU reads it" qemu-io -r -c 'read 0 512' base
refuse "nor does attach" 2 \
	"base: it is a backing file of /dev/qcow[01]; detach that first, or attach it read-only with -r" \
	qcow2ctl attach base
check "attach -r does" qcow2ctl attach -r base
qcow2ctl detach base
qemu-img create -q -f qcow2 -u -b top -F qcow2 over 1M
refuse "an overlay of what is written" 2 "top: it is attached as /dev/qcow0; detach that first$" \
	qcow2ctl attach over
refuse "qemu-img does not commit it" 1 'Failed to get' qemu-img commit -q top
refuse "qemu-img does not resize it" 1 'Failed to get' qemu-img resize -q top 2M
check "one detached" qcow2ctl detach top
check "QEMU writes that one" qemu-io -c 'write 0 512' top
refuse "but not the base" 1 'Failed to get .*"write" lock' qemu-io -c 'write 0 512' base
check "until the other one is detached" qcow2ctl detach other
check "and then it does" qemu-io -c 'write 0 512' base

# --- who is in the way ------------------------------------------------------------------------
qcow2ctl attach -r top >/dev/null
refuse "a device that reads" 2 "top: it is attached as /dev/qcow0; detach that first, or attach it read-only with -r" \
	qcow2ctl attach top
qcow2ctl detach top
hold top
refuse "a VM that writes" 2 "top: in use by another process .* that writes it; stop that first$" \
	qcow2ctl attach top
check "its base may be another's" qcow2ctl attach other
qcow2ctl detach other
release
hold -r top
refuse "a VM that reads" 2 "top: .* no other to write it; stop that first, or attach it with -r" \
	qcow2ctl attach top
release
hold base
refuse "a VM that writes the base" 2 "base: in use by another process .* that writes it; stop" \
	qcow2ctl attach top
release
check "nobody" qcow2ctl attach top
finish
