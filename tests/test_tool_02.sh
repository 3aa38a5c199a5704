#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Help, exit status and messages of the program as a whole. Wrong usage of each command is in
# tests/unit/test_usage.c.
. "$(dirname "$0")/test_common.sh"
need qemu-img

cd "$test_dir" || exit 1
qemu-img create -q -f qcow2 image.qcow2 1M
truncate -s 1M raw

check "--help" grep -q '^  attach ' <<<"$(qcow2ctl --help)"
check "--help of a command" grep -q -e --backing-dir <<<"$(qcow2ctl attach --help)"
check "--version of a command" grep -q '^qcow2ctl [0-9]' <<<"$(qcow2ctl list --version)"
refuse "no command" 1 "no command given" qcow2ctl
refuse "an unknown command" 1 "unknown command 'atach'" qcow2ctl atach
refuse "a raw image as qcow2" 2 "raw: magic 0x00000000 is not .*--format raw" qcow2ctl attach -r raw
refuse "a full disk under the output" 2 "cannot write to standard output" \
	eval "qcow2ctl info image.qcow2 >/dev/full"
check "nothing is attached" test -z "$(qcow2ctl list)"
finish
