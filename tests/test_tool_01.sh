#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# attach, list, info and detach: what they print, and what is there when they return.
# shellcheck disable=SC2016 # the variables are those of jq
. "$(dirname "$0")/test_common.sh"
need qemu-img sfdisk jq
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
truncate -s 8M raw
printf '%s\n' 'label: dos' '2048,4096' '6144,+' | sfdisk -q raw
qemu-img convert -O qcow2 raw base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-img create -q -f qcow2 other.qcow2 64G

# --- attach: the path alone, and all nodes ------------------------------------------------
device=$(qcow2ctl attach -r top.qcow2)
check "attach prints the path of the device, alone" test "$device" = /dev/qcow0
check "the disk is there, with its size" test "$(blockdev --getsize64 /dev/qcow0)" = $((8 << 20))
check "both partitions are there" test -b /dev/qcow0p1 -a -b /dev/qcow0p2
check "a partition has its size" test "$(blockdev --getsz /dev/qcow0p1)" = 4096
check "the device is read-only" test "$(blockdev --getro /dev/qcow0)" = 1
check "the module is in use" eval "! rmmod qcow2blk"

# --- options ------------------------------------------------------------------------------
check "the device asked for is given" \
	test "$(qcow2ctl attach -r --no-partscan --device qcow7 top.qcow2)" = /dev/qcow7
check "--no-partscan makes no partitions" test -b /dev/qcow7 -a ! -e /dev/qcow7p1
refuse "a device in use is not given twice" 2 "top.qcow2: .*index" \
	qcow2ctl attach -r --device qcow7 top.qcow2
check "a raw image is attached with its format" \
	test "$(qcow2ctl attach -r -f raw --cache-size 1M --direct-io off raw)" = /dev/qcow1
check "its partitions are there" test -b /dev/qcow1p2
json=$(qcow2ctl attach -r --direct-io off --cache-size 1M --json other.qcow2)
check "--json describes the device" jq -e '.device == "/dev/qcow2" and ."virtual-size" == 68719476736
	and ."read-only" and ."cache-size" == 1048576 and (.layers[0]."direct-io" | not)' <<<"$json"
check "a cache too small is made bigger" \
	jq -e '."cache-size" == 131072' <<<"$(qcow2ctl attach -r --cache-size 1 --json top.qcow2)"

# --- list and info ------------------------------------------------------------------------
list=$(qcow2ctl list)
check "list has a line for each device" test "$(wc -l <<<"$list")" = 6
check "list shows size, format, depth and image" \
	grep -qE "^/dev/qcow0 +8 MiB +yes +qcow2 +2 +$test_dir/top.qcow2$" <<<"$list"
check "list --json has all layers" jq -e --arg dir "$test_dir" '.[0].layers | length == 2
	and .[1].filename == $dir + "/base.qcow2" and .[1]."cluster-size" == 65536' \
	<<<"$(qcow2ctl list --json)"
check "info of a device is that of its image" jq -e --arg dir "$test_dir" \
	'.filename == $dir + "/top.qcow2" and .format == "qcow2" and (.chain | length) == 2' \
	<<<"$(qcow2ctl info --json /dev/qcow0)"
check "info of an image lists its devices" test \
	"$(qcow2ctl info --json top.qcow2 | jq -c '[.attached[].device]')" = \
	'["/dev/qcow0","/dev/qcow3","/dev/qcow7"]'
check "info of a raw device" jq -e '.format == "raw" and ."virtual-size" == 8388608' \
	<<<"$(qcow2ctl info --json qcow1)"

# --- detach -------------------------------------------------------------------------------
refuse "detach of an image with several devices lists them" 2 \
	"attached several times: /dev/qcow0 /dev/qcow3 /dev/qcow7; " qcow2ctl detach top.qcow2
check "detach by device" qcow2ctl detach /dev/qcow0
check "its nodes are gone" test ! -e /dev/qcow0 -a ! -e /dev/qcow0p1
check "detach by image" qcow2ctl detach other.qcow2
check "its node is gone" test ! -e /dev/qcow2
refuse "it is not attached any more" 1 "other.qcow2: it is not attached" \
	qcow2ctl detach other.qcow2
refuse "no such device" 1 "/dev/qcow0: no such device" qcow2ctl detach qcow0
check "detach --all" qcow2ctl detach --all
check "no device is left" test -z "$(qcow2ctl list)"
finish
