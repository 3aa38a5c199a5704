#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# With a real udevd: attach returns when its links are made, detach when it has let go.
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img sfdisk udevadm
udevd=/lib/systemd/systemd-udevd
[ -x $udevd ] || skip_all "there is no systemd-udevd"

cd "$test_dir" || exit 1
truncate -s 4M raw
printf '%s\n' 'label: dos' '2048,+' | sfdisk -q raw
qemu-img convert -O qcow2 raw image.qcow2

[ ! -e /run/udev/control ] || skip_all "an udevd runs already, with its own rules"

# A rule that takes its time: who does not wait, comes too early. The number tells devices of one
# name apart.
mkdir -p /run/udev/rules.d
# shellcheck disable=SC2016 # udev expands it
echo 'KERNEL=="qcow*", PROGRAM="/bin/sleep 0.3", SYMLINK+="slow-%k-$attr{diskseq}"' \
	>/run/udev/rules.d/99-slow.rules
$udevd 2>/dev/null &
udevd_pid=$!
at_exit "kill $udevd_pid; wait $udevd_pid; rm -r /run/udev"
until udevadm control --ping 2>/dev/null; do sleep 0.1; done
at_exit qcow2ctl detach --all
link() { echo "/dev/slow-qcow0-$(cat /sys/block/qcow0/diskseq)"; }

check "attach" qcow2ctl attach -r image.qcow2
link=$(link)
check "udev has made its links for the disk and the partition" test -b "$link" -a -L /dev/slow-qcow0p1-
check "detach at once" qcow2ctl detach qcow0
check "udev has removed its link" test ! -L "$link"

# A new device takes the number of one that udev has not forgotten yet: that does not count.
qcow2ctl attach -r image.qcow2 >/dev/null
kill -STOP "$udevd_pid"
qcow2ctl detach qcow0 &
while [ -e /sys/block/qcow0 ]; do :; done
sleep 0.2
qcow2ctl attach -r --device qcow0 image.qcow2 >out &
attach_pid=$!
sleep 0.7
check "the device is there" test -b /dev/qcow0
check "attach does not return before udev has seen the device" test ! -s out
kill -CONT "$udevd_pid"
wait $attach_pid
check "it does then" grep -qx /dev/qcow0 out
check "udev has made the link of the new one" test -b "$(link)"
check "detach" qcow2ctl detach qcow0
finish
