#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images whose data lie in a file of their own: what attach makes of them, what is shown, who else
# may have the file, what a full file system and a discard do to it.
# kernels: uml uml-debug
# timeout: 60
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io mkfs.xfs blkdiscard fallocate losetup
modprobe -q loop
# shellcheck disable=SC2016 # expanded at exit
at_exit 'losetup -j "$test_dir/store" -O NAME -n | xargs -r losetup -d'
# shellcheck disable=SC2016 # expanded at exit
at_exit 'umount "$test_dir/xfs"'
at_exit qcow2ctl detach --all

truncate -s 400M "$test_dir/store"
mkfs.xfs -q "$test_dir/store"
mkdir "$test_dir/xfs"
mount -o loop "$test_dir/store" "$test_dir/xfs"
at_exit 'cd /'
cd "$test_dir/xfs" || exit 1
M=$((1024 * 1024))

create() {	# NAME SIZE OPTIONS
	qemu-img create -q -f qcow2 -o "data_file=$1.data$3" "$1.qcow2" "$2"
}
blocks() { stat -c %b "$1"; }		# of 512 bytes
stat_of() {	# DEVICE NAME
	qcow2ctl list --json | sed -n "\|\"$1\"|,\$s/^.*\"$2\": *\([0-9]*\).*/\1/p" | head -n 1
}

# --- names ------------------------------------------------------------------------------------

mkdir sub away
create plain 4M ''
create raw 4M ,data_file_raw=on
qemu-img create -q -f qcow2 none.qcow2 4M
check "the kernel wants the image's data file, and no other" \
	"$test_top/build/tests/life" data none.qcow2 plain.qcow2 plain.data

device=$(qcow2ctl attach plain.qcow2)
check "attach finds it" test -b "$device"
check "list --json names it" grep -qF "\"data-file\": \"$PWD/plain.data\"" <(qcow2ctl list --json)
check "info names it, and says whether it is raw" \
	grep -qE 'data file raw: false' <(qcow2ctl info "$device" | grep -A 1 'data file: plain.data')
refuse "another VM may not write it" 1 'Failed to get .*lock' qemu-io -f raw -c 'write 0 512' plain.data
refuse "nor may it be another image's data meanwhile" 2 "it is the data file of $device; detach that first\$" \
	qcow2ctl attach -f raw plain.data
qcow2ctl detach "$device"

# QEMU, with the data file open; it says so when it has it.
coproc QEMU { exec qemu-io -f raw plain.data; }
qemu=$QEMU_PID
echo 'length' >&"${QEMU[1]}"
read -r -u "${QEMU[0]}" _
refuse "attach refuses a data file that QEMU writes" 2 'plain.data: in use by another process' \
	qcow2ctl attach plain.qcow2
echo quit >&"${QEMU[1]}"
wait "$qemu"

mv plain.data away/
refuse "a data file that is not there" 2 'plain.data: cannot open the data file' \
	qcow2ctl attach plain.qcow2
device=$(qcow2ctl attach --data-file away/plain.data plain.qcow2)
check "--data-file names another one" test -b "$device"
qcow2ctl detach "$device"
mv away/plain.data .
refuse "--data-file for an image without one" 1 'has no external data file' \
	qcow2ctl attach --data-file plain.data none.qcow2
refuse "--data-file for a layer that is not there" 1 'there is no layer 2, as --data-file says' \
	qcow2ctl attach --data-file 2=plain.data plain.qcow2
create sized 4M ''
mv sized.data away/
refuse "nor is it there for a resize" 2 'sized.data: cannot open the data file' \
	qcow2ctl resize sized.qcow2 5M
check "resize --data-file" qcow2ctl resize --data-file away/sized.data sized.qcow2 5M
check "the disk has the new size" grep -qF '5242880 bytes' <(qemu-img info sized.qcow2)

# --- data -------------------------------------------------------------------------------------

for kind in plain raw; do
	device=$(qcow2ctl attach $kind.qcow2)
	dd if=/dev/urandom of=$kind.want bs=$M count=4 status=none
	dd if=$kind.want of="$device" bs=$M oflag=direct conv=fsync status=none
	before=$(blocks $kind.data)
	blkdiscard -o $M -l $((2 * M)) "$device"
	blkdiscard -z -o $((3 * M + 512)) -l 1024 "$device"
	fallocate -p -o $M -l $((2 * M)) $kind.want
	fallocate -p -o $((3 * M + 512)) -l 1024 $kind.want
	sync
	check "$kind: a discard gives the space of the data file back" \
		test $((before - $(blocks $kind.data))) -ge 4096
	check "$kind: what was discarded reads as zeros" cmp "$device" $kind.want
	# A flush has two files to sync, and no entries to write. The commit that comes by itself is over.
	dd if=/dev/zero of=$kind.want bs=4096 count=1 conv=notrunc status=none
	sync "$device"
	[ $kind = raw ] || sleep 6
	commits=$(stat_of "$device" commits) fsyncs=$(stat_of "$device" fsyncs)
	dd if=/dev/zero of="$device" bs=4096 count=1 oflag=direct conv=fsync,notrunc status=none
	[ $kind = raw ] || check "a flush after a write in place syncs both files and writes no entries" \
		test "$(stat_of "$device" commits) $(stat_of "$device" fsyncs)" = "$commits $((fsyncs + 2))"
	check "$kind: clusters are not allocated in the image" \
		test "$(stat_of "$device" allocations)" -le 1
	qcow2ctl detach "$device"
	check "$kind: qemu-img finds no fault" qemu-img check -q $kind.qcow2
	check "$kind: and reads the same" qemu-img compare -q -f raw -F qcow2 $kind.want $kind.qcow2
done
check "a raw data file is what the disk is" cmp raw.want raw.data
check "and says so still" grep -q 'data file raw: true' <(qemu-img info raw.qcow2)

# A hole needs no zeros, and neither does what the file system can make zeros of.
create holes 16M ''
device=$(qcow2ctl attach holes.qcow2)
dd if=/dev/urandom of=piece bs=4096 count=1 status=none
truncate -s 16M holes.want
for at in 3 80 1001 1002 4095; do
	dd if=piece of="$device" bs=4096 seek=$at oflag=direct conv=notrunc status=none
	dd if=piece of=holes.want bs=4096 seek=$at conv=notrunc status=none
done
check "a piece of a cluster is written without the rest" \
	test "$(stat_of "$device" copies)" = 0
# With --discard=ignore, what was there stays there.
qcow2ctl detach "$device"
device=$(qcow2ctl attach --discard=ignore holes.qcow2)
blkdiscard -z -o 0 -l 65536 "$device"
fallocate -p -o 0 -l 65536 holes.want
dd if=piece of="$device" bs=512 count=1 seek=1 oflag=direct conv=notrunc status=none
dd if=piece of=holes.want bs=512 count=1 seek=1 conv=notrunc status=none
check "the old content of a cluster does not show" cmp "$device" holes.want
qcow2ctl detach "$device"

# --- snapshots ----------------------------------------------------------------------------------

device=$(qcow2ctl attach plain.qcow2)
refuse "internal snapshots there are none" 2 'external data file has no snapshots' \
	qcow2ctl snapshot create "$device" one
qcow2ctl detach "$device"
qemu-img create -q -f qcow2 -b plain.qcow2 -F qcow2 over.qcow2
device=$(qcow2ctl attach over.qcow2)
check "but of an overlay" qcow2ctl snapshot create "$device" one
dd if=/dev/urandom of="$device" bs=$M count=1 oflag=direct conv=notrunc status=none
snapshot=$(qcow2ctl attach -r --load-snapshot one over.qcow2)
check "which reads as it was, data file below and all" cmp "$snapshot" plain.want
qcow2ctl detach "$snapshot"
qcow2ctl detach "$device"

# --- a full file system -----------------------------------------------------------------------

create full 100M ''
device=$(qcow2ctl attach full.qcow2)
dd if=/dev/urandom of="$device" bs=$M count=1 oflag=direct conv=fsync status=none
fallocate -l $((($(stat -f -c '%a * %S' .)) - 4 * M)) filler
refuse "a write that needs room gets ENOSPC" 1 'No space left' \
	dd if=/dev/urandom of="$device" bs=$M seek=1 count=40 oflag=direct
check "a write in place does not" \
	dd if=/dev/zero of="$device" bs=$M count=1 oflag=direct conv=fsync,notrunc
rm filler
check "with room again, writes go on" \
	dd if=/dev/urandom of="$device" bs=$M seek=1 count=40 oflag=direct conv=fsync
check "detach" qcow2ctl detach "$device"
check "qemu-img finds no fault" qemu-img check -q full.qcow2

# --- a block device ---------------------------------------------------------------------------

# Of just the disk's size, which ends within a cluster, full of somebody else's data.
size=$((3 * M + 5 * 4096))
qemu-img create -q -f qcow2 -o data_file=device.data device.qcow2 $size
dd if=/dev/urandom of=stale bs=4096 count=$((size / 4096)) status=none
loop=$(losetup --find --show stale)
device=$(qcow2ctl attach --data-file "$loop" device.qcow2)
truncate -s $size want
check "what is on the device does not show" cmp "$device" want
for at in 0 100 $((size / 512 - 1)); do
	dd if=/dev/urandom of=piece bs=512 count=1 status=none
	dd if=piece of="$device" bs=512 seek=$at oflag=direct conv=notrunc status=none
	dd if=piece of=want bs=512 seek=$at conv=notrunc status=none
done
blkdiscard -o $((65536 * 20)) -l 65536 "$device"
blkdiscard -z -o 65536 -l 131072 "$device"
check "nor does it where a cluster is written in part" cmp "$device" want
qcow2ctl detach "$device"
losetup -d "$loop"
finish
