#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# /sys/block/qcowN/qcow2/: each file is documented, says what is true, and paths are root's.
# kernels: uml uml-debug
# timeout: 60
. "$(dirname "$0")/test_common.sh"
need qemu-img setpriv
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
abi=$test_top/kernel/sysfs-block-qcow2

attach() {	# IMAGE-OR-OPTION...: sets $files
	device=$(qcow2ctl attach "$@") && files=/sys/block/${device#/dev/}/qcow2
}
is() {	# FILE TEXT
	local text
	text=$(cat "$files/$1")
	check "$1 is '$2'" test "$text" = "$2"
}

qemu-img create -q -f raw base.raw 1M
qemu-img create -q -f qcow2 -o compat=0.10 -b base.raw -F raw middle.qcow2
qemu-img create -q -f qcow2 -o cluster_size=32k,extended_l2=on,lazy_refcounts=on,compression_type=zstd \
	-b middle.qcow2 -F qcow2 top.qcow2 10M

attach --cache-size 1M top.qcow2 || fail "an overlay is attached"
documented=$(sed -nE 's,^(What:)?[[:space:]]+/sys/block/qcow<N>/qcow2/,,p' "$abi" | sort)
check "each file is documented" diff <(echo "$documented") <(ls "$files")
named_in_man() {
	local file
	for file in $documented; do
		grep -qE "^\\.IR? .*\\b$file\\b" "$test_top/userspace/packaging/man/qcow2blk.4" || { echo "$file"; return 1; }
	done
}
check "and in qcow2blk(4)" named_in_man
is image "$PWD/top.qcow2"
is image_name top.qcow2
is name ''
is activate 0
is chain "$(printf 'qcow2\t%s\nqcow2\t%s\nraw\t%s' "$PWD"/{top.qcow2,middle.qcow2,base.raw})"
is image_dev "$((0x$(stat -c %D top.qcow2) >> 8)):$((0x$(stat -c %D top.qcow2) & 255))"
is image_ino "$(stat -c %i top.qcow2)"
is format qcow2
is mode rw
is layers 3
is snapshot ''
is parent ''
is version 3
is cluster_size 32768
is subcluster_size 1024
is features "extended-l2 zstd lazy-refcounts"
is direct_io "$(qcow2ctl list --json | jq '.[0].layers[0]."direct-io" | if . then 1 else 0 end')"
is cache_used 0
is cache_size "$(qcow2ctl list --json | jq '.[0]."cache-size"')"
dd if=/dev/urandom of="$device" bs=64k count=1 oflag=direct status=none
check "a table that was read is in the cache" test "$(cat "$files/cache_used")" -gt 0
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
check "anybody may know the features" nobody cat "$files/features"
refuse "the path is root's" 1 "Permission denied" nobody cat "$files/image"
refuse "and so are those of the chain" 1 "Permission denied" nobody cat "$files/chain"
mv top.qcow2 renamed.qcow2
is image "$PWD/renamed.qcow2"
qcow2ctl snapshot create "$device" first
parent=${device#/dev/}
attach -r --load-snapshot first renamed.qcow2
is mode ro
is snapshot 1
is parent "$parent"
qcow2ctl detach --all

attach -f raw base.raw || fail "a raw image is attached"
is format raw
check "which has no cluster size" eval "! test -e $files/cluster_size"
qcow2ctl detach --all

odd=$'a\nb\\c d'
qemu-img create -q -f qcow2 -o data_file=data,data_file_raw=on "$odd" 1M
attach "$odd" || fail "an image with an odd name is attached"
is image "$PWD/a\\012b\\134c d"
is chain "$(printf 'qcow2\t%s\t%s' "$PWD/a\\012b\\134c d" "$PWD/data")"
is features "data-file data-file-raw"
qcow2ctl detach --all

# 4 KiB do not hold this.
format=$'qcow2\t'
long=$(printf 'x%.0s' {1..200})
mkdir -p "$long/$long/$long"
qemu-img create -q -f qcow2 "$long/$long/$long/0" 1M
for i in {1..9}; do
	qemu-img create -q -f qcow2 -b "$((i - 1))" -F qcow2 "$long/$long/$long/$i"
done
attach "$long/$long/$long/9" || fail "a chain with long names is attached"
check "it is shown as far as there is room" test "$(tail -n 1 "$files/chain")" = ...
each=$(($(wc -c <"$files/image") + ${#format}))
check "by whole lines" test "$(grep -c "^$format" "$files/chain")" = $(((4096 - 5) / each))
finish
