#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A disk that is written: what is there when detach returns, what list says meanwhile, what becomes
# of discarded space.
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io sfdisk mkfs.ext4 blkdiscard jq
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
qemu-img create -q -f qcow2 base.qcow2 64M
qemu-io -c 'write -q -P 1 0 4M' base.qcow2
cp base.qcow2 base.before
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 image.qcow2
stat() { qcow2ctl list --json | jq ".[0].stats.\"$1\""; }
clean() { qemu-img check -q "$1"; }

# --- a partition, a file system, a file ---------------------------------------------------------
device=$(qcow2ctl attach image.qcow2)
check "the device can be written" test "$(blockdev --getro "$device")" = 0
check "list says so" grep -qE "^$device +64 MiB +no +qcow2 +2 +" <<<"$(qcow2ctl list)"
check "and JSON" jq -e '."read-only" == false and .stopped == false and .discard == "unmap"' \
	<<<"$(qcow2ctl list --json | jq '.[0]')"
check "info names the device, and nothing more" grep -qx "attached as: $device" <<<"$(qcow2ctl info image.qcow2)"
echo 'start=1MiB, type=linux' | sfdisk -q --label gpt "$device" 2>/dev/null
check "a partition made is there" test -b "${device}p1"
mkfs.ext4 -qF "${device}p1"
mkdir mnt
mount "${device}p1" mnt
head -c 1M /dev/urandom >file
check "a file is written" cp file mnt/file
refuse "detach while it is mounted" 2 "mounted on" qcow2ctl detach "$device"
umount mnt
check "clusters were allocated" test "$(stat allocations)" -gt 0
check "and written" test "$(stat file-writes)" -gt 0
check "commits were counted" test "$(stat commits)" -gt 0 -a "$(stat fsyncs)" -gt 0
check "detach" qcow2ctl detach "$device"
check "the image is clean, no cluster is lost" clean image.qcow2
check "the backing file is as it was" cmp base.qcow2 base.before

device=$(qcow2ctl attach -r image.qcow2)
mount -o ro "${device}p1" mnt
check "the file is there again" cmp file mnt/file
umount mnt
check "read-only it is not written" eval "! dd if=/dev/zero of=$device bs=4k count=1 oflag=direct"
qcow2ctl detach "$device"

# --- detach alone makes durable -------------------------------------------------------------------
device=$(qcow2ctl attach --no-partscan image.qcow2)
check "a write without a flush" dd if=file of="$device" bs=64k seek=16 oflag=direct status=none
qcow2ctl detach image.qcow2
qemu-img convert -O raw image.qcow2 raw
check "is in the image after detach" cmp -n $((1 << 20)) raw file $((1 << 20)) 0
check "which is clean" clean image.qcow2

# --- discard --------------------------------------------------------------------------------------
discard_max() { cat "/sys/block/${1#/dev/}/queue/discard_max_bytes"; }
filled() {	# NAME: an image, 16 MiB of it written
	qemu-img create -q -f qcow2 "$1" 64M
	qemu-io -c 'write -q -P 2 0 16M' "$1"
}
filled unmap.qcow2
device=$(qcow2ctl attach unmap.qcow2)
check "discard is announced" test "$(discard_max "$device")" -gt 0
check "a discard" blkdiscard -l 16M "$device"
qcow2ctl detach "$device"
check "gives the space back" test "$(du -k unmap.qcow2 | cut -f1)" -lt 2048
check "leaves a clean image" clean unmap.qcow2
check "reads zero" qemu-io -c 'read -q -P 0 0 16M' unmap.qcow2

filled ignore.qcow2
device=$(qcow2ctl attach --discard ignore ignore.qcow2)
check "--discard=ignore announces none" test "$(discard_max "$device")" = 0
check "JSON says so" jq -e '.[0].discard == "ignore"' <<<"$(qcow2ctl list --json)"
check "zeroes are written" blkdiscard -z -l 8M "$device"
qcow2ctl detach "$device"
check "and keep their space" test "$(du -k ignore.qcow2 | cut -f1)" -ge 16384
check "they read zero" qemu-io -c 'read -q -P 0 0 8M' -c 'read -q -P 2 8M 8M' ignore.qcow2
check "the image is clean" clean ignore.qcow2

# --- a raw image ------------------------------------------------------------------------------------
truncate -s 8M raw
device=$(qcow2ctl attach -f raw raw)
check "a raw image is written" dd if=file of="$device" bs=64k seek=3 oflag=direct conv=fsync status=none
qcow2ctl detach raw
check "where it was meant to" cmp -n $((1 << 20)) raw file $((3 << 16)) 0
check "its size stays" test "$(wc -c <raw)" = $((8 << 20))

# --- swap -------------------------------------------------------------------------------------------
qemu-img create -q -f qcow2 swap.qcow2 16M
device=$(qcow2ctl attach swap.qcow2)
mkswap "$device" >/dev/null
if check "swap on it" swapon "$device"; then
	at_exit swapoff "$device"
	refuse "detach of swap" 2 "$device: it is in use: qcow0 is used as swap; " qcow2ctl detach "$device"
	swapoff "$device"
fi
check "detach after swapoff" qcow2ctl detach "$device"
finish
