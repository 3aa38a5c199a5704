#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Mutants of valid images: attached, read, detached, some of them written to as well, and the kernel has
# nothing to complain of.
# FUZZ_N and FUZZ_SEED change how many and which. Cases are left in the VM's --share directory.
# While kmemleak watches, everything is slow, and a few will do: tests/check runs the rest without.
# kernels: uml uml-debug host
# timeout: 120
. "$(dirname "$0")/test_common.sh"

corpus=$test_top/build/fuzz/corpus
[ -e "$corpus/v3-4k.qcow2" ] || skip_all "no corpus: make -C tests/tools"

images=()
for image in "$corpus"/*.qcow2; do
	case $image in
	*overlay*) images+=("$image,$test_dir/base.raw") ;;
	*) images+=("$image") ;;
	esac
done
few=$(grep -c kmemleak=on /proc/cmdline)
: "${FUZZ_N:=$((few ? 150 : 2000))}"
cases=${VM_SHARE:-$test_dir}

cp "$corpus/base.raw" "$test_dir/base.raw"
check "$FUZZ_N mutants are refused, or read and changed, or fail with an I/O error" \
	"$test_top/build/tests/fuzz_attach" "$FUZZ_N" "${FUZZ_SEED:-1}" "$cases" "$test_dir" \
	"${images[@]}"
check "their base is what it was" cmp "$corpus/base.raw" "$test_dir/base.raw"
finish
