#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Writing where something runs out, or comes all at once: space that may leak in a crash, dirty tables,
# room for tables in memory, for what protects them, for clusters on a full device; and raw files.
# kernels: uml
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io losetup blkdiscard fio
modprobe -q loop
at_exit qcow2ctl detach --force --all
cd "$test_dir" || exit 1

poke=$test_top/build/tests/poke
head -c 6M /dev/urandom >bytes

attach() { device=$(qcow2ctl attach --no-partscan "$@"); }
same() { cmp -n "$3" -i "$2:0" "$1" bytes; }	# FILE OFFSET LENGTH: of FILE at OFFSET are the bytes
whole() {	# IMAGE LENGTH
	qemu-img check -q "$1" && qemu-img convert -O raw "$1" raw && same raw 0 "$2"
}

# Clusters of 512 bytes and refcounts of 64 bits: many blocks, a refcount table that grows, more tables
# than were counted on at attach, in a cache that holds half of them. The file grows by 1 MiB: then it
# ends right behind what the refcount table can tell of, 2 MiB.
size=$((5888 << 10))
qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 many $size
truncate -s $((1024 * 1024 + 512)) many
attach --cache-size 64K many
check "many small clusters are written" dd if=bytes of="$device" bs=64k count=92 oflag=direct conv=fsync
check "and read" same "$device" 0 $size
check "and detached" qcow2ctl detach "$device"
attach --cache-size 64K many
check "and read anew" same "$device" 0 $size
check "and some written again" dd if=bytes of="$device" bs=512 seek=4000 skip=4000 count=100 oflag=direct conv=notrunc
check "and detached" qcow2ctl detach "$device"
check "the image is whole" whole many $size

# More than a crash may leak, before any flush: writes wait for a commit; so do discards.
qemu-img create -q -f qcow2 much 128M
attach much
check "48 MiB without a flush" dd if=/dev/zero of="$device" bs=4M count=12 oflag=direct
others() { blkdiscard -f "$device" && dd if=/dev/zero of="$device" bs=4M count=24 oflag=direct; }
check "then others in their place" others
check "what comes last is there" dd if=bytes of="$device" bs=1M count=6 oflag=direct conv=fsync
check "detached" qcow2ctl detach "$device"
check "the image is whole" whole much 6M

# Every entry of forty MiB at once, and again: more tables are dirty than may be.
qemu-img create -q -f qcow2 -o cluster_size=512,preallocation=metadata dirty 40M
attach dirty
check "zeroes in all tables" fallocate -z -l 40M "$device"
check "and a discard" blkdiscard -f "$device"
check "and zeroes" fallocate -z -l 40M "$device"
check "detached" qcow2ctl detach "$device"
check "the image is whole" qemu-img check -q dirty

# Copies of parts of large clusters: more at once than there are buffers.
truncate -s 128M base.raw
dd if=bytes of=base.raw bs=1M conv=notrunc status=none
qemu-img create -q -f qcow2 -o cluster_size=2M -b base.raw -F raw large 128M
attach large
check "parts of many large clusters" fio --name=parts --filename="$device" --direct=1 --ioengine=libaio \
	--iodepth=32 --rw=write:2044k --bs=4k --offset=8M --size=96M --verify=crc32c
check "detached" qcow2ctl detach "$device"
check "the image is whole" whole large 6M

# An image that was larger: its L1 table goes on where the disk has ended.
qemu-img create -q -f qcow2 shrunk 100G
"$poke" shrunk size=$((2 << 20))
attach shrunk
check "the start of a large L1 table" dd if=bytes of="$device" bs=1M count=2 oflag=direct conv=fsync
check "detached" qcow2ctl detach "$device"
check "the image is whole" whole shrunk 2M

# L2 tables that are copied though nobody shares them: their clusters are free again soon, and on a
# device without room for others become tables of other places.
qemu-img create -q -f qcow2 -o cluster_size=512 tight 1M
for i in {0..15}; do echo "write -q -P $((i + 1)) $((i * 32))k 512"; done | qemu-io -f qcow2 tight >/dev/null
l1=$((0x$(od -An -tx1 -j 40 -N 8 tight | tr -d ' \n')))
for i in {0..15}; do
	"$poke" tight "$((l1 + 8 * i)):1=0"	# not COPIED
done
truncate -s %512 tight
truncate -s +$((20 * 512)) tight
loop=$(losetup --find --show tight)
at_exit losetup -d "$loop"
attach "$loop"
write_second() { dd if=bytes of="$device" bs=512 count=1 seek=$(($1 * 64 + 1)) oflag=direct conv=fsync status=none; }
write_seconds() { for i; do write_second "$i" || return; done; }
made() { blkdiscard -f -l 256k "$device" && write_seconds {16..23}; }
check "tables are copied where there is little room" write_seconds {0..15}
check "and made" made
check "detached" qcow2ctl detach "$device"
check "the image is whole" qemu-img check -q -f qcow2 "$loop"
check "what was there is" qemu-io -r -f qcow2 -c "read -P 12 $((11 * 32))k 512" "$loop"
qemu-img convert -f qcow2 -O raw "$loop" raw
check "and what was written" same raw $((17 * 32768 + 512)) 512

# A raw file as the disk.
truncate -s 8M disk.raw
attach -f raw disk.raw
check "a raw file is written" dd if=bytes of="$device" bs=1M count=6 oflag=direct conv=fsync
check "and read" same "$device" 0 6M
check "a part is zeroed" fallocate -z -o 1M -l 1M "$device"
check "another one punched" fallocate -p -o 2M -l 1M "$device"
check "another one discarded" blkdiscard -f -o 3M -l 1M "$device"
check "detached" qcow2ctl detach "$device"
check "its start is there" same disk.raw 0 1M
check "then come zeros" cmp -n 3M -i 1M:0 disk.raw /dev/zero
check "then the rest" cmp -n 2M -i 4M:4M disk.raw bytes
finish
