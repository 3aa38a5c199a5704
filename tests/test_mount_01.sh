#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# mount -t qcow2, by hand and from fstab; umount, after which the image is free again; what is said
# where it cannot be mounted, and that nothing is left then.
# kernels: uml uml-debug 6.1
# timeout: 90
. "$(dirname "$0")/test_common.sh"
need qemu-img sfdisk mkfs.ext4 mount findmnt jq
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
have_mount_helpers
echo 1 >/sys/kernel/rcu_expedited && at_exit 'echo 0 >/sys/kernel/rcu_expedited'

truncate -s 24M raw
printf '%s\n' 'label: dos' '2048,20480' '22528,+' | sfdisk -q raw
qemu-img convert -O qcow2 raw "a disk.qcow2"
device=$(qcow2ctl attach "a disk.qcow2")
mkfs.ext4 -q "${device}p1"
mkfs.ext4 -q "${device}p2"
qcow2ctl detach "$device"
qemu-img create -q -f qcow2 plain.qcow2 8M
device=$(qcow2ctl attach plain.qcow2) && mkfs.ext4 -q "$device" && qcow2ctl detach "$device"
mkdir one two

# Nothing is attached, nobody has the image.
free() { [ -z "$(qcow2ctl list)" ] && qemu-img check -q "$1"; }

# --- by hand --------------------------------------------------------------------------------
check "a partition is mounted" mount -t qcow2 "a disk.qcow2" one -o part=1
check "with nosuid and nodev, for writing" grep -qE '^rw,nosuid,nodev' <(findmnt -no OPTIONS one)
check "its device is to go" jq -e '.[0]."lazy-detach"' <<<"$(qcow2ctl list --json)"
echo first >one/file
check "another one of the same image" mount -t qcow2 -o part=2,allow-dev,allow-suid,noatime "a disk.qcow2" two
check "from the same device" test "$(qcow2ctl list --json | jq length)" = 1
check "its options are taken" grep -qE "^rw,noatime" <(findmnt -no OPTIONS two)
check "mounted there already: nothing happens" mount -t qcow2 "a disk.qcow2" one -o part=1
check "really nothing" test "$(findmnt -n one | wc -l)" = 1
check "umount" umount one
check "the device stays for the other one" findmnt -n two
check "umount of that" umount two
check "the image is free when umount returns" free "a disk.qcow2"
check "a whole disk, read-only" mount -t qcow2 plain.qcow2 one -o ro
check "it is" grep -q '^ro,' <(findmnt -no OPTIONS one)
check "umount, read-only" umount one
check "the type of the file system can be given" mount -t qcow2.ext4 plain.qcow2 one
check "remount" mount -o remount,ro one
check "is done" grep -q '^ro,' <(findmnt -no OPTIONS one)
umount one
check "the image is free" free plain.qcow2

qcow2ctl snapshot create "a disk.qcow2" before
mount -t qcow2 "a disk.qcow2" two -o part=1
echo second >two/file
check "a snapshot, beside the disk" mount -t qcow2 "a disk.qcow2" one -o part=1,snapshot=before,noload
check "shows what was" test "$(cat one/file two/file | xargs)" = "first second"
check "umount of both" umount one two
check "the image is free of them" free "a disk.qcow2"

device=$(qcow2ctl attach "a disk.qcow2")
check "an image that is attached already" mount -t qcow2 "a disk.qcow2" one -o part=1
umount one
check "stays attached" test -b "${device}p1"
qcow2ctl detach "$device"

# --- what cannot be -------------------------------------------------------------------------
refuse "no such partition" 32 'a disk.qcow2: it has no partition 3.*there are: 1 \(10 MiB\), 2 \(13 MiB\)' \
	mount -t qcow2 "a disk.qcow2" one -o part=3
refuse "no partitions" 32 'plain.qcow2: it has no partition 1.* and no others' \
	mount -t qcow2 plain.qcow2 one -o part=1
refuse "a disk with partitions, and no file system" 32 \
	'a disk.qcow2 has partitions: 1 \(10 MiB\).*-o part=N' mount -t qcow2 "a disk.qcow2" one
refuse "no number" 1 "option part=x: " mount -t qcow2 "a disk.qcow2" one -o part=x
refuse "no value" 1 "option snapshot: it wants a value" mount -t qcow2 plain.qcow2 one -o snapshot
refuse "no such image" 32 "none.qcow2: .*No such file" mount -t qcow2 none.qcow2 one
refuse "no such snapshot" 32 "plain.qcow2: .*snapshot" mount -t qcow2 plain.qcow2 one -o snapshot=none
refuse "no such directory" 32 "nowhere" mount -t qcow2 plain.qcow2 nowhere
refuse "an option that attach does not like" 32 "cache-size 'x': a number of bytes" \
	mount -t qcow2 plain.qcow2 one -o cache-size=x
refuse "one that nobody knows" 32 "one: " mount -t qcow2 plain.qcow2 one -o no-such-option
check "nothing is left of all that" free plain.qcow2
check "nor of the other one" free "a disk.qcow2"
check "-f does nothing" mount -f -t qcow2 plain.qcow2 one

# --- fstab ----------------------------------------------------------------------------------
cat >fstab <<END
$test_dir/a\040disk.qcow2 $test_dir/one qcow2 part=1,_netdev,x-systemd.automount,nofail 0 0
$test_dir/plain.qcow2 $test_dir/two qcow2 defaults,ro 0 0
$test_dir/none.qcow2 $test_dir/none qcow2 noauto 0 0
END
check "mount -a" mount -a -T fstab
check "both are mounted" eval "findmnt -n one && findmnt -n two"
check "once more, it changes nothing" mount -a -T fstab
check "really" test "$(findmnt -rno TARGET | grep -c "^$test_dir/")" = 2
check "each has one device" test "$(qcow2ctl list --json | jq length)" = 2
check "umount by directory" umount one
check "umount of the other" umount two
check "no image is in use" eval 'free plain.qcow2 && free "a disk.qcow2"'

# Where it stands in /etc/fstab, mount(8) and libmount find type qcow2 there.
mount --bind fstab /etc/fstab && at_exit umount /etc/fstab
check "mount by directory" mount one
check "remount of it" timeout 10 mount -o remount,ro one
check "it is read-only, nosuid and nodev are kept" grep -qE '^ro,nosuid,nodev' <(findmnt -no OPTIONS one)
check "and back" timeout 10 mount -o remount,rw,noatime one
check "it is writable, with one more option" grep -qE '^rw,nosuid,nodev,noatime' <(findmnt -no OPTIONS one)
check "umount after a remount" umount one
check "the image is free after that, too" free "a disk.qcow2"

for i in 1 2 3 4; do
	mkdir -p many/$i
	mount -t qcow2 -o part=$((i % 2 + 1)) "a disk.qcow2" many/$i &
done
wait
check "four at once share a device" test "$(findmnt -rno TARGET | grep -c many) $(qcow2ctl list --json | jq length)" = "4 1"
umount many/*
check "and it goes with the last one" free "a disk.qcow2"
finish
