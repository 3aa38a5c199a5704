#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Tracepoints: each one tells of what it is for; and debugfs, of what is under way.
# kernels: uml uml-debug
# timeout: 60
. "$(dirname "$0")/test_common.sh"
need qemu-img setpriv
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
# One may have come by itself by now.
write_and_sync() {
	io if=raw of="$device" oflag=direct seek=8
	sync "$device"
}
traced write_and_sync
for phase in begin freeze refcounts first-sync entries last-sync durable; do
	tells "a commit: $phase" "commit: ino=$ino number=[1-9][0-9]* phase=$phase err=0"
done
tells "and its fsyncs" "fsync: ino=$ino err=0"
check "two of them" test "$(grep -c ^qcow2_fsync seen)" -ge 2
state=/sys/kernel/debug/qcow2blk/state
states() {	# WHAT PATTERN
	check "$1" eval "grep -E -- '$2' now || { cat now; false; }"
}
io if=/dev/urandom of="$device" oflag=direct seek=5; cat $state >now
states "the state of a device" "^$name: 0 requests under way$"
states "one slice is dirty" "L2 tables: 1 of [0-9]+ slices, 1 dirty"
states "what was taken is not durable" "taken: 1, 1 of them published"
states "a commit will come" "commit: begun ([0-9]+), durable \\1, 0 waiting, timer on, error 0"
states "nothing is claimed" "claims: 0"
sync "$device"; cat $state >now
states "nothing is dirty" "L2 tables: 1 of [0-9]+ slices, 0 dirty"
states "all is durable" "taken: 0"
refuse "only root reads it" 1 "Permission denied" setpriv --reuid 65534 --clear-groups cat $state

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

# Who reads it while devices come and go.
(while cat $state; do :; done) >/dev/null 2>&1 &
reader=$!
at_exit kill $reader
qcow2ctl detach "$device"
for _ in {1..20}; do
	qcow2ctl attach --no-partscan top >/dev/null && qcow2ctl detach top && continue
	fail "attached and detached"
done
check "it is read while devices come and go" kill $reader
check "without devices there is nothing" test -z "$(cat $state)"
finish
