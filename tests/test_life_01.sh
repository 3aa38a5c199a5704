#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Attach and detach in a loop under I/O; a module that is in use stays.
# timeout: 60
. "$(dirname "$0")/test_common.sh"

images=$test_top/build/images
life=$test_top/build/tests/life
[ -e "$images/manifest" ] || skip_all "no images: make -C tests/tools"

"$life" storm 10 "$images"/{zlib-4096-none,zstd-65536-none,v2-512-none}.qcow2 >"$test_dir/storm" 2>&1 &
storm=$!
sleep 2
check "the module cannot be unloaded while devices exist" eval '! rmmod qcow2blk'
wait $storm
status=$?
check "six at a time attach, read, fail to detach, detach" \
	eval "cat '$test_dir/storm'; [ $status = 0 ]"
finish
