#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# detach --lazy: the device goes when the last one closes it, also a partition, a mount, a device
# that shows its snapshot, a commit; what could not be made durable stays.
# shellcheck disable=SC2016 # the variables are those of jq
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img sfdisk mkfs.ext4 jq dmsetup losetup
modprobe -a loop dm-mod 2>/dev/null
at_exit qcow2ctl detach --all --force

cd "$test_dir" || exit 1
case ${VM_KERNEL:-} in
uml) rounds=24 ;;
*) rounds=9 ;;
esac

# Else detach does little but wait.
echo 1 >/sys/kernel/rcu_expedited && at_exit 'echo 0 >/sys/kernel/rcu_expedited'

# It goes by itself, some time later; the lock on its image goes last.
gone() {	# DEVICE IMAGE
	local i
	for ((i = 0; i < 400; i++)); do
		[ ! -e "/sys/block/${1#/dev/}" ] && qemu-img check -q "$2" 2>/dev/null && break
		sleep 0.05
	done
	[ ! -e "$1" ] && [ -z "$(qcow2ctl list)" ] && qemu-img check -q "$2"
}
lazy() { jq -e ".[] | select(.device == \"$1\") | .\"lazy-detach\"" <<<"$(qcow2ctl list --json)"; }

qemu-img create -q -f qcow2 race.qcow2 8M
check "openers, detaches and claims at the same time" "$test_top/build/tests/lazy" $rounds race.qcow2
check "the image is whole" qemu-img check -q race.qcow2

# --- who keeps it ---------------------------------------------------------------------------
truncate -s 16M raw
printf '%s\n' 'label: dos' '2048,+' | sfdisk -q raw
qemu-img convert -O qcow2 raw disk.qcow2
device=$(qcow2ctl attach disk.qcow2)
mkfs.ext4 -q "${device}p1" && mount "${device}p1" /mnt
check "while it is mounted" qcow2ctl detach --lazy disk.qcow2
check "list says so" lazy "$device"
refuse "a plain detach names the mount" 2 "in use: qcow0p1 is mounted on /mnt" qcow2ctl detach "$device"
refuse "the module stays" 1 "in use" rmmod qcow2blk
echo kept >/mnt/file
exec 7<"${device}p1"
umount /mnt
check "a partition that is open keeps it" lazy "$device"
exec 7<&-
check "it goes when that is closed" gone "$device" disk.qcow2
device=$(qcow2ctl attach -r disk.qcow2)
mount -o ro "${device}p1" /mnt
check "what was written is there" test "$(cat /mnt/file)" = kept
umount /mnt
check "one that nobody has open goes at once" qcow2ctl detach --lazy "$device"
check "it is gone" test ! -e "$device" -a -z "$(qcow2ctl list)"
refuse "no such device" 1 "no such device" qcow2ctl detach --lazy "$device"

qcow2ctl snapshot create disk.qcow2 one
device=$(qcow2ctl attach disk.qcow2)
child=$(qcow2ctl attach -r --load-snapshot one disk.qcow2)
check "while another device shows a snapshot of it" qcow2ctl detach --lazy "$device"
check "it stays" lazy "$device"
check "until that is detached" qcow2ctl detach "$child"
check "it goes then" gone "$device" disk.qcow2

qemu-img create -q -f qcow2 -b disk.qcow2 -F qcow2 top.qcow2
device=$(qcow2ctl attach --no-partscan top.qcow2)
dd if=/dev/urandom of="$device" bs=1M count=16 conv=fsync status=none
exec 7<"$device"
qcow2ctl commit "$device" &
check "while it is committed" qcow2ctl detach --lazy "$device"
exec 7<&-
wait $!
check "the commit is through" test $? = 0
check "it goes after that" gone "$device" top.qcow2

exec 7<>race.qcow2
first=$(qcow2ctl attach disk.qcow2) second=$(qcow2ctl attach top.qcow2 2>/dev/null || qcow2ctl attach race.qcow2)
exec 7<"$first" 8<"$second"
check "--all" qcow2ctl detach --all --lazy
check "both wait" test "$(jq '[.[] | select(."lazy-detach")] | length' <<<"$(qcow2ctl list --json)")" = 2
exec 7<&- 8<&-
check "both go" gone "$second" disk.qcow2

# --- what fails then ------------------------------------------------------------------------
truncate -s 32M below
loop=$(losetup -f --show below) || skip_all "the kernel has no loop devices"
at_exit losetup -d "$loop"
sectors=$(blockdev --getsz "$loop") name=lazy-$$
dmsetup create $name --table "0 $sectors linear $loop 0" || skip_all "the kernel has no device mapper"
at_exit dmsetup remove $name
below=/dev/dm-$(dmsetup info -c --noheadings -o minor $name)
table() {
	dmsetup load $name --table "0 $sectors $1"
	dmsetup suspend --nolockfs --noflush $name
	dmsetup resume $name
}
# Written to, and not flushed, when the disk below breaks; then it is closed.
break_and_close() {	# DETACH-OPTION...
	exec 7<>"$device"
	qcow2ctl detach --lazy "$@" "$device"
	head -c 64k /dev/urandom | dd of="$device" bs=64k oflag=direct status=none
	table "flakey $loop 0 0 3600 1 error_writes"
	exec 7<&-
	for ((i = 0; i < 200; i++)); do
		dmesg | grep -qE "${device#/dev/}: (stays|detached\$)" && break
		sleep 0.05
	done
}
fail_at_close() {	# DETACH-OPTION...
	table "linear $loop 0"
	qemu-img create -q -f qcow2 "$below" 16M
	device=$(qcow2ctl attach --no-partscan "$below")
	dmesg -C
	export -f break_and_close table
	export device name sectors loop
	"$test_top/build/tests/hear" "${device#/dev/qcow}" \
		bash -c 'break_and_close "$@"' bash "$@" >heard
}
qcow2ctl monitor --json >events &
at_exit kill $!
qcow2ctl monitor >lines &
at_exit kill $!
until grep -q listening events && grep -q listening lines; do sleep 0.05; done
fail_at_close
check "what cannot be made durable stays" test -b "$device"
check "and is not to go by itself any longer" eval "! lazy $device"
check "an event tells" grep -q "^8 1 5$" heard
check "and the log" grep -q "${device#/dev/}: stays: what was written to it cannot be made durable" <(dmesg)
refuse "a plain detach says so, too" 2 "made durable" qcow2ctl detach "$device"
check "it can be read" dd if="$device" of=/dev/null bs=64k count=1 status=none
check "by force it goes" qcow2ctl detach --force "$device"
fail_at_close --force
check "lazily and by force it goes" test ! -e "$device"
check "an event tells that something was lost" grep -q "^9 1 5$" heard
for _ in {1..100}; do
	[ "$(grep -c '"detached"' events) $(grep -c ': detached' lines)" = "2 2" ] && break
	sleep 0.05
done
for event in detach-failed data-lost; do
	check "monitor --json tells of it, $event" jq -se --arg event $event --arg device "$device" \
		'map(select(.event == $event and .device == $device and .errno == 5)) | length >= 1' events
done
check "monitor says that it stays" grep -q "$device: stays attached: .* cannot be made durable: Input/output error" lines
check "and what is lost" grep -q "$device: goes by force, and what was written since .* is lost: Input/output error" lines
finish
