#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images that are merged and are not what one expects: the header of the backing file is another one
# when it is opened to be merged into, which is refused, and the disk stays what it is; an overlay is
# as large as they can be, and empty.
# kernels: uml uml-debug
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io
at_exit qcow2ctl detach --force --all

cd "$test_dir" || exit 1
poke=$test_top/build/tests/poke
qemu-img create -q -f qcow2 plain 2M && qemu-io -f qcow2 -c 'write -q -P 1 0 2M' plain
qemu-img convert -c -f qcow2 -O qcow2 plain base
truncate -s 1M base
qemu-img create -q -f qcow2 -b base -F qcow2 overlay
qemu-io -f qcow2 -c 'write -q -P 2 64k 64k' overlay
qemu-img convert -f qcow2 -O raw overlay before
head -c 512 base >header

device=$(qcow2ctl attach --allow-backing --no-partscan overlay)
as_before() { blockdev --flushbufs "$device" && cmp "$device" before; }
other() {	# WHAT FIELD=VALUE...
	local what=$1
	shift
	"$poke" base "$@"
	refuse "$what: refused" 2 "header .*has changed since it was attached" qcow2ctl commit "$device"
	check "$what: the disk is what it was" as_before
	dd if=header of=base conv=notrunc status=none
}
other "another compression" compression_type=1 incompatible_features=8
other "smaller clusters" cluster_bits=15
other "larger clusters" cluster_bits=17 l1_table_offset=0x20000 refcount_table_offset=0x40000
other "wider refcounts" refcount_order=5
other "wider L2 entries" incompatible_features=16
other "a smaller disk" size=65536
check "the header that was there: merged" qcow2ctl commit "$device"
check "and the disk is what it was" as_before
check "detached" qcow2ctl detach "$device"
check "the base is what the disk was" qemu-img compare -q -f qcow2 -F raw base before

rm overlay base
for image in base overlay; do
	qemu-img create -q -f qcow2 -o cluster_size=2M $image 2E
done
qemu-img rebase -q -u -b base -F qcow2 overlay
qemu-io -f qcow2 -c 'write -q -P 3 1025T 64k' overlay
SECONDS=0
check "an overlay of 2 EiB: merged" qcow2ctl commit overlay
check "in no time: $SECONDS s" test $SECONDS -lt 10
check "what it had is in the base" qemu-io -r -f qcow2 -c 'read -q -P 3 1025T 64k' base
finish
