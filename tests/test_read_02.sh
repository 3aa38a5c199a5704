#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The same with direct I/O, on XFS: on sectors of 512 bytes, and of 4096, where clusters, streams
# and raw files are not aligned.
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need mkfs.xfs losetup

manifest=$test_top/build/images/manifest
[ -e "$manifest" ] || skip_all "no images: make -C tests/tools"
modprobe -q loop
patterns=('*-512-qcow2' '*-512-unaligned' '*-4096-*' 'zlib-65536-*' 'zstd-65536-raw' 'chain-of-8' 'tiny*')
[ "${VM_KERNEL:-uml}" = uml ] || patterns=('zlib-512-unaligned' 'zstd-4096-raw' 'v2-4096-short'
	'chain-of-8' 'tiny*')

for sector in 512 4096; do
	store=$test_dir/xfs-$sector
	truncate -s 600M "$store.img"
	loop=$(losetup --find --show --sector-size $sector "$store.img")
	at_exit losetup -d "$loop"
	mkfs.xfs -q -s size=$sector "$loop"
	mkdir "$store"
	mount "$loop" "$store"
	at_exit umount "$store"
	# shellcheck disable=SC2046 # names without blanks
	(cd "${manifest%/*}" && cp --sparse=always $("$test_top/build/tests/verify" --files "$manifest" \
		"${patterns[@]}" | sort -u) "$store/")
	check "direct I/O, sectors of $sector bytes" "$test_top/build/tests/verify" \
		--direct-io on --images "$store" "$manifest" "${patterns[@]}"
	check "buffered, sectors of $sector bytes" "$test_top/build/tests/verify" \
		--direct-io off --random 20 --images "$store" "$manifest" "${patterns[@]}"
done
finish
