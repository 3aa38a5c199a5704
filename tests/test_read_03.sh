#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# With hardly any memory for tables, many readers, and through the page cache.
# timeout: 60
. "$(dirname "$0")/test_common.sh"

manifest=$test_top/build/images/manifest
[ -e "$manifest" ] || skip_all "no images: make -C tests/tools"
verify=("$test_top/build/tests/verify" --jobs 2)

check "16 readers, 64 KiB for tables" "${verify[@]}" --threads 16 --random 400 --cache-size 65536 \
	"$manifest" 'far-6*' 'zlib-512-raw' 'zstd-512-short' 'v2-512-long' 'chain-of-3'
check "through the page cache of the disk" "${verify[@]}" --buffered \
	"$manifest" 'zlib-4096-*' 'tiny*' 'odd-size' 'raw-unaligned'
finish
