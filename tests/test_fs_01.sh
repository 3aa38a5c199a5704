#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# File systems on images: made, filled, trimmed, worked on by fsx and by stress-ng, whole at the end;
# and so are the images. On tmpfs and on XFS, and as an overlay of what was made first, compressed.
# kernels: uml
# timeout: 180
. "$(dirname "$0")/test_common.sh"
need qemu-img mkfs.ext4 mkfs.xfs xfs_repair fsck.ext4 fstrim losetup fio stress-ng
modprobe -q -a loop xfs ext4

fsx=$test_top/build/tests/fsx
mnt=$test_dir/mnt
mkdir "$mnt"
case ${VM_KERNEL:-} in
uml) fsx_ops=3000 seconds=3 fio_mib=96 file_mib=48 ;;
*) fsx_ops=400 seconds=2 fio_mib=16 file_mib=16 ;;
esac
stressors=(hdd aio dentry dir filename rename link symlink fallocate punch copy-file seek sync-file
	utime xattr iomix mmap fiemap chmod)

truncate -s 2G "$test_dir/disk"
loop=$(losetup --find --show --direct-io=on "$test_dir/disk") || skip_all "no loop device"
at_exit losetup -d "$loop"
mkfs.xfs -q "$loop" && mkdir "$test_dir/xfs" && mount -o discard "$loop" "$test_dir/xfs" || exit 1
at_exit umount "$test_dir/xfs"
at_exit qcow2ctl detach --all
at_exit umount "$mnt"

# Files that are known again.
fill() {
	cp -r "$test_top"/{include,userspace} "$mnt/" || return
	for i in 1 2 3 4; do
		head -c $((i * file_mib * 104857)) /dev/urandom >"$mnt/file-$i" || return
	done
	(cd "$mnt" && find . -type f -exec sha256sum {} + >"$test_dir/sums")
}
same_files() { (cd "$mnt" && sha256sum --quiet -c "$test_dir/sums"); }
forget() { sync; echo 3 >/proc/sys/vm/drop_caches; }

used_mib() { du -m "$1" | cut -f1; }
# What is deleted and trimmed takes no space in the store any more, while still attached.
trim_shrinks() {	# IMAGE
	local before during after
	forget
	before=$(used_mib "$1")
	head -c "${file_mib}M" /dev/urandom >"$mnt/big" && sync "$mnt/big"
	during=$(used_mib "$1")
	rm "$mnt/big"
	sync
	fstrim "$mnt" && sync "$device" || return
	for _ in {1..30}; do	# space is given back a little later
		after=$(used_mib "$1")
		((after * 2 < before + during)) && break
		sleep 0.2
	done
	echo "$before MiB before, $during with the file, $after after"
	((during >= before + file_mib / 2 && after * 2 < before + during))
}

stress() {
	local args=() name
	for name in "${stressors[@]}"; do args+=("--$name" 1); done
	stress-ng --temp-path "$mnt" --timeout "${seconds}s" --hdd-bytes 16m --aio-requests 16 \
		--fallocate-bytes 16m --iomix-bytes 16m --copy-file-bytes 16m --no-rand-seed -q "${args[@]}"
	rm -rf "$mnt"/tmp-stress-ng-*
}

fsck_of() {	# FS
	case $1 in
	ext4) fsck.ext4 -fn "$device" ;;
	xfs) xfs_repair -n "$device" ;;
	esac
}

use() {	# WHAT FS IMAGE: work on it; $device is mounted already
	check "$1: files, and what is trimmed" trim_shrinks "$3"
	check "$1: fsx" "$fsx" --ops $fsx_ops --files 4 "$mnt"
	check "$1: stress-ng" stress
	forget
	check "$1: the files are as they were" same_files
	check "$1: is unmounted" umount "$mnt"
	check "$1: is whole" fsck_of "$2"
	check "$1: and so after it was mounted again" eval "mount $device $mnt && same_files; umount $mnt"
	check "$1: is detached" qcow2ctl detach "$device"
	check "$1: the image is clean, nothing leaked" qemu-img check "$3"
}

made() {	# WHAT FS IMAGE CREATE-OPTION...
	local what=$1 fs=$2 image=$3
	shift 3
	qemu-img create -q -f qcow2 "$@" "$image" 1G
	device=$(qcow2ctl attach --no-partscan "$image") || return
	check "$what: is made" eval "mkfs.$fs -q $device && mount $device $mnt"
	check "$what: is filled" fill
	use "$what" "$fs" "$image"
}

overlaid() {	# WHAT FS BASE: a compressed copy of BASE below
	local base=$test_dir/base.qcow2 image=$test_dir/overlay.qcow2
	qemu-img convert -c -O qcow2 "$3" "$base" && rm "$3"
	sha256sum "$base" >"$test_dir/base.sum"
	qemu-img create -q -f qcow2 -b "$base" -F qcow2 "$image"
	device=$(qcow2ctl attach --no-partscan "$image") || return
	check "$1: is mounted" mount "$device" "$mnt"
	use "$1" "$2" "$image"
	check "$1: the base is as it was" sha256sum --quiet -c "$test_dir/base.sum"
	rm "$image" "$base"
}

verify() {	# IMAGE CREATE-OPTION...
	local image=$1
	shift
	qemu-img create -q -f qcow2 "$@" "$image" $((fio_mib * 2))M
	device=$(qcow2ctl attach --no-partscan "$image") || return
	fio --name=verify --filename="$device" --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite \
		--bsrange=4k-256k --size="${fio_mib}M" --offset=8M --verify=crc32c --verify_fatal=1 \
		--do_verify=1 --verify_state_save=0 || return
	qcow2ctl detach "$device" && qemu-img check "$image" && rm "$image"
}

check "fio reads what it wrote, on XFS" verify "$test_dir/xfs/fio"
check "fio reads what it wrote, on tmpfs" verify "$test_dir/fio" -o cluster_size=4k
made "ext4 in an image on tmpfs" ext4 "$test_dir/image.qcow2"
overlaid "ext4 in an overlay of it" ext4 "$test_dir/image.qcow2"
made "xfs in an image on XFS" xfs "$test_dir/xfs/image.qcow2" -o cluster_size=16k
made "ext4 in an image on XFS" ext4 "$test_dir/xfs/image.qcow2" -o lazy_refcounts=on
finish
