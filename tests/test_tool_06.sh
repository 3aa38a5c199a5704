#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The module is loaded where it is absent, the tool is of use without it, and to others than root.
. "$(dirname "$0")/test_common.sh"
need qemu-img setpriv
[ "${VM_KERNEL:-}" ] || skip_all "unloads the module, so only in a VM"
at_exit qcow2ctl detach --all

image=$(mktemp /tmp/image.XXXXXX)
at_exit rm "$image"
qemu-img create -q -f qcow2 "$image" 1M
chmod 644 "$image"
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }

check "attach with the module loaded" qcow2ctl attach -r "$image"
refuse "attach without rights" 2 "root.*sudo" nobody qcow2ctl attach -r "$image"
refuse "attach of another user's image" 2 "cannot open it for writing: permission denied .try sudo." \
	nobody qcow2ctl attach "$image"
refuse "detach without rights" 2 "root.*sudo" nobody qcow2ctl detach qcow0
check "list without rights shows the device, not the path" \
	grep -qE '^/dev/qcow0 .*\(only root sees it\)$' <<<"$(nobody qcow2ctl list)"
refuse "info of a device without rights" 2 "only root sees its images" nobody qcow2ctl info qcow0
check "info of an image without rights" nobody qcow2ctl info "$image"

check "the module can be unloaded" eval "qcow2ctl detach --all && rmmod qcow2blk"
check "list without the module" test -z "$(qcow2ctl list)"
check "list --json without the module" test "$(qcow2ctl list --json | tr -d '\n ')" = '[]'
check "info without the module" grep -q '^virtual size: 1 MiB' <<<"$(qcow2ctl info "$image")"
refuse "detach without the module" 1 "$image: it is not attached" qcow2ctl detach "$image"
refuse "attach without rights to load it" 2 "root.*sudo" nobody qcow2ctl attach -r "$image"
check "attach loads the module" qcow2ctl attach -r "$image"

check "the module can be unloaded again" eval "qcow2ctl detach --all && rmmod qcow2blk"
mount -t tmpfs none /lib/modules
release=$(uname -r)
refuse "where there is no module, attach names the kernel and the remedy" 2 \
	"cannot load the module qcow2blk into kernel ${release//+/.}: .*not installed.*make install" \
	qcow2ctl attach -r "$image"
umount /lib/modules
check "attach loads it when it is there" qcow2ctl attach -r "$image"
finish
