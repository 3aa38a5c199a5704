#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images of every geometry read as qemu-img says they do. The debug kernel, which is slow, does
# without the big clusters.
# timeout: 120
. "$(dirname "$0")/test_common.sh"

manifest=$test_top/build/images/manifest
[ -e "$manifest" ] || skip_all "no images: make -C tests/tools"

patterns=()
[ "${VM_KERNEL:-}" != uml-debug ] || patterns=('*-512-*' '*-4096-*' 'zstd-65536-*' 'zlib-2097152-short'
	'chain*' 'far*' 'tiny*' 'raw*' 'refcount*' 'prealloc*' 'special*' 'with*' 'resized')
check "all bytes of every image" "$test_top/build/tests/verify" "$manifest" "${patterns[@]}"
finish
