#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Overlays that are merged into their backing files: the backing file becomes what qemu-img commit
# makes of it, the disk stays what it is, also while it is written; who is in the way is named.
# kernels: uml uml-debug 6.1
# timeout: 300
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io mkfs.ext4 fsck.ext4 losetup fsfreeze prlimit jq
modprobe -q loop

at_exit qcow2ctl detach --force --all
fsx=$test_top/build/tests/fsx
case ${VM_KERNEL:-} in
uml) fsx_ops=1500 ;;
*) fsx_ops=300 ;;
esac

whole() {	# IMAGE [FORMAT]
	[ "${2:-qcow2}" = raw ] || qemu-img check -q "$1" || { qemu-img check "$1"; return 1; }
}

put_base() {	# FILE FORMAT SIZE
	qemu-io -f "$2" -c 'write -q -P 1 0 1M' -c 'write -q -P 2 1500k 300k' -c 'write -q -P 3 3000k 70k' \
		-c 'write -q -z 500k 100k' -c 'write -q -P 4 3900k 100k' "$1"
}

put_overlay() {	# FILE
	local cluster
	cluster=$(qemu-img info --output=json "$1" | sed -n 's/^ *"cluster-size": \([0-9]*\).*/\1/p' | head -n 1)
	qemu-io -f qcow2 -c 'write -q -P 11 100k 3k' -c 'write -q -P 12 700k 600k' -c 'write -q -z 1600k 100k' \
		-c 'write -q -P 13 2049k 1k' -c 'write -q -z 3000k 20k' -c 'write -q -P 14 3500k 64k' \
		-c 'discard -q 3520k 16k' "$1" || return
	# Compressed clusters are written whole.
	[ "$cluster" -gt 65536 ] ||
		qemu-io -f qcow2 -c "write -q -c -P 15 2304k $((cluster < 16384 ? 16384 : cluster))" "$1"
}

make_pair() {	# BASE-SIZE OVERLAY-SIZE BASE-OPTIONS OVERLAY-OPTIONS
	local dir=$test_dir/pair
	rm -rf "$dir" && mkdir "$dir" && cd "$dir" || return
	format=qcow2
	case $3 in
	raw) format=raw && truncate -s "$1" base ;;
	backed*) qemu-img create -q -f raw below 4M && qemu-io -f raw -c 'write -q -P 7 0 4M' below &&
		qemu-img create -q -f qcow2 -o "${3#backed,}" -b below -F raw base "$1" ;;
	*) qemu-img create -q -f qcow2 -o "$3" base "$1" ;;
	esac || return
	put_base base "$format" || return
	case $3 in
	raw) ;;
	*refcount_bits=1*) ;;
	*) qemu-img snapshot -c shared base && qemu-io -f qcow2 -c 'write -q -P 5 200k 10k' base ;;
	esac
	qemu-img create -q -f qcow2 -o "$4" -b base -F "$format" overlay "$2" && put_overlay overlay || return
	# Some of it where only the overlay has something.
	[ "$2" != 6M ] || qemu-io -f qcow2 -c 'write -q -P 16 5M 10k' -c 'write -q -z 5500k 100k' overlay
}

commit_as_qemu() {	# BASE-SIZE OVERLAY-SIZE BASE-OPTIONS OVERLAY-OPTIONS
	make_pair "$@" || return
	qemu-img convert -f qcow2 -O raw overlay before || return
	cp --sparse=always base theirs && cp overlay overlay.theirs &&
		qemu-img rebase -q -u -b theirs -F "$format" overlay.theirs &&
		qemu-img commit -q -f qcow2 overlay.theirs || return
	qcow2ctl commit overlay || return
	[ -z "$(qcow2ctl list)" ] && whole base "$format" && whole overlay || return
	qemu-img compare -q -f "$format" -F "$format" base theirs || { echo "not as QEMU's"; return 1; }
	qemu-img compare -q -f qcow2 -F raw overlay before || { echo "the disk has changed"; return 1; }
	# Nothing of it hides the backing file.
	qemu-io -f "$format" -c "write -q -P 99 0 $2" base && qemu-io -f qcow2 -c "read -P 99 0 $2" overlay >seen || return
	grep -q "read " seen && ! grep -q "verification failed" seen
}

# Where copies for QEMU would share something: the base becomes what the disk is, now and when the
# overlay is not attached any more.
commit_attached() {	# BASE-OPTIONS OVERLAY-OPTIONS ATTACH-OPTION...
	local dir=$test_dir/attached device
	rm -rf "$dir" && mkdir "$dir" && cd "$dir" && echo -n secret >key || return
	local object=(--object "secret,id=key,file=key") base=$1 overlay=$2
	qemu-img create -q -f qcow2 "${object[@]}" -o "$base" base 4M &&
		qemu-img create -q -f qcow2 "${object[@]}" -o "$overlay" -b base -F qcow2 -u overlay 4M || return
	device=$(qcow2ctl attach "${@:3:1}" base) && fill "$device" || return
	qcow2ctl detach "$device" && device=$(qcow2ctl attach "${@:3}" overlay) && fill "$device" || return
	blkdiscard -z -o 1M -l 300k "$device" && cp "$device" before && qcow2ctl commit "$device" || return
	cmp "$device" before && dd if=base of="$device" bs=1k seek=999 count=70 conv=notrunc,fsync status=none || return
	cp "$device" before && qcow2ctl detach "$device" && qcow2ctl commit "${@:3}" overlay || return
	qcow2ctl check base && qcow2ctl check overlay || return	# which needs no key
	device=$(qcow2ctl attach -r "${@:3:1}" base) && cmp "$device" before && qcow2ctl detach "$device"
}

fill() {	# DEVICE
	local i
	for i in 0 7 13 29; do
		dd if=/dev/urandom of="$1" bs=1k seek=$((i * 131)) count=$((i * 7 + 1)) conv=notrunc,fsync status=none || return
	done
}

# A file system that is worked on while it is merged, again and again.
while_written() {	# BASE-OPTIONS OVERLAY-OPTIONS OVERLAY-SIZE
	local dir=$test_dir/written mnt=$test_dir/mnt device pid times=0
	rm -rf "$dir" && mkdir -p "$dir" "$mnt" && cd "$dir" || return
	qemu-img create -q -f qcow2 -o "${1%,compressed}" base 64M
	device=$(qcow2ctl attach base) && mkfs.ext4 -q "$device" && qcow2ctl detach base || return
	[[ $1 != *,compressed ]] || { mv base plain && qemu-img convert -c -O qcow2 -o "${1%,compressed}" plain base; } || return
	qemu-img create -q -f qcow2 -o "$2" -b base -F qcow2 overlay "$3"
	device=$(qcow2ctl attach overlay) && mount -o discard "$device" "$mnt" && mkdir "$mnt/files" || return
	"$fsx" --ops "$fsx_ops" --files 3 --size 3000000 "$mnt/files" >"$dir/fsx.log" 2>&1 &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		qcow2ctl commit "$device" || { kill "$pid"; wait "$pid"; umount "$mnt"; return 1; }
		times=$((times + 1))
	done
	wait "$pid" || { cat "$dir/fsx.log"; umount "$mnt"; return 1; }
	echo "merged $times times"
	umount "$mnt" && cp --sparse=always "$device" before || return
	qcow2ctl commit "$device" && cmp "$device" before && qcow2ctl detach "$device" || return
	whole base && whole overlay && fsck.ext4 -nf before >/dev/null || return
	qemu-img compare -q -f qcow2 -F raw base before && [ "$times" -ge 2 ]
}

# Ctrl-C, a second one, the way to the end.
# Ctrl-C is there when the commit begins; before it is blocked it would be lost.
interrupt() {	# DEVICE|IMAGE
	local pid status
	env --block-signal=INT qcow2ctl commit "$1" 2>said &
	pid=$!
	until grep -q 'SigBlk:.*[2367abef]$' "/proc/$pid/status" 2>/dev/null; do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.01
	done
	kill -INT "$pid"
	wait "$pid"
	status=$?
	cat said
	[ "$status" = 0 ] || { [ "$status" = 2 ] && grep -q 'interrupted; the disk is as it was' said; } || return 2
	[ "$status" = 2 ]
}

interrupted() {
	local dir=$test_dir/interrupted device seen=
	mkdir -p "$dir" && cd "$dir" || return
	# Where others use the machine it may be through before the tool is run again.
	for _ in 1 2 3 4 5; do
		rm -f base overlay
		qemu-img create -q -f qcow2 base 96M && qemu-img create -q -f qcow2 -b base -F qcow2 overlay || return
		qemu-io -f qcow2 -c 'write -q -P 1 0 48M' -c 'write -q -P 2 48M 40M' overlay
		interrupt overlay && { seen=1; break; }
	done
	[ "$seen" ] || return
	device=$(qcow2ctl attach overlay) || return
	# There is less left, which may be done at once.
	interrupt "$device"
	[ $? != 2 ] || return
	! qcow2ctl commit --stop "$device" 2>said && grep -q 'not being committed' said || return
	qcow2ctl commit "$device" && qcow2ctl detach "$device" || return
	whole base && whole overlay && qemu-io -f qcow2 -c 'read -q -P 1 0 48M' -c 'read -q -P 2 48M 40M' base
}

# Once more: where the kernel has the block device for itself, and where the tool was killed.
again() {
	local dir=$test_dir/again device loop pid
	mkdir -p "$dir" && cd "$dir" || return
	qemu-img create -q -f qcow2 file 64M && truncate -s 70M file && loop=$(losetup -f --show file) || return
	qemu-img create -q -f qcow2 -b "$loop" -F qcow2 overlay 64M
	device=$(qcow2ctl attach --allow-backing --no-partscan overlay) || return
	fill "$device" && qcow2ctl commit "$device" && fill "$device" && qcow2ctl commit "$device" || return
	qcow2ctl detach "$device" && losetup -d "$loop" && whole file || return

	qemu-img create -q -f qcow2 base 400M && qemu-img create -q -f qcow2 -b base -F qcow2 overlay &&
		qemu-io -f qcow2 -c 'write -q -P 1 0 300M' overlay || return
	device=$(qcow2ctl attach --no-partscan overlay) || return
	qcow2ctl commit "$device" &
	pid=$!
	until [ "$(qcow2ctl list --json | jq -r '.[].commit.state')" = running ]; do
		kill -0 "$pid" || return
	done
	kill -KILL "$pid"
	wait "$pid"
	while [ "$(qcow2ctl list --json | jq -r '.[].commit.state')" = running ]; do sleep 0.1; done
	qcow2ctl commit "$device" && qcow2ctl detach "$device" && whole base && whole overlay
}

# A tool that cannot see how far it is gives up, but lets nobody read what is still being written.
blind() {
	local dir=$test_dir/blind device pid status=0
	mkdir -p "$dir/store" && cd "$dir" || return
	truncate -s 400M disk && mkfs.ext4 -q disk && mount -o loop disk store || return
	at_exit umount "$dir/store"
	at_exit fsfreeze -u "$dir/store"
	cd store && qemu-img create -q -f qcow2 base 160M && qemu-img create -q -f qcow2 -b base -F qcow2 overlay &&
		qemu-io -f qcow2 -c 'write -q -P 1 0 160M' overlay || return
	device=$(qcow2ctl attach --no-partscan overlay) || return
	qcow2ctl commit "$device" 2>../said &
	pid=$!
	until [ "$(qcow2ctl list --json | jq -r '.[].commit.state')" = running ]; do
		kill -0 "$pid" || return
	done
	# The merge waits in the file system, the tool runs out of descriptors.
	fsfreeze -f . && prlimit --pid "$pid" --nofile=3:3
	wait "$pid" || status=$?
	cat ../said
	[ "$status $(qcow2ctl list --json | jq -r '.[].commit.state')" = "2 running" ] &&
		! qemu-io -r -f qcow2 -c 'read -q 0 512' base || status=1
	fsfreeze -u . && [ "$status" = 2 ] || return
	while [ "$(qcow2ctl list --json | jq -r '.[].commit.state')" = running ]; do sleep 0.1; done
	qcow2ctl commit "$device" && qemu-io -r -f qcow2 -c 'read -q -P 1 0 1M' base &&
		qcow2ctl detach "$device" && whole base && cd .. && umount store
}

refusals() {
	local dir=$test_dir/refused other
	rm -rf "$dir" && mkdir "$dir" && cd "$dir" || return
	qemu-img create -q -f qcow2 base 8M && qemu-img create -q -f qcow2 -b base -F qcow2 overlay &&
		qemu-io -f qcow2 -c 'write -q -P 1 0 1M' overlay || return
	refuse "an image without a backing file" 2 'no backing file to be merged into' qcow2ctl commit base
	qcow2ctl snapshot create overlay precious
	refuse "an image with snapshots" 2 'internal snapshots \(precious\)' qcow2ctl commit overlay
	qcow2ctl snapshot delete overlay precious
	qemu-img create -q -f raw below 8M && qemu-io -f raw -c 'write -q -P 7 0 8M' below
	qemu-img create -q -f qcow2 -o compat=0.10 -b below -F raw short 4M
	qemu-img create -q -f qcow2 -b short -F qcow2 long 6M
	refuse "a backing file that cannot grow" 2 \
		'short: it has 4194304 bytes, the disk 6291456, and cannot be made as large: .*would show: see qemu-img amend' \
		qcow2ctl commit long
	other=$(qcow2ctl attach -r base)
	refuse "a backing file that another device has" 2 "it is a layer of $other, too" qcow2ctl commit overlay
	qcow2ctl detach "$other"
	printf '\x01' | dd of=base bs=1 seek=79 conv=notrunc status=none
	refuse "a backing file that is dirty" 2 'base: the backing file is dirty' qcow2ctl commit overlay
	printf '\x02' | dd of=base bs=1 seek=79 conv=notrunc status=none
	refuse "a backing file that is corrupt" 2 'base: the backing file is marked corrupt' qcow2ctl commit overlay
	printf '\x00' | dd of=base bs=1 seek=79 conv=notrunc status=none
	other=$(qcow2ctl attach -r overlay)
	refuse "a device that is read-only" 2 'attached read-only' qcow2ctl commit "$other"
	qcow2ctl detach "$other"
	qemu-io -r -f qcow2 base < <(sleep 100) >vm 2>&1 &
	until grep -qs 'qemu-io>' vm; do
		sleep 0.1
	done
	refuse "a backing file that a VM reads" 2 'base: in use by another process' qcow2ctl commit overlay
	kill $! && wait $!
	check "and then it is done" qcow2ctl commit overlay
	check "no device stays" test -z "$(qcow2ctl list)"
	other=$(qcow2ctl attach overlay)
	check "once more, attached" qcow2ctl commit "$other"
	check "list tells" grep -q '"commit":{"state":"done"' < <(qcow2ctl list --json | tr -d ' \n')
	check "the backing file can be read by others again" qemu-io -r -f qcow2 -c 'read -q -P 1 0 1M' base
	refuse "but not written" 1 'lock' qemu-io -f qcow2 -c 'read -q 0 512' base
	qcow2ctl detach "$other"
}

check "clusters of 64 KiB" commit_as_qemu 4M 4M compat=1.1 compat=1.1
check "a base of 4 KiB, an overlay of 64" commit_as_qemu 4M 4M cluster_size=4096 cluster_size=65536
check "an overlay of subclusters, a base in a chain" commit_as_qemu 4M 4M backed,compat=1.1 extended_l2=on
check "a raw base that is too short" commit_as_qemu 4000k 4001k raw cluster_size=4096
check "a base that is too short, in a chain" commit_as_qemu 4000k 6M backed,compat=1.1 compat=1.1
if [ "${VM_KERNEL:-}" = uml ]; then
	check "a base of 2 MiB, an overlay of 512 bytes" commit_as_qemu 4M 4M cluster_size=2M cluster_size=512
	check "an overlay of 2 MiB, shorter" commit_as_qemu 5M 4001k cluster_size=512 cluster_size=2M
	check "a base of version 2 in a chain" commit_as_qemu 4M 4M backed,compat=0.10 cluster_size=16k
	check "an overlay of version 2" commit_as_qemu 5M 4M cluster_size=16k compat=0.10
	check "a base of 512 bytes that is too short" commit_as_qemu 4001k 6M cluster_size=512 cluster_size=4096
	check "a base of subclusters" commit_as_qemu 4M 4M extended_l2=on cluster_size=4096
	check "refcounts of 1 bit" commit_as_qemu 4M 4M refcount_bits=1 refcount_bits=1
	check "raw" commit_as_qemu 4M 4M raw cluster_size=65536
	check "data files" commit_attached data_file=base.data data_file=overlay.data
	check "encrypted" commit_attached encrypt.format=aes,encrypt.key-secret=key \
		encrypt.format=aes,encrypt.key-secret=key --key-file=0=key --key-file=1=key
fi
check "while a file system is worked on" while_written compat=1.1 compat=1.1 64M
if [ "${VM_KERNEL:-}" = uml ]; then
	check "likewise, other clusters, a base that is too short" while_written cluster_size=4096 extended_l2=on 80M
	check "likewise, a base of larger clusters, compressed" while_written cluster_size=2M,compressed cluster_size=4096 64M
fi
check "interrupted" interrupted
[ "${VM_KERNEL:-}" != uml ] || check "once more" again
[ "${VM_KERNEL:-}" != uml ] || check "by a tool that cannot look" blind
refusals
finish
