#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Persistent dirty bitmaps: what QEMU makes of them after our writes is what was written, no
# less and no more.
# timeout: 120
. "$(dirname "$0")/test_common.sh"
PATH=$test_top/build/tests:$PATH
need qemu-img qemu-io qemu-nbd

at_exit qcow2ctl detach --all

image=$test_dir/image.qcow2 ops=$test_dir/ops device=

create() {	# OPTIONS SIZE
	rm -f "$image"
	: >"$ops"
	qemu-img create -q -f qcow2 ${1:+-o "$1"} "$image" "$2"
}

attach() { device=$(qcow2ctl attach --no-partscan "$image"); }

# Change the disk, and note where. Nothing is rounded to pages.
change() {	# write|discard|zero OFFSET LENGTH
	local off len
	off=$(numfmt --from=iec "${2^^}") len=$(numfmt --from=iec "${3^^}")
	echo "$off $len" >>"$ops"
	case $1 in
	write) head -c "$len" /dev/urandom |
		dd of="$device" bs="$len" count=1 iflag=fullblock oflag=direct,seek_bytes seek="$off" status=none ;;
	discard) blkdiscard -o "$off" -l "$len" "$device" ;;
	zero) blkdiscard -z -o "$off" -l "$len" "$device" ;;
	esac
}

# The ranges that a bitmap should say are dirty: "START END", of what is in a file of changes.
expected() {	# FILE GRANULARITY SIZE
	sort -n "$1" | awk -v g="$2" -v size="$3" '
		{ start = int($1 / g) * g; stop = int(($1 + $2 + g - 1) / g) * g }
		NR > 1 && start <= end { if (stop > end) end = stop; next }
		NR > 1 { print begin, end }
		{ begin = start; end = stop }
		END { if (NR) print begin, (end > size ? size : end) }'
}

# What QEMU says.
dirty() {	# IMAGE BITMAP
	local socket=$test_dir/socket
	rm -f "$socket"
	qemu-nbd --fork -r -f qcow2 -B "$2" -k "$socket" "$1" || return
	qemu-img map --output=json --image-opts \
		"driver=nbd,server.type=unix,server.path=$socket,x-dirty-bitmap=qemu:dirty-bitmap:$2" |
		sed -nE 's/.*"start": ([0-9]+), "length": ([0-9]+),.*"data": false.*/\1 \2/p' |
		awk 'NR > 1 && $1 == end { end += $2; next } NR > 1 { print begin, end }
			{ begin = $1; end = $1 + $2 } END { if (NR) print begin, end }'
}

# qemu-nbd may take a while to go.
flags() {	# IMAGE BITMAP
	qemu-img info -U --output=json "$1" | tr -d ' \n' |
		grep -oE "\{\"flags\":\[[^]]*\],\"name\":\"$2\"" | sed 's/.*\[//; s/\].*//; s/"//g'
}

is_dirty() {	# BITMAP GRANULARITY [FILE]
	local size
	size=$(qemu-img info -U --output=json "$image" | sed -n 's/.*"virtual-size": \([0-9]*\),.*/\1/p')
	diff <(expected "${3:-$ops}" "$2" "$size") <(dirty "$image" "$1") || return
	[ "$(flags "$image" "$1")" = auto ]
}

whole() { qemu-img check -q "$image" || { qemu-img check "$image"; return 1; }; }

# Bitmaps of two granularities that say something already, one that is disabled, and one that a
# QEMU left in use.
scenario() {	# OPTIONS SIZE GRANULARITY GRANULARITY
	local fine=$3 coarse=$4 size
	create "$1" "$2" || return
	qemu-img bitmap --add "$image" used || return
	qemu-nbd --fork -f qcow2 -k "$test_dir/used" --pid-file "$test_dir/pid" "$image" || return
	kill -KILL "$(cat "$test_dir/pid")"
	while fuser -s "$image"; do sleep 0.05; done
	qemu-img bitmap --add -g "$fine" "$image" fine &&
		qemu-img bitmap --add -g "$coarse" "$image" coarse &&
		qemu-img bitmap --add -g 64k --disable "$image" off || return
	qemu-io -f qcow2 -c 'write -q -P 1 700k 3k' "$image" || return
	echo "$((700 * 1024)) 3072" >>"$ops"

	attach || return
	change write 1M 512 && change write 1600000 1536 && change zero 3M 20k || return
	qcow2ctl detach "$device" && whole || return
	is_dirty fine "$fine" && is_dirty coarse "$coarse" || return

	attach || return
	# One cluster of a fine bitmap, and more, becomes all ones.
	change discard 1536k 1M && change write 2300k 2M && change zero 2M 130k || return
	change write 512 512 || return
	size=$(blockdev --getsize64 "$device")
	change write $((size - 512)) 512 || return
	qcow2ctl detach "$device" && whole || return
	is_dirty fine "$fine" && is_dirty coarse "$coarse" || return
	[ "$(flags "$image" used)" = in-use,auto ] && [ "$(flags "$image" off)" = "" ] || return
	[ -z "$(dirty "$image" off)" ] || return
	# QEMU goes on.
	qemu-io -f qcow2 -c 'write -q 128k 64k' "$image" || return
	echo "$((128 * 1024)) $((64 * 1024))" >>"$ops"
	is_dirty fine "$fine" && is_dirty coarse "$coarse"
}

# Who only reads changes nothing, and who writes says so first.
in_use() {
	create "" 8M && qemu-img bitmap --add "$image" one && qemu-img bitmap --add "$image" two &&
		qemu-img bitmap --add --disable "$image" off || return
	cp "$image" "$test_dir/before"
	attach && dd if="$device" of=/dev/null bs=1M status=none && sync "$device" &&
		qcow2ctl detach "$device" && cmp "$image" "$test_dir/before" || return
	attach && change write 1M 4k || return
	cp "$image" "$test_dir/during"
	[ "$(flags "$test_dir/during" one)" = in-use,auto ] &&
		[ "$(flags "$test_dir/during" two)" = in-use,auto ] &&
		[ "$(flags "$test_dir/during" off)" = "" ] || return
	qcow2ctl info "$image" | grep -q ' one: granularity 64 KiB, auto, in use$' || return
	qcow2ctl detach "$device" && whole && is_dirty one 65536 && is_dirty two 65536 || return
	# After a crash.
	cp "$test_dir/during" "$image"
	qcow2ctl info "$image" | grep -q ' one: granularity 64 KiB, auto, in use (inconsistent)$' || return
	attach && change write 2M 4k && qcow2ctl detach "$device" || return
	[ "$(flags "$image" one)" = in-use,auto ] && ! dirty "$image" one
}

# Somebody wrote to it who knows no bitmaps: they are of no use, to QEMU neither.
ignored() {
	create "" 8M && qemu-img bitmap --add "$image" one || return
	poke "$image" autoclear_features=0
	attach && change write 1M 4k && qcow2ctl detach "$device" || return
	qemu-img check -q "$image"
	[ $? = 3 ] && [ -z "$(flags "$image" one)" ]
}

# One that is no good keeps the image from being written, not from being read.
malformed() {
	local extension directory
	create "" 8M && qemu-img bitmap --add "$image" one || return
	extension=$(LC_ALL=C grep -obUaP '\x23\x85\x28\x75' "$image" | head -n 1 | cut -d: -f1)
	directory=$(od -An -tu8 --endian=big -j $((extension + 24)) -N 8 "$image" | tr -d ' ')
	poke "$image" "$((directory + 17)):1=8"
	! qcow2ctl attach "$image" 2>"$test_dir/said" || return
	grep -q "entry 0: bitmap's granularity_bits 8 is out of range: 9 .*; -r attaches it" "$test_dir/said" ||
		{ cat "$test_dir/said"; return 1; }
	device=$(qcow2ctl attach -r --no-partscan "$image") && qcow2ctl detach "$device"
}

# What was refused leaves the image as it is; what a snapshot brings back may be anything.
snapshots() {
	create "" 8M && qemu-io -f qcow2 -c 'write -q 0 1M' "$image" &&
		qemu-img snapshot -c first "$image" && qemu-img bitmap --add "$image" one || return
	poke "$image" autoclear_features=0x8000000000000001
	cp "$image" "$test_dir/before"
	attach || return
	! qcow2ctl snapshot create "$device" first 2>"$test_dir/said" &&
		! qcow2ctl snapshot delete "$device" second 2>>"$test_dir/said" &&
		! qcow2ctl snapshot apply "$device" second 2>>"$test_dir/said" || return
	qcow2ctl detach "$device" && cmp "$image" "$test_dir/before" || return
	attach && qcow2ctl snapshot create "$device" second && change write 3M 4k &&
		qcow2ctl detach "$device" && whole && is_dirty one 65536 || return
	attach && qcow2ctl snapshot apply "$device" first && qcow2ctl detach "$device" && whole || return
	echo "0 $((8 << 20))" >>"$ops"
	is_dirty one 65536
}

# Snapshots of a smaller disk, and of a larger one: with clusters of 512 bytes, and bits for 512
# bytes, tables of 2 to 10 entries.
sizes() {
	create cluster_size=512 3M && qemu-img snapshot -c small "$image" &&
		qemu-img resize -q "$image" 20M && qemu-img snapshot -c large "$image" &&
		qemu-img resize -q --shrink "$image" 9M && qemu-img bitmap --add -g 512 "$image" one || return
	attach && change write 8M 4k && change write 1M 512 || return
	qcow2ctl snapshot apply "$device" large && change write 17M 512 || return
	qcow2ctl detach "$device" && whole || return
	echo "0 $((20 << 20))" >"$ops"
	is_dirty one 512 || return
	# Smaller, and larger again at once; then a size without a full last byte.
	attach && qcow2ctl snapshot apply "$device" small && qcow2ctl snapshot apply "$device" large &&
		qcow2ctl snapshot apply "$device" small && qcow2ctl detach "$device" && whole || return
	echo "0 $((3 << 20))" >"$ops"
	is_dirty one 512 || return
	# One that nobody adds to, and that must fit nevertheless; until then it is left alone.
	qemu-img bitmap --disable "$image" one && qemu-img bitmap --add -g 512 "$image" two || return
	dirty "$image" one >"$test_dir/one"
	attach && change write 1M 512 && change discard 2M 64k || return
	cp "$image" "$test_dir/during"
	[ "$(flags "$test_dir/during" one)" = "" ] || return
	qcow2ctl snapshot apply "$device" large && change write 17M 512 || return
	cp "$image" "$test_dir/during"
	[ "$(flags "$test_dir/during" one)" = in-use ] || return
	qcow2ctl detach "$device" && whole || return
	[ "$(flags "$image" one)" = "" ] && dirty "$image" one | diff "$test_dir/one" - || return
	echo "0 $((20 << 20))" >"$ops"
	is_dirty two 512
}

# No room for the bitmap: it stays in use, and nothing else suffers.
full() {
	local image=$store/image.qcow2 name=room$$
	create cluster_size=4096 32M && qemu-img bitmap --add -g 512 "$image" "$name" || return
	attach || return
	dd if=/dev/urandom of="$device" bs=4k oflag=direct status=none 2>/dev/null && return 1
	cp --sparse=always "$device" "$test_dir/disk"
	# Types: QCOW2BLK_EVENT_DETACHED, and _BITMAPS with ENOSPC.
	[ "$(hear "${device#/dev/qcow}" qcow2ctl detach "$device")" = $'2 1 0\n6 1 28' ] && whole || return
	dmesg | grep -q "the bitmap $name cannot be stored, error -28" || { dmesg; return 1; }
	[ "$(flags "$image" "$name")" = in-use,auto ] && qemu-img compare -q -f qcow2 -F raw "$image" "$test_dir/disk"
}

# An overlay that is merged into the image: bits are set for what it had, also where the disk grows.
merged() {	# OVERLAY-SIZE
	local overlay=$test_dir/overlay.qcow2
	create "" 4M && qemu-io -f qcow2 -c 'write -q -P 1 2M 200k' "$image" && qemu-img bitmap --add "$image" one || return
	qemu-img bitmap --add --disable "$image" off && qemu-img create -q -f qcow2 -b "$image" -F qcow2 "$overlay" "$1" &&
		device=$(qcow2ctl attach --no-partscan "$overlay") || return
	change write 700k 3k && change zero 2M 130k && change write $(($(numfmt --from=iec "$1") - 512)) 512 || return
	[ -z "$(dirty "$image" one)" ] || return
	qcow2ctl commit "$device" && is_dirty one 65536 || return
	# Both need to be told again that they are in use.
	change write 1M 1k && qcow2ctl commit "$device" && is_dirty one 65536 || return
	change write 3M 1k && qcow2ctl detach "$device" && qcow2ctl commit "$overlay" && is_dirty one 65536 || return
	whole && [ "$(flags "$image" off)" = "" ] && [ -z "$(dirty "$image" off)" ]
}

# Likewise of what is merged into.
merged_full() {
	local image=$store/image.qcow2 overlay=$test_dir/overlay.qcow2 said=$test_dir/said
	create cluster_size=4096 32M && qemu-img bitmap --add -g 512 "$image" one || return
	qemu-img create -q -f qcow2 -b "$image" -F qcow2 "$overlay" &&
		device=$(qcow2ctl attach --no-partscan --allow-backing "$overlay") || return
	dd if=/dev/urandom of="$device" bs=1M count=16 oflag=direct status=none || return
	[ "$(hear "${device#/dev/qcow}" qcow2ctl commit "$device" 2>"$said")" = '6 1 28' ] || return
	grep -q 'No space left on device; the disk is as it was' "$said" || { cat "$said"; return 1; }
	[ "$(flags "$image" one)" = in-use,auto ] && qcow2ctl detach "$device" && whole
}

check "in use while it is written" in_use
check "clusters of 512 bytes, bits for 512 bytes" scenario cluster_size=512 $(((7 << 20) + 1536)) 512 4096
check "no bitmaps without the autoclear bit" ignored
check "of an image that is merged into" merged 4M
check "likewise, which grows" merged 6M
check "malformed" malformed
check "snapshots" snapshots
check "snapshots of disks of other sizes" sizes
store=$test_dir/store
mkdir "$store"
mount -t tmpfs -o size=8M none "$store" || exit 1
at_exit "qcow2ctl detach --all; umount $store"
check "no room" full
rm "$store"/*
check "no room for what is merged" merged_full
if [ "${VM_KERNEL:-}" = uml ]; then
	check "clusters of 4 KiB" scenario cluster_size=4096 20M 512 1048576
	check "clusters of 64 KiB" scenario cluster_size=65536 $(((20 << 20) + 512)) 4096 65536
	check "clusters of 2 MiB" scenario cluster_size=2M 20M 65536 2097152
	check "subclusters" scenario extended_l2=on 20M 512 32768
	check "an external data file, raw" scenario "data_file=$test_dir/data,data_file_raw=on" 20M 4096 65536
fi
finish
