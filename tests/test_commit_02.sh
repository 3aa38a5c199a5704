#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The stores of an overlay and of its backing file fail while one is merged into the other: each read,
# write, flush and reservation, one after the other. The disk stays what it is, both images are
# whole, and a second commit finds its way. The store is tests/crash/recfs.
# kernels: uml
# timeout: 300
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io

recfs=$test_top/build/crash/recfs
[ -x "$recfs" ] || skip_all "no recfs: make -C tests/crash"
echo 1 >/sys/kernel/rcu_expedited && at_exit 'echo 0 >/sys/kernel/rcu_expedited'
store=$test_dir/store
mkdir "$store"
at_exit umount "$store"
at_exit qcow2ctl detach --force --all

# Data, zeros and nothing in the overlay, over the same in the base, which is smaller; clusters that do
# not match.
make_images() {	# BASE-OPTIONS OVERLAY-OPTIONS
	qemu-img create -q -f qcow2 -o "$1" "$test_dir/base" 2M
	qemu-io -f qcow2 -c 'write -q -P 1 0 700k' -c 'write -q -z 300k 100k' -c 'write -q -P 2 1500k 100k' "$test_dir/base"
	qemu-img snapshot -c shared "$test_dir/base"
	qemu-img create -q -f qcow2 -o "$2" -b "$test_dir/base" -F qcow2 "$test_dir/overlay" 2500k
	qemu-io -f qcow2 -c 'write -q -P 3 100k 30k' -c 'write -q -P 4 600k 200k' -c 'write -q -z 650k 40k' \
		-c 'write -q -P 5 1900k 33k' -c 'write -q -P 6 2400k 5k' "$test_dir/overlay"
	qemu-img convert -f qcow2 -O raw "$test_dir/overlay" "$test_dir/before"
}

whole() {
	qemu-img check -q "$1" >"$test_dir/check" 2>&1
	# What was reserved, or freed and not yet written so, may leak.
	case $? in
	0 | 3) ;;
	*) cat "$test_dir/check" && return 1 ;;
	esac
}

# Is it what the disk was?
same() { qemu-img compare -q -f qcow2 -F raw "$1" "$test_dir/before"; }

# One trial: FILE, base or overlay, is the one that fails. Status 9: the fault was not met.
trial() {	# FILE KIND N [ERRNO [MORE]]
	local other=base device status said=$test_dir/said met
	[ "$1" = overlay ] || other=overlay
	"$recfs" --load "$test_dir/$1" "$store" || return
	cp "$test_dir/$other" "$test_dir/other"
	if [ "$1" = base ]; then
		base=$store/image overlay=$test_dir/other
	else
		base=$test_dir/other overlay=$store/image
	fi
	qemu-img rebase -q -u -b "$base" -F qcow2 "$overlay" &&
		device=$(qcow2ctl attach --allow-backing --no-partscan "$overlay") || return
	echo "fail $2 $3 ${4:-EIO} ${5:-}" >"$store/ctl"
	qcow2ctl commit "$device" >"$said" 2>&1
	status=$?
	met=$(sed -n 's/^failed //p' "$store/ctl")
	echo clear >"$store/ctl"
	echo 3 >/proc/sys/vm/drop_caches
	cmp "$device" "$test_dir/before" || { echo "$*: the disk has changed"; cat "$said"; return 1; }
	# Its file says more than its disk has, perhaps, and fsync would not tell any more.
	if [ "$met:$1:$2" = 1:base:fsync ] &&
	   ! { qcow2ctl commit "$device" 2>&1 | grep -q 'writing to the backing file has failed before'; }; then
		echo "$*: status $status, and the next commit is not refused"
		return 1
	fi
	if [ "$status" = 0 ]; then
		qcow2ctl detach "$device" || qcow2ctl detach --force "$device" || return
	else
		grep -qE 'the disk is as it was|cannot be read|cannot read|cannot be made as large' "$said" || { cat "$said"; return 1; }
		qcow2ctl detach "$device" 2>"$said" || qcow2ctl detach --force "$device" || return
	fi
	if ! whole "$base" || ! whole "$overlay" || ! same "$overlay"; then
		echo "$*: status $status"
		return 1
	fi
	# What is left is merged now.
	if ! qcow2ctl commit --allow-backing "$overlay" || ! whole "$base" || ! whole "$overlay" || ! same "$base"; then
		echo "$*: again"
		return 1
	fi
	umount "$store" || return
	[ "$met" -gt 0 ] || return 9
}

# The first, the second, and so on until none is met.
each() {	# FILE KIND STEP [ERRNO [MORE]]
	local n=1 status
	while :; do
		trial "$1" "$2" "$n" "${@:4}"
		status=$?
		[ "$status" = 9 ] && break
		[ "$status" = 0 ] || { umount "$store"; return 1; }
		n=$((n + $3))
	done
	echo "# $((n - 1)) $2 of $1"
	[ "$n" -gt 1 ]
}

make_images cluster_size=4096 cluster_size=16384
check "writes of the base" each base write 1
check "flushes of the base" each base fsync 1
check "all flushes of the base" trial base fsync 1 EIO ever
check "reservations of the base, which is full" each base fallocate 1 ENOSPC
check "reads of the base" each base read 5
check "writes of the overlay" each overlay write 1
check "flushes of the overlay" each overlay fsync 1
check "reads of the overlay" each overlay read 4
finish
