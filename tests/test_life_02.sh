#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is refused, and how: messages, files, chains; and images on devices of images.
# timeout: 60
. "$(dirname "$0")/test_common.sh"

image=$test_top/build/images/zlib-4096-none.qcow2
life=$test_top/build/tests/life
[ -e "$image" ] || skip_all "no images: make -C tests/tools"

check "bad messages, files and chains are refused in words" "$life" rules "$test_dir" "$image"
check "four levels of devices on devices, not five" "$life" nest "$image"
finish
