#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What reads cost, by the driver's own counters: a file read for each extent, a decompression for
# each cluster.
# timeout: 30
. "$(dirname "$0")/test_common.sh"
need qemu-img

cd "$test_dir" || exit 1
# Compressible, and no cluster of zeros.
"$test_top/build/tests/fill" raw $((8 << 20)) 2
qemu-img convert -O qcow2 raw plain.qcow2
yes 'text that compresses well, in every cluster of this disk' | head -c $((8 << 20)) >text
qemu-img convert -c -O qcow2 text compressed.qcow2

check "extents, requests, slices and decompressions are as few as can be" \
	"$test_top/build/tests/life" counters plain.qcow2 compressed.qcow2
finish
