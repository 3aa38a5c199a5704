#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images of every geometry read as qemu-img says they do.
# timeout: 120
. "$(dirname "$0")/test_common.sh"

manifest=$test_top/build/images/manifest
[ -e "$manifest" ] || skip_all "no images: make -C tests/tools"

check "all bytes of every image" "$test_top/build/tests/verify" "$manifest"
finish
