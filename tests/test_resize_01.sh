#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Another size while the image is attached, against a raw file of that size and QEMU's programs.
# timeout: 600
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io

at_exit qcow2ctl detach --all
model=$test_dir/model

# A pattern of @4 over [@2, @2 + @3), bytes; O_DIRECT would ask for whole blocks.
fill() {	# FILE OFFSET LENGTH BYTE
	head -c "$3" /dev/zero | tr '\0' "\\$(printf %o "$4")" |
		dd of="$1" bs=64k seek="$2" oflag=seek_bytes conv=notrunc,fsync status=none
}

whole() {	# IMAGE
	qemu-img check -q "$1" || { qemu-img check "$1"; return 1; }
}

size_of() { stat -c %s "$1"; }

# Resize the device, and the model; then they have the same size and the same bytes.
resize() {	# DEVICE [--shrink] SIZE
	qcow2ctl resize "${@:2:$#-2}" "$1" "${*: -1}" || return
	truncate -s "${*: -1}" "$model"
	[ "$(blockdev --getsize64 "$1")" = "$(size_of "$model")" ] || return
	cmp "$1" "$model"
}

write() {	# DEVICE OFFSET LENGTH BYTE
	fill "$@" && fill "$model" "${@:2}"
}

# Detach; QEMU sees what we saw.
ends_well() {	# DEVICE IMAGE
	qcow2ctl detach "$1" && whole "$2" || return
	qemu-img info --output=json "$2" | grep -q "\"virtual-size\": $(size_of "$model")," || return
	qemu-img compare -q -f qcow2 -F raw "$2" "$model"
}

# An image of 2 MiB and a bit, full of bytes that lie behind its end now.
make_image() {	# IMAGE OPTIONS [BACKING]
	local size=$((2097152 + 512 * 7)) backed=()
	rm -f "$1"
	[ $# -lt 3 ] || backed=(-b "$3" -F "${3##*.}")
	qemu-img create -q -f qcow2 -o "$2" "${backed[@]}" "$1" 8M || return
	[ $# -gt 2 ] || qemu-io -f qcow2 -c 'write -q -P 0xee 1M 6M' "$1" || return
	qemu-img resize -q --shrink "$1" "$size" || return
	qemu-img convert -O raw "$1" "$model"
}

# The data file is as long as the disk, and if it is raw, reads as it does.
data_file() {	# OPTIONS [BACKING]
	scenario "data_file=$test_dir/data,$1" "${@:2}" || return
	[ "$(size_of "$test_dir/data")" = "$(size_of "$model")" ] || return
	[[ $1 != *raw* ]] || cmp "$test_dir/data" "$model"
}

# The rest of the last cluster is zeros for those who decrypt it.
encrypted() {	# FORMAT
	local image=$test_dir/crypt.qcow2 device
	local qemu=(--object "secret,id=s,data=qcow2blk" --image-opts)
	local spec="driver=qcow2,file.filename=$image,encrypt.key-secret=s"
	printf qcow2blk >"$test_dir/key"
	# user-mode Linux cannot make LUKS images: it does not tell the time that a thread has used
	cp --sparse=always "$test_top/build/images/$1-65536.qcow2" "$image" &&
		qemu-img resize -q --shrink "${qemu[@]}" "$spec" 1M && qemu-img resize -q "${qemu[@]}" "$spec" 4M &&
		qemu-io "${qemu[@]}" -c 'write -q -P 7 1M 2M' "$spec" &&
		qemu-img resize -q --shrink "${qemu[@]}" "$spec" $((2097152 + 3584)) &&
		qemu-img convert "${qemu[@]}" -O raw "$spec" "$model" || return
	device=$(qcow2ctl attach --key-file "$test_dir/key" --no-partscan "$image") || return
	resize "$device" +512 && resize "$device" +100K && write "$device" 2150000 50000 9 || return
	resize "$device" --shrink 2150400 && resize "$device" 4M || return
	qcow2ctl detach "$device" && qcow2ctl resize --key-file "$test_dir/key" "$image" +77K && truncate -s +77K "$model" &&
		qemu-img check -q "${qemu[@]}" "$spec" || return
	qemu-img convert "${qemu[@]}" -O raw "$spec" "$test_dir/seen" && cmp "$test_dir/seen" "$model"
}

# Up by a sector, within a cluster, by some; written, down again, and up once more.
scenario() {	# OPTIONS [BACKING]
	local image=$test_dir/image.qcow2 device step
	make_image "$image" "$@" || return
	device=$(qcow2ctl attach --no-partscan "$image") || return
	cmp "$device" "$model" || return
	for step in +512 +1K +100K +3M +512; do
		resize "$device" "$step" || return
		write "$device" $(($(size_of "$model") - 70000)) 40000 $((RANDOM % 256)) || return
	done
	resize "$device" --shrink $((3 * 1024 * 1024 + 512)) || return
	resize "$device" --shrink $((3 * 1024 * 1024 - 512)) || return
	write "$device" 3000000 140000 7 && resize "$device" +12M || return
	write "$device" 14000000 40000 8 && cmp "$device" "$model" || return
	ends_well "$device" "$image" || return
	device=$(qcow2ctl attach --no-partscan "$image") || return
	resize "$device" --shrink 1M && resize "$device" 9M && ends_well "$device" "$image"
}

# The last cluster is one that cannot be written in place: compressed, shared, or a zero cluster.
last_cluster() {	# OPTIONS
	local image=$test_dir/last.qcow2 device kind
	for kind in compressed shared zero; do
		make_image "$image" "$1" || return
		case $kind in
		compressed)
			qemu-img resize -q "$image" 4M &&
				qemu-img convert -c -O qcow2 -o "$1" "$image" "$image.c" &&
				mv "$image.c" "$image" || return
			# with bytes behind the end, in the stream
			qemu-img resize -q --shrink "$image" $((2097152 + 512 * 7)) || return
			qemu-img convert -O raw "$image" "$model" ;;
		shared) qemu-img snapshot -c one "$image" || return ;;
		zero) qemu-io -f qcow2 -c "write -q -z 2M 3584" "$image" &&
			qemu-img convert -O raw "$image" "$model" || return ;;
		esac
		device=$(qcow2ctl attach --no-partscan "$image") || return
		resize "$device" +512 && resize "$device" 5M || return
		write "$device" 2090000 20000 3 && ends_well "$device" "$image" || return
		[ "$kind" != shared ] || qemu-img snapshot -a one "$image" || return
		whole "$image" || return
	done
}

# VM state of a snapshot that was applied lies behind the end.
vm_state() {
	local image=$test_dir/vm.qcow2 device
	qemu-img create -q -f qcow2 -o cluster_size=4096 "$image" 8M || return
	qemu-io -f qcow2 -c 'write -q -P 1 0 1M' -c 'write -q -b -P 0xaa 0 300032' "$image" || return
	qemu-img convert -O raw "$image" "$model"
	device=$(qcow2ctl attach --no-partscan "$image") || return
	resize "$device" 16M && write "$device" 9000000 100000 5 && ends_well "$device" "$image"
}

# One that is not attached, and has to be, for the time that it takes.
unattached() {
	local image=$test_dir/apart/image.qcow2 step
	mkdir "$test_dir/apart" && make_image "$image" cluster_size=4096 "$test_dir/long.raw" || return
	! qcow2ctl resize "$image" +100K 2>"$test_dir/said" && grep -q -e '; --backing-dir' "$test_dir/said" || return
	for step in +100K +3M 1M; do
		qcow2ctl resize --shrink --backing-dir "$test_dir" "$image" "$step" && truncate -s "$step" "$model" || return
	done
	[ -z "$(qcow2ctl list)" ] && whole "$image" && qemu-img compare -q -f qcow2 -F raw "$image" "$model"
}

# Nothing changes where it is refused, and the reason is said.
refusals() {
	local image=$test_dir/no.qcow2 old=$test_dir/old.qcow2 device
	qemu-img create -q -f qcow2 -o cluster_size=512 "$image" 8M || return
	device=$(qcow2ctl attach "$image") || return
	refuse "a size of half a sector" 1 "SIZE '\+1000': a disk has sectors of 512 bytes; 1024" \
		qcow2ctl resize "$device" +1000
	refuse "no size" 1 "SIZE '12x': give a number of bytes" qcow2ctl resize "$device" 12x
	refuse "a size below nothing" 1 "unrecognized option|invalid option" qcow2ctl resize "$device" -1G
	refuse "more than 64 bits" 1 "SIZE '17000000T'" qcow2ctl resize "$device" 17000000T
	refuse "more than a disk has" 2 "too large for a disk" qcow2ctl resize "$device" +8388608T
	refuse "more than the L1 table maps" 2 "larger than 32 MiB: see" \
		qcow2ctl resize "$device" 1T
	refuse "smaller, without --shrink" 2 "it has 8388608 bytes, and would lose what lies behind 4194304; --shrink" \
		qcow2ctl resize "$device" 4M
	check "the size that it has" qcow2ctl resize "$device" 8M
	exec 9<"$device"
	refuse "smaller, while it is open" 2 "it is in use: qcow[0-9]+ is open in process [0-9]+ .bash.,? ?.*; end that" \
		qcow2ctl resize --shrink "$device" 4M
	exec 9<&-
	check "nothing has changed" test "$(blockdev --getsize64 "$device")" = 8388608
	qcow2ctl detach "$device"
	check "and the image is whole" whole "$image"
	device=$(qcow2ctl attach -r "$image")
	refuse "a device that is read-only" 2 "the device is read-only" qcow2ctl resize "$device" 9M
	qcow2ctl detach "$device"
	refuse "no such device" 1 "no such device" qcow2ctl resize qcow77 9M

	qemu-img create -q -f qcow2 -o compat=0.10 "$old" 8M && qemu-img snapshot -c one "$old"
	device=$(qcow2ctl attach "$old")
	refuse "version 2, with a snapshot" 2 "snapshots of version 2 have no size" \
		qcow2ctl resize "$device" 9M
	qcow2ctl detach "$device"
	head -c 8M /dev/zero | tr '\0' X >"$test_dir/long.raw"
	qemu-img create -q -f qcow2 -o compat=0.10 -b "$test_dir/long.raw" -F raw "$old" 2097664
	device=$(qcow2ctl attach "$old")
	refuse "version 2, over a backing file that is longer" 2 "would show: see qemu-img amend" \
		qcow2ctl resize "$device" 4M
	qemu-img convert -O raw "$old" "$model" 2>/dev/null || cp "$device" "$model"
	check "but within the last cluster" resize "$device" +512
	check "which QEMU reads as we do" ends_well "$device" "$old"
}

# Partitions: one that the disk was too small for is whole after it, none is cut off.
partitions() {
	local image=$test_dir/part.qcow2 device
	qemu-img create -q -f qcow2 "$image" 64M || return
	device=$(qcow2ctl attach "$image") || return
	sfdisk -q "$device" <<<'2048,32768,L
34816,32768,L' || return
	for _ in {1..20}; do [ ! -e "${device}p2" ] || break; sleep 0.1; done
	refuse "a partition reaches behind it" 2 "the partition /dev/qcow[0-9]+p2 reaches behind 33554432" \
		qcow2ctl resize --shrink "$device" 32M
	check "the partitions end before it" qcow2ctl resize --shrink "$device" 33M
	check "it grows" qcow2ctl resize "$device" 128M
	check "the partitions are there" test -b "${device}p2"
	check "lsblk shows the size" test "$(lsblk -bdno SIZE "$device")" = 134217728
	check "so does list" grep -q '"virtual-size": *134217728' <(qcow2ctl list --json)
	check "the last partition grows" sfdisk -q --no-tell-kernel -N 2 "$device" <<<', +'
	check "the kernel is told" partx -u "$device"
	check "it reaches to the end" test "$(blockdev --getsize64 "${device}p2")" = $((134217728 - 34816 * 512))
	qcow2ctl detach "$device" && whole "$image"
}

# Bytes of table cache, of the only device.
cache_size() { qcow2ctl list --json | sed -nE 's/.*"cache-size": *([0-9]+).*/\1/p'; }

# Small when it is attached, large soon; there is a table cache to match.
larger_cache() {
	local image=$test_dir/cache.qcow2 device before
	qemu-img create -q -f qcow2 "$image" 64M && device=$(qcow2ctl attach "$image") || return
	before=$(cache_size)
	qcow2ctl resize "$device" 100G && [ "$(cache_size)" = $((13107200 + before - 65536)) ] || return
	fill "$device" 99999999488 65536 3 && qcow2ctl resize "$device" 2T || return
	[ "$(cache_size)" = 33554432 ] || return
	cmp <(dd if="$device" bs=64k skip=99999999488 count=65536 iflag=skip_bytes,count_bytes status=none) \
		<(head -c 65536 /dev/zero | tr '\0' '\003') || return
	qcow2ctl detach "$device" && whole "$image"
}

# A file system grows while it is written.
mounted() {
	local image=$test_dir/fs.qcow2 dir=$test_dir/mnt device i writers=()
	qemu-img create -q -f qcow2 "$image" 64M || return
	mkdir -p "$dir"
	device=$(qcow2ctl attach --no-partscan "$image") || return
	mkfs.ext4 -q -E lazy_itable_init=0 "$device" && mount "$device" "$dir" || return
	at_exit umount "$dir"
	for i in 1 2; do
		( for ((n = 0; n < 60; n++)); do
			head -c 300000 /dev/urandom >"$dir/f$i.$n" && md5sum "$dir/f$i.$n" >>"$test_dir/sums$i" || exit
		done ) &
		writers+=($!)
	done
	for i in 1 2 3; do
		qcow2ctl resize "$device" +64M && resize2fs "$device" 2>/dev/null || return
	done
	for i in "${writers[@]}"; do
		wait "$i" || return
	done
	[ "$(df --output=size -B1M "$dir" | tail -n 1)" -gt 200 ] || return
	refuse "smaller, while it is mounted" 2 "it is in use: qcow[0-9]+ is mounted on .*mnt" \
		qcow2ctl resize --shrink "$device" 64M
	umount "$dir" && e2fsck -fn "$device" >/dev/null 2>&1 && mount "$device" "$dir" || return
	md5sum -c --quiet "$test_dir/sums1" "$test_dir/sums2" && umount "$dir" &&
		qcow2ctl detach "$device" && whole "$image"
}

# Raw images.
raw() {
	local image=$test_dir/raw.raw device
	head -c 1000000 /dev/urandom >"$image" && cp "$image" "$model" && truncate -s 1000448 "$model"
	device=$(qcow2ctl attach --no-partscan -f raw "$image") || return
	cmp "$device" "$model" || return
	resize "$device" +1M && write "$device" 1500000 100000 9 && resize "$device" --shrink 1536K &&
		resize "$device" 3M || return
	qcow2ctl detach "$device" && cmp "$image" "$model"
}

head -c 6M /dev/urandom >"$test_dir/long.raw"
head -c 1M /dev/urandom >"$test_dir/short.raw"
qemu-img convert -O qcow2 "$test_dir/long.raw" "$test_dir/long.qcow2"
qemu-img resize -q "$test_dir/long.qcow2" 30M

refusals
partitions
if command -v mkfs.ext4 >/dev/null; then
	check "a file system that is mounted" mounted
else
	skip "a file system that is mounted" "mkfs.ext4 is not installed"
fi
check "clusters of 4 KiB" scenario cluster_size=4096
check "a raw image" raw
check "an image that is not attached" unattached
check "a raw data file" data_file data_file_raw=on
if [ -e "$test_top/build/images/luks-65536.qcow2" ]; then
	check "LUKS" encrypted luks
else
	skip "encrypted images" "no images: make -C tests/tools"
fi
# The rest is a matter of the format, not of the kernel.
# In check 6.1 is the slow one, and the others do these.
if [[ ${VM_KERNEL:-} != 6.1 ]]; then
	check "over a longer backing file" scenario cluster_size=4096 "$test_dir/long.qcow2"
	check "last clusters that are not written in place" last_cluster cluster_size=65536
	check "VM state behind the end" vm_state
	check "a data file" data_file cluster_size=4096
	[ ! -e "$test_top/build/images/aes-65536.qcow2" ] || check "AES" encrypted aes
	check "the table cache grows, too" larger_cache
fi
if [ "${VM_KERNEL:-}" = uml ]; then
	for options in cluster_size=512 cluster_size=2M extended_l2=on cluster_size=64K,refcount_bits=1; do
		check "$options" scenario "$options"
		for backing in long.raw short.raw long.qcow2; do
			check "$options, over $backing" scenario "$options" "$test_dir/$backing"
		done
		[[ $options == *bits=1 ]] || check "$options, last clusters" last_cluster "$options"
	done
	check "a data file, over a longer backing file" data_file cluster_size=4096 "$test_dir/long.qcow2"
	check "a data file, subclusters" data_file extended_l2=on "$test_dir/long.raw"
	check "version 2" scenario compat=0.10
	check "version 2, over short.raw" scenario compat=0.10 "$test_dir/short.raw"
fi
finish
