#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Attachments under load (tests/tools/cycles.c): a thousand in the two kernels that run all tests.
# timeout: 90
. "$(dirname "$0")/test_common.sh"
need qemu-img

cycles=$test_top/build/tests/cycles
[ -x "$cycles" ] || skip_all "no cycles: make -C tests/tools"
head -c 1M /dev/urandom >"$test_dir/base.raw"
images=()
for options in cluster_size=512 cluster_size=4k cluster_size=64k cluster_size=32k \
	cluster_size=4k,refcount_bits=1 cluster_size=64k,lazy_refcounts=on; do
	image=$test_dir/${options//[=,]/-}.qcow2
	qemu-img create -q -f qcow2 -o "$options" -b "$test_dir/base.raw" -F raw "$image" 8M || exit 1
	images+=("$image")
done
# Else detach does little but wait.
echo 1 >/sys/kernel/rcu_expedited && at_exit 'echo 0 >/sys/kernel/rcu_expedited'
case ${VM_KERNEL:-} in
uml-debug) count=850 ;;
*) count=150 ;;
esac
: "${CYCLES:=$count}"
check "$CYCLES attachments, written to until the last moment" \
	"$cycles" "$CYCLES" "$test_dir/base.raw" "${images[@]}"
all_whole() { for i; do qemu-img check -q "$i" || return; done; }
check "the images are whole" all_whole "${images[@]}"
finish
