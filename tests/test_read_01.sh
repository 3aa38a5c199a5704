#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images of every geometry read as qemu-img says they do. QEMU's VMs, which copy slowly, do with
# four cluster sizes.
# timeout: 120
. "$(dirname "$0")/test_common.sh"

manifest=$test_top/build/images/manifest
[ -e "$manifest" ] || skip_all "no images: make -C tests/tools"

case ${VM_KERNEL:-} in
'' | uml*) patterns=() ;;
*) patterns=('*-512-*' '*-4096-*' '*-65536-*' 'zstd-2097152-*' '[!vz]*') ;;
esac
check "all bytes of every image" "$test_top/build/tests/verify" --random 50 "$manifest" "${patterns[@]}"
finish
