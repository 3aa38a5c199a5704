#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The command line: wrong usage is 1, a refusal 2, and every message says what to do.
. "$(dirname "$0")/test_common.sh"
need qemu-img
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
qemu-img create -q -f qcow2 image.qcow2 1M
truncate -s 1M raw

check "--help" grep -q '^  attach ' <<<"$(qcow2ctl --help)"
check "--help of a command" grep -q -e --backing-dir <<<"$(qcow2ctl attach --help)"
check "--version of a command" grep -q '^qcow2ctl [0-9]' <<<"$(qcow2ctl list --version)"

refuse "no command" 1 "no command given" qcow2ctl
refuse "an unknown command" 1 "unknown command 'atach'" qcow2ctl atach
refuse "an unknown option" 1 "unrecognized option '--frob'" qcow2ctl attach -r --frob image.qcow2
refuse "no image" 1 "give one IMAGE" qcow2ctl attach -r
refuse "two images" 1 "give one IMAGE" qcow2ctl attach -r image.qcow2 raw
refuse "a format nobody knows" 1 "qcow2 and raw are known" qcow2ctl attach -r -f vdi image.qcow2
refuse "a mode nobody knows" 1 "auto, on and off" qcow2ctl attach -r --direct-io maybe image.qcow2
for size in 0 -1 1Q 1KB 99999999T ''; do
	refuse "the cache size '$size'" 1 "a number of bytes" \
		qcow2ctl attach -r --cache-size "$size" image.qcow2
done
for device in sda qcow qcow01 qcow99999 qcow0p1; do
	refuse "the device $device" 1 "a name like qcow0" \
		qcow2ctl attach -r --device $device image.qcow2
done
for layer in qcow2 0=raw 64=raw 1=vmdk 1raw -1=raw; do
	refuse "--backing-format $layer" 1 "LAYER=qcow2 or LAYER=raw" \
		qcow2ctl attach -r --backing-format $layer image.qcow2
done
refuse "a format for a layer that is not there" 1 "there is no layer 1" \
	qcow2ctl attach -r --backing-format 1=raw image.qcow2
refuse "a backing directory that is none" 1 "no backing directory: Not a directory" \
	qcow2ctl attach -r --backing-dir raw image.qcow2
refuse "detach of nothing" 1 "give one DEVICE or IMAGE" qcow2ctl detach
refuse "detach of all and one" 1 "give one DEVICE or IMAGE" qcow2ctl detach --all qcow0
refuse "list of something" 1 "unexpected argument" qcow2ctl list qcow0
refuse "info of nothing" 1 "give one DEVICE or IMAGE" qcow2ctl info

refuse "an image that is not there" 1 "none: cannot open the image: No such file" \
	qcow2ctl attach -r none
refuse "writing" 2 "image.qcow2: writing is not supported yet; use -r" qcow2ctl attach image.qcow2
refuse "a raw image as qcow2" 2 "raw: magic 0x00000000 is not .*--format raw" qcow2ctl attach -r raw
refuse "a full disk under the output" 2 "cannot write to standard output" \
	eval "qcow2ctl info image.qcow2 >/dev/full"
check "nothing of all that attached anything" test -z "$(qcow2ctl list)"
finish
