#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The tool refuses, offline, what the driver refuses, in the same words. A process for each.
# kernels: uml 6.1 6.12 7.2 host
# timeout: 60
. "$(dirname "$0")/test_common.sh"
need qcow2ctl

check "the images are made" "$test_top/build/tests/bad" --write "$test_dir/bad"
count=0
for image in "$test_dir"/bad/*.qcow2; do
	name=$(basename "$image" .qcow2)
	why=$(<"${image%.qcow2}.why")
	said=$(qcow2ctl info "$image" 2>&1)
	status=$?
	count=$((count + 1))
	[ $status = 2 ] && [[ $said == *"$why"* ]] && continue
	fail "$name is refused" "wanted status 2 and: $why" "status $status: $said"
done
check "at least 80 of them" test $count -ge 80
finish
