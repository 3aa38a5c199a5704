#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Ciphers that few use, each read, changed at random, and judged by QEMU's programs.
# kernels: uml uml-debug
# timeout: 120
. "$(dirname "$0")/test_common.sh"
need qemu-img

images=$test_top/build/images
[ -e "$images/manifest" ] || skip_all "no images: make -C tests/tools"
at_exit qcow2ctl detach --all
cd "$test_dir" || exit 1
with=(--object "secret,id=s,data=qcow2blk" --image-opts)
printf qcow2blk >key

one() {	# NAME
	local device spec=driver=qcow2,encrypt.key-secret=s,file.filename=image
	cp --sparse=always "$images/$1.qcow2" image
	device=$(qcow2ctl attach --no-partscan --key-file key image) || return
	cmp "$device" "$images/$1.oracle" &&
		"$test_top/build/tests/differ" --ops 100 --device "$device" || return
	cp --sparse=always "$device" want
	qcow2ctl detach "$device" && qemu-img check "${with[@]}" "$spec" &&
		qemu-img compare "${with[@]}" driver=raw,file.filename=want "$spec"
}

for image in "$images"/cipher-*.qcow2; do
	name=$(basename "$image" .qcow2)
	check "${name#cipher-}" one "$name"
	qcow2ctl detach --all
done
finish
