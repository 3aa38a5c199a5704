#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# On every kernel: attach with the tool, read, detach; a few geometries, whole.
# timeout: 30
. "$(dirname "$0")/test_common.sh"
need qcow2ctl cmp

images=$test_top/build/images
[ -e "$images/manifest" ] || skip_all "no images: make -C tests/tools"
at_exit qcow2ctl detach --all

device=$(qcow2ctl attach -r "$images/partitions-gpt.qcow2")
check "attach names a device" test -b "$device"
check "the disk reads as the image does" cmp "$device" "$images/partitions-gpt.oracle"
check "the first partition is there" test -b "${device}p1"
check "it begins where the table says" \
	cmp -n $((4096 * 512)) "${device}p1" "$images/partitions-gpt.oracle" 0 $((2048 * 512))
check "detach takes it away" qcow2ctl detach "$device"
check "the device is gone" test ! -e "$device"

check "some geometries, all bytes" "$test_top/build/tests/verify" "$images/manifest" \
	zlib-65536-raw zstd-4096-qcow2 v2-512-unaligned zstd-2097152-short chain-of-64 far-16T-64k tiny-512
finish
