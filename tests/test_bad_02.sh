#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A file that is cut short while it is attached: what is gone is an error, the rest reads as it did.
# timeout: 60
. "$(dirname "$0")/test_common.sh"

image=$test_top/build/images/zlib-4096-none
[ -e "$image.qcow2" ] || skip_all "no images: make -C tests/tools"

check "a file cut to 10%, and to 60%" \
	"$test_top/build/tests/life" shrink "$test_dir" "$image.qcow2" "$image.oracle"
finish
