#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Locks of images attached read-write: a device and a VM may have an image at once exactly where two
# VMs may, and so may two devices.
# kernels: uml uml-debug
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-system-x86_64
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
qemu-img create -q -f qcow2 base 1M
qemu-img create -q -f qcow2 -b base -F qcow2 top
qemu-img create -q -f raw raw 1M
qemu-img create -q -f qcow2 -o data_file=data split 1M

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
pairs qcow2 split
finish
