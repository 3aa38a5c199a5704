#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Tracepoints: each one tells of what it is for.
# kernels: uml uml-debug
# timeout: 60
. "$(dirname "$0")/test_common.sh"
need qemu-img
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
trace=$test_dir/tracing
mkdir "$trace"
mount -t tracefs none "$trace" || skip_all "no tracefs"
at_exit umount "$trace"
events=$trace/events/qcow2blk
[ -d "$events" ] || skip_all "no tracepoints of modules"

# What is traced while a command runs: in the file "seen".
traced() {	# COMMAND...
	echo >"$trace/trace"
	echo 1 >"$events/enable"
	"$@"
	echo 0 >"$events/enable"
	grep -oE 'qcow2_[a-z_]+: .*' "$trace/trace" >seen
}
tells() {	# WHAT PATTERN
	check "$1" eval "grep -E -- '^qcow2_$2' seen || { cat seen; false; }"
}

base64 /dev/urandom | head -c 1M >raw
qemu-img convert -q -c -f raw -O qcow2 raw base
qemu-img create -q -f qcow2 -b base -F qcow2 top 4M
ino=$(stat -c %i top)
device=$(qcow2ctl attach --no-partscan top)
name=${device#/dev/}
io() { dd "$@" bs=64k count=1 conv=notrunc status=none; }

traced io if="$device" of=/dev/null iflag=direct
tells "a read: in which layer" "read: $name layer=1 off=0 len=65536 type=compressed host_off=[1-9]"
tells "its table was not in the cache" "slice_miss: ino=$(stat -c %i base) host_off=[1-9][0-9]* err=0"
tells "it was decompressed" "decompress: $name layer=1 host_off=[1-9][0-9]* csize=[0-9]+ err=0"
traced io if="$device" of=/dev/null iflag=direct skip=32
tells "one of nothing" "read: $name layer=1 off=2097152 len=65536 type=zero"
traced io if=raw of="$device" oflag=direct,seek_bytes seek=4096
tells "a write that allocates and copies" "write: $name off=[0-9]+ len=[0-9]+ host_off=[1-9][0-9]* allocates=1 copies=1"
tells "its cluster" "alloc: ino=$ino cluster=[1-9][0-9]* nr=[1-9]"
traced io if=raw of="$device" oflag=direct,seek_bytes seek=4096
tells "one in place" "write: $name off=4096 len=[0-9]+ host_off=[1-9][0-9]* allocates=0 copies=0"
traced sync "$device"
for phase in begin freeze refcounts first-sync entries last-sync durable; do
	tells "a commit: $phase" "commit: ino=$ino number=[1-9][0-9]* phase=$phase err=0"
done
tells "and its fsyncs" "fsync: ino=$ino err=0"
check "two of them" test "$(grep -c ^qcow2_fsync seen)" = 2
release() {
	blkdiscard -l 128k "$device"
	sync "$device"
	sleep 0.5
}
traced release
tells "clusters that are freed" "release: ino=$ino cluster=[1-9][0-9]* nr=[1-9][0-9]* err=0"
truncate -s 200k base
traced eval "io if=$device of=/dev/null iflag=direct skip=15 2>/dev/null"
tells "an error" "error: $name layer=1 off=983040 err=-5"
check "each was seen, there are no others" test "$(find "$events" -mindepth 1 -maxdepth 1 -type d | wc -l)" = 9
finish
