#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The recipes of userspace/README: their commands are run as they stand there.
# kernels: uml 6.12 7.2
# timeout: 180
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-system-x86_64 mkfs.ext4 sfdisk rsync lvm
modprobe -a -q loop ext4 dm-mod
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
have_mount_helpers
mkdir mnt files nightly
at_exit umount "$test_dir/mnt"

# Indented lines below a title, but those of XML.
commands_of() {	# TITLE
	awk -v t="### $1" '/^###? / { on = $0 == t } on && /^    [^ <]/ { print substr($0, 5) }' \
		"$test_top/userspace/README" | sed "s,/mnt\\b,$test_dir/mnt,g"
}
recipe() {	# TITLE
	local text
	text=$(commands_of "$1")
	[ -n "$text" ] && eval "set -eu; $text"
}
# In a process of its own, for set -e and for variables.
cook() { check "$1" bash -c "$(declare -f "${@:2}" commands_of recipe); test_top=$test_top test_dir=$test_dir; recipe \"\$1\"" bash "$1"; }

has() {	# DEVICE-OR-IMAGE PART FILE CONTENT
	local found
	mount -t qcow2 -o "part=$2,ro" "$1" mnt || return
	found=$(cat "mnt/$3")
	umount mnt
	[ "$found" = "$4" ] || { echo "$found"; return 1; }
}

# --- a guest's disk, with room behind its partition that a snapshot or a new size will use -------
mkdir -p guest/etc
echo web >guest/etc/hostname
qemu-img create -q -f qcow2 web.qcow2 64M
disk=$(qcow2ctl attach web.qcow2)
echo type=linux | sfdisk -q --label gpt "$disk"
mkfs.ext4 -q -d guest "${disk}p1"
qcow2ctl detach "$disk"
qemu-img convert -c -O qcow2 web.qcow2 debian.qcow2

cook "Rescue a VM's disk"
check "its files are there" diff -r guest/etc rescued
check "it has its snapshot" grep -q before-rescue <(qcow2ctl snapshot list web.qcow2)
check "which can be applied" qcow2ctl snapshot apply web.qcow2 before-rescue

cook "Edit a cloud image"
check "the overlay has the new files" has vm1.qcow2 1 etc/hostname vm1
check "both of them" has vm1.qcow2 1 etc/hosts "127.0.1.1 vm1"
check "its partition has grown" test "$(disk=$(qcow2ctl attach -r vm1.qcow2) &&
	blockdev --getsize64 "${disk}p1" && qcow2ctl detach "$disk")" -gt 1100000000
check "what was downloaded is as it was" qemu-img compare web.qcow2 debian.qcow2

echo one >files/one
cook "Build an image from a directory"
check "it has the directory's file" has small.qcow2 1 one one

# In use: mounted, and written.
disk=$(qcow2ctl attach web.qcow2)
mkdir used && mount "${disk}p1" used && at_exit umount "$test_dir/used"
echo before >used/file
cook "Back up a disk while it is in use"
echo after >used/file
check "the copy has what was there" test "$(cat nightly/file)" = before
check "the snapshot is gone" test "$(qcow2ctl snapshot list "$disk" | grep -c nightly)" = 0
qemu-img convert -f raw -O qcow2 nightly.raw nightly.qcow2
check "so has the raw one" has nightly.qcow2 1 file before
umount used
qcow2ctl detach "$disk"

# virsh is played: the VM writes whenever it is started.
qemu-img convert -O raw web.qcow2 db.raw
virsh() {
	local image=db.qcow2
	[ "$1" = start ] || return 0
	mount -t qcow2 -o part=1 "$image" "$test_dir/mnt"
	echo service >>"$test_dir/mnt/log"
	umount "$test_dir/mnt"
}
cook "From raw to qcow2, and back, in the time of a restart" virsh
qemu-img convert -f raw -O qcow2 db.raw back.qcow2
check "the raw disk has what was written" has back.qcow2 1 log service

# The VM is paused; its monitor writes to the disk, and ends it.
qemu-system-x86_64() {
	command qemu-system-x86_64 -S -nodefaults -display none -monitor stdio "$@" \
		<<<$'qemu-io virtio0 "write -q -P 7 63M 64k"\nquit'
}
cook "Give a device to a VM as its raw disk" qemu-system-x86_64
check "the VM has written to the image" \
	qemu-io -r -c 'read -q -P 7 63M 64k' web.qcow2

# --- a guest with LVM ---------------------------------------------------------------------------
export LVM_SUPPRESS_FD_WARNINGS=1
# Where no udevd runs, LVM makes the nodes.
[ -e /run/udev/control ] || export DM_DISABLE_UDEV=1
mkdir etc-lvm && cp -r /etc/lvm/. etc-lvm/ && mount --bind etc-lvm /etc/lvm && at_exit umount /etc/lvm
qemu-img create -q -f qcow2 lvm.qcow2 64M
disk=$(qcow2ctl attach --activate lvm.qcow2)
{ vgcreate -q guest "$disk" && lvcreate -q -l 100%FREE -n root guest && mkfs.ext4 -q -d guest /dev/guest/root &&
	vgchange -q -an guest; } >lvm.log 2>&1 || fail "a volume group is made" "$(cat lvm.log)"
qcow2ctl detach "$disk"
cook "A guest's volume group"
check "its files are there" diff -r guest/etc rescued-lvm
check "nothing is left attached" test -z "$(qcow2ctl list --noheadings)"
finish
