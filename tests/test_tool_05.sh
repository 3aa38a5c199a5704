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

if [ ! -e /run/udev/control ]; then
	# A rule that takes its time: who does not wait, comes too early.
	mkdir -p /run/udev/rules.d
	echo 'KERNEL=="qcow*", PROGRAM="/bin/sleep 0.3", SYMLINK+="slow-%k"' \
		>/run/udev/rules.d/99-slow.rules
	$udevd &
	at_exit "kill $!; wait $!; rm -r /run/udev"
	until udevadm control --ping; do sleep 0.1; done
	slow=1
fi
at_exit qcow2ctl detach --all

for i in 1 2 3; do
	device=$(qcow2ctl attach -r image.qcow2)
	if [ "${slow:-}" ]; then
		check "udev has made its links, time $i" \
			test -b "/dev/slow-${device#/dev/}" -a -b "/dev/slow-${device#/dev/}p1"
	else
		check "udev knows the partition, time $i" \
			udevadm info --name "${device}p1" --query property
	fi
	check "detach at once, time $i" qcow2ctl detach "$device"
	check "udev has forgotten it, time $i" test ! -e "/dev/slow-${device#/dev/}"
done
finish
