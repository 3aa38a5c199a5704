#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Situations of QEMU's own tests, told anew (tests/images/iotests): what our driver makes of an image
# reads as what QEMU makes of it, takes space where that does, and is whole.
# kernels: uml
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img

manifest=$test_top/build/images/iotests/manifest
[ -e "$manifest" ] || skip_all "no images: make -C tests/tools"

check "our driver and QEMU do the same" \
	"$test_top/build/tests/iolist" --keep "${VM_SHARE:-$test_dir}" "$manifest"
finish
