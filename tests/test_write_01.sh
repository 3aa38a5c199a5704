#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images of some geometries, changed at random by four threads, against memory, in a kernel where
# each operation costs much; tests/differ does all geometries in UML. DIFFER_OPS (for each image) and
# DIFFER_SEED change how many and which; images that fail are left in the VM's --share directory.
# timeout: 300
. "$(dirname "$0")/test_common.sh"
need qemu-img

manifest=$test_top/build/images/manifest
[ -e "$manifest" ] || skip_all "no images: make -C tests/tools"
at_exit qcow2ctl detach --all
differ=("$test_top/build/tests/differ" --seed "${DIFFER_SEED:-1}" --keep "${VM_SHARE:-$test_dir}")

# Not those that are refused for writing.
never=('!dirty' '!corrupt' '!raw' '!raw-*')
case ${VM_KERNEL:-} in
uml-debug) ops=150 patterns=('z*-512-raw' 'v2-1024-same' 'z*-4096-short' 'v2-4096-qcow2'
	'v2-65536-none' 'zstd-65536-*' 'zlib-2097152-unaligned' 'grows*' 'snapshots*' 'with-*'
	'refcount-bits*' 'preallocation*' 'far-*' 'tiny*' 'chain-of-8'
	'data-512-data' 'rawdata-65536-none' 'extl2data-16384-raw' 'extl2-16384-*' 'extl2-2097152-qcow2') ;;
*) ops=200 patterns=('zlib-512-raw' 'zstd-4096-short' 'v2-65536-none' 'grows-refcount-table'
	'snapshots-4096-2' 'preallocation-metadata' 'far-600M-64k' 'tiny-1024' 'data-4096-raw'
	'extl2-16384-raw' 'extl2zstd-65536-raw' 'extl2rawdata-16384-none' 'extl2data-65536-raw') ;;
esac

check "what is read is what was written last, and the images stay whole" \
	"${differ[@]}" --ops "${DIFFER_OPS:-$ops}" "$manifest" "${patterns[@]}" "${never[@]}"
finish
