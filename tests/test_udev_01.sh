#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# udev's rules with a real udevd: links by UUID, label, image and name, for partitions too; watched;
# mounts that it does not end; what is found on a guest's disk is activated only if that is asked for.
# kernels: uml uml-debug 6.1
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img sfdisk mkfs.ext4 udevadm lvm mount findmnt
udevd=/lib/systemd/systemd-udevd
[ -x $udevd ] || skip_all "there is no systemd-udevd"
[ ! -e /run/udev/control ] || skip_all "an udevd runs already, with its own rules"
modprobe -q dm-mod
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
echo 1 >/sys/kernel/rcu_expedited && at_exit 'echo 0 >/sys/kernel/rcu_expedited'
mkdir -p /run/udev/rules.d
cp "$test_top/userspace/packaging/udev/60-qcow2blk.rules" /run/udev/rules.d/
$udevd 2>/dev/null &
udevd_pid=$!
at_exit "kill $udevd_pid; wait $udevd_pid; rm -r /run/udev"
until udevadm control --ping 2>/dev/null; do sleep 0.1; done
property() { udevadm info -q property --value --property="$2" "$1"; }
leads() { [ "$(readlink -f "$1")" = "$2" ]; }	# LINK NODE

truncate -s 40M raw
printf '%s\n' 'label: gpt' 'start=2048,size=16384,name=small' 'start=20480,size=59000' | sfdisk -q raw
qemu-img convert -O qcow2 raw "my disk.qcow2"

# --- links ----------------------------------------------------------------------------------
device=$(qcow2ctl attach --name web.1 "my disk.qcow2")
uuid=5eed0000-0000-4000-8000-000000000001
ids=$(stat -c '%Hd:%Ld-%i' "my disk.qcow2")
check "by name" leads /dev/qcow2/web.1 "$device"
check "a partition by name" leads /dev/qcow2/web.1-part1 "${device}p1"
check "by the image's name" leads /dev/disk/by-qcow2/my_disk.qcow2 "$device"
check "a partition by that" leads /dev/disk/by-qcow2/my_disk.qcow2-part2 "${device}p2"
check "by the image's inode" leads "/dev/disk/by-qcow2/$ids" "$device"
check "a partition by that, too" leads "/dev/disk/by-qcow2/$ids-part2" "${device}p2"
check "by the partition's name" leads /dev/disk/by-partlabel/small "${device}p1"
mkfs.ext4 -q -U $uuid -L my-label "${device}p1"
# The close that ends it is seen by the watch.
for ((i = 0; i < 100; i++)); do
	[ ! -e /dev/disk/by-uuid/$uuid ] || break
	sleep 0.1
done
udevadm settle
check "a file system that is made is seen: by UUID" leads /dev/disk/by-uuid/$uuid "${device}p1"
check "by label" leads /dev/disk/by-label/my-label "${device}p1"
check "its type is known" test "$(property "${device}p1" ID_FS_TYPE)" = ext4
check "detach finds it by its link" qcow2ctl detach /dev/qcow2/web.1
check "the links are gone" test ! -L /dev/qcow2/web.1 -a ! -L /dev/disk/by-uuid/$uuid -a \
	! -L "/dev/disk/by-qcow2/$ids-part2"
qcow2ctl snapshot create "my disk.qcow2" one
device=$(qcow2ctl attach "my disk.qcow2")
snapshot=$(qcow2ctl attach -r --load-snapshot one "my disk.qcow2")
check "the UUID is there at once" leads /dev/disk/by-uuid/$uuid "${device}p1"
check "a snapshot has links of its own" leads /dev/disk/by-qcow2/my_disk.qcow2@1-part1 "${snapshot}p1"
check "the disk's are its own" leads /dev/disk/by-qcow2/my_disk.qcow2-part1 "${device}p1"
refuse "a name that cannot be one" 2 "a name has letters, digits" \
	qcow2ctl attach -r --name ../x raw -f raw
qcow2ctl attach -r --name taken -f raw raw >/dev/null
refuse "a name that another device has" 2 "another device has this name" \
	qcow2ctl attach -r --name taken -f raw raw
check "detach" qcow2ctl detach --all

# What udev does before the device is to go does not end it.
device=$(qcow2ctl attach "my disk.qcow2")
exec 7<"$device"
qcow2ctl detach --lazy "$device"
udevadm trigger -c change --settle "/sys/block/${device#/dev/}"
check "udev's look at a device that is to go is none of the last" test -b "$device"
exec 7<&-
for ((i = 0; i < 100; i++)); do
	[ -e "$device" ] || break
	sleep 0.1
done
check "it goes" test ! -e "$device"

# Nor does it end that of a mount.
have_mount_helpers
mkdir mnt
check "mount -t qcow2" mount -t qcow2 "my disk.qcow2" mnt -o part=1
device=$(findmnt -no SOURCE mnt)
udevadm trigger -c change --settle "/sys/class/block/${device#/dev/}"
check "it stays, whatever udev opens and closes" test -b "$device"
check "it has its links" leads /dev/disk/by-uuid/$uuid "$device"
check "umount" umount mnt
check "the device is gone then, and the link" test ! -e "$device" -a ! -L /dev/disk/by-uuid/$uuid

# --- guests' arrays -------------------------------------------------------------------------
# A member of one, with a superblock of version 1.2; on floppies nobody looks for them.
perl -e '
	my $sb = pack "L4 a16 a32", 0xa92b4efc, 1, 0, 0, "0123456789abcdef", "guest:0";
	$sb .= "\0" x (256 - length $sb);
	substr $sb, 80, 8, pack "Q", 1000;
	substr $sb, 144, 8, pack "Q", 8;	# sectors: where it is itself
	my $sum = 0;
	$sum += $_ for unpack "L64", $sb;
	substr $sb, 216, 4, pack "L", ($sum & 0xffffffff) + ($sum >> 32);
	print "\0" x 4096, $sb, "\0" x (4 << 20);' >member
device=$(qcow2ctl attach -r -f raw member)
check "no rule finds an array" test -z "$(property "$device" ID_FS_TYPE)"
check "who looks does" test "$(property "$device" QCOW2_FS_TYPE)" = linux_raid_member
qcow2ctl detach "$device"
device=$(qcow2ctl attach --activate -r -f raw member)
check "with --activate rules find it" test "$(property "$device" ID_FS_TYPE)" = linux_raid_member
qcow2ctl detach "$device"

# --- guests' volume groups ------------------------------------------------------------------
lvm_() { lvm "$@" 2>&1; }
export LVM_SUPPRESS_FD_WARNINGS=1
# LVM wants to write there; udevd has been started without.
mkdir etc-lvm && cp -r /etc/lvm/. etc-lvm/ && mount --bind etc-lvm /etc/lvm && at_exit umount /etc/lvm
device=$(qcow2ctl attach --activate "my disk.qcow2")
if lvm_ vgcreate -q guest "${device}p2" >lvm.log && lvm_ lvcreate -an -Zn -n disk -l 2 guest >>lvm.log; then
	udevadm settle
	qcow2ctl detach "$device"
	device=$(qcow2ctl attach "my disk.qcow2")
	udevadm settle
	check "a volume group is not activated" test ! -e /dev/mapper/guest-disk
	check "no rule finds it" test -z "$(property "${device}p2" ID_FS_TYPE)"
	check "but who looks does" test "$(property "${device}p2" QCOW2_FS_TYPE)" = LVM2_member
	check "LVM itself sees it" grep -q guest <(lvm_ vgs --noheadings)
	filter=$(sed -n 's/^[[:space:]]*\(global_filter = .*\)/\1/p' "$test_top/userspace/packaging/lvm/qcow2blk.conf")
	check "but not with the filter that is shipped" \
		test -z "$(lvm_ vgs --noheadings --config "devices { $filter }" | grep guest)"
	qcow2ctl detach "$device"
	device=$(qcow2ctl attach --activate "my disk.qcow2")
	for ((i = 0; i < 100; i++)); do
		[ ! -e /dev/mapper/guest-disk ] || break
		sleep 0.1
	done
	check "with --activate it is" test -e /dev/mapper/guest-disk
	refuse "and keeps the device" 2 "in use" qcow2ctl detach "$device"
	udevadm settle
	lvm_ vgchange -q -an guest >>lvm.log
	check "until it is deactivated" qcow2ctl detach "$device"
else
	fail "a volume group can be made" "$(cat lvm.log)"
fi
finish
