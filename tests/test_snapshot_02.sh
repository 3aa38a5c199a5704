#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Refcounts that cannot count one more, of every width: a snapshot that would need that is refused, and
# nothing has changed.
# timeout: 400
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io od

at_exit qcow2ctl detach --all
image=$test_dir/image.qcow2

snapshots() { qemu-img snapshot -l "$image" | grep -cE '^ *[0-9]'; }

# It is refused, with the reason; the disk is what it was, and can be written.
too_many() {	# DEVICE NAME
	! qcow2ctl snapshot create "$1" "$2" 2>"$test_dir/said" || return
	grep -q 'refcounts of this width cannot count one more: see qemu-img amend' "$test_dir/said" &&
		cmp "$1" "$test_dir/model"
}

write() {	# DEVICE OFFSET BYTE
	local file
	for file in "$1" "$test_dir/model"; do
		head -c 30000 /dev/zero | tr '\0' "\\$(printf %o "$3")" |
			dd of="$file" bs=64k seek="$2" oflag=seek_bytes conv=notrunc,fsync status=none || return
	done
}

# So many snapshots of one disk, and not one more; but one more when another one is gone.
counts_to() {	# REFCOUNT-BITS SNAPSHOTS
	local device i
	qemu-img create -q -f qcow2 -o "refcount_bits=$1,cluster_size=4096" "$image" 2M || return
	qemu-io -f qcow2 -c 'write -q -P 1 0 300k' -c 'write -q -z 300k 8k' "$image" &&
		qemu-img convert -O raw "$image" "$test_dir/model" || return
	device=$(qcow2ctl attach --no-partscan "$image") || return
	for ((i = 1; i <= $2; i++)); do
		qcow2ctl snapshot create "$device" "s$i" || return
	done
	too_many "$device" more && too_many "$device" more || return
	# What was copied is counted once, what is shared is still at its highest.
	write "$device" 100000 2 && too_many "$device" more || return
	if [ "$2" -gt 0 ]; then
		qcow2ctl snapshot delete "$device" s1 && qcow2ctl snapshot create "$device" again &&
			too_many "$device" more || return
	fi
	qcow2ctl detach "$device" && qemu-img check -q "$image" && [ "$(snapshots)" = "$2" ] || return
	qemu-img compare -q -f qcow2 -F raw "$image" "$test_dir/model"
}

# Compressed clusters share one of the file, which is in use as often as they are many.
packed() {
	local device
	head -c 12288 /dev/zero | tr '\0' X >"$test_dir/model"
	qemu-img convert -c -f raw -O qcow2 -o refcount_bits=2,cluster_size=4096 "$test_dir/model" "$image" || return
	device=$(qcow2ctl attach --no-partscan "$image") || return
	too_many "$device" one || return
	# Two of them are left.
	dd if=/dev/urandom of="$test_dir/new" bs=4096 count=1 status=none
	dd if="$test_dir/new" of="$device" conv=notrunc,fsync status=none &&
		dd if="$test_dir/new" of="$test_dir/model" conv=notrunc status=none || return
	too_many "$device" one || return
	qcow2ctl detach "$device" && qemu-img check -q "$image" && [ "$(snapshots)" = 0 ]
}

be64_at() { echo $((0x$(od -An -j "$1" -N 8 -t x1 "$image" | tr -d ' \n'))); }
put() {	# OFFSET, and bytes from standard input
	dd of="$image" bs=1 seek="$1" conv=notrunc status=none
}

# One cluster's refcount is as high as it can be, whoever that may count; so its entry does not say
# COPIED. QEMU calls that a leak.
highest() {	# REFCOUNT-BITS
	local bytes=$(($1 / 8)) device table l2 block data
	qemu-img create -q -f qcow2 -o "refcount_bits=$1" "$image" 4M || return
	qemu-io -f qcow2 -c 'write -q -P 1 0 64k' -c 'write -q -P 2 64k 64k' "$image" &&
		qemu-img convert -O raw "$image" "$test_dir/model" || return
	block=$(be64_at "$(be64_at 48)")
	table=$(be64_at 40) l2=$(($(be64_at "$table") & 0x00fffffffffffe00))
	data=$(($(be64_at "$l2") & 0x00fffffffffffe00))
	head -c "$bytes" /dev/zero | tr '\0' '\377' | put $((block + (data >> 16) * bytes)) &&
		printf '\0' | put "$l2" || return
	qemu-img check "$image" >"$test_dir/before"
	[ $? = 3 ] || return
	device=$(qcow2ctl attach --no-partscan "$image") || return
	too_many "$device" one || return
	qcow2ctl detach "$device" || return
	qemu-img check "$image" >"$test_dir/after"
	[ $? = 3 ] && [ "$(snapshots)" = 0 ] || return
	# A write to it goes elsewhere, and counts down; then there is room.
	device=$(qcow2ctl attach --no-partscan "$image") && write "$device" 1000 5 || return
	qcow2ctl snapshot create "$device" one && cmp "$device" "$test_dir/model" || return
	qcow2ctl detach "$device" && [ "$(snapshots)" = 1 ] || return
	qemu-img check "$image" >/dev/null
	[ $? = 3 ]
}

check "1 bit" counts_to 1 0
check "2 bits" counts_to 2 2
check "4 bits" counts_to 4 14
check "2 bits, compressed clusters" packed
for bits in 8 16 32 64; do
	check "$bits bits" highest "$bits"
done
finish
