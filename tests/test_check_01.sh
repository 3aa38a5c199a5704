#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images that are dirty or corrupt are mended before they are written; images are checked while they
# are attached and written. What a check finds, and all repairs, are compared with qemu-img's in
# tests/checker, which needs no VM.
# timeout: 180
. "$(dirname "$0")/test_common.sh"
PATH=$test_top/build/tests:$PATH
need qemu-img qemu-io jq losetup iconv
modprobe loop 2>/dev/null
at_exit qcow2ctl detach --all
cd "$test_dir" || exit 1

number_at() {	# FILE OFFSET: eight bytes
	od -An -tu8 --endian=big -j "$2" -N 8 "$1" | tr -d ' '
}
is_flagged() {	# FILE: dirty or corrupt
	[ "$(number_at "$1" 72)" != 0 ]
}

# --- a dirty image: a QEMU that is killed leaves refcounts behind what it did ------------------
qemu-img create -q -f qcow2 -o lazy_refcounts=on lazy 8M
{ qemu-io -c 'write -P 1 0 3M' -c flush -c abort lazy >/dev/null 2>&1; } 2>/dev/null
qemu-img convert -U -f qcow2 -O raw lazy before
cp lazy dirty
check "a dirty image" is_flagged lazy
check "attached read-only" qcow2ctl attach -r --no-partscan lazy
check "reads what it held" cmp before /dev/qcow0
qcow2ctl detach --all
check "is left as it was" cmp lazy dirty
check "attached for writing" eval "qcow2ctl attach --no-partscan lazy 2>words"
check "says what was done" grep -q "lazy: warning: the image was dirty (not closed cleanly): [1-9][0-9]* refcounts and flags were corrected" words
check "is not dirty any more" eval "! is_flagged lazy"
check "holds what it held" cmp before /dev/qcow0
check "is written" dd if=/dev/urandom of=/dev/qcow0 bs=1M count=6 oflag=direct status=none
cp /dev/qcow0 before
qcow2ctl detach --all
check "and sound" qemu-img check -q lazy
check "with what was written" qemu-img compare -q -f raw -F qcow2 before lazy
check "and QEMU may be lazy again" eval "qemu-img info lazy | grep -q 'lazy refcounts: true'"

# The same on a block device, which does not grow.
truncate -s 8M device
loop=$(losetup -f --show device)
at_exit losetup -d "$loop"
dd if=dirty of="$loop" bs=1M conv=fsync status=none
check "a dirty image on a block device" qcow2ctl attach --no-partscan "$loop"
qcow2ctl detach --all
check "is sound" qemu-img check -q -f qcow2 "$loop"

# --- worse --------------------------------------------------------------------------------------
poke dirty "$(($(number_at dirty "$(number_at dirty 40)") & 0xfffffffffffe00)):8=0x8000000100000000"
cp dirty worse
refuse "a dirty one with a cluster past the end" 2 \
	"dirty: the image is dirty \(not closed cleanly\), and not only its refcounts are wrong: data at 4294967296 lies past the end of the file; attach --repair may mend it" \
	qcow2ctl attach dirty
check "is left as it was" cmp dirty worse
refuse "qemu-img cannot mend that" 2 "dirty: qemu-img check -r all did not mend it: data at" \
	qcow2ctl attach --repair dirty
check "but others" poke worse "$(($(number_at worse "$(number_at worse 40)") & 0xfffffffffffe00)):8=0x8000000100000201"
check "it is called for" eval "qcow2ctl attach --no-partscan --repair worse 2>words"
check "which is said" grep -q "worse: warning: .*; qemu-img check -r all tries to mend it" words
qcow2ctl detach --all
check "and did" qemu-img check -q worse

# It opens the image, and nothing that the image names, which may be anything.
break_cluster() {	# FILE: one that is marked as zeros, with a place that none can have
	poke "$1" "$(($(number_at "$1" "$(number_at "$1" 40)") & 0xfffffffffffe00)):8=0x8000000100000201"
}
truncate -s 1M victim
qemu-img create -q -f qcow2 -b "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"$test_dir/victim\"}}" \
	-F raw 'hostile "it'\''s"' 1M
qemu-img create -q -f qcow2 -o data_file=hostile.data,data_file_raw=off data.qcow2 1M
for image in 'hostile "it'\''s"' data.qcow2; do
	qemu-io -f qcow2 -c 'write 0 1M' "$image" >/dev/null
	break_cluster "$image"
done
rm victim hostile.data
for image in 'hostile "it'\''s"' data.qcow2; do
	refuse "$image is broken" 2 'data may be wrong' qcow2ctl check "$image"
	check "$image is mended without the other file" qcow2ctl check --repair=all "$image"
done
break_cluster 'hostile "it'\''s"'
refuse "attach --repair mends it before it looks at the name" 2 "is not named by a plain path" \
	qcow2ctl attach --repair 'hostile "it'\''s"'
check "and did" qcow2ctl check 'hostile "it'\''s"'
dd if='hostile "it'\''s"' of="$loop" bs=1M conv=fsync status=none
break_cluster "$loop"
check "on a block device, too" qcow2ctl check --repair=all "$loop"

qemu-img create -q -f qcow2 corrupt 1M
poke corrupt incompatible_features=2
refuse "an image that is marked corrupt" 2 "corrupt: the image is marked corrupt, so it is not written; attach --repair mends it" \
	qcow2ctl attach corrupt
check "after a check it is not" qcow2ctl attach --repair corrupt
qcow2ctl detach --all
check "for good" eval "! is_flagged corrupt"

# --- bytes of an image that are no UTF-8 -----------------------------------------------------------
is_utf8() { iconv -f UTF-8 -t UTF-8 "$1" >utf8 && jq -e . "$1"; }
qemu-img create -q -f qcow2 names 1M
qemu-img snapshot -c one names
entry=$(number_at names 64)
printf '\xff' | dd of=names bs=1 seek=$((entry + 64)) conv=notrunc status=none	# its ID
device=$(qcow2ctl attach -r --load-snapshot one names)
qcow2ctl list --json >json
check "list --json is JSON whatever a snapshot is called" is_utf8 json
check "and has the snapshot" grep -q '"snapshot": *"�"' json
qcow2ctl detach "$device"
printf '\x01' | dd of=names bs=1 seek=$((entry + 7)) conv=notrunc status=none	# its L1 table
qcow2ctl check --json names >json
check "so is check --json" is_utf8 json
check "and has the fault" grep -q 'snapshot .*: ' json

# --- images that are in use -----------------------------------------------------------------------
qemu-img create -q -f qcow2 -o cluster_size=4k base 64M
qemu-io -f qcow2 -c 'write -P 7 0 32M' base >/dev/null
qemu-img snapshot -c one base
qemu-img create -q -f qcow2 -b base -F qcow2 top
device=$(qcow2ctl attach --no-partscan top)
check "a backing file of a device" qcow2ctl check base
refuse "is not repaired" 1 "base: it is a backing file of $device; detach that first" \
	qcow2ctl check --repair base
qcow2ctl detach --all

# Clusters are taken, shared with a snapshot, copied and freed while the checks run.
device=$(qcow2ctl attach --no-partscan base)
(
	while [ ! -e enough ]; do
		dd if=/dev/zero of="$device" bs=1M count=4 seek=$((RANDOM % 60)) oflag=direct conv=notrunc,fsync
		blkdiscard -o $((RANDOM % 60 << 20)) -l 3M "$device"
		sleep 0.02
	done
) 2>/dev/null &
writer=$!
checks() {
	local look
	for look in {1..5}; do
		qcow2ctl check "$1" >said || { echo "look $look"; cat said; return 1; }
	done
}
check "a device while it is written" checks "$device"
check "by the name of its image" checks base
check "what is in reserve is not leaked" grep -q "in the device's reserve, or leaked" said
refuse "is not repaired" 1 "base: it is attached as $device, which writes it; detach that first" \
	qcow2ctl check --repair base

# The first entry of the snapshot's L1 table, which the device does not touch.
l1=$(number_at base "$(number_at base 64)")
sound=$(number_at base "$l1")
poke base "$l1:8=0x100000000"
refuse "a fault that stays" 2 "an L2 table at 4294967296 lies past the end of the file" \
	qcow2ctl check "$device"
check "is the only one" test "$(qcow2ctl check --json base | jq .corruptions)" = 1
poke base "$l1:8=$sound"
check "and gone when it is" qcow2ctl check "$device"
touch enough
wait "$writer"

# What a crash leaves: the image as it is now.
dd if=/dev/urandom of="$device" bs=64k count=16 oflag=direct,sync status=none
cp base crashed
cp "$device" content
qcow2ctl detach --all
check "detached, nothing is leaked" qcow2ctl check base
refuse "a crash leaves leaks" 3 "leaked clusters" qcow2ctl check crashed
check "that are freed" qcow2ctl check --repair crashed
check "so says qemu-img" qemu-img check -q crashed
check "and the disk is what it was" qemu-img compare -q -f raw -F qcow2 content crashed

device=$(qcow2ctl attach -r base)
check "an image that is attached read-only" qcow2ctl check base
check "and its device" qcow2ctl check "$device"
refuse "is not repaired" 1 "base: it is attached as $device; detach that first" \
	qcow2ctl check --repair base
qcow2ctl detach --all

coproc QEMU { qemu-io base 2>&1; }
echo 'read 0 512' >&"${QEMU[1]}"
read -r _ <&"${QEMU[0]}"
refuse "one that a VM writes" 1 "base: in use by another process .* that writes it" qcow2ctl check base
pid=$QEMU_PID
echo quit >&"${QEMU[1]}"
wait "$pid"
check "and when it is done" qcow2ctl check --repair base
finish
