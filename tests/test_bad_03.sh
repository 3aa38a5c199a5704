#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Broken images that are written: what is broken is never written over, and fails; the rest goes on
# as long as refcounts can be trusted, and else the image is marked corrupt and nothing is written.
# kernels: uml
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io losetup
modprobe -q loop
at_exit qcow2ctl detach --force --all

cd "$test_dir" || exit 1
poke=$test_top/build/tests/poke
cluster=65536
bytes=$test_dir/bytes
head -c $cluster /dev/zero | tr '\0' '\7' >"$bytes"
head -c $((2 * cluster)) /dev/zero | tr '\0' '\1' >ones

be64() { echo $((0x$(od -An -tx1 -j "$2" -N 8 "$1" | tr -d ' \n'))); }	# FILE OFFSET

# Two MiB, of which the first four clusters are there. Sets where its tables are.
make_image() {	# QEMU-IMG-OPTION...
	rm -f image
	qemu-img create -q -f qcow2 "$@" image 2M && qemu-io -f qcow2 -c 'write -q -P 1 0 256k' image
	l1=$(be64 image 40)
	l2=$(($(be64 image "$l1") & 0xfffffffffffe00))
	table=$(be64 image 48)
	block=$(be64 image "$table")
	data=$(($(be64 image "$l2") & 0xfffffffffffe00))
}

copied=$((1 << 63))
entry() { "$poke" image "$((l2 + 8 * $1)):8=$(printf '0x%x' "$2")"; }		# GUEST-CLUSTER VALUE
refcount() { "$poke" image "$((block + 2 * ($1 / cluster))):2=$2"; }		# HOST-OFFSET VALUE
write() { dd if="$bytes" of="$device" bs=$cluster seek="$1" count=1 oflag=direct conv=fsync status=none; }
discard() {	# GUEST-CLUSTER COUNT
	blkdiscard -f -o $(($1 * cluster)) -l $(($2 * cluster)) "$device" && sync "$device"
}
fails() { ! "$@"; }
is_corrupt() { (($(be64 image 72) & 2)); }

# What the log says since the attach.
said() { dmesg | tac | sed '/attach to be watched/q' | grep -E "${device#/dev/}: .*$1"; }

attach() {
	echo "attach to be watched" >/dev/kmsg
	device=$(qcow2ctl attach --no-partscan image)
}

# Something fails for what is wrong with one place; another one can be written.
fails_alone() {	# WHAT LOG OTHER-CLUSTER COMMAND...
	local what=$1 words=$2 other=$3
	shift 3
	attach || { fail "$what: not attached"; return; }
	check "$what: fails" fails "$@"
	[ -z "$words" ] || check "$what: and says why" said "$words"
	check "$what: cluster $other can be written" write "$other"
	check "$what: detached" qcow2ctl detach "$device"
	check "$what: is not called corrupt" fails is_corrupt
	check "$what: what was written is there" \
		qemu-io -r -f qcow2 -c "read -P 7 $((other * cluster)) $cluster" image
}

# Something shows that the image is corrupt; nothing is written any more.
stops() {	# WHAT LOG COMMAND...
	local what=$1 words=$2 sum
	shift 2
	attach || { fail "$what: not attached"; return; }
	"$@" 2>/dev/null
	check "$what: writing stops" eval 'for i in {1..30}; do write 21 || exit 0; sleep 0.1; done; exit 1'
	sum=$(sha256sum <image)
	check "$what: and says why, once" test "$(said "$words" | wc -l)" = 1
	write 22 2>/dev/null
	check "$what: nothing is written after that" test "$(sha256sum <image)" = "$sum"
	check "$what: reads go on" cmp -n $((2 * cluster)) -i $((2 * cluster)):0 "$device" ones
	check "$what: detach says that something is lost" fails qcow2ctl detach "$device"
	check "$what: and by force" qcow2ctl detach --force "$device"
}

refused() {	# WHAT WORDS
	refuse "$1: not attached" 2 "$2" qcow2ctl attach --no-partscan image
}

# --- one place is bad -----------------------------------------------------------------------

make_image
entry 0 $((copied | (200 * cluster)))
fails_alone "data past the end" "past the end" 20 write 0
make_image
entry 0 $((copied | (data + 512)))
fails_alone "an entry that is not aligned" "guest offset 0" 20 write 0
make_image
entry 0 $((copied | (data + 512)))
fails_alone "a discard of one" "guest offset 0" 20 discard 0 1
make_image
"$poke" image "$table:8=$((200 * cluster))"
fails_alone "a refcount block past the end" "" 2 write 10
cluster=512
for command in "write 0" "discard 0 1"; do
	for flag in $copied 0; do
		make_image -o cluster_size=$cluster
		"$poke" image "$l1:8=$(printf '0x%x' $((flag | 200000 * cluster)))"
		# shellcheck disable=SC2086 # a command and its arguments
		fails_alone "$command, an L2 table past the end, ${flag#-}" "guest offset 0" 100 $command
	done
done
cluster=65536
make_image
entry 0 $((copied | (data + 512)))
mv image base
qemu-img create -q -f qcow2 -b base -F qcow2 image
write_sector() { dd if="$bytes" of="$device" bs=512 count=1 seek=1 oflag=direct conv=fsync status=none; }
fails_alone "an entry of the backing file" "layer 1 .* guest offset 0" 20 write_sector

# --- refcounts lie --------------------------------------------------------------------------

for version in 1.1 0.10; do
	make_image -o compat=$version
	entry 0 $((copied | l1))
	stops "data at the L1 table, $version" "holds metadata: the image is corrupt" write 0
	if [ $version = 1.1 ]; then
		check "it is called corrupt" is_corrupt
		refuse "and not attached again" 2 corrupt qcow2ctl attach image
	fi
done
make_image
entry 0 $((copied | l1 | 1))
stops "a zero cluster at the L1 table" "holds metadata: the image is corrupt" write 0
make_image
refcount "$l2" 0
stops "an L2 table without a refcount" "holds metadata, but its refcount is 0" write 10
make_image
entry 1 $((copied | data))
stops "two entries for one cluster" "was in use, but its refcount is 0" discard 0 2
cluster=512
make_image -o cluster_size=512,refcount_bits=64
"$poke" image "$((table + 8 * 5)):8=0"
stops "clusters without a refcount block" "was in use, but its refcount is 0" discard 300 8
cluster=65536
make_image
entry 0 "$l1"
stops "an L1 table given up" "was mapped, but holds metadata" discard 0 1

# --- what attach sees -----------------------------------------------------------------------

make_image
"$poke" image "$l1:8=$((l2 + 512))"
refused "an L1 entry that is not aligned" "L2 table offset"
make_image
"$poke" image "$table:8=$((block + 512))"
refused "a refcount table's, neither" "refcount"
make_image
"$poke" image "$l1:8=$l1"
refused "an L2 table at the L1 table" "metadata overlap"
make_image
"$poke" image refcount_table_offset=$((200 * cluster))
refused "a refcount table past the end" "refcount table"
make_image
qemu-img snapshot -c one image
"$poke" image "$(($(be64 image 64) + 8)):4=0x7fffffff"
refused "a snapshot's L1 table that is too large" "snapshot table"
finish
