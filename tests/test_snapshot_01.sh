#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Internal snapshots that are made, applied and deleted while the image is attached, against QEMU's
# programs: what each holds, and that nothing leaks.
# timeout: 240
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io

at_exit qcow2ctl detach --all
case ${VM_KERNEL:-} in
uml) rounds=12 ;;
*) rounds=6 ;;
esac

# A pattern of @3 over [@1, @2), bytes; O_DIRECT would ask for whole blocks.
fill() {	# DEVICE OFFSET LENGTH BYTE
	head -c "$3" /dev/zero | tr '\0' "\\$(printf %o "$4")" |
		dd of="$1" bs=64k seek="$(numfmt --from=iec "$2")" oflag=seek_bytes conv=notrunc,fsync status=none
}

whole() {	# IMAGE
	qemu-img check -q "$1" || { qemu-img check "$1"; return 1; }
}

# The bytes of snapshot NAME of IMAGE are those of FILE.
holds() {	# IMAGE NAME FILE
	qemu-img convert -l "snapshot.name=$2" -O raw "$1" "$test_dir/held.raw" &&
		cmp "$test_dir/held.raw" "$3"
}

scenario() {	# QEMU-IMG-OPTIONS
	local image=$test_dir/image.qcow2 device i
	rm -f "$image" "$test_dir"/state*
	qemu-img create -q -f qcow2 -o "$1" "$image" 32M || return
	qemu-io -f qcow2 -c 'write -q -P 1 0 6M' "$image" && qemu-img snapshot -c theirs "$image" || return
	qemu-img convert -O raw "$image" "$test_dir/state0"
	device=$(qcow2ctl attach --no-partscan "$image") || return
	for i in 1 2 3; do
		fill "$device" $((i * 1000000)) 1500000 $((i + 10)) || return
		fill "$device" $((i * 6000000)) 300000 $((i + 20)) || return
		blkdiscard -o $((i * 1048576)) -l 1048576 "$device" || return
		qcow2ctl snapshot create "$device" "ours$i" || return
		cp --sparse=always "$device" "$test_dir/state$i"
		fill "$device" 0 200000 $((i + 30)) || return
	done
	! qcow2ctl snapshot create "$device" ours2 2>"$test_dir/said" || return
	grep -q 'there is a snapshot of this name' "$test_dir/said" || return
	qcow2ctl snapshot delete "$device" ours2 || return
	fill "$device" 20000000 3000000 99 || return
	cp --sparse=always "$device" "$test_dir/state4"
	qcow2ctl detach "$device" && whole "$image" || return
	holds "$image" theirs "$test_dir/state0" && holds "$image" ours1 "$test_dir/state1" &&
		holds "$image" ours3 "$test_dir/state3" || return
	qemu-img compare -q -f qcow2 -F raw "$image" "$test_dir/state4" || return
	qemu-img snapshot -l "$image" | grep -q ours2 && return 1

	device=$(qcow2ctl attach --no-partscan "$image") || return
	qcow2ctl snapshot apply "$device" ours1 || return
	cmp "$device" "$test_dir/state1" || return
	fill "$device" 500000 100000 77 || return
	qcow2ctl snapshot delete "$device" ours1 && qcow2ctl snapshot delete "$device" ours3 || return
	qcow2ctl snapshot apply "$device" theirs && cmp "$device" "$test_dir/state0" || return
	qcow2ctl snapshot delete "$device" theirs && cmp "$device" "$test_dir/state0" || return
	fill "$device" 0 32M 5 || return
	qcow2ctl detach "$device" && whole "$image" || return
	[ "$(qemu-img snapshot -l "$image" | wc -l)" = 0 ]
}

# Devices of snapshots, while the image is written and after that.
shown() {
	local image=$test_dir/shown.qcow2 device one two
	qemu-img create -q -f qcow2 "$image" 8M
	device=$(qcow2ctl attach --no-partscan "$image") || return
	fill "$device" 0 3M 1 && qcow2ctl snapshot create "$device" one || return
	cp --sparse=always "$device" "$test_dir/one"
	one=$(qcow2ctl attach -r --load-snapshot one "$image") || return
	fill "$device" 1M 3M 2 && qcow2ctl snapshot create "$device" two || return
	cp --sparse=always "$device" "$test_dir/two"
	two=$(qcow2ctl attach -r --load-snapshot 2 "$image") || return
	fill "$device" 0 6M 3 || return
	cmp "$one" "$test_dir/one" && cmp "$two" "$test_dir/two" || return
	! qcow2ctl snapshot delete "$device" one 2>"$test_dir/said" || return
	grep -q 'another device shows this snapshot' "$test_dir/said" || return
	! qcow2ctl detach "$device" 2>"$test_dir/said" || return
	grep -q "$one shows its snapshot" "$test_dir/said" || return
	qcow2ctl detach "$one" && qcow2ctl snapshot delete "$device" one || return
	fill "$device" 2M 1M 4 && cmp "$two" "$test_dir/two" || return
	qcow2ctl list --json | grep -q '"snapshot": *"2"' || return
	qcow2ctl detach --all && whole "$image" || return
	two=$(qcow2ctl attach -r --load-snapshot two "$image") && cmp "$two" "$test_dir/two" || return
	! qcow2ctl attach -r --load-snapshot nine "$image" 2>"$test_dir/said" || return
	grep -q 'there is no such snapshot' "$test_dir/said" && qcow2ctl detach "$two"
}

# What changes often does not grow: a refcount table has 4 clusters of 2 MiB at most.
many() {
	local image=$test_dir/many.qcow2 device i
	qemu-img create -q -f qcow2 -o cluster_size=2M "$image" 64M
	device=$(qcow2ctl attach --no-partscan "$image") || return
	for i in 1 2 3 4 5 6; do
		fill "$device" $((i * 2097152)) 65536 "$i" || return
		qcow2ctl snapshot create "$device" "s$i" || return
	done
	for i in 2 4 6; do
		qcow2ctl snapshot delete "$device" "s$i" || return
	done
	qcow2ctl detach "$device" && whole "$image" || return
	# refcount_table_clusters, of the header
	[ "$(od -An -j 56 -N 4 -t u1 "$image" | tr -d ' ')" = 0001 ]
}

# Refcounts of 2 bits count the disk and two snapshots.
narrow() {
	local image=$test_dir/narrow.qcow2 device
	qemu-img create -q -f qcow2 -o refcount_bits=2 "$image" 4M
	device=$(qcow2ctl attach --no-partscan "$image") || return
	fill "$device" 0 1M 1 && cp "$device" "$test_dir/narrow" || return
	qcow2ctl snapshot create "$device" one && qcow2ctl snapshot create "$device" two || return
	! qcow2ctl snapshot create "$device" three 2>"$test_dir/said" || return
	grep -q 'refcounts of this width' "$test_dir/said" || return
	qcow2ctl snapshot apply "$device" two || return
	fill "$device" 500000 1M 2 && qcow2ctl snapshot apply "$device" one || return
	cmp "$device" "$test_dir/narrow" && qcow2ctl detach "$device" && whole "$image"
}

# A pause waits for requests, but not for flushes that the block layer has yet to send after them. Who
# hangs can not even be killed: all of them are left behind then.
while_flushed() {
	local image=$test_dir/flushed.qcow2 device writers i
	qemu-img create -q -f qcow2 "$image" 4M
	device=$(qcow2ctl attach --no-partscan "$image") && fill "$device" 0 4M 1 || return
	touch "$test_dir/go"
	for i in 1 2 3 4; do
		while [ -e "$test_dir/go" ]; do
			dd if=/dev/zero of="$device" bs=4k count=100 seek=$((i * 200)) oflag=direct,dsync conv=notrunc
		done >/dev/null 2>&1 &
		writers+=" $!"
	done
	for ((i = 0; i < rounds; i++)); do
		qcow2ctl snapshot create "$device" s || break
		qcow2ctl snapshot delete "$device" s || break
		echo "$i" >"$test_dir/round"
	done >"$test_dir/said" 2>&1 &
	for ((i = 0; i < 600; i++)); do
		kill -0 $! 2>/dev/null || break
		sleep 0.2
	done
	rm "$test_dir/go"
	echo "rounds: 0 to $(cat "$test_dir/round")"
	cat "$test_dir/said"
	[ "$(cat "$test_dir/round")" = $((rounds - 1)) ] || return
	# shellcheck disable=SC2086 # process numbers
	wait $writers
	qcow2ctl detach "$device" && whole "$image"
}

# Images that are not attached, and are not afterwards.
unattached() {
	local image=$test_dir/unattached.qcow2
	qemu-img create -q -f qcow2 "$image" 4M
	qemu-io -f qcow2 -c 'write -q -P 1 0 4M' "$image" || return
	qcow2ctl snapshot create "$image" one && qemu-io -f qcow2 -c 'write -q -P 2 1M 1M' "$image" || return
	qcow2ctl snapshot create "$image" two && qcow2ctl snapshot apply "$image" one || return
	qemu-io -f qcow2 -c 'read -q -P 1 0 4M' "$image" && whole "$image" || return
	! qcow2ctl snapshot delete "$image" three 2>"$test_dir/said" || return
	grep -q 'there is no such snapshot' "$test_dir/said" || return
	# The backing file need not be there: nobody reads guest data.
	qemu-img rebase -q -u -b /nowhere -F raw "$image" && qcow2ctl snapshot create "$image" four &&
		qcow2ctl snapshot delete "$image" four && qemu-img rebase -q -u -b '' "$image" || return
	qcow2ctl snapshot apply "$image" 2 && qcow2ctl snapshot delete "$image" 1 || return
	qemu-io -f qcow2 -c 'read -q -P 2 1M 1M' "$image" && whole "$image" || return
	[ "$(qemu-img snapshot -l "$image" | grep -c two)" = 1 ] && [ -z "$(qcow2ctl list)" ]
}

check "devices that show snapshots" shown
check "images that are not attached" unattached
check "made and deleted while writes are flushed one by one" while_flushed
check "as often as one likes, with clusters of 2 MiB" many
check "refcounts of 2 bits at their highest" narrow
check "clusters of 4 KiB" scenario cluster_size=4096
# The rest is a matter of the format, not of the kernel.
if [ "${VM_KERNEL:-}" = uml ]; then
	check "clusters of 64 KiB" scenario cluster_size=65536
	check "clusters of 512 bytes" scenario cluster_size=512
	check "version 2" scenario compat=0.10
	check "subclusters" scenario extended_l2=on
	check "refcounts of 4 bits" scenario refcount_bits=4,cluster_size=4096
fi
finish
