#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Changes at random on file systems with direct I/O: XFS on sectors of 512 bytes and of 4096, where
# clusters, tables and compressed data are not aligned, ext4, and an image on a block device.
# kernels: uml
# timeout: 150
. "$(dirname "$0")/test_common.sh"
need mkfs.xfs mkfs.ext4 losetup qemu-img

images=$test_top/build/images
[ -e "$images/manifest" ] || skip_all "no images: make -C tests/tools"
modprobe -q loop
# check runs stores in a subshell, which has no say in what is done at exit
# shellcheck disable=SC2016 # expanded at exit
at_exit 'for i in "$test_dir"/*.img; do losetup -j "$i" -O NAME -n | xargs -r losetup -d; done'
# shellcheck disable=SC2016
at_exit 'umount "$test_dir"/{ext4,xfs-512,xfs-4096}'
at_exit qcow2ctl detach --all
differ=("$test_top/build/tests/differ" --seed "${DIFFER_SEED:-1}" --keep "${VM_SHARE:-$test_dir}")
case ${VM_KERNEL:-} in
uml) ops=600 ;;
*) ops=200 ;;
esac
patterns=('zlib-512-raw' 'v2-1024-same' 'zstd-4096-short' 'zlib-16384-unaligned' 'v2-65536-none'
	'zlib-65536-raw' 'zstd-1048576-qcow2' 'snapshots-512-16' 'snapshots-65536-4'
	'grows-refcount-table' 'preallocation-falloc')

store() {	# NAME SECTOR-SIZE MKFS...
	local name=$1 sector=$2 loop
	shift 2
	truncate -s 600M "$test_dir/$name.img"
	loop=$(losetup --find --show --direct-io=on --sector-size "$sector" "$test_dir/$name.img") || return
	"$@" "$loop" >/dev/null || return
	mkdir "$test_dir/$name"
	mount "$loop" "$test_dir/$name"
}

run() {	# NAME OPTION...
	local name=$1
	shift
	mkdir "$test_dir/$name/layers" "$test_dir/$name/scratch"
	# shellcheck disable=SC2046 # names without blanks
	(cd "$images" && cp --sparse=always $("$test_top/build/tests/verify" --files manifest \
		"${patterns[@]}" | sort -u) "$test_dir/$name/layers/")
	"${differ[@]}" --ops "${DIFFER_OPS:-$ops}" --images "$test_dir/$name/layers" \
		--scratch "$test_dir/$name/scratch" "$@" "$images/manifest" "${patterns[@]}"
}

run_again() {
	rm -r "$test_dir/$1"/{layers,scratch}
	run "$@"
}

check "XFS on sectors of 512 bytes is made" store xfs-512 512 mkfs.xfs -q -s size=512
check "images on it, direct I/O" run xfs-512 --direct-io on
check "XFS on sectors of 4096 bytes is made" store xfs-4096 4096 mkfs.xfs -q -s size=4096
check "images on it, direct I/O" run xfs-4096 --direct-io on
check "ext4 is made" store ext4 512 mkfs.ext4 -q
check "images on it, direct I/O" run ext4 --direct-io on
check "and through the page cache" run_again ext4 --direct-io off
finish
