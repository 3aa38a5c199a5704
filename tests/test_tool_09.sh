#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The disk below an image fails: the device stops writing and says so, detach refuses to lose what
# was written, detach --force does it.
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io dmsetup losetup jq
modprobe -a loop dm-mod 2>/dev/null
losetup -f >/dev/null || skip_all "the kernel has no loop devices"
at_exit qcow2ctl detach --force --all

cd "$test_dir" || exit 1
truncate -s 32M disk
loop=$(losetup -f --show disk)
at_exit losetup -d "$loop"
sectors=$(blockdev --getsz "$loop")
name=below-$$
dmsetup create $name --table "0 $sectors linear $loop 0" || skip_all "the kernel has no device mapper"
at_exit dmsetup remove $name
below=/dev/dm-$(dmsetup info -c --noheadings -o minor $name)	# needs no udev
table() {	# of the disk below from now on
	dmsetup load $name --table "0 $sectors $1"
	dmsetup suspend --nolockfs --noflush $name
	dmsetup resume $name
}
# Reads go on, writes fail.
broken() { table "flakey $loop 0 0 3600 1 error_writes"; }
mended() { table "linear $loop 0"; }
write() { dd if=bytes of="$device" bs=64k seek="$1" oflag=direct conv=fsync status=none; }
head -c 64k /dev/urandom >bytes

for how in device --all; do
	mended
	qemu-img create -q -f qcow2 "$below" 64M
	device=$(qcow2ctl attach --no-partscan "$below")
	check "a write" write 1
	broken
	check "a write and a flush, the disk below broken" eval "! write 2"
	check "list says that it has stopped" grep -qE "^$device +64 MiB +stopped " <<<"$(qcow2ctl list)"
	check "and JSON" jq -e '.[0].stopped' <<<"$(qcow2ctl list --json)"
	check "and info" grep -qx "attached as: $device (writing has stopped after an error)" \
		<<<"$(qcow2ctl info "$device")"
	check "reads go on" cmp -n 65536 "$device" bytes 65536 0
	args=("$device")
	[ $how = device ] || args=(--all)
	refuse "detach ${args[*]}" 2 "$device: it stays attached: .* made durable .*detach --force" \
		qcow2ctl detach "${args[@]}"
	check "it is still there" test -b "$device"
	check "detach --force ${args[*]}" qcow2ctl detach --force "${args[@]}"
	check "it is gone" test ! -e "$device"
	mended
	check "the image is not corrupt" eval "qemu-img check -q $below || [ \$? = 3 ]"
	qemu-img convert -O raw "$below" raw
	check "what was flushed is there" cmp -n 65536 raw bytes 65536 0
done

# With nothing amiss --force does no harm, and frees nothing that is in use.
device=$(qcow2ctl attach --no-partscan "$below")
exec 7<"$device"
refuse "detach --force of a device in use" 2 "$device: it is in use" qcow2ctl detach --force "$device"
exec 7<&-
check "a write without a flush" dd if=bytes of="$device" bs=64k seek=5 oflag=direct status=none
check "detach --force of a healthy device" qcow2ctl detach --force "$device"
qemu-img convert -O raw "$below" raw
check "loses nothing" cmp -n 65536 bytes raw 0 $((5 << 16))
finish
