#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Locks of images attached read-write: a device and a VM may have an image at once exactly where two
# VMs may, and so may two devices.
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io qemu-system-x86_64
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
qemu-img create -q -f qcow2 base 1M
for top in top other; do
	qemu-img create -q -f qcow2 -b base -F qcow2 $top
done
qemu-img create -q -f raw raw 1M

# --- every pair -----------------------------------------------------------------------------
# A VM, paused, that has the image as a disk; its monitor ends it.
vm() {	# FORMAT ro|rw IMAGE
	local readonly=off
	[ "$2" = rw ] || readonly=on
	qemu-system-x86_64 -S -nodefaults -display none -monitor stdio -device virtio-blk-pci,drive=disk \
		-drive if=none,id=disk,format="$1",file="$3",readonly=$readonly 2>&1
}
hold() {	# FORMAT ro|rw IMAGE
	local line=
	coproc VM { vm "$@"; }
	echo 'info status' >&"${VM[1]}"	# it answers when it has its disk
	until [[ $line == *paused* ]]; do
		read -r line <&"${VM[0]}" || return
	done
}
release() {
	local pid=$VM_PID
	echo quit >&"${VM[1]}"
	wait "$pid"
}
attach() {	# FORMAT ro|rw IMAGE
	if [ "$2" = rw ]; then qcow2ctl attach -f "$1" "$3"; else qcow2ctl attach -r -f "$1" "$3"; fi
}
# May others open it? "VM ro, VM rw, device ro, device rw", yes or no each.
others() {	# FORMAT IMAGE
	local how device
	for how in ro rw; do
		echo quit | vm "$1" $how "$2" >/dev/null && echo yes || echo no
	done
	for how in ro rw; do
		device=$(attach "$1" $how "$2" 2>/dev/null) && qcow2ctl detach "$device" && echo yes || echo no
	done
}
pairs() {	# FORMAT IMAGE
	local how with_vm with_device
	for how in ro rw; do
		hold "$1" $how "$2"
		with_vm=$(others "$@" | xargs)
		release >/dev/null
		attach "$1" $how "$2" >/dev/null
		with_device=$(others "$@" | xargs)
		qcow2ctl detach qcow0
		echo "# $1, a VM has it $how: $with_vm; a device has it $how: $with_device"
		# shellcheck disable=SC2086 # four words
		set -- "$1" "$2" $with_vm
		check "$1, a VM has it $how: a device may do what a second VM may" test "$3 $4" = "$5 $6"
		check "$1, a device has it $how: others may do what they may beside a VM" \
			test "$with_device" = "$with_vm"
	done
	check "$1: two writers were tried last, and one refused" test "$4" = no
}
pairs qcow2 top
pairs raw raw

# --- chains -----------------------------------------------------------------------------------
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
hold qcow2 rw top
refuse "a VM that writes" 2 "top: in use by another process .* that writes it; stop that first$" \
	qcow2ctl attach top
check "its base may be another's" qcow2ctl attach other
qcow2ctl detach other
release
hold qcow2 ro top
refuse "a VM that reads" 2 "top: .* no other to write it; stop that first, or attach it with -r" \
	qcow2ctl attach top
release
hold qcow2 rw base
refuse "a VM that writes the base" 2 "base: in use by another process .* that writes it; stop" \
	qcow2ctl attach top
release
check "nobody" qcow2ctl attach top
finish
