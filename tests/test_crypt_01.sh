#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Encrypted images: where keys come from, and what is refused; a chain of encrypted layers. What is in
# such images is for test_read_01 and test_write_01.
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img qemu-io script

images=$test_top/build/images
[ -e "$images/manifest" ] || skip_all "no images: make -C tests/tools"
at_exit qcow2ctl detach --all
cd "$test_dir" || exit 1
poke=$test_top/build/tests/poke
differ=$test_top/build/tests/differ
verify=$test_top/build/tests/verify
with=(--object "secret,id=s,data=qcow2blk" --image-opts)
cp --sparse=always "$images"/{luks,aes}-65536.{qcow2,oracle} .
printf qcow2blk >key
printf Qcow2blk >wrong
echo qcow2blk >line

# reads_as ORACLE ATTACH-ARGUMENT...
reads_as() {
	local oracle=$1 device
	shift
	device=$(qcow2ctl attach -r --no-partscan "$@") && cmp "$device" "$oracle" &&
		qcow2ctl detach "$device"
}

# --- keys -------------------------------------------------------------------------------------
check "LUKS, key from a file" reads_as luks-65536.oracle --key-file key luks-65536.qcow2
check "from standard input" eval "reads_as luks-65536.oracle --key-file - luks-65536.qcow2 <key"
check "for layer 0" reads_as luks-65536.oracle --key-file 0=key luks-65536.qcow2
check "AES" reads_as aes-65536.oracle --key-file key aes-65536.qcow2
# A terminal of its own, on which the passphrase is typed once it is asked for.
typed() {
	rm -f typescript
	(timeout 20 bash -c 'until grep -qs Passphrase typescript; do sleep 0.2; done'; echo "$1"
	timeout 20 bash -c 'until grep -qs status typescript; do sleep 0.2; done') |
		script -qfec "qcow2ctl attach -r --no-partscan luks-65536.qcow2; echo status \$?" \
			typescript >/dev/null
}
typed qcow2blk
check "typed on a terminal" cmp /dev/qcow0 luks-65536.oracle
check "which does not show it" eval "! grep -q qcow2blk typescript"
qcow2ctl detach --all
typed qcow3blk
check "typed wrong" grep -q "wrong passphrase" typescript
refuse "no key and no terminal" 2 "luks-65536.qcow2: it is encrypted.*--key-file 0=FILE" \
	setsid qcow2ctl attach -r luks-65536.qcow2
refuse "a wrong key" 2 "luks-65536.qcow2: wrong passphrase" \
	qcow2ctl attach --key-file wrong luks-65536.qcow2
refuse "a key and a newline" 2 "newline at the end of line is a part of it" \
	qcow2ctl attach --key-file line luks-65536.qcow2
refuse "no file" 2 "none: cannot read the passphrase: No such file" \
	qcow2ctl attach --key-file none luks-65536.qcow2
check "no device came of that" test ! -e /sys/block/qcow0
refuse "a key too many" 1 "layer 0 has a --key-file, but is not encrypted" \
	qcow2ctl attach -f raw --key-file 0=key luks-65536.oracle

# What the kernel tells, and what it does not.
qcow2ctl attach --no-partscan --key-file key luks-65536.qcow2 >/dev/null
read -r _ _ hex <"$images/luks-65536.qcow2.key"
check "list names the cipher" grep -q '"cipher": *"xts(aes)"' <(qcow2ctl list --json)
check "and not the key" eval "! qcow2ctl list --json | grep -qi '${hex:0:16}'"
check "info names the cipher" grep -q 'cipher alg: aes-256' <(qcow2ctl info qcow0)
qcow2ctl detach --all

# The kernel's own refusals, of what the tool would not send.
grep "^luks-65536 " "$images/manifest" >manifest
refuse "the kernel wants a key" 1 "the image is encrypted, and there is no key for it" \
	"$verify" --images . manifest
qemu-img create -q -f qcow2 luks-65536.plain 1050112
mkdir plain
mv luks-65536.plain plain/luks-65536.qcow2
cp "$images/luks-65536.qcow2.key" plain/
refuse "and none that is of no use" 1 "there is a key for the image, but it is not encrypted" \
	"$verify" --images plain manifest
mv plain/luks-65536.qcow2.key .
sed -i 's/aes/none/' luks-65536.qcow2.key
refuse "a cipher that it has not" 1 "the kernel does not have the image's cipher" \
	"$verify" --images . manifest
sed 's/..$//' "$images/luks-65536.qcow2.key" >luks-65536.qcow2.key
refuse "a key that is too short" 1 "the key does not suit the image's cipher" \
	"$verify" --images . manifest

# --- broken LUKS headers ------------------------------------------------------------------------
header=$((4 * 65536))
cmp -s -n 4 -i $header:0 luks-65536.qcow2 <(printf 'LUKS') || fail "the LUKS header is elsewhere"
broken() {	# WHAT PATTERN POKE...
	local what=$1 pattern=$2
	shift 2
	cp --sparse=always luks-65536.qcow2 broken.qcow2
	"$poke" broken.qcow2 "$@"
	refuse "$what" 2 "broken.qcow2: $pattern" qcow2ctl attach --key-file key broken.qcow2
}
broken "no LUKS header" "its LUKS header cannot be used: it is none of version 1" $header:4=0
broken "LUKS version 2" "its LUKS header cannot be used" $((header + 6)):2=2
broken "an unknown cipher" "its LUKS header cannot be used|the kernel does not have" \
	$((header + 8)):4=0x7a7a7a00
broken "unknown vectors" "the cipher aes-xts-qlain64 is not supported" $((header + 44)):1=0x71
broken "all key slots disabled" "its LUKS header cannot be used|wrong passphrase" \
	$((header + 208)):4=0x0000dead
# The kernel does not look into it, but knows where it is.
mkdir overlap
cp --sparse=always luks-65536.qcow2 overlap/
cp "$images/luks-65536.qcow2.key" overlap/
"$poke" overlap/luks-65536.qcow2 120:8=$((3 * 65536))
refuse "a LUKS header on the L1 table" 1 "metadata overlap" "$differ" --images overlap manifest

# --- chains ----------------------------------------------------------------------------------
# AES on LUKS on what is not encrypted; each has a key of its own.
qemu-img create -q -f qcow2 -b luks-65536.qcow2 -F qcow2 \
	--object secret,id=s,data=qcow2blk --object secret,id=t,data="top's key" \
	-o encrypt.format=aes,encrypt.key-secret=t,cluster_size=4096 \
	top.qcow2 1050112 2>/dev/null ||
	qemu-img create -q -f qcow2 -u -b luks-65536.qcow2 -F qcow2 --object secret,id=t,data="top's key" \
		-o encrypt.format=aes,encrypt.key-secret=t,cluster_size=4096 top.qcow2 1050112
printf "top's key" >top
check "an encrypted backing file" reads_as luks-65536.oracle --key-file top --key-file 1=key top.qcow2
qemu-img create -q -f qcow2 -u -b luks-65536.qcow2 -F qcow2 plain.qcow2 1050112
check "the only layer that is encrypted" reads_as luks-65536.oracle --key-file key plain.qcow2
refuse "no key for the backing file" 2 "luks-65536.qcow2: it is encrypted.*--key-file 1=FILE" \
	setsid qcow2ctl attach --key-file top top.qcow2
refuse "the wrong one" 2 "luks-65536.qcow2: wrong passphrase" \
	qcow2ctl attach --key-file top --key-file 1=top top.qcow2

# What is copied from one layer to the next is encrypted anew.
chain=driver=qcow2,encrypt.key-secret=t,file.filename=top.qcow2,backing.encrypt.key-secret=s
with=(--object "secret,id=s,data=qcow2blk" --object "secret,id=t,data=top's key" --image-opts)
device=$(qcow2ctl attach --no-partscan --key-file top --key-file 1=key top.qcow2)
check "the top is changed" "$differ" --ops 150 --device "$device"
cp --sparse=always "$device" want
qcow2ctl detach "$device"
check "and is whole" qemu-img check "${with[@]}" "$chain"
check "QEMU reads what was written" qemu-img compare "${with[@]}" driver=raw,file.filename=want "$chain"
check "the backing file is as it was" cmp luks-65536.qcow2 "$images/luks-65536.qcow2"

# --- snapshots --------------------------------------------------------------------------------
cp --sparse=always "$images"/luks-snapshots.qcow2 .
device=$(qcow2ctl attach --no-partscan --key-file key luks-snapshots.qcow2)
check "a snapshot of an attached image needs no key" \
	qcow2ctl attach -r --no-partscan --load-snapshot first --device qcow9 luks-snapshots.qcow2
check "and reads as it should" cmp /dev/qcow9 "$images/luks-snapshots-first.oracle"
qcow2ctl detach qcow9
check "which the image does, too" cmp "$device" "$images/luks-snapshots.oracle"
finish
