#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# attach --temporary: what is written is lost at detach, and the image is never touched.
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img mkfs.ext4 dmsetup losetup jq
modprobe -a loop dm-mod dm-flakey 2>/dev/null
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
mkdir here there
export TMPDIR=$test_dir/here
truncate -s 32M raw
mkfs.ext4 -qF raw
qemu-img convert -O qcow2 raw base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 image.qcow2
sums=$(sha256sum image.qcow2 base.qcow2 raw)

# --- it is a disk that can be written ------------------------------------------------------------
device=$(qcow2ctl attach --temporary image.qcow2)
check "the device can be written" test "$(blockdev --getro "$device")" = 0
check "it has the image's size" test "$(blockdev --getsize64 "$device")" = $((32 << 20))
check "no file is to be seen" test -z "$(ls -A here)"
dd if=/dev/urandom of=noise bs=4k count=257 status=none
dd if=noise of="$device" bs=4k seek=1000 oflag=direct conv=fsync status=none
dd if=/dev/urandom of=bit bs=512 count=1 status=none
dd if=bit of="$device" bs=512 seek=40001 oflag=direct conv=fsync status=none
cp raw model
dd if=noise of=model bs=4k seek=1000 conv=notrunc status=none
dd if=bit of=model bs=512 seek=40001 conv=notrunc status=none
echo 3 >/proc/sys/vm/drop_caches
check "it reads as what was written, over the image" cmp "$device" model
check "an entry is changed by writing 512 bytes, nothing is copied but 4 KiB" test \
	"$(qcow2ctl list --json | jq '.[0].layers[0]."cluster-size"')" = 131072
check "list shows the image" test "$(qcow2ctl list -no IMAGE,TEMPORARY,LAYERS)" = \
	"$test_dir/image.qcow2  yes             3"
check "the file's name tells what becomes of it" grep -q \
	"^$test_dir/here/image.qcow2.lost-at-detach.......\? (deleted), $test_dir/image.qcow2, " \
	<<<"$(qcow2ctl list -no CHAIN)"

# --- others ---------------------------------------------------------------------------------------
second=$(qcow2ctl attach --temporary="$test_dir/there" image.qcow2)
check "another one of the same image has nothing of the first" cmp "$second" raw
third=$(qcow2ctl attach -r image.qcow2)
check "nor has a reader" cmp "$third" raw
qcow2ctl detach "$third"
refuse "who would write the image is refused" 2 "a backing file of /dev/qcow" qcow2ctl attach image.qcow2
refuse "the temporary file is nobody's to look at" 1 "temporary file.*image is $test_dir/image.qcow2" \
	qcow2ctl info "$device"
refuse "the image alone does not say which" 2 "attached several times: $device $second" \
	qcow2ctl detach image.qcow2
qcow2ctl detach "$second"
mount "$device" there 2>/dev/null || dd if=raw of="$device" bs=1M status=none
umount there 2>/dev/null
check "detach by the image" qcow2ctl detach image.qcow2
check "no device stays" test -z "$(qcow2ctl list)"
check "nor has any image changed" test "$(sha256sum image.qcow2 base.qcow2 raw)" = "$sums"

# --- kinds of images -------------------------------------------------------------------------------
device=$(qcow2ctl attach --temporary -f raw raw)
mkdir mnt
check "a raw image, mounted" mount "$device" mnt
dd if=noise of=mnt/noise bs=64k status=none
umount mnt
qcow2ctl detach "$device"
check "it has not changed either" test "$(sha256sum raw)" = "$(grep ' raw$' <<<"$sums")"
qemu-img create -q -f qcow2 huge.qcow2 63T
device=$(qcow2ctl attach --temporary huge.qcow2)
check "a huge one" test "$(blockdev --getsize64 "$device")" = $((63 << 40))
dd if=noise of="$device" bs=4k seek=$(((63 << 28) - 257)) oflag=direct conv=fsync status=none
check "is written at its end" cmp -n $((257 * 4096)) "$device" noise $(((63 << 40) - 257 * 4096)) 0
qcow2ctl detach "$device"

# --- a file system below that is full ---------------------------------------------------------------
mkdir small
mount -t tmpfs -o size=8M tmpfs small
at_exit umount "$test_dir/small"
device=$(qcow2ctl attach --temporary="$test_dir/small" image.qcow2)
check "more is written than there is room for" eval \
	"! dd if=/dev/zero of=$device bs=1M count=30 oflag=direct conv=fsync 2>/dev/null"
check "what is lost anyway does not keep the device" qcow2ctl detach "$device"
check "all is free again" test "$(df --output=used small | tail -n 1)" -lt 100

# --- a disk below that fails ------------------------------------------------------------------------
truncate -s 64M disk
loop=$(losetup -f --show disk)
at_exit losetup -d "$loop"
table() { echo "0 $(blockdev --getsz "$loop") $1"; }
dmsetup create below --table "$(table "linear $loop 0")"
at_exit dmsetup remove below
below=/dev/dm-$(dmsetup info -c --noheadings -o minor below)	# needs no udev
mkfs.ext4 -qF "$below"
mkdir broken
mount "$below" broken
at_exit umount "$test_dir/broken"
device=$(qcow2ctl attach --temporary="$test_dir/broken" image.qcow2)
check "a write" dd if=noise of="$device" bs=4k oflag=direct conv=fsync status=none
dmsetup load below --table "$(table "flakey $loop 0 0 3600 1 error_writes")"
dmsetup suspend --nolockfs --noflush below
dmsetup resume below
check "the disk below is broken" eval \
	"! dd if=noise of=$device bs=4k seek=4000 oflag=direct conv=fsync 2>/dev/null"
check "that keeps no device either" qcow2ctl detach "$device"

# --- what cannot be -----------------------------------------------------------------------------------
refuse "not with -r" 1 "neither -r nor --repair" qcow2ctl attach -r --temporary image.qcow2
refuse "no such directory" 2 "$test_dir/none/image.qcow2.lost.*cannot make a temporary file" \
	qcow2ctl attach --temporary="$test_dir/none" image.qcow2
qemu-img create -q --object secret,id=s,data=x -f qcow2 \
	-o encrypt.format=aes,encrypt.key-secret=s secret.qcow2 1M
printf x >key
refuse "what is encrypted does not end up in the clear, unasked" 2 "secret.qcow2: it is encrypted, and" \
	qcow2ctl attach --temporary --key-file key secret.qcow2
check "but where one says so" qcow2ctl attach --temporary="$test_dir/small" --key-file key secret.qcow2
qcow2ctl detach --all
check "no device is left" test -z "$(qcow2ctl list)"
finish
