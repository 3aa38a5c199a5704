#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The file below fails: each operation of each kind, one after the other, for each kind of request
# (tests/crash/faults.c). The store is tests/crash/recfs.
# kernels: uml
# timeout: 900
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io losetup
modprobe -q loop

recfs=$test_top/build/crash/recfs
[ -x "$recfs" ] || skip_all "no recfs: make -C tests/crash"
# Else detach does little but wait.
echo 1 >/sys/kernel/rcu_expedited && at_exit 'echo 0 >/sys/kernel/rcu_expedited'
jobs=12
for ((i = 0; i < jobs; i++)); do
	mkdir "$test_dir/store$i"
	"$recfs" "$test_dir/store$i" || skip_all "no FUSE"
	at_exit umount "$test_dir/store$i"
done
at_exit qcow2ctl detach --force --all
head -c 1M /dev/urandom >"$test_dir/base.raw"

# Zones of 64 KiB: data, data that a snapshot shares, compressed data, zeros, nothing.
put_zones() {	# NAME COMPRESSED-BYTES
	local file=$test_dir/$1
	qemu-io -f qcow2 -c 'write -q -P 1 0 128k' "$file" &&
		qemu-img snapshot -c before "$file" &&
		qemu-io -f qcow2 -c 'write -q -P 2 0 64k' -c "write -q -c -P 3 128k $2" \
			-c 'write -q -z 192k 64k' "$file"
}

make_image() {	# NAME QEMU-IMG-OPTIONS COMPRESSED-BYTES
	qemu-img create -q -f qcow2 -o "$2" -b "$test_dir/base.raw" -F raw "$test_dir/$1" &&
		put_zones "$1" "$3"
}

# Most of a trial is waiting, so there are many at a time, each with its store. Prints the sum of
# what all say; fails if one does, or if there was nothing to say.
faults() {	# IMAGE OPTION...
	local file=$test_dir/$1 i device
	shift
	for ((i = 0; i < jobs; i++)); do
		device=()
		[ -z "${devices[i]-}" ] || device=(--device "${devices[i]}")
		"$test_top/build/crash/faults" "$@" --part "$i/$jobs" "${device[@]}" "$test_dir/store$i" "$file" \
			"$test_dir/base.raw" || echo "process $i failed" &
	done | awk '
		/ trials, / { trials += $1; met += $3; errno += $7; stopped += $11; next }
		{ print; bad = 1 }
		END {
			printf "%d trials, %d met their fault, %d with an errno, %d stopped\n",
				trials, met, errno, stopped
			exit bad || !met
		}' >"$test_dir/said"
	local status=$?
	cat "$test_dir/said"
	tail -n 1 "$test_dir/said" >"$test_dir/sum"
	return "$status"
}

# Almost all of the refcount table is in use: by a snapshot.
make_tables() {
	local options=cluster_size=512,refcount_bits=64 file=$test_dir/tables
	qemu-img create -q -f qcow2 -o "$options" -b "$test_dir/base.raw" -F raw "$file" &&
		qemu-img snapshot -c empty "$file" &&
		qemu-io -f qcow2 -c 'write -q -P 4 0 640k' "$file" &&
		qemu-img snapshot -c full "$file" && qemu-img snapshot -a empty "$file" &&
		put_zones tables 4k
}

make_image small cluster_size=512 4k
make_image middle cluster_size=4096 4k
make_image large cluster_size=65536,lazy_refcounts=on 64k
make_image bitmaps cluster_size=4096 4k
qemu-img bitmap --add -g 512 "$test_dir/bitmaps" one && qemu-img bitmap --add "$test_dir/bitmaps" two
if [ "${VM_KERNEL:-}" = uml ]; then
	check "clusters of 512 bytes, direct I/O" faults small --direct-io on
	sed 's/^/# /' "$test_dir/sum"
fi
check "clusters of 64 KiB, direct I/O" faults large --direct-io on --few
sed 's/^/# /' "$test_dir/sum"
check "clusters of 4 KiB, through the page cache" faults middle --direct-io off --few
sed 's/^/# /' "$test_dir/sum"
check "dirty bitmaps that are stored" faults bitmaps --direct-io on --few --only detach
sed 's/^/# /' "$test_dir/sum"
make_tables
check "clusters of 512 bytes, a refcount table that grows" faults tables --direct-io off --few --only refill
sed 's/^/# /' "$test_dir/sum"
check "where memory is short for a moment" faults small --direct-io on --only growth --how ENOMEM
sed 's/^/# /' "$test_dir/sum"
# A disk below the image, which answers requests in whatever context.
devices=()
for ((i = 0; i < jobs; i++)); do
	echo clear >"$test_dir/store$i/ctl"
	truncate -s 8M "$test_dir/store$i/image"
	devices[i]=$(losetup --find --show --direct-io=on "$test_dir/store$i/image") || exit 1
	at_exit losetup -d "${devices[i]}"
done
check "clusters of 4 KiB, on a disk" faults middle --direct-io on --few
sed 's/^/# /' "$test_dir/sum"
finish
