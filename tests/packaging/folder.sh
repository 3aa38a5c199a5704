# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced by the tests beside it: root folders in which packages are installed, at native speed. Each is a
# copy-on-write one of a folder in the cache (tests/vm/kernels), changes are kept in memory. They, and what
# is mounted in them, are in a mount namespace of the test's own, and so gone when it ends.

[ "$(id -u)" = 0 ] || { echo "not ok 1 - packaging # needs root"; exit 1; }
[ -n "${packaging_ns:-}" ] || packaging_ns=1 exec unshare -m --propagation private "$0" "$@"

# shellcheck source=tests/test_common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../test_common.sh"
cd "$test_top" || exit 1

# Not in the test's directory, which is emptied at the end: nothing is to be deleted through a mount.
folders=$test_top/build/packaging
mkdir -p "$folders"
mount -t tmpfs -o mode=755 tmpfs "$folders" || exit 1

# shellcheck disable=SC2034 # for the tests
version=$(sed -n 's/^VERSION *:= *//p' userspace/Makefile)

# Of the machine's own devices it has only what programs cannot do without, and no directory.
make_dev() {
	local node
	mount -t tmpfs -o mode=755 tmpfs "$root/dev"
	for node in null:3 zero:5 full:7 random:8 urandom:9; do
		mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
	done
	ln -s /proc/self/fd "$root/dev/fd"
}

# new_folder NAME: a fresh one; sets root.
new_folder() {
	local lower
	lower=$(tests/vm/kernels "$1")/root || exit 1
	root=$(mktemp -d "$folders/$1.XXXX")
	mkdir "$root"/{upper,work,root}
	mount -t overlay overlay -o "lowerdir=$lower,upperdir=$root/upper,workdir=$root/work" "$root/root" || exit 1
	root=$root/root
	mount -t proc proc "$root/proc"
	make_dev
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"	# no daemons
	chmod +x "$root/usr/sbin/policy-rc.d"
}

in_folder() {
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
		chroot "$root" "$@" </dev/null
}

# see DIR: the folder sees it, read-only, at its own path.
see() {
	mkdir -p "$root$1"
	mount --bind "$1" "$root$1"
	mount -o remount,ro,bind "$root$1"
}

# add_kernel NAME: one of the test kernels, as if its image and headers were installed; sets release.
add_kernel() {
	local dir tree
	dir=$(tests/vm/kernels "$1") || exit 1
	release=$(cat "$dir/release")
	tree=$root/lib/modules/$release
	see "$dir"
	mkdir -p "$tree"
	cp -a "$dir"/modules/modules.* "$tree/"
	cp -a --symbolic-link "$(readlink -f "$dir/modules")/kernel" "$tree/"
	ln -s "$dir/build" "$tree/build"
	touch "$root/boot/config-$release"
}

# Secure Boot as the kernel shows it, and a mokutil that writes down what it is asked.
fake_secure_boot() {
	local vars=$root/sys/firmware/efi/efivars
	mkdir -p "$vars"
	printf '\6\0\0\0\1' >"$vars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	# shellcheck disable=SC2016 # for the script
	printf '#!/bin/sh\necho "$@" >>/root/mokutil\n' >"$root/usr/bin/mokutil"
	chmod +x "$root/usr/bin/mokutil"
	: >"$root/root/mokutil"
}

# What DKMS says of our module: "6.1...: installed", one kernel after the other.
dkms_says() { in_folder dkms status qcow2blk 2>/dev/null | sed -E 's/^[^,]*, ([^,]*), [^:]*: ([a-z]*).*/\1: \2/' | sort | paste -sd' '; }

# What the compiler said, for a failure's sake.
make_log() { sed 's/^/# /' "$root"/var/lib/dkms/qcow2blk/*/build/make.log; }

# Compressed, if the kernel's own are.
built() { echo "$root/lib/modules/${1:-$release}"/updates/dkms/qcow2blk.ko*; }

for_its_kernel() { modinfo -F vermagic "$(built "$1")" | grep -q "^$1 "; }

# The module that DKMS has put there is what modprobe loads, and it works.
# loads KERNEL RELEASE
loads() {
	# shellcheck disable=SC2016 # for the VM
	tests/vm/run --kernel "$1" --modules "$root/lib/modules/$2" -- sh -ec '
		modinfo -F filename qcow2blk | grep /updates/dkms/
		qemu-img create -q -f qcow2 /tmp/disk.qcow2 64M
		device=$(qcow2ctl attach /tmp/disk.qcow2)
		echo hello | dd of="$device" conv=fsync status=none
		qcow2ctl detach "$device"
		qemu-io -r -c "read -P 0x68 0 1" /tmp/disk.qcow2'
}

# What is left of ours, but for what package managers and DKMS keep.
left() {
	find "$root" -xdev -name '*qcow2*' ! -path "$root/root/*" ! -path "$root/var/log/*" \
		! -path "$root/var/cache/*" -printf '/%P\n'
}
