#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# monitor, stats, and a cache that gets another size while the disk is read and written.
# shellcheck disable=SC2016 # the variables are those of jq
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img fio jq
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
qemu-img create -q -f qcow2 -o cluster_size=4k image.qcow2 64M

# --- monitor ----------------------------------------------------------------------------------
qcow2ctl monitor --json >events &
monitor=$!
qcow2ctl monitor >lines &
text=$!
at_exit kill $monitor $text
until grep -q listening events && grep -q listening lines; do sleep 0.05; done
device=$(qcow2ctl attach --device qcow5 --json image.qcow2 | jq -r .device)
qcow2ctl resize "$device" +1M
qcow2ctl detach "$device"
for _ in {1..100}; do
	grep -q detached events && grep -q detached lines && break
	sleep 0.05
done
check "monitor --json: each event is a line, at once" test \
	"$(jq -r '[.event, .device // "-"] | join(" ")' events)" = \
	$'listening -\nattached /dev/qcow5\nresized /dev/qcow5\ndetached /dev/qcow5'
check "it says what was attached, and how large it is now" test \
	"$(jq -c 'select(.event != "listening") | [."virtual-size", .filename]' events)" = \
	"[67108864,\"$test_dir/image.qcow2\"]"$'\n[68157440,null]\n[null,null]'
check "times are times" jq -e '.time | sub("\\.[0-9]+Z$"; "Z") | fromdate > 1700000000' events
check "the same for people" test "$(sed 's/^[^ ]* //' lines)" = "listening
/dev/qcow5: attached: 64 MiB, $test_dir/image.qcow2
/dev/qcow5: has another size: 65 MiB
/dev/qcow5: detached"
refuse "monitor takes no argument" 1 "unexpected argument 'qcow0'" qcow2ctl monitor qcow0
refuse "who cannot write ends" 2 "cannot write to standard output" eval "qcow2ctl monitor >/dev/full"
if rmmod qcow2blk 2>/dev/null; then
	wait $monitor
	check "it ends with the module" test $? = 0 -a "$(tail -n 1 events | jq -r .event)" = unloaded
else
	kill $monitor
fi
kill $text 2>/dev/null

# --- stats ------------------------------------------------------------------------------------
device=$(qcow2ctl attach image.qcow2)
stat() { qcow2ctl stats --json "$device" | jq ".stats.\"$1\""; }
is() {	# COUNTER OPERATOR NUMBER
	check "$1 $2 $3" test "$(stat "$1")" "$2" "$3"
}
check "nothing was written yet" test "$(stat write-bytes)" = 0
dd if=/dev/urandom of="$device" bs=64k count=32 oflag=direct conv=fsync status=none
is writes -gt 0
is write-bytes = 2097152
is write-nsec -gt 0
is flushes -gt 0
is allocations -ge 512
is commits -gt 0
is commit-nsec -gt 0
is fsyncs -gt 0
is fsync-nsec -gt 0
is refcount-hits -gt 0
before=$(stat reads) hits=$(stat slice-hits) bytes=$(stat read-bytes)
dd if="$device" of=/dev/null bs=4k count=100 iflag=direct status=none
check "a hundred reads are a hundred reads" test $(($(stat reads) - before)) = 100
check "of so many bytes" test $(($(stat read-bytes) - bytes)) = 409600
check "each found its table in the cache" test $(($(stat slice-hits) - hits)) -ge 100
is read-nsec -gt 0
is slice-bytes -gt 0
blkdiscard -o 0 -l 1M "$device"
is discard-bytes = 1048576
text=$(qcow2ctl stats "$device")
check "for people" grep -qE '^discards +1 +1 MiB +[0-9.]+ (us|ms|s)$' <<<"$text"
check "with a hit rate" grep -qE '^tables +[0-9]+ +[0-9]+ +[0-9.]+%$' <<<"$text"
check "list --json has the same counters" test \
	"$(qcow2ctl list --json | jq -c '.[0].stats | keys')" = \
	"$(qcow2ctl stats --json image.qcow2 | jq -c '.stats | keys')"
refuse "stats of nothing" 1 "/dev/qcow9: no such device" qcow2ctl stats qcow9
qcow2ctl detach "$device"
qemu-img convert -c -f raw -O qcow2 /bin/bash packed.qcow2
device=$(qcow2ctl attach -r packed.qcow2)
cat "$device" >/dev/null
is decompressions -gt 0
is decompress-nsec -gt 0
is slice-misses -gt 0
is slice-nsec -gt 0
qcow2ctl detach "$device"

# --- set cache-size ---------------------------------------------------------------------------
# 128 KiB of tables for 64 MiB: 32 slices. The least that a layer gets is 64 KiB.
device=$(qcow2ctl attach image.qcow2)
fio --name=fill --filename="$device" --rw=write --bs=256k --direct=1 --size=64M \
	--verify=crc32c --do_verify=0 --output=fill.log
fio --name=mix --filename="$device" --rw=randrw --bs=4k --direct=1 --size=64M --iodepth=16 \
	--ioengine=libaio --time_based --runtime=8 --verify=crc32c --output=mix.log &
fio=$!
cache() { qcow2ctl list -nbo CACHE "$device" | tr -d ' '; }
ok=1 changes=0
while kill -0 $fio 2>/dev/null && [ $changes -lt 40 ]; do
	for size in 64K default 80K 1G; do
		qcow2ctl set "$device" cache-size=$size || ok=
		changes=$((changes + 1))
	done
done
wait $fio
check "what is read and written meanwhile is right (after $changes changes)" test $? = 0
check "each of them was made" test "$ok"
qcow2ctl set image.qcow2 cache-size=64K
check "a smaller cache" test "$(cache)" = 65536
sync
cat "$device" >/dev/null
check "has room for less" test "$(stat slice-bytes)" -le 65536
evicted=$(stat slice-evictions)
check "and drops what it has" test "$evicted" -gt 0
qcow2ctl set "$device" cache-size=default
check "enough for all, again" test "$(cache)" = 135168
cat "$device" >/dev/null
check "nothing is dropped now" test "$(stat slice-evictions)" = "$evicted"
misses=$(stat slice-misses)
echo 3 >/proc/sys/vm/drop_caches
cat "$device" >/dev/null
check "nor read again" test "$(stat slice-misses)" = "$misses"
refuse "no size" 1 "cache-size=much: a number of bytes" qcow2ctl set "$device" cache-size=much
refuse "nothing that can be set" 1 "'colour=red': cache-size=SIZE is what can be set" \
	qcow2ctl set "$device" colour=red
refuse "no such device" 1 "no such device" qcow2ctl set qcow9 cache-size=1M
qcow2ctl detach "$device"
check "the image is whole" qemu-img check -q image.qcow2
finish
