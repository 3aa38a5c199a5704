# shellcheck shell=bash
# shellcheck disable=SC2154 # test_common.sh has test_dir and test_top
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced after test_common.sh: file systems to keep images on, $stores/NAME each, and images of the
# standard set changed at random there.
#
#	check "vfat is made" store_made vfat 64M 512 mkfs.vfat
#	check "images on it" store_differ vfat --direct-io on

stores=$test_dir/stores
mkdir "$stores"
store_images=$test_top/build/images
[ -e "$store_images/manifest" ] || skip_all "no images: make -C tests/tools"
modprobe -q loop
# check runs what it checks in a subshell, which has no say in what is done at exit
# shellcheck disable=SC2016 # expanded at exit
at_exit 'for i in "$stores"/*.img; do losetup -j "$i" -O NAME -n | xargs -r losetup -d; done'
# shellcheck disable=SC2016
at_exit 'umount "$stores"/*/'
at_exit qcow2ctl detach --all

store_made() {	# NAME SIZE SECTOR-SIZE MKFS...
	local name=$1 size=$2 sector=$3 loop
	shift 3
	truncate -s "$size" "$stores/$name.img"
	loop=$(losetup --find --show --sector-size "$sector" "$stores/$name.img") || return
	"$@" "$loop" >/dev/null || return
	mkdir "$stores/$name" && mount "$loop" "$stores/$name"
}

store_tmpfs() {	# SIZE
	mkdir "$stores/tmpfs" && mount -t tmpfs -o "size=$1" tmpfs "$stores/tmpfs"
}

# What differ does with images of these patterns, their layers and they themselves in the store.
store_patterns=()
store_differ() {	# NAME DIFFER-OPTION...
	local dir=$stores/$1
	shift
	mkdir "$dir/layers" "$dir/scratch"
	# shellcheck disable=SC2046 # names without blanks
	(cd "$store_images" && cp --sparse=always $("$test_top/build/tests/verify" --files manifest \
		"${store_patterns[@]}" | sort -u) "$dir/layers/")
	"$test_top/build/tests/differ" --seed "${DIFFER_SEED:-1}" --keep "${VM_SHARE:-$test_dir}" \
		--images "$dir/layers" --scratch "$dir/scratch" "$@" \
		"$store_images/manifest" "${store_patterns[@]}" || return
	rm -r "$dir"/{layers,scratch}
}
