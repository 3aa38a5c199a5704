#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Which backing files attach opens. Each rule alone is in tests/unit/test_chain.c.
. "$(dirname "$0")/test_common.sh"
need qemu-img
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
mkdir own other
qemu-img create -q -f qcow2 other/base 1M
qemu-img create -q -f qcow2 own/base 1M
ln -s ../other/base own/link
mkfifo own/fifo
attach() { qcow2ctl attach -r "$@"; }
overlay() { qemu-img create -q -f qcow2 -u "$@" 1M; }

overlay -b ../other/base -F qcow2 own/outside
refuse "a backing file elsewhere" 2 \
	"own/outside: the backing file $test_dir/other/base lies outside .*--backing-dir $test_dir/other" \
	attach own/outside
check "--backing-dir allows it" attach --backing-dir other own/outside
check "--allow-backing allows it" attach --allow-backing own/outside
overlay -b link -F qcow2 own/by-link
refuse "a symlink to elsewhere" 2 "lies outside" attach own/by-link

# The first extension, at byte 112, names the format. It becomes the end of extensions.
overlay -b base -F qcow2 own/unnamed
printf '\0\0\0\0' | dd of=own/unnamed bs=1 seek=112 conv=notrunc status=none
refuse "a format that is not named" 2 "does not name the format .*--backing-format 1=qcow2" \
	attach own/unnamed
check "--backing-format names it" attach --backing-format 1=qcow2 own/unnamed
refuse "--allow-backing does not" 2 "does not name the format" attach --allow-backing own/unnamed

overlay -b 'json:{"driver":"qcow2","file":{"driver":"file","filename":"own/base"}}' -F qcow2 own/json
refuse "a json: name" 2 "json: names are refused" attach --allow-backing own/json
overlay -b nbd://localhost/x -F raw own/nbd
refuse "a protocol name" 2 "nbd: names are refused" attach --allow-backing own/nbd

overlay -b fifo -F raw own/on-fifo
refuse "a FIFO" 2 "own/fifo: it is a FIFO" timeout 10 qcow2ctl attach -r own/on-fifo
overlay -b . -F raw own/on-dir
refuse "a directory" 2 "it is a directory" attach own/on-dir
overlay -b loop -F qcow2 own/loop
refuse "a loop" 2 "already in the chain, as layers 0 and 1" attach own/loop

devices=(/sys/block/qcow*)
check "what was refused left no device" test ${#devices[@]} = 3
finish
