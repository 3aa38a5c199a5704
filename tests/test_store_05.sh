#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images on NFS and on btrfs: written, flushed, locked; a server that goes away for a while.
# kernels: 6.12 7.2
# timeout: 180
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io mkfs.ext4 mkfs.btrfs losetup
modprobe -a -q loop ext4 btrfs nfsd nfsv4

cd "$test_dir" || exit 1
mkdir disk nfs
at_exit qcow2ctl detach --all

store() {	# MKFS: on ./disk
	truncate -s 512M "$1"
	"mkfs.$1" -q "$1" >/dev/null && mount -o loop "$1" disk
}

# An image is used in DIRECTORY, as any.
use() {
	local image=$1/image device
	qemu-img create -q -f qcow2 "$image" 64M
	device=$(qcow2ctl attach "$image") || return
	check "$1: it is written" dd if=pattern of="$device" bs=64k oflag=direct conv=fsync status=none
	check "$1: read" cmp -n 8M pattern "$device"
	refuse "$1: no second attach" 2 "attached as" qcow2ctl attach "$image"
	refuse "$1: nor QEMU" 1 'Failed to get .* lock' qemu-img check "$image"
	check "$1: detached" qcow2ctl detach "$device"
	check "$1: it is whole" qemu-img check -q "$image"
	check "$1: and has what was written" qemu-img compare -q -f raw -F qcow2 pattern "$image"
}
head -c 8M /dev/urandom >pattern && truncate -s 64M pattern

store btrfs || exit 1
use disk
mkdir disk/plain && chattr +C disk/plain
use disk/plain
umount disk

# --- NFS 4, by a server on this machine ---------------------------------------------------------
store ext4 || exit 1
at_exit umount "$test_dir/disk"
# The kernel's server, told by hand what else nfs-kernel-server's daemons tell it: who is a client, what
# is exported to him, and that the root of all is that.
start_server() {
	echo "tcp 2049" >/proc/fs/nfsd/portlist
	echo 2 >/proc/fs/nfsd/threads
	tell auth.unix.ip "nfsd 127.0.0.1 2147483647 local"
	tell nfsd.export "local $PWD/disk 2147483647 0x2402 65534 65534 0"
	tell nfsd.fh "local 1 \\x00000000 2147483647 $PWD/disk"
}
stop_server() { echo 0 >/proc/fs/nfsd/threads; }
tell() {	# CACHE LINE
	echo "$2" >"/proc/net/rpc/$1/channel"
}
ip link set lo up
mkdir -p /var/lib/nfs && mount -t tmpfs none /var/lib/nfs && at_exit umount /var/lib/nfs
mkdir /var/lib/nfs/v4recovery
mount -t nfsd none /proc/fs/nfsd && at_exit umount /proc/fs/nfsd
# Version 3 would want rpcbind and lockd.
echo "-3" >/proc/fs/nfsd/versions
echo "-2" >/proc/fs/nfsd/versions 2>/dev/null
echo 10 >/proc/fs/nfsd/nfsv4leasetime
echo 10 >/proc/fs/nfsd/nfsv4gracetime
start_server && at_exit stop_server
check "NFS is mounted" timeout 60 mount -i -t nfs4 -o addr=127.0.0.1,clientaddr=127.0.0.1 127.0.0.1:/ nfs || {
	dmesg | tail -n 20
	finish
	exit
}
at_exit umount "$test_dir/nfs"
use nfs

device=$(qcow2ctl attach nfs/image)
stop_server
dd if=pattern of="$device" bs=64k count=16 seek=256 oflag=direct conv=fsync status=none &
writer=$!
sleep 2
check "who writes waits for a server that is away" kill -0 $writer
start_server
wait $writer
check "and goes on when it is back" test $? = 0
check "it is detached" qcow2ctl detach "$device"
check "the image is whole" qemu-img check -q nfs/image
finish
