#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Who keeps a device: a refusal names them all, detach --wait waits for them, list shows them; what a
# terminal sees of work that takes long.
# shellcheck disable=SC2016 # the variables are those of jq
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img mkfs.ext4 sfdisk dmsetup losetup unshare script fsfreeze jq
modprobe -a loop dm-mod dm-flakey 2>/dev/null
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
truncate -s 32M raw
printf '%s\n' 'label: dos' '2048,16384' '18432,16384' '34816,+' | sfdisk -q raw
qemu-img convert -O qcow2 raw image.qcow2
qemu-img create -q -f qcow2 other.qcow2 1M
mkdir one "two words" inner
device=$(qcow2ctl attach image.qcow2)
dmsetup() { command dmsetup --noudevrules --noudevsync "$@"; }

# --- everybody at once ------------------------------------------------------------------------
mkfs.ext4 -q "${device}p1"
mount "${device}p1" "two words"
at_exit umount "'$test_dir/two words'"
mkswap "${device}p2" >/dev/null
swapon "${device}p2"
at_exit swapoff "${device}p2"
dmsetup create held --table "0 16384 linear ${device}p3 0"
at_exit dmsetup remove held
[ -b /dev/mapper/held ] || dmsetup mknodes held
loop=$(losetup --find --show --offset 8192 /dev/mapper/held)
at_exit losetup -d "$loop"
mkfs.ext4 -q "$loop"
mount "$loop" inner
at_exit umount "$test_dir/inner"
exec 7<"$device"

said=$(qcow2ctl detach "$device" 2>&1)
check "detach is refused" test $? = 2
for what in "qcow0p1 is mounted on $test_dir/two words" "qcow0p2 is used as swap" \
	"qcow0p3 is used by /dev/mapper/held" "dm-0 is used by $loop" \
	"${loop#/dev/} is mounted on $test_dir/inner" "qcow0 is open in process $$ (bash)"; do
	check "it says that ${what//$test_dir/DIR}" grep -qF "$what" <<<"$said"
done
json=$(qcow2ctl list --json)
check "list --json has the file systems" jq -e --arg dir "$test_dir" '[.[0].users[]
	| select(.kind == "mount") | {node, mountpoint}] == [
	{node: "qcow0p1", mountpoint: ($dir + "/two words")},
	{node: "'"${loop#/dev/}"'", mountpoint: ($dir + "/inner")}]' <<<"$json"
check "and swap, and what is built on it" jq -e '[.[0].users[] | select(.kind != "mount") | .kind]
	== ["swap", "holder", "holder"]' <<<"$json"
check "list -o has the mount points" test "$(qcow2ctl list -no MOUNTS "$device")" = \
	"$test_dir/two words, $test_dir/inner"
exec 7<&-
umount inner
losetup -d "$loop"
dmsetup remove held
swapoff "${device}p2"

# --- those who are not to be seen at once -----------------------------------------------------
unshare -m --propagation private sleep 100 &
hidden=$!
at_exit kill $hidden
until [ "$(readlink /proc/$hidden/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ]; do sleep 0.05; done
umount "two words"
refuse "a mount in another namespace is named" 2 \
	"qcow0p1 is mounted on $test_dir/two words, as process $hidden sees it" qcow2ctl detach "$device"
kill $hidden
wait $hidden 2>/dev/null

qemu-img create -q -f raw nested 1M
dd if=other.qcow2 of="$device" bs=64k conv=fsync status=none
inner=$(qcow2ctl attach -r "$device")
refuse "an image that lies on it is named" 2 "$inner has an image on qcow0" qcow2ctl detach "$device"
qcow2ctl detach "$inner"

# --- detach --wait ----------------------------------------------------------------------------
wait_refuses() {	# SECONDS: at most so long, and then it says why
	local start=$SECONDS
	exec 7<"$device"
	refuse "detach --wait=$1 of a device that stays in use" 2 "it is in use: qcow0 is open in process $$" \
		qcow2ctl detach --wait="$1" "$device"
	exec 7<&-
	check "it has waited" test $((SECONDS - start)) -ge "${1%.*}"
}
wait_refuses 1.5
exec 7<"$device"
script -qec "qcow2ctl detach --wait=2 $device" said >/dev/null
exec 7<&-
check "on a terminal it says that it waits, and how long it has" \
	grep -q "$device: waiting until nobody uses it, 1 s" said
dd if=raw of="$device" bs=64k conv=fsync status=none
mkfs.ext4 -q "$device"
mount "$device" one
at_exit umount "$test_dir/one"
qcow2ctl detach --wait "$device" 2>waited &
waiting=$!
sleep 1
check "detach --wait waits for a mount" test -d /proc/$waiting -a -b "$device"
umount one
wait $waiting
check "and detaches when it is gone" test $? = 0
check "without a word" test ! -s waited
check "the device is gone" test ! -e "$device"
refuse "--wait and a bad number" 1 "--wait 'soon': a number of seconds" qcow2ctl detach --wait=soon qcow0

# --- long work on a terminal ------------------------------------------------------------------
# It takes as long as its file system is frozen.
truncate -s 64M disk
loop=$(losetup -f --show disk)
at_exit losetup -d "$loop"
mkfs.ext4 -q "$loop"
mkdir store
mount "$loop" store
at_exit umount "$test_dir/store"
qemu-img create -q -f qcow2 store/base.qcow2 4M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 store/top.qcow2
device=$(qcow2ctl attach store/top.qcow2)
dd if=raw of="$device" bs=1M count=4 conv=fsync status=none
fsfreeze -f store
script -qec "qcow2ctl commit $device" said >/dev/null &
sleep 2
fsfreeze -u store
wait $!
check "commit, on a terminal, says how far it is" grep -qE "top.qcow2: committing [0-9]+%" said
dd if=raw of="$device" bs=1M count=4 conv=fsync status=none
fsfreeze -f store
qcow2ctl commit "$device" >said 2>&1 &
sleep 2
refuse "the size stays meanwhile, and it is said why" 2 \
	"$device: it is being committed, and keeps its size until that ends; .*commit --stop" \
	qcow2ctl resize "$device" +1M
fsfreeze -u store
wait $!
check "and nowhere else" eval "! grep committing said"

# --- a mount that another one hides -------------------------------------------------------------
mkfs.ext4 -qF "$device"
mount "$device" one
check "nothing is hidden: no word" test -z "$(qcow2ctl snapshot create "$device" seen 2>&1)"
# Here the path shows the file system that the image is on.
mount --bind store one
timeout 60 qcow2ctl snapshot create "$device" hidden 2>said &
creating=$!
for _ in {1..100}; do
	[ -d /proc/$creating ] || break
	sleep 0.1
done
check "a snapshot does not freeze what hides a mount" test ! -d /proc/$creating
fsfreeze -u store 2>/dev/null
wait $creating
check "it is made" grep -q hidden <(qcow2ctl snapshot list "$device")
check "with a warning" grep -q "^qcow2ctl: $test_dir/one: warning: another mount hides what is mounted there from ${device#/dev/}," said
umount one
umount one
qcow2ctl detach "$device"

# --- list and its columns ---------------------------------------------------------------------
qcow2ctl attach -r --device qcow3 --no-partscan --cache-size 1M other.qcow2 >/dev/null
qcow2ctl attach --device qcow4 -f raw --discard ignore raw >/dev/null
check "columns by name, in order, whatever their case" test \
	"$(qcow2ctl list -n -b -o ro,DEVICE,size | sed 's/  */ /g')" = \
	$'yes /dev/qcow3 1048576\nno /dev/qcow4 33554432'
check "more columns than the default" grep -qE "^DEVICE +SIZE +RO +FORMAT +LAYERS +IMAGE +CACHE" \
	<<<"$(qcow2ctl list -o +cache)"
check "one device by its image" test "$(qcow2ctl list -no DEVICE,DISCARD raw)" = "/dev/qcow4  ignore"
check "as JSON, numbers are numbers" jq -e '.devices == [
	{device: "/dev/qcow3", size: 1048576, layers: 1, temporary: false, parent: null}]' \
	<<<"$(qcow2ctl list -J -b -o DEVICE,SIZE,LAYERS,TEMPORARY,PARENT qcow3)"
check "all columns" test "$(qcow2ctl list -O | head -n 1 | wc -w)" = 17
check "the device number" test "$(qcow2ctl list -no MAJ:MIN qcow3)" = "$(cat /sys/block/qcow3/dev)"
refuse "a column that there is not" 1 "there is no column 'COLOUR'" qcow2ctl list -o DEVICE,COLOUR
refuse "a device that there is not" 1 "/dev/qcow9: no such device" qcow2ctl list qcow9
name=$'a\033[31m\xc3\xbc.qcow2'
mv other.qcow2 "$name"
check "a name's control characters do not reach the terminal" \
	grep -qF $'a?[31m\xc3\xbc.qcow2' <<<"$(qcow2ctl list)"
qcow2ctl detach --all
check "no device, as JSON" test "$(qcow2ctl list --json | jq -c .)" = "[]" -a \
	"$(qcow2ctl list -J -o DEVICE | jq -c .)" = '{"devices":[]}'
finish
